"""Oracle: what the papers prove, on every kind of network."""

import pytest
import torch
import torch.nn.functional as F

from bioplausible import (
    Backpropagation,
    ContrastiveSimilarityMatching,
    CorInfoMax,
    CorInfoMaxSparse,
    EquilibriumPropagation,
    FeedbackAlignment,
    NudgedPredictiveCoding,
    PredictiveCoding,
)
from bioplausible.rules import Phase
from tests.helpers import NETWORKS, batch, build, updates

ALL_NETWORKS = pytest.mark.parametrize("network", NETWORKS)


def gradient_of(rule, loss):
    """Returns minus the gradient of a loss, by parameter name, from autograd."""
    names, parameters = zip(*rule.named_parameters(), strict=True)
    return {
        name: -g
        for name, g in zip(names, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True)
        if g is not None
    }


def error(found, expected):
    return max(float((found[name] - expected[name]).abs().max()) for name in expected)


def largest(tensors):
    return max(float(t.abs().max()) for t in tensors.values())


def gentle(rule, scale=0.2):
    """Makes weights small, so that activities stay inside (0, 1) and the network settles."""
    with torch.no_grad():
        for name, p in rule.named_parameters():
            p.mul_(scale / 2 if "_from_" in name else scale)
            if name.endswith("bias"):
                p.add_(0.4)
    return rule


def awake(rule):
    """Raises biases, so that no layer of rectified units is silent."""
    with torch.no_grad():
        for name, p in rule.named_parameters():
            if name.endswith("bias"):
                p.add_(0.3)


COSTS = {
    "squared error": {},
    "cross entropy inside": {"loss": "cross_entropy", "output_activation": "linear"},
    "cross entropy, readout": {"loss": "cross_entropy", "readout": True},
    "sigmoid": {"activation_function": "sigmoid", "output_activation": "sigmoid", "step_size": 1.0},
}


def differentiable_equilibrium(rule, r):
    """Returns the free equilibrium near a state, found from the energy alone, differentiable by the parameters."""
    sigmoid = not rule.f[1].projects
    for _ in range(60):
        r = [r[0], *(a if a.requires_grad else a.clone().requires_grad_() for a in r[1:])]
        drives = [rule.network.drive(k, r) for k in range(1, len(r))]
        uphill = torch.autograd.grad(
            sum((a * u).sum() for a, u in zip(r[1:], drives, strict=True)), r[1:], create_graph=True
        )
        moved = [torch.sigmoid(4 * u - 2) if sigmoid else a + 0.5 * (u - a) for a, u in zip(r[1:], uphill, strict=True)]
        linear = rule.loss == "cross_entropy" and not rule.readout
        r = [r[0], *(a if linear and k == rule.network.L else a.clamp(0, 1) for k, a in enumerate(moved, 1))]
    return r


@pytest.mark.sampled
@ALL_NETWORKS
@pytest.mark.parametrize("cost", COSTS)
def test_equilibrium_propagation_tends_to_the_gradient_through_the_fixed_point(network, cost):
    """The error is of order β from one side, and of order β² from both."""
    options = {"random_beta_sign": False, "free_steps": 150, "nudged_steps": 150, **COSTS[cost]}
    x, labels, y = batch(network)
    rule = gentle(build(EquilibriumPropagation, network, **options))
    r = differentiable_equilibrium(rule, rule.settle(x, y)["free"].activity)
    # layers that an identity joins excite each other as much as they leak, and only clipping stops them
    clipped = r[1:-1] if cost == "cross entropy inside" else r[1:]
    assert network == "identity skip" or all(a.min() > 0 and a.max() < 1 for a in clipped)
    if cost == "cross entropy inside":
        loss = F.cross_entropy(r[-1], labels)
    elif cost == "cross entropy, readout":
        loss = F.cross_entropy(
            r[-1].flatten(1) @ rule.network.chain[-1].weight.t() + rule.network.chain[-1].bias, labels
        )
    else:
        loss = (r[-1] - y).square().sum(1).mean()
    expected = gradient_of(rule, loss)
    assert len(expected) == len(list(rule.parameters()))
    for rule.three_phase, order in ((False, 1), (True, 2)):
        errors = []
        for rule.beta in (0.02, 0.01):
            errors.append(error(updates(rule, rule.settle(x, y)), expected))
            assert errors[-1] < 0.1 * largest(expected)
        # exact where clipping holds all states that the cost pulls on
        assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.1) or errors[0] < 1e-12


