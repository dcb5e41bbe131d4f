"""Oracle: a large batch that settles at once."""

import pytest
import torch

from bioplausible import Backpropagation, ContrastiveSimilarityMatching, CorInfoMax, UserError
from bioplausible.training import pieces
from bioplausible.training.phase import Phase
from bioplausible.training.pieces import FEWEST, PIECE_BYTES, evaluate_in_pieces, samples_at_once, settle_in_pieces
from tests.helpers import NETWORKS, all_rules, batch, build, updates

NETWORK = pytest.mark.parametrize("network", ["dense", "max pool", "strided skip"])


@pytest.fixture
def _small(monkeypatch):
    """The fewest samples at a time."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1)


def tensors(phase):
    return {
        **{f"activity {k}": r for k, r in enumerate(phase.activity)},
        **{f"previous {k}": r for k, r in enumerate(phase.previous)},
        **{f"{name} {k}": t for name, internal in phase.internal.items() for k, t in enumerate(internal)},
    }


@NETWORK
@pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)
@pytest.mark.usefixtures("_small")
@torch.no_grad()
def test_a_large_batch_settles_in_pieces_as_it_does_at_once(cls, network):
    rule = build(cls, network)
    n = 2 * FEWEST + 3
    x, _, target = batch(network, n=n)
    sizes, settle_in_turn = [], rule._settle_in_turn(range(n))

    def settle(*piece):
        sizes.append([len(t) for t in piece])
        return settle_in_turn(*piece)

    in_pieces, whole = settle_in_pieces(settle, x, target, 15), rule.settle(x, target)
    assert sizes == [[FEWEST] * 2, [FEWEST] * 2, [3] * 2]
    assert list(in_pieces) == list(whole)
    for name, phase in whole.items():
        assert all(len(t) == n for t in tensors(in_pieces[name]).values())
        torch.testing.assert_close(tensors(in_pieces[name]), tensors(phase), rtol=1e-12, atol=1e-12)
        assert (in_pieces[name].beta, in_pieces[name].step_size) == (phase.beta, phase.step_size)
    torch.testing.assert_close(updates(rule, in_pieces), updates(rule, whole), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(evaluate_in_pieces(rule, x, 15), rule(x), rtol=1e-12, atol=1e-12)


def test_a_piece_stays_in_the_cache():
    """512 KB of one state: 510 neurons in float32 are 2,040 bytes a sample; on a GPU all settle at once."""
    assert samples_at_once(torch.empty(4096, 784), 510) == 512 * 1024 // 2040 == 257
    assert samples_at_once(torch.empty(4096, 784, dtype=torch.float64), 510) == 128
    assert samples_at_once(torch.empty(4096, 784), 10**6) == FEWEST == 32
    assert samples_at_once(torch.empty(4096, 784, device="meta"), 510) == 4096
    assert samples_at_once(torch.empty(0, 784, device="meta"), 510) == 1


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("cls", [Backpropagation, CorInfoMax, ContrastiveSimilarityMatching])
def test_a_rule_counts_the_neurons_and_weights_of_its_iterations(cls, network, monkeypatch):
    """Neurons that settle are all but the input's; weights from the input are read once, lateral ones each time."""
    rule = build(cls, network)
    x, _, target = batch(network)
    shapes = [r.shape[1:] for r in rule.activity(x)[1:]]
    seen = []

    def seen_in(name, module):
        whole = getattr(pieces, name)

        def called(*args):
            seen.append(args[-2:])
            return whole(*args)

        monkeypatch.setattr(f"bioplausible.rules.{module}.{name}", called)

    seen_in("settle_in_pieces", "learning_step")
    seen_in("evaluate_in_pieces", "base")
    rule.learn(x, target, rule.optimizer(rule.parameter_groups()))
    rule.predict_step((x, target.argmax(1)), 0)
    parameters = dict(rule.named_parameters()) | dict(rule.named_buffers())
    from_input = [f"network.wiring.{name}.weight" for name, c in rule.network.wiring.items() if c.pre == 0]
    weights = [name for name in parameters if name.endswith(".weight") and name not in from_input]
    expected = sum(shape.numel() for shape in shapes), sum(parameters[name].numel() for name in weights)
    assert seen == [expected] * 2


def test_more_samples_settle_together_where_there_are_many_weights():
    """784-500-10 by its states; 3072-2000-2000-10 has 4 million inner weights for 4,010 neurons, and 4 a sample."""
    x = torch.zeros(1, 1)
    assert samples_at_once(x, 510, 5_000) == PIECE_BYTES // (4 * 510) == 257
    assert samples_at_once(x, 4010, 4_020_000) == 4_020_000 // (4 * 4010) == 250
    assert samples_at_once(x, 10**6, 5_000) == FEWEST


@pytest.mark.parametrize("change", ["beta", "tensors"])
@pytest.mark.usefixtures("_small")
def test_a_rule_whose_pieces_differ_is_told_so(change):
    def settle(x, target):
        more = {"u": [x.clone()]} if change == "tensors" and len(x) == 1 else {}
        return {"free": Phase([x, target], beta=len(x) if change == "beta" else 0.0, internal=more)}

    n = FEWEST + 1
    with pytest.raises(UserError, match="settle must return the same phases"):
        settle_in_pieces(settle, torch.zeros(n, 3), torch.zeros(n, 2), 5)
