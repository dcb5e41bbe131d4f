"""Checkpoints of CSM from when the optimizer moved its lateral weights: they go on where that is the same, else not.

Such a checkpoint is made from one of today: an optimizer that moved M has a state of it, and less was noted.
"""

from functools import partial

import pytest
import torch
from torch.optim import SGD, Adagrad, Adam, RMSprop

from bioplausible import ContrastiveSimilarityMatching, UserError
from tests.helpers import differences
from tests.resume.test_kept_options import fit

OPTIONS = {"beta": 0.5, "free_steps": 2, "nudged_steps": 1, "learning_rates": None, "feedback_learning_rates": None}


def rule(optimizer, **options):
    torch.manual_seed(0)
    return ContrastiveSimilarityMatching([64, 12, 10], optimizer=optimizer, **OPTIONS | options)


def of_an_earlier_version(path):
    """Takes out of a checkpoint what was not noted then, and puts in the optimizer's state of M."""
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["callbacks"]["ConfiguredRates"]["options_by_group"]
    (state,) = checkpoint["optimizer_states"]
    (lateral,) = [group["params"] for group in state["param_groups"] if group["name"] == "lateral_1"]
    learned = next(iter(state["state"].values()), {})  # nothing where the optimizer keeps no state
    for i in lateral:
        state["state"][i] = {name: torch.ones_like(value) for name, value in learned.items()}
    torch.save(checkpoint, path)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (partial(SGD, lr=0.1, momentum=0.5), {}),
        (partial(Adam, lr=0.01), {}),
        (partial(RMSprop, lr=0.01), {}),
        (partial(Adagrad, lr=0.01), {}),
        (partial(SGD, lr=0.1, weight_decay=0.1), {}),
        (partial(SGD, lr=0.1), {"gradient_norm_limit": 0.5}),
    ],
    ids=["momentum", "Adam", "RMSprop", "Adagrad", "decay", "limit"],
)
def test_what_an_optimizer_moved_in_its_own_way_does_not_go_on(optimizer, options, tmp_path):
    half, end = tmp_path / "half.ckpt", tmp_path / "end.ckpt"
    whole = fit(rule(optimizer, **options), 2, tmp_path / "whole.ckpt")
    fit(rule(optimizer, **options), 1, half)
    found = fit(rule(optimizer, **options), 2, end, half)  # one of today goes on
    assert list(differences(whole["state_dict"], found["state_dict"])) == []
    of_an_earlier_version(half)
    with pytest.raises(UserError, match=r"earlier version, in which the optimizer .* moved lateral_1, .*train anew"):
        fit(rule(optimizer, **options), 2, end, half)
    ContrastiveSimilarityMatching.load_from_checkpoint(half)  # to be evaluated


def test_what_plain_sgd_moved_goes_on_to_the_same_bits(tmp_path):
    half = tmp_path / "half.ckpt"
    optimizer = partial(SGD, lr=0.1)
    whole = fit(rule(optimizer), 2, tmp_path / "whole.ckpt")
    fit(rule(optimizer), 1, half)
    of_an_earlier_version(half)
    found = fit(rule(optimizer), 2, tmp_path / "end.ckpt", half)
    assert list(differences(whole["state_dict"], found["state_dict"])) == []