@ALL_NETWORKS
@torch.no_grad()
def test_untied_feedback_that_starts_tied_and_learns_the_same_stays_tied(network):
    """With the published "same" update; with the "separate" one the first states are those, but not the updates."""
    x, _, y = batch(network)
    options = {"three_phase": True, "output_activation": "clip"}
    tied = build(EquilibriumPropagation, network, **options)
    for update in ("same", "separate"):
        own = build(EquilibriumPropagation, network, feedback="learned", feedback_update=update, **options)
        own.load_state_dict(tied.state_dict(), strict=False)
        for c in own.network.weighted:
            if not c.is_tied:
                c.feedback_weight.copy_(c.weight)
        a, b = tied.settle(x, y), own.settle(x, y)
        for name, phase in a.items():
            assert all(torch.equal(p, q) for p, q in zip(phase.activity, b[name].activity, strict=True))
        expected, found = updates(tied, a), updates(own, b)
        if update == "same":
            for name, parameter in own.named_parameters():
                same = expected[name.replace("_feedback_weight", "weight")]
                torch.testing.assert_close(found[name], same, rtol=1e-13, atol=1e-14)
                assert found[name].shape == parameter.shape
            for _ in range(3):
                for rule in (tied, own):
                    rule.learn(x, y, rule.configure_optimizers())
            for name, parameter in own.named_parameters():
                same = tied.get_parameter(name.replace("_feedback_weight", "weight"))
                torch.testing.assert_close(parameter, same, rtol=1e-13, atol=1e-14)
        else:
            for name in found:
                if name.endswith("_feedback_weight"):
                    W = name.replace("_feedback_weight", "weight")
                    assert not torch.allclose(found[W], expected[W], atol=1e-6)
                    assert not torch.allclose(found[name], found[W], atol=1e-6)


@ALL_NETWORKS
def test_predictive_coding_tends_to_backpropagation_as_the_cost_becomes_small(network):
    """With outputs and targets scaled by √c the cost is c-fold, and every layer's relative error is of order c."""
    x, _, y = batch(network)
    options = {"activation_function": "tanh", "target_range": (0, 1), "inference_steps": 300}
    errors = []
    for c in (0.01, 0.005):
        torch.manual_seed(1)
        rule = gentle(build(PredictiveCoding, network, **options), 0.5)
        with torch.no_grad():
            for p in rule.network.chain[-1].parameters():
                p.mul_(c**0.5)
        target = c**0.5 * y
        expected = gradient_of(rule, (rule(x) - target).square().sum(1).mean() / 2)
        found = updates(rule, rule.settle(x, target))
        errors.append(max(error(found, {name: g}) / largest({name: g}) for name, g in expected.items()))
    assert errors[0] < 0.05
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)


@ALL_NETWORKS
def test_nudged_predictive_coding_tends_to_backpropagation(network):
    x, _, y = batch(network)
    rule = gentle(build(NudgedPredictiveCoding, network, activation_function="tanh", inference_steps=500), 0.5)
    expected = gradient_of(rule, (rule(x) - y).square().sum())
    errors = []
    for rule.beta in (1e-3, 5e-4):
        errors.append(error(updates(rule, rule.settle(x, y)), expected) / largest(expected))
    assert errors[0] < 0.01
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)


