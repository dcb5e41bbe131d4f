"""Oracle: the equations written out once more, slowly, as they stand in the papers."""

import math
from itertools import pairwise
from typing import get_args

import pytest
import torch

from bioplausible import ContrastiveSimilarityMatching, CorInfoMax, EquilibriumPropagation, PiecewisePower, UserError
from bioplausible.functional import (
    ActivationName,
    activation,
    alignment_angle,
    correlative_information,
    mean_outer_product,
    regularized_logdet,
    residual,
    silence,
    step_sizes,
    update_inverse_correlation_,
)
from bioplausible.training.metrics import EpochMeans
from bioplausible.training.randomness import random_sign
from tests.helpers import SIZES, batch, build, updates


def corinfomax_iteration(rule, r, u, η, β, y):
    """One iteration of the network dynamics, sample by sample and term by term."""
    ε, g, λ = rule.epsilon, rule.leak, rule.forgetting_factor
    γ = (1 - λ) / λ
    L = rule.network.L
    W = {c.post: c.weight for c in rule.network.connections}
    V = {c.post: c.feedback_weight.t() for c in rule.network.connections}
    B = {k: lateral.weight for k, lateral in rule.network.laterals.items()}
    for k in range(1, L + 1):
        for n in range(len(r[0])):
            if k < L:
                Δ = (
                    g * (r[k][n] - u[k][n])
                    + (W[k] @ r[k - 1][n] - u[k][n]) / ε
                    + (V[k + 1] @ r[k + 1][n] - u[k][n]) / ε
                    + 2 * γ * B[k] @ r[k][n]
                )
            else:
                Δ = (
                    g * (r[k][n] - u[k][n])
                    + (W[k] @ r[k - 1][n] - u[k][n]) / ε
                    + γ * B[k] @ r[k][n]
                    - u[k][n]
                    - β * (r[k][n] - y[n])
                )
            u[k][n] += η * Δ
            r[k][n] = u[k][n].clamp(0, 1)


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("third", ["nudged", "free"])
@torch.no_grad()
def test_corinfomax_dynamics(carry, third):
    rule = build(
        CorInfoMax,
        forgetting_factor=0.99,
        leak=0.4,
        beta=0.7,
        random_beta_sign=False,
        three_phase=True,
        third_phase_start=third,
        carry_membrane_potential=carry,
        free_steps=7,
        nudged_steps=4,
        step_size_rule="divide_by_slow_loop_index",
        step_size_decay=0.2,
    )
    for c in rule.network.connections:
        c.weight.mul_(5)  # so that some activities are clipped
    x, _, y = batch()
    phases = rule.settle(x, y)
    assert {0.0, 1.0} <= {float(a) for a in phases["nudged"].activity[1].flatten()}
    r = [x, *(torch.zeros(len(x), d, dtype=torch.float64) for d in SIZES[1:])]
    u = [a.clone() for a in r]
    ends = {}
    for name, steps, β, start in (("free", 7, 0, None), ("nudged", 4, 0.7, "free"), ("antinudged", 4, -0.7, third)):
        if start:
            r, u = [a.clone() for a in ends[start][0]], [a.clone() for a in ends[start][1]]
        if not carry:
            u = [a.clone() for a in r]
        for t in range(steps):
            corinfomax_iteration(rule, r, u, max(0.05 / (0.2 * t + 1), 0.001), β, y)
        ends[name] = (r, u)
        for mine, plain in zip(phases[name].activity, r, strict=True):
            assert torch.allclose(mine, plain, rtol=1e-12, atol=1e-14)
        assert phases[name].beta == β


@pytest.mark.parametrize("three_phase", [False, True])
@torch.no_grad()
def test_corinfomax_learning_is_the_mean_over_samples_of_outer_products(three_phase):
    rule = build(CorInfoMax, beta=0.5, random_beta_sign=False, three_phase=three_phase)
    x, _, y = batch()
    phases = rule.settle(x, y)
    plus, minus, s = phases["nudged"], phases["free"], 0.5
    if three_phase:
        minus, s = phases["antinudged"], 1.0
    found = updates(rule, phases)
    for k, c in enumerate(rule.network.connections, 1):
        ΔW = torch.zeros_like(c.weight)
        ΔV = torch.zeros_like(c.feedback_weight)  # in W's layout, the transpose of the paper's
        for n in range(len(x)):
            for phase, sign in ((plus, 1), (minus, -1)):
                pre, post = phase.activity[k - 1][n], phase.activity[k][n]
                ΔW += sign / s / len(x) * torch.outer(post - c.weight @ pre, pre)
                ΔV += sign / s / len(x) * torch.outer(pre - c.feedback_weight.t() @ post, post).t()
        assert torch.allclose(found[f"network.wiring.{k}.weight"], ΔW, atol=1e-13)
        if k > 1:
            assert torch.allclose(found[f"network.wiring.{k}._feedback_weight"], ΔV, atol=1e-13)


