"""Oracle: what the papers prove."""

import pytest
import torch

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
from tests.helpers import SIZES, batch, build, updates


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


def gentle(rule, scale=0.3):
    """Makes weights small, so that activities stay inside (0, 1) and the network settles."""
    with torch.no_grad():
        for name, p in rule.named_parameters():
            p.mul_(scale)
            if name.endswith("bias"):
                p.add_(0.4)
    return rule


@pytest.mark.parametrize(("symmetric", "order"), [(False, 1), (True, 2)])
def test_equilibrium_propagation_tends_to_the_gradient_through_the_fixed_point(symmetric, order):
    options = {"random_beta_sign": False, "symmetric_nudge": symmetric, "free_steps": 400, "nudged_steps": 400}
    x, _, y = batch()
    errors = []
    for beta in (0.02, 0.01):
        torch.manual_seed(1)
        rule = gentle(build(EquilibriumPropagation, beta=beta, **options))
        found = updates(rule, rule.settle(x, y))
        r = [x, *(torch.zeros(len(x), d, dtype=torch.float64) for d in SIZES[1:])]
        for _ in range(400):  # differentiated through every iteration
            new = [x]
            for k in range(1, len(SIZES)):
                drive = r[k - 1] @ rule.connections[k - 1].weight.t() + rule.connections[k - 1].bias
                if k < len(SIZES) - 1:
                    drive = drive + r[k + 1] @ rule.connections[k].weight
                new.append((r[k] + 0.5 * (drive - r[k])).clamp(0, 1))
            r = new
        assert all(a.min() > 0 and a.max() < 1 for a in r[1:])
        expected = gradient_of(rule, (r[-1] - y).square().sum(1).mean())
        errors.append(error(found, expected))
        assert errors[-1] < 0.1 * max(float(g.abs().max()) for g in expected.values())
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.1)


def test_nudged_predictive_coding_tends_to_backpropagation():
    x, _, y = batch()
    errors = []
    for nudge in (1e-3, 5e-4):
        torch.manual_seed(1)
        rule = build(NudgedPredictiveCoding, nudge=nudge, activation_function="tanh", inference_steps=3000)
        expected = gradient_of(rule, (rule(x) - y).square().sum())
        largest = max(float(g.abs().max()) for g in expected.values())
        errors.append(error(updates(rule, rule.settle(x, y)), expected) / largest)
    assert errors[0] < 0.01
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("f", ["sigmoid", "tanh", "relu"])
def test_predictive_coding_with_fixed_predictions_is_backpropagation(f):
    rule = build(PredictiveCoding, activation_function=f, fixed_predictions=True, step_size=1.0, inference_steps=3)
    x, _, y = batch()
    expected = gradient_of(rule, (rule(x) - rule.soften(y)).square().sum(1).mean() / 2)
    assert error(updates(rule, rule.settle(x, y)), expected) < 1e-14
    rule.fixed_predictions = False
    assert error(updates(rule, rule.settle(x, y)), expected) > 1e-4


@pytest.mark.parametrize("loss", ["mean_squared_error", "cross_entropy"])
@pytest.mark.parametrize("f", ["relu", "tanh", "sigmoid"])
def test_backpropagation_is_autograd_and_tied_feedback_alignment_too(loss, f):
    x, _, y = batch()
    for cls in (Backpropagation, FeedbackAlignment):
        rule = build(cls, loss=loss, activation_function=f)
        expected = gradient_of(rule, rule.sample_losses(rule(x), y).mean())
        if cls is FeedbackAlignment:
            # with random matrices it is something else, in every layer below the output's
            found = updates(rule, rule.settle(x, y))
            for name in ("connections.0.weight", "connections.1.weight"):
                assert (found[name] - expected[name]).abs().max() > 1e-3
            assert torch.allclose(found["connections.2.weight"], expected["connections.2.weight"])
            with torch.no_grad():
                for connection in list(rule.connections)[1:]:
                    connection.feedback_weight.copy_(connection.weight.t())
        assert error(updates(rule, rule.settle(x, y)), expected) < 1e-14