@ALL_NETWORKS
@pytest.mark.parametrize("f", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
def test_predictive_coding_with_fixed_predictions_is_backpropagation(network, f, loss):
    options = {"loss": loss, "target_range": (0, 1) if loss == "cross_entropy" else (0.03, 0.97)}
    options |= {"activation_function": f, "fixed_predictions": True, "step_size": 1.0}
    # an error reaches the layer below in one iteration
    rule = build(PredictiveCoding, network, inference_steps=len(NETWORKS[network]) - 2, **options)
    awake(rule)
    x, _, y = batch(network)
    expected = gradient_of(rule, rule.sample_losses(rule(x), y).mean())
    assert error(updates(rule, rule.settle(x, y)), expected) < 1e-14
    rule.stale_errors = True
    assert error(updates(rule, rule.settle(x, y)), expected) > 1e-4
    rule.step_sizes = [*rule.step_sizes, 1.0]
    assert error(updates(rule, rule.settle(x, y)), expected) < 1e-14
    rule.fixed_predictions = rule.stale_errors = False
    assert error(updates(rule, rule.settle(x, y)), expected) > 1e-4


@ALL_NETWORKS
@pytest.mark.parametrize("loss", ["mean_squared_error", "cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize("f", ["relu", "tanh", "sigmoid"])
def test_backpropagation_is_autograd_and_tied_feedback_alignment_too(network, loss, f):
    x, _, y = batch(network)
    for cls in (Backpropagation, FeedbackAlignment):
        rule = build(cls, network, loss=loss, activation_function=f)
        expected = gradient_of(rule, rule.sample_losses(rule(x), y).mean())
        assert expected.keys() == dict(rule.named_parameters()).keys()
        if cls is FeedbackAlignment:
            # with random matrices it is something else, in every layer below the output's
            found = updates(rule, rule.settle(x, y))
            for c in rule.network.weighted:
                (name,) = (name for name, p in rule.named_parameters() if p is c.weight)
                if c.post == rule.network.L:
                    assert torch.allclose(found[name], expected[name])
                else:
                    assert (found[name] - expected[name]).abs().max() > 1e-3 * largest(expected)
            with torch.no_grad():
                for c in rule.network.weighted:
                    c.feedback_weight.copy_(c.weight)
        assert error(updates(rule, rule.settle(x, y)), expected) < 1e-14


@ALL_NETWORKS
def test_similarity_matching_without_lateral_weights_is_equilibrium_propagation(network):
    x, _, y = batch(network)
    csm = build(ContrastiveSimilarityMatching, network, lateral_learning_rates=0.0)
    ep = build(EquilibriumPropagation, network)
    with torch.no_grad():
        for lateral in csm.network.laterals.values():
            lateral.weight.zero_()
    assert len(csm.network.laterals) == csm.network.L - 1
    ep.load_state_dict({k: v for k, v in csm.state_dict().items() if "lateral" not in k})
    a, b = csm.settle(x, y), ep.settle(x, y)
    for name in ("free", "nudged"):
        assert all(torch.equal(p, q) for p, q in zip(a[name].activity, b[name].activity, strict=True))
    found = updates(csm, a)
    assert all(torch.equal(update, found[name]) for name, update in updates(ep, b).items())
    optimizer = csm.configure_optimizers()
    csm.learn(x, y, optimizer)  # with rate 0 none grow
    assert all(not lateral.weight.any() for lateral in csm.network.laterals.values())


@ALL_NETWORKS
def test_sparse_without_sparse_layers_is_corinfomax(network):
    x, _, y = batch(network)
    options = {"three_phase": True, "step_size": 0.05, "step_size_rule": "constant"}
    sparse = build(CorInfoMaxSparse, network, dual_step_sizes={}, **options)
    plain = build(CorInfoMax, network, free_steps=20, **options)
    plain.load_state_dict(sparse.state_dict())
    plain.leak = sparse.leak
    a, b = sparse.settle(x, y), plain.settle(x, y)
    for name in ("free", "nudged", "antinudged"):
        assert all(torch.equal(p, q) for p, q in zip(a[name].activity, b[name].activity, strict=True))
    expected = updates(plain, b)
    assert all(torch.equal(update, expected[name]) for name, update in updates(sparse, a).items())


@pytest.mark.parametrize("network", ["dense", "convolution", "stride", "average pool", "local"])
@torch.no_grad()
def test_sparse_layers_settle_where_each_position_shares_out_one(network):
    """At the fixed point Σ_c r_c = 1 wherever the inhibition q is positive, and Σ_c r_c ≤ 1 where it is 0."""
    options = {"dual_step_sizes": {1: 0.3, 2: 0.3}, "step_size": 0.02, "step_size_rule": "constant"}
    rule = build(CorInfoMaxSparse, network, free_steps=3000, **options)
    for c in rule.network.connections:
        c.weight.copy_(2 * c.weight.abs())
    x, _, y = batch(network)
    x *= torch.tensor([0.01, 0.1, 0.3, 1, 1, 1], dtype=x.dtype).view(-1, *[1] * (x.ndim - 1))
    free = rule.settle(x, y)["free"]
    assert float(free.residual()) < 1e-10
    for k, q in zip((1, 2), free.internal["dual"], strict=True):
        total = free.activity[k].sum(1, keepdim=True)
        assert q.shape == total.shape == (len(x), 1, *rule.network.shapes[k][1:])
        assert (total[q > 0] - 1).abs().max() < 1e-9
        assert total.max() < 1 + 1e-9
        assert network == "dense" or (q == 0).any()


@ALL_NETWORKS
@pytest.mark.parametrize("cls", [EquilibriumPropagation, ContrastiveSimilarityMatching])
@pytest.mark.parametrize("cost", [name for name in COSTS if name != "sigmoid"])
def test_the_closed_form_descends_the_energy(network, cls, cost):
    """One small step of the relaxation is −η ∂Φ/∂r from autograd, and no step ever raises Φ."""
    x, _, y = batch(network)
    rule = gentle(build(cls, network, **COSTS[cost]))
    η, beta = 1e-3, 0.7
    clamped, start = from_anywhere(rule, x)
    slopes = energy_slopes(rule, start, y, beta)
    with torch.no_grad():
        after = rule.relax(clamped, start, 1, η, y, beta)
        for a, b, g in zip(start.activity[1:], after.activity[1:], slopes, strict=True):
            assert torch.allclose((b - a) / η, -g, atol=1e-10)
        phase, energies = start, []
        for _ in range(60):
            phase = rule.relax(clamped, phase, 1, 0.05, y, beta)
            energies.append(rule.energy(phase, y))
        assert (torch.stack(energies).diff(dim=0) <= 1e-12).all()


def from_anywhere(rule, x):
    """Returns a rule's network with its input clamped, and a state with all activities between ¼ and ¾."""
    clamped = rule.clamp(x)
    r = [torch.rand_like(a) * 0.5 + 0.25 for a in clamped.rest()[1:]]
    return clamped, Phase([x, *r])


def energy_slopes(rule, start, y, beta):
    """Returns ∂Φ/∂r at a state, from autograd."""
    r = [a.clone().requires_grad_() for a in start.activity]
    return torch.autograd.grad(rule.energy(Phase(r, beta), y).sum(), r[1:])


@ALL_NETWORKS
def test_sigmoid_states_settle_where_their_energy_has_no_slope(network):
    """One step is σ(σ⁻¹(r) − 4 ∂Φ/∂r); every second layer at a time, it finds their minimum and never raises Φ."""
    x, _, y = batch(network)
    rule = build(EquilibriumPropagation, network, update_order="asynchronous", **COSTS["sigmoid"])
    clamped, start = from_anywhere(rule, x)
    slopes = energy_slopes(rule, start, y, 0.7)
    with torch.no_grad():
        order, rule.order = rule.order, [list(range(1, rule.network.L + 1))]
        after = rule.relax(clamped, start, 1, 1.0, y, 0.7)
        for a, b, g in zip(start.activity[1:], after.activity[1:], slopes, strict=True):
            assert torch.allclose(b.logit(), a.logit() - 4 * g, atol=1e-10)
        rule.order, phase, energies = order, start, []
        for _ in range(1000):
            phase = rule.relax(clamped, phase, 1, 1.0)
            energies.append(rule.energy(phase, y))
        assert (torch.stack(energies).diff(dim=0) <= 1e-12).all()
    assert max(float(g.abs().max()) for g in energy_slopes(rule, phase, y, 0.0)) < 1e-10


@ALL_NETWORKS
@pytest.mark.parametrize("f", ["tanh", "relu"])
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy", "nudged"])
def test_inference_descends_the_prediction_error_energy(network, f, loss):
    x, _, y = batch(network)
    cls, options = (
        (NudgedPredictiveCoding, {}) if loss == "nudged" else (PredictiveCoding, {"loss": loss, "target_range": (0, 1)})
    )
    gain, beta = (2, 0.5) if loss == "nudged" else (1, 0.0)
    rule = build(cls, network, activation_function=f, inference_steps=1, step_size=1e-3, **options)
    arguments = (y, beta) if loss == "nudged" else (y,)
    clamped = rule.network.clamp(x)
    v = [x, *(torch.rand(len(x), *shape, dtype=torch.float64) for shape in rule.network.shapes[1:])]
    leaves = [a.clone().requires_grad_() for a in v]
    if loss == "squared_error":
        v[-1], leaves[-1] = y, y
    gradients = torch.autograd.grad(
        rule.energy(Phase(leaves, beta), y).sum(), leaves[1:-1] if loss != "nudged" else leaves[1:]
    )
    with torch.no_grad():
        after = rule.relax(clamped, Phase(v), *arguments)
        for a, b, g in zip(v[1:], after.activity[1:], gradients, strict=False):
            assert torch.allclose((b - a) / 1e-3, -g * gain / 2, atol=1e-10)
        if loss == "squared_error":
            assert torch.equal(v[-1], after.activity[-1])
        phase, energies = after, []
        rule.step_sizes = [0.02]
        for _ in range(60):
            phase = rule.relax(clamped, phase, *arguments)
            energies.append(rule.energy(phase, y))
        assert (torch.stack(energies).diff(dim=0) <= 1e-12).all()
