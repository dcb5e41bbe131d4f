"""What holds of every rule, however many steps it takes a batch."""

import copy
from collections import Counter

import pytest
import torch

from bioplausible import ForwardForward, IncrementalPredictiveCoding
from tests.helpers import VARIANTS, batch, build

MANY = {
    **VARIANTS,
    "forward-forward, together": (ForwardForward, {"updates_per_batch": 3}),
    "forward-forward, layer by layer": (ForwardForward, {"order": "layer_by_layer", "updates_per_batch": 2}),
    "incremental predictive coding, last": (IncrementalPredictiveCoding, {"update_weights_at": "last"}),
}
EACH = pytest.mark.parametrize("variant", MANY)


@EACH
@torch.no_grad()
def test_a_rule_says_how_many_of_a_batchs_updates_move_a_parameter(variant):
    cls, options = MANY[variant]
    rule = build(cls, **options)
    x, _, y = batch()
    moved = Counter(id(p) for update in rule.updates(rule.settle(x, y)) for p, _ in update)
    assert moved
    for name, p in rule.named_parameters():
        if id(p) in moved:
            assert rule.steps_of(p) == moved[id(p)], name


@EACH
@torch.no_grad()
def test_a_batchs_answer_is_the_one_before_it_was_learned(variant):
    """Of it training's accuracy and loss are: what several steps have changed must not show in them."""
    cls, options = MANY[variant]
    rule = build(cls, **options)
    x, _, y = batch()
    before = copy.deepcopy(rule)
    expected = before.answer(before.prediction_phase(before.settle(x, y))).clone()
    found = rule.answer(rule.prediction_phase(rule.learn(x, y, torch.optim.SGD(rule.parameter_groups(), lr=0.1))))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@EACH
@torch.no_grad()
def test_the_last_batchs_updates_are_gone_before_this_ones_are_made(variant, monkeypatch):
    """Two sets of them, each as large as the weights, would push each other out of the cache."""
    cls, options = MANY[variant]
    rule = build(cls, **options)
    x, _, y = batch()
    optimizer = torch.optim.SGD(rule.parameter_groups(), lr=0.1)
    rule.learn(x, y, optimizer)
    learned = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    assert learned  # callbacks read them until the next batch
    left = []
    updates = rule.updates

    def watched(phases):
        left.extend(p.grad for p in learned)
        return updates(phases)

    monkeypatch.setattr(rule, "updates", watched)
    rule.learn(x, y, optimizer)
    assert left == [None] * len(learned)