@pytest.mark.parametrize("ε", [0, 0.3])
@torch.no_grad()
def test_inverse_correlation_tracks_the_inverse_to_first_order(ε):
    """B ← (B − γ (⟨z z⟩ + ε B²))/λ is the inverse of λ B⁻¹ + (1 − λ)(⟨r r⟩ + εI) up to (1 − λ)²."""
    A = torch.randn(5, 5, dtype=torch.float64)
    identity = torch.eye(5, dtype=torch.float64)
    B = A @ A.t() / 5 + identity
    r = torch.rand(8, 5, dtype=torch.float64)
    errors = []
    for one_minus_λ in (1e-3, 5e-4):
        λ = 1 - one_minus_λ
        R = mean_outer_product(r, r) + ε * identity
        exact = torch.linalg.inv(λ * torch.linalg.inv(B) + one_minus_λ * R)
        errors.append(float((update_inverse_correlation_(B.clone(), r, λ, ε) - exact).abs().max()))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.02)


@pytest.mark.parametrize("ε", [0, 0.3])
@torch.no_grad()
def test_inverse_correlation_update_term_by_term(ε):
    B = torch.randn(4, 4, dtype=torch.float64)
    B = B + B.t()
    r = torch.rand(3, 4, dtype=torch.float64)
    λ = 0.97
    expected = B - (1 - λ) / λ * ε * B @ B
    for n in range(3):
        z = B @ r[n]
        expected -= (1 - λ) / λ * torch.outer(z, z) / 3
    assert torch.allclose(update_inverse_correlation_(B.clone(), r, λ, ε), expected / λ, atol=1e-14)


@pytest.mark.parametrize(("regularized", "batches"), [(False, 100), (True, 1000)])
@torch.no_grad()
def test_lateral_weights_grow_where_no_activity_goes_unless_regularized(regularized, batches):
    """Along a direction that r never takes, B grows by 1/λ a batch as published, else up to λ/ε, its fixed point."""
    λ, ε = 0.95, 0.25
    rule = build(CorInfoMax, forgetting_factor=λ, epsilon=ε, regularize_lateral=regularized)
    x, _, y = batch()
    phases = rule.settle(x, y)
    for p in phases.values():
        p.activity[1][:, 0] = 0  # unit 1 of layer 1 stays silent
    B = rule.network.laterals[1].weight
    B[0, 1:] = B[1:, 0] = 0
    before = float(B[0, 0])
    for _ in range(batches):
        rule.update_state(phases, None)
    assert float(B[0, 0]) == pytest.approx(λ / ε if regularized else before * λ**-batches, rel=1e-6)
    if regularized:  # and all of B reaches its own
        for k, lateral in rule.network.laterals.items():
            r = phases["nudged"].activity[k]
            R = mean_outer_product(r, r) + ε * torch.eye(r.shape[1], dtype=r.dtype)
            assert torch.allclose(lateral.weight, λ * torch.linalg.inv(R), atol=1e-6)


def test_step_sizes():
    options = {"start": 0.1, "floor": 0.02, "decay": 0.5}
    assert step_sizes(3, rule="constant", **options) == [0.1] * 3
    assert step_sizes(6, rule="divide_by_loop_index", **options) == [0.1, 0.05, 0.1 / 3, 0.025, 0.02, 0.02]
    slow = step_sizes(9, rule="divide_by_slow_loop_index", **options)
    assert slow == pytest.approx([0.1, 0.1 / 1.5, 0.05, 0.04, 0.1 / 3, 0.1 / 3.5, 0.025, 0.1 / 4.5, 0.02])
    with pytest.raises(UserError, match="step_size_rule"):
        step_sizes(3, rule="nonsense", **options)