def test_similarity_matching_without_lateral_weights_is_equilibrium_propagation():
    x, _, y = batch()
    csm = build(ContrastiveSimilarityMatching, lateral_learning_rates=0.0)
    ep = build(EquilibriumPropagation)
    with torch.no_grad():
        for lateral in csm.laterals:
            lateral.weight.zero_()
    ep.load_state_dict({k: v for k, v in csm.state_dict().items() if "laterals" not in k})
    a, b = csm.settle(x, y), ep.settle(x, y)
    for name in ("free", "nudged"):
        assert all(torch.equal(p, q) for p, q in zip(a[name].activity, b[name].activity, strict=True))
    found = updates(csm, a)
    assert all(torch.equal(update, found[name]) for name, update in updates(ep, b).items())


def test_sparse_without_sparse_layers_is_corinfomax():
    x, _, y = batch()
    options = {"three_phase": True, "step_size": 0.05, "step_size_rule": "constant"}
    sparse, plain = build(CorInfoMaxSparse, dual_step_sizes={}, **options), build(CorInfoMax, free_steps=20, **options)
    plain.load_state_dict(sparse.state_dict())
    plain.leak = sparse.leak
    a, b = sparse.settle(x, y), plain.settle(x, y)
    for name in ("free", "nudged", "antinudged"):
        assert all(torch.equal(p, q) for p, q in zip(a[name].activity, b[name].activity, strict=True))


@pytest.mark.parametrize("cls", [EquilibriumPropagation, ContrastiveSimilarityMatching])
def test_the_closed_form_descends_the_energy(cls):
    """One small step of the relaxation is −η ∂Φ/∂r from autograd, and no step ever raises Φ."""
    x, _, y = batch()
    rule = gentle(build(cls))
    start = rule.at_rest(x)
    start.activity[1:] = [torch.rand_like(a) * 0.5 + 0.25 for a in start.activity[1:]]
    η, beta = 1e-3, 0.7
    r = [a.clone().requires_grad_() for a in start.activity]
    gradients = torch.autograd.grad(rule.energy(Phase(r, beta), y).sum(), r[1:])
    with torch.no_grad():
        after = rule.relax(start, 1, η, y, beta)
        for a, b, g in zip(start.activity[1:], after.activity[1:], gradients, strict=True):
            assert torch.allclose((b - a) / η, -g, atol=1e-10)
        phase, energies = start, []
        for _ in range(60):
            phase = rule.relax(phase, 1, 0.05, y, beta)
            energies.append(rule.energy(phase, y))
        assert (torch.stack(energies).diff(dim=0) <= 1e-12).all()


@pytest.mark.parametrize("cls", [PredictiveCoding, NudgedPredictiveCoding])
def test_inference_descends_the_prediction_error_energy(cls):
    x, _, y = batch()
    free_output = cls is NudgedPredictiveCoding
    gain, nudge = (2, 0.5) if free_output else (1, 0.0)
    rule = build(cls, activation_function="tanh", inference_steps=1, step_size=1e-3)
    v = [x, *(torch.rand(len(x), d, dtype=torch.float64) for d in SIZES[1:])]
    leaves = [a.clone().requires_grad_() for a in v]
    gradients = torch.autograd.grad(rule.energy(Phase(leaves, nudge), y).sum(), leaves[1:])
    with torch.no_grad():
        after = rule.relax(Phase(v), gain=gain, free_output=free_output, target=y, nudge=nudge)
        moving = list(zip(v[1:], after.activity[1:], gradients, strict=True))
        for a, b, g in moving if free_output else moving[:-1]:
            assert torch.allclose((b - a) / 1e-3, -g * gain / 2, atol=1e-10)
        if not free_output:
            assert torch.equal(v[-1], after.activity[-1])
        phase, energies = after, []
        rule.step_sizes = [0.02]
        for _ in range(60):
            phase = rule.relax(phase, gain=gain, free_output=free_output, target=y, nudge=nudge)
            energies.append(rule.energy(phase, y))
        assert (torch.stack(energies).diff(dim=0) <= 1e-12).all()
