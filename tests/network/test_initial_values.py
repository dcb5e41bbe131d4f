"""Where weights start: the bounds and the form of their distribution, of every rule and of every kind of weight."""

import pytest
import torch

from bioplausible import (
    PEPITA,
    CorInfoMax,
    DirectDifferenceTargetPropagation,
    FeedbackAlignment,
    ForwardForward,
    UserError,
)
from bioplausible.network import Recurrent
from bioplausible.network.initialization import draw, draw_bias, positive_semidefinite
from tests.helpers import all_rules, build

FAN_IN, FAN_OUT = 300, 500
BOUNDS = {
    "xavier": (6 / (FAN_IN + FAN_OUT)) ** 0.5,
    "kaiming": (6 / FAN_IN) ** 0.5,
    "linear": FAN_IN**-0.5,
}


def require_uniform(w, bound):
    """The entries are spread evenly over ± bound."""
    w = w.detach().double().flatten()
    assert w.abs().max() <= bound * (1 + 1e-6)
    assert w.abs().max() > 0.99 * bound
    evenly = torch.histc(w / bound, bins=10, min=-1, max=1) / len(w)
    assert (evenly - 0.1).abs().max() < 5 * (0.09 / len(w)) ** 0.5
    assert abs(float(w.mean())) < 5 * bound / (3 * len(w)) ** 0.5


def require_bias(b, fan_in):
    """The entries lie within ± 1/√fan_in, and of many some lie near it."""
    size, bound = float(b.abs().max()), fan_in**-0.5
    assert 0 < size <= bound * (1 + 1e-6)
    assert b.numel() < 100 or size > 0.95 * bound


@pytest.mark.parametrize("initialization", BOUNDS)
def test_weights_are_uniform_within_their_bound(initialization):
    w = draw((FAN_OUT, FAN_IN), FAN_IN, FAN_OUT, initialization)
    assert w.shape == (FAN_OUT, FAN_IN)
    require_uniform(w, BOUNDS[initialization])


def require_normal(w):
    """The entries are those of a normal distribution of mean 0 and variance 1, by their first four moments."""
    w = w.detach().double().flatten()
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(float(w.pow(power).mean()) - mean) < 5 * (variance / len(w)) ** 0.5


def test_standard_normal_weights():
    w = draw((FAN_OUT, FAN_IN), FAN_IN, FAN_OUT, "standard_normal")
    assert w.shape == (FAN_OUT, FAN_IN)
    require_normal(w)
    assert not draw_bias(50, FAN_IN, "standard_normal").any()
    with pytest.raises(UserError, match="biases start at 0"):
        build(FeedbackAlignment, [4, {"dense": 3, "gain": {"bias": 2}}], initialization="standard_normal")
    signs = build(FeedbackAlignment, [40, 30, 5], initialization="standard_normal", feedback="uniform_sign")
    assert set(signs.network.connections[1].feedback_weight.abs().flatten().tolist()) == {1.0}


@pytest.mark.parametrize("initialization", BOUNDS)
def test_biases_are_zero_with_xavier_and_else_uniform(initialization):
    b = draw_bias(5000, FAN_IN, initialization)
    assert b.shape == (5000,)
    if initialization == "xavier":
        assert not b.any()
    else:
        require_uniform(b, FAN_IN**-0.5)


def test_lateral_weights_are_a_xavier_matrix_times_its_transpose():
    size = 200
    M = positive_semidefinite(size)
    assert torch.equal(M, M.t())
    assert torch.linalg.eigvalsh(M.double()).min() > -1e-6
    # each diagonal entry is the sum of `size` squares of variance 2/(2 size)
    assert float(M.diagonal().mean()) == pytest.approx(1, abs=0.05)
    assert float((M - M.diagonal().diag()).square().sum() / (size * (size - 1))) == pytest.approx(1 / size, rel=0.1)


DEFAULT = {
    "Backpropagation": "linear",
    "CorInfoMax": "xavier",
    "CorInfoMaxEBD": "xavier",
    "CorInfoMaxSparse": "xavier",
    "ErrorBroadcastDecorrelation": "xavier",
    "PredictiveCoding": "kaiming",
    "NudgedPredictiveCoding": "kaiming",
    "PEPITA": "kaiming",
    "IncrementalPredictiveCoding": "kaiming",
    "MuPredictiveCoding": "standard_normal",
}
"""The rules of which a published code starts otherwise than Xavier-uniform, and those without a choice."""
SIZES = [300, 500, 400, 10]


def bound_of(shape, initialization):
    fan_out, fan_in = shape
    return {"xavier": (6 / (fan_in + fan_out)) ** 0.5, "kaiming": (6 / fan_in) ** 0.5, "linear": fan_in**-0.5}[
        initialization
    ]