def test_published_schedule_jumps_and_the_continuous_one_does_not():
    def rates(continuous):
        optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": 1.0}, {"params": [torch.zeros(1)], "lr": 0.5}])
        scheduler = PiecewisePower(optimizer, {0: 0.95, 3: 0.9}, continuous=continuous)
        found = []
        for _ in range(6):
            assert optimizer.param_groups[1]["lr"] == pytest.approx(optimizer.param_groups[0]["lr"] / 2)
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return found

    assert rates(False) == pytest.approx([1, 0.95, 0.95**2, 0.9**3, 0.9**4, 0.9**5])
    assert rates(True) == pytest.approx([1, 0.95, 0.95**2, 0.95**2 * 0.9, 0.95**2 * 0.9**2, 0.95**2 * 0.9**3])
    for bases in ({1: 0.9}, {0: 0.0}, {0: 1.0, -2: 0.5}):
        with pytest.raises(UserError, match="bases"):
            PiecewisePower(torch.optim.SGD([torch.zeros(1)], lr=1.0), bases)


def test_alignment_angle():
    W = torch.randn(3, 5, dtype=torch.float64)
    assert alignment_angle(W, W.clone()) == pytest.approx(0, abs=1e-5)
    assert alignment_angle(W, -2 * W) == pytest.approx(180, abs=1e-5)
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    assert alignment_angle(a, b) == pytest.approx(45, abs=1e-4)


def test_correlative_information_of_independent_errors():
    """½ logdet(R + εI) − ½ logdet(R_e + εI) of diagonal matrices is a sum of logarithms."""
    R, E = torch.diag(torch.tensor([1.0, 2.0])).double(), torch.diag(torch.tensor([0.5, 0.25])).double()
    expected = (math.log(1.1) + math.log(2.1) - math.log(0.6) - math.log(0.35)) / 2
    assert correlative_information(R, E, 0.1) == pytest.approx(expected)


def test_correlations_see_every_nth_batch_and_forget_as_many():
    class Counted(CorInfoMax):
        step = 0

    rule = build(Counted, track_correlations=True, track_correlations_every_n_steps=3, forgetting_factor=0.9)
    x, _, target = batch()
    phases = rule.settle(x, target)
    r = phases["free"].activity[1]
    expected = torch.eye(r.shape[1], dtype=r.dtype)
    for step in range(1, 8):
        rule.step = step
        rule.update_state(phases, None)
        if step in (3, 6):
            expected = 0.9**3 * expected + (1 - 0.9**3) * mean_outer_product(r, r)
        torch.testing.assert_close(rule.correlations["free"].of_state(1), expected, rtol=1e-12, atol=0)


def test_no_logarithm_of_a_determinant_where_there_is_no_correlation():
    for R in (torch.diag(torch.tensor([1.0, -2.0])), torch.full((2, 2), math.nan)):
        assert regularized_logdet(R, 0.1).isnan()


@pytest.mark.parametrize("every", [1, 2])  # outside a Trainer each step counts as an n-th
def test_logged_information_is_that_of_both_definitions_for_every_pair(every):
    """Sample by sample, after two batches, for both directions, both phases and every pair."""
    track = {"track_correlations": True, "track_correlations_every_n_steps": every}
    rule = build(CorInfoMax, [7, 5, 4, 3], **track, forgetting_factor=0.9 ** (1 / every), epsilon=0.2)
    W = [c.weight.detach() for c in rule.network.connections]
    V = [None, *(c.feedback_weight.detach().t() for c in rule.network.connections[1:])]
    estimates = {}

    def estimate(key, rows):
        R = estimates.setdefault(key, torch.eye(rows.shape[1], dtype=torch.float64))
        estimates[key] = 0.9 * R + 0.1 * sum(torch.outer(r, r) for r in rows) / len(rows)
        return estimates[key]

    for seed in (0, 1):
        x, _, target = batch([7, 5, 4, 3], seed=seed)
        rule.phases = rule.settle(x, target)
        rule.update_state(rule.phases, None)
        expected = {}
        for name in ("free", "nudged"):
            r = rule.phases[name].activity
            R = {k: estimate((name, k), r[k]) for k in (1, 2, 3)}
            for k in (1, 2, 3):
                forward = torch.stack([post - W[k - 1] @ pre for pre, post in zip(r[k - 1], r[k], strict=True)])
                ways = [("forward", k, forward)]
                if k > 1:
                    backward = torch.stack([pre - V[k - 1] @ post for pre, post in zip(r[k - 1], r[k], strict=True)])
                    ways.append(("backward", k - 1, backward))
                for way, predicted, error in ways:
                    n, d = error.shape
                    noise = 0.2 * torch.eye(d, dtype=torch.float64)
                    R_e = estimate((name, way, k), error)
                    key = f"{way}_layer_{k}"
                    expected[f"information/{name}_{key}"] = (
                        torch.linalg.slogdet(R[predicted] + noise)[1] - torch.linalg.slogdet(R_e + noise)[1]
                    ) / 2
                    squares = sum(float(e @ e) for e in error) / n
                    expected[f"information/{name}_published_{key}"] = torch.linalg.slogdet(R[predicted] + noise)[1] - (
                        squares / 0.2 - d / n * math.log(0.2)
                    )
    logged = {name: value for name, value in rule.dynamics().items() if name.startswith("information/")}
    assert logged.keys() == expected.keys()
    assert len(expected) == 20
    for name, value in expected.items():
        assert float(logged[name]) == pytest.approx(float(value), rel=1e-10), name


