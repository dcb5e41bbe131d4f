"""A rule can be copied and sent to another process, as any module of torch's."""

import pickle

import pytest
import torch

from tests.helpers import NETWORKS, VARIANTS, batch, build


@pytest.mark.parametrize("network", [name for name in NETWORKS if name != "soft pool"])
def test_a_pickled_rule_is_the_same_rule(network):
    x, *_ = batch(network)
    for cls, options in VARIANTS.values():
        torch.manual_seed(0)
        rule = build(cls, network, **options)
        copy = pickle.loads(pickle.dumps(rule))
        assert torch.equal(copy(x), rule(x)), cls.__name__
        assert str(copy) == str(rule), cls.__name__
        assert copy.hparams == rule.hparams, cls.__name__
