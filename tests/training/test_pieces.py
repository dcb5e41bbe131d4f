"""Oracle: a large batch that settles at once."""

import pytest
import torch

from bioplausible import UserError
from bioplausible.training.phase import SAMPLES_AT_ONCE, Phase, evaluate_in_pieces, settle_in_pieces
from tests.helpers import all_rules, batch, build, updates


@pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)
@torch.no_grad()
def test_a_large_batch_settles_in_pieces_as_it_does_at_once(cls):
    torch.manual_seed(0)
    rule = build(cls)
    n = 2 * SAMPLES_AT_ONCE + 3
    x, _, target = batch(n=n)
    sizes = []

    def settle(*piece):
        sizes.append([len(t) for t in piece])
        return rule.settle(*piece)

    pieces, whole = settle_in_pieces(settle, x, target), rule.settle(x, target)
    assert sizes == [[size] * 2 for size in (SAMPLES_AT_ONCE, SAMPLES_AT_ONCE, 3)]
    assert list(pieces) == list(whole)
    for name, phase in whole.items():
        of = [(pieces[name].activity, phase.activity), (pieces[name].previous, phase.previous)]
        assert pieces[name].internal.keys() == phase.internal.keys()
        of += [(pieces[name].internal[key], tensors) for key, tensors in phase.internal.items()]
        for in_pieces, at_once in of:
            assert len(in_pieces) == len(at_once)
            for a, b in zip(in_pieces, at_once, strict=True):
                assert len(a) == n
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
        assert (pieces[name].nudge, pieces[name].step_size) == (phase.nudge, phase.step_size)
    of_whole = updates(rule, whole)
    for name, update in updates(rule, pieces).items():
        torch.testing.assert_close(update, of_whole[name], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(evaluate_in_pieces(rule, x), rule(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("change", ["nudge", "tensors"])
def test_a_rule_whose_pieces_differ_is_told_so(change):
    n = SAMPLES_AT_ONCE + 1

    def settle(x, target):
        more = {"u": [x.clone()]} if change == "tensors" and len(x) == 1 else {}
        return {"free": Phase([x, target], nudge=len(x) if change == "nudge" else 0.0, internal=more)}

    with pytest.raises(UserError, match="settle must return the same phases"):
        settle_in_pieces(settle, torch.zeros(n, 3), torch.zeros(n, 2))