OWN_STATE = {
    "ForwardForward": [{"peer_normalization": 0.1}],
    "DirectDifferenceTargetPropagation": [{"hidden_units": 350, "initialization": name} for name in BOUNDS],
    "Burstprop": [{"recurrent_rate": 0.1}],
    "CorInfoMax": [{"track_correlations": True}],
    "ErrorBroadcastDecorrelation": [{"entropy": 0.1}],
    "PEPITA": [{"projection_scale": 0.3}],
}
"""Options with which a rule has further matrices."""


def require_own(rule, initialization, see):
    """What some rules have beside W, b, V and D, which all start with ``initialization`` or in a way of their own."""
    for k, b in getattr(rule, "feedback_biases", {}).items():
        if initialization == "xavier":
            assert not see(b).any()
        else:
            require_bias(see(b), SIZES[int(k) + 1])  # the inputs of what comes down are the units above
    for k, m in enumerate(SIZES[1:-1], start=1):
        if hasattr(rule, f"mean_activity_{k}"):
            assert torch.equal(see(rule.get_buffer(f"mean_activity_{k}")), torch.full((m,), 0.5).double())
    for k, R in getattr(rule, "error_correlations", {}).items():
        assert see(R.weight).shape == (SIZES[int(k)], 10)
        if int(k) == len(SIZES) - 1:
            assert torch.equal(R.weight, torch.eye(10).double())  # the output starts with the delta rule
        else:  # as D of direct feedback alignment
            require_uniform(R.weight, bound_of(R.weight.shape, "xavier"))
    for module in getattr(rule, "correlations", {}).values():
        for R in module.buffers():
            assert torch.equal(see(R), torch.eye(len(R)).double())
    for lateral in rule.network.laterals.values():
        M = see(lateral.weight)
        if isinstance(lateral, Recurrent):
            assert not M.any()
        else:
            assert torch.equal(M, M.t())
            assert torch.linalg.cholesky_ex(M + 1e-6 * torch.eye(len(M)).double()).info == 0
            assert float(M.diagonal().mean()) == pytest.approx(1, abs=0.05 * (500 / len(M)) ** 0.5)
    if isinstance(rule, DirectDifferenceTargetPropagation):
        hidden = rule.hidden_units
        for k, Q in rule.Q.items():
            width = 10 if hidden is None or int(k) == 2 else hidden
            assert see(Q).shape == (SIZES[int(k)], width)
            require_uniform(Q, bound_of(Q.shape, initialization))
        if hidden is not None:
            assert see(rule.H).shape == (hidden, 10)
            require_uniform(rule.H, bound_of(rule.H.shape, initialization))
            if initialization == "xavier":
                assert not see(rule.h).any()
            else:
                require_bias(see(rule.h), 10)
    if isinstance(rule, PEPITA):
        assert see(rule.F).shape == (SIZES[0], 10)
        require_uniform(rule.F, rule.hparams.get("projection_scale", 0.05) * (6 / SIZES[0]) ** 0.5)


@pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)
def test_every_rule_starts_as_it_says(cls):
    usual = DEFAULT.get(cls.__name__, "xavier")
    options = [{}] + ([] if "CorInfoMax" in cls.__name__ else [{"initialization": name} for name in BOUNDS])
    for given in options + OWN_STATE.get(cls.__name__, []):
        rule, initialization, seen = build(cls, SIZES, **given), given.get("initialization", usual), set()

        def see(tensor, seen=seen):
            seen.add(id(tensor))
            return tensor

        drawn = rule.network.connections
        if cls is ForwardForward:  # its classifier starts at 0
            *drawn, last = drawn
            assert not any(see(W).any() for W in (last.weight, *rule.classifier.parameters()))
            assert last.bias is None
        for c in drawn:
            if initialization == "standard_normal":
                require_normal(see(c.weight))
            else:
                require_uniform(see(c.weight), bound_of(c.weight.shape, initialization))
            if c.bias is not None:
                if initialization == "xavier":
                    assert not see(c.bias).any()
                else:
                    require_bias(see(c.bias), c.weight.shape[1])
            if c._feedback_weight is not None:
                require_uniform(see(c.feedback_weight), bound_of(c.weight.shape, initialization))
                V, W = c.feedback_weight.detach(), c.weight.detach()
                assert abs(float((V * W).sum() / V.norm() / W.norm())) < 5 / c.weight.numel() ** 0.5  # drawn by itself
        require_own(rule, initialization, see)
        reached = getattr(rule, "projection", "input")
        for k in (1, 2, 3):
            if hasattr(rule, f"D_{k}"):
                D = see(rule.get_buffer(f"D_{k}"))
                assert D.shape == (10, SIZES[k - 1] if reached == "input" else SIZES[k])
                # whatever W starts as
                require_uniform(D, bound_of(D.shape, {"input": "xavier", "output": "kaiming"}[reached]))
        tensors = [*rule.named_parameters(), *rule.named_buffers()]
        assert not [name for name, tensor in tensors if id(tensor) not in seen], "nothing says how these start"