def test_residual_is_the_largest_layers_speed():
    before = [torch.zeros(2, 3), torch.zeros(2, 4)]
    now = [torch.full((2, 3), 0.1), torch.full((2, 4), -0.2)]
    assert residual(now, before, 0.5) == pytest.approx(0.4)


@torch.no_grad()
def test_a_settled_network_has_no_residual():
    rule = build(EquilibriumPropagation, free_steps=2000)
    x, _, y = batch()
    phases = rule.settle(x, y)
    assert float(phases["free"].residual()) < 1e-12
    assert float(phases["nudged"].residual()) > 1e-4


@pytest.mark.parametrize("name", get_args(ActivationName))
def test_activation_derivatives(name):
    f = activation(name)
    v = torch.tensor([-1.5, -0.2, 0.3, 2.0], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(f.function(v).sum(), v)
    a = f.function(v.detach())
    assert torch.allclose(f.slope(f.kept(v.detach(), a)), gradient)
    if f.derivative is not None:
        assert torch.allclose(f.derivative(a), gradient)
    with pytest.raises(UserError, match="activation"):
        activation("swish")


def test_epoch_means_weigh_samples():
    means = EpochMeans(persistent=True)
    means.update(torch.tensor([True, False, True]), torch.tensor([1.0, 2.0, 3.0]))
    means.update(torch.tensor([False]), torch.tensor([10.0]))
    assert {k: float(v) for k, v in means.compute().items()} == {"accuracy": 0.5, "loss": 4.0}
    other = EpochMeans(persistent=True)
    other.load_state_dict(means.state_dict())
    assert torch.equal(other.totals, means.totals)


def test_random_signs_are_balanced_and_independent_of_order():
    signs = [random_sign(3, step) for step in range(10_000)]
    assert abs(sum(signs)) < 300
    assert abs(sum(a * b for a, b in pairwise(signs))) < 300
    assert signs[17] == random_sign(3, 17)
    assert signs != [random_sign(4, step) for step in range(10_000)]


@torch.no_grad()
def test_similarity_matching_lateral_learning_term_by_term():
    rule = build(ContrastiveSimilarityMatching, beta=0.5, random_beta_sign=False, lateral_learning_rates=[0.01, 0.02])
    x, _, y = batch()
    phases = rule.settle(x, y)
    before = {k: lateral.weight.clone() for k, lateral in rule.network.laterals.items()}
    rule.update_state(phases, torch.optim.SGD(rule.parameter_groups()))
    for k, rate in ((1, 0.01), (2, 0.02)):
        correlation = sum(torch.outer(r, r) for r in phases["nudged"].activity[k]) / len(x)
        expected = (1 - rate / (2 * 0.5)) * (before[k] + rate / (2 * 0.5) * correlation)
        assert torch.allclose(rule.network.laterals[k].weight, expected, atol=1e-14)


@pytest.mark.parametrize(
    ("shape", "strides"),
    [((3,), (1, 4)), ((4,), (4, 1)), ((5,), (5, 1)), ((3, 2, 2), (12, 1, 6, 3)), ((5, 1, 2), (10, 1, 10, 5))],
    ids=["narrower than the batch", "as wide", "wider", "image", "image of more channels than samples"],
)
def test_silence_lies_neuron_by_neuron_where_a_flat_layer_is_narrower_than_the_batch(shape, strides):
    """Other flat layers lie sample by sample, and images with their channels last."""
    r = silence(torch.rand(4, 7, dtype=torch.float64), shape)
    assert torch.equal(r, torch.zeros(4, *shape, dtype=torch.float64))
    for a in (r, r.clone(), torch.empty_like(r)):
        assert a.stride() == strides
