"""Oracle: predictive coding whose weights act scaled is predictive coding of other weights and rates."""

import math

import pytest
import torch

from bioplausible import MuPredictiveCoding, PredictiveCoding, UserError
from tests.helpers import NETWORKS, batch, build

DEEP = [7, 6, 6, 6, 5, 4]
CASES = [*NETWORKS, DEEP]
OPTIONS = {
    "values": {},
    "errors": {"inference": "errors"},
    "fixed predictions": {"fixed_predictions": True, "inference_momentum": 0.3},
    "cross entropy": {"loss": "cross_entropy", "bias": True},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("network", CASES, ids=str)
def test_it_is_predictive_coding_of_scaled_weights_with_squared_scales_in_its_rates(network, options):
    """W′ = a W and lr′ = a² lr, to 6e-17 of another net; where layers are residual, both are."""
    given = {"activation_function": "tanh", "target_range": (0, 1), "inference_steps": 8, **OPTIONS[options]}
    rule = build(MuPredictiveCoding, network, output_divisor=2.0, **given)
    pc = build(PredictiveCoding, network, **{"bias": False, "residual": bool(rule.residual_layers), **given})
    assert pc.residual_layers == rule.residual_layers
    rates = []
    for c, other in zip(rule.network.weighted, pc.network.weighted, strict=True):
        with torch.no_grad():
            other.weight.copy_(c.scale * c.weight)
            if c.bias is not None:
                other.bias.copy_(c.bias.uniform_(-0.2, 0.2))
        rates.append({"params": [other.weight], "lr": c.scale**2 * 0.7})
        rates += [] if other.bias is None else [{"params": [other.bias], "lr": 0.7}]
    own, others = torch.optim.SGD(rule.parameters(), lr=0.7), torch.optim.SGD(rates, lr=9.0)
    for seed in range(3):
        x, _, target = batch(network, seed=seed)
        found, expected = rule.learn(x, target, own), pc.learn(x, target, others)
        for name in ("feedforward", "inference"):
            for a, b in zip(found[name].activity, expected[name].activity, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)
        for c, other in zip(rule.network.weighted, pc.network.weighted, strict=True):
            torch.testing.assert_close(c.scale * c.weight, other.weight.detach(), rtol=1e-11, atol=1e-14)


def scales(network, **options):
    return [c.scale for c in build(MuPredictiveCoding, network, **options).network.weighted]


def test_scales_are_those_of_the_paper():
    N, L = 9, 5
    deep = [7, N, N, N, N, 4]
    hidden = [1 / math.sqrt(N * L)] * 3
    assert scales(deep) == pytest.approx([1 / math.sqrt(7), *hidden, 1 / N])
    assert scales(deep, output_divisor=4.0) == pytest.approx([1 / math.sqrt(7), *hidden, 1 / (4 * N)])
    assert scales(deep, residual=False) == pytest.approx([1 / math.sqrt(7), *[1 / math.sqrt(N)] * 3, 1 / N])
    images = [[2, 5, 5], {"conv": 3, "kernel": 3, "padding": 1}, {"conv": 3, "kernel": 1}, 4]
    assert scales(images) == pytest.approx([1 / math.sqrt(18), 1 / math.sqrt(3 * 3), 1 / 75])


def test_all_that_comes_from_the_input_is_scaled_without_the_depth():
    same = {"conv": 3, "kernel": 3, "padding": 1}
    network = [[2, 4, 4], same, {**same, "skip": {"from": 0, "stride": 1}}, {**same, "skip": {"from": 1}}, 4]
    rule = build(MuPredictiveCoding, network)
    assert rule.residual_layers == {2, 3}
    N, L = {(0, 1): 18, (0, 2): 2, (1, 2): 27, (2, 3): 27, (1, 3): 3, (3, 4): 48}, 4
    for c in rule.network.weighted:
        depth = 1 if c.pre == 0 else L
        a = 1 / 48 if c.post == L else 1 / math.sqrt(N[c.pre, c.post] * depth)
        assert c.scale == pytest.approx(a), f"from {c.pre} to {c.post}"


def test_layers_are_residual_where_the_one_before_has_their_shape_and_never_the_first_nor_the_output():
    for sizes, expected in (([6, 6, 6, 6, 6], {2, 3}), ([6, 6, 5, 5, 5], {3}), ([6, 5, 6], set()), ([6, 6], set())):
        assert build(MuPredictiveCoding, sizes).residual_layers == expected
        if expected:
            assert build(PredictiveCoding, sizes, residual=True).residual_layers == expected
        assert build(PredictiveCoding, sizes).residual_layers == set()
        assert build(MuPredictiveCoding, sizes, residual=False).residual_layers == set()


@torch.no_grad()
def test_what_residual_layers_receive_are_values_and_not_their_f():
    rule = build(MuPredictiveCoding, [4, 5, 5, 3], activation_function="relu")
    x, _, _ = batch([4, 5, 5, 3])
    W = [c.weight * c.scale for c in rule.network.connections]
    v_1 = x @ W[0].t()
    v_2 = v_1.relu() @ W[1].t() + v_1
    assert (v_1 < 0).any()
    torch.testing.assert_close(rule(x), v_2.relu() @ W[2].t())


def test_outputs_at_the_start_hardly_depend_on_width_and_depth():
    """With N neurons and L layers the values stay of order 1, and the output of order 1/√N."""
    x = torch.randn(50, 20, dtype=torch.float64)
    for N, L in ((32, 3), (256, 3), (32, 30), (128, 30)):
        torch.manual_seed(0)
        rule = build(MuPredictiveCoding, [20, *[N] * (L - 1), 4], activation_function="relu")
        *_, hidden, output = (v.square().mean().sqrt() for v in rule.values(x))
        assert 0.6 < float(hidden) < 2.0
        assert 0.2 < float(output) * N**0.5 < 2.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"output_divisor": 0.0}, "output_divisor is 0.0"),
        ({"residual": True}, "residual has no effect here"),
        ({"free_output_error": True}, "free_output_error"),
    ],
    ids=str,
)
def test_bad_options_are_refused_by_name(options, said):
    with pytest.raises(UserError, match=said):
        build(MuPredictiveCoding, **options)