@pytest.mark.parametrize("initialization", BOUNDS)
def test_kernels_count_their_positions(initialization):
    """fan_in is channels × kernel², fan_out channels × kernel²."""
    network = [[32, 6, 6], {"conv": 64, "kernel": 3}, {"conv": 48, "kernel": 3, "padding": 1}, 4]
    rule = FeedbackAlignment(network=network, initialization=initialization, feedback="fixed")
    for c, (pre, post) in zip(rule.network.connections[:2], ((32, 64), (64, 48)), strict=True):
        bound = bound_of((post * 9, pre * 9), initialization)
        require_uniform(c.weight, bound)
        require_uniform(c.feedback_weight, bound)


GAINS = [
    [16, 8, 8],
    {"conv": 32, "kernel": 3, "gain": 0.5},
    {"conv": 24, "kernel": 3, "padding": 1, "gain": {"weight": 0.25, "bias": 3}, "skip": {"from": 1, "gain": 2.0}},
    {"conv": 24, "kernel": 3, "padding": 1, "gain": {"bias": 0.1}},
    {"local": 8, "kernel": 3, "gain": 4},
    {"dense": 40, "gain": 0.125},
    10,
]
OF_WEIGHTS = {(0, 1): 0.5, (1, 2): 0.25, (2, 3): 1, (3, 4): 4, (4, 5): 0.125, (5, 6): 1}
OF_BIASES = {**OF_WEIGHTS, (1, 2): 3, (2, 3): 0.1}


@pytest.mark.parametrize("initialization", ["kaiming", "linear"])
def test_gains_multiply_what_each_layer_starts_with(initialization):
    """W, V and, where it has none of its own, b; a skip has its own gain, and what names none starts as ever."""
    plain = [{k: v for k, v in e.items() if k != "gain"} if isinstance(e, dict) else e for e in GAINS]
    plain[2]["skip"] = {"from": 1}
    drawn = []
    for network in (plain, GAINS):
        torch.manual_seed(0)
        drawn.append(FeedbackAlignment(network=network, initialization=initialization).network)
    for before, after in zip(*(network.connections for network in drawn), strict=True):
        pair = before.pre, before.post
        skip = pair == (1, 2) and before.bias is None
        gain = 2.0 if skip else OF_WEIGHTS[pair]
        torch.testing.assert_close(after.weight, before.weight * gain, rtol=1e-6, atol=0)
        if before.pre:
            torch.testing.assert_close(after.feedback_weight, before.feedback_weight * gain, rtol=1e-6, atol=0)
        if before.bias is not None:
            torch.testing.assert_close(after.bias, before.bias * OF_BIASES[pair], rtol=1e-6, atol=0)


def test_the_magnitudes_of_sign_sharing_feedback_have_the_gain_of_what_they_are_drawn_like():
    network = [30, {"dense": 40, "gain": 0.5}, {"dense": 50, "gain": 0.25}, 10]
    for feedback in ("uniform_sign", "batchwise_random_sign"):
        rule = FeedbackAlignment(network=network, feedback=feedback, initialization="linear")
        rule.network.redraw_feedback(torch.Generator().manual_seed(0))
        V = rule.network.connections[1].feedback_weight.detach().abs()
        bound = 0.25 / 40**0.5
        if feedback == "uniform_sign":
            torch.testing.assert_close(V, torch.full_like(V, bound / 3**0.5))
        else:
            assert 0.99 * bound < float(V.max()) <= bound * (1 + 1e-6)


@pytest.mark.parametrize(
    ("entry", "options", "said"),
    [
        ({"gain": 0}, {}, "layer 1 of the network .* has the gain 0: give a positive number"),
        ({"gain": -1}, {}, "has the gain -1"),
        ({"gain": "large"}, {}, "has the gain large"),
        ({"gain": {"weights": 1}}, {}, "has the gain weights 1"),
        ({"gain": {}}, {}, "has the gain"),
        ({"gain": {"weight": 1, "bias": 0}}, {}, "has the gain weight 1, bias 0"),
        ({"gain": {"bias": 0.5}}, {}, "its gain of the bias acts on nothing: biases start at 0: leave it out"),
        ({"skip": {"from": 0, "gain": 0}}, {}, "has a skip with the gain 0"),
    ],
)
def test_gains_that_mean_nothing_are_refused(entry, options, said):
    layer = {"conv": 4, "kernel": 3, "padding": 1, **entry}
    with pytest.raises(UserError, match=said):
        FeedbackAlignment(network=[[1, 8, 8], layer, 10], **options)


def test_a_gain_of_biases_is_refused_where_the_rule_has_none():
    with pytest.raises(UserError, match="acts on nothing: the rule has no bias: leave it out"):
        CorInfoMax(network=[8, {"dense": 5, "gain": {"bias": 0.5}}, 10])
