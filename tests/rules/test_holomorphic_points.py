"""Oracle: equilibrium propagation with N points of complex β, with the figures measured of it as bounds."""

import cmath

import pytest
import torch
import torch.nn.functional as F

from bioplausible import EquilibriumPropagation, Phase
from tests.helpers import NETWORKS, batch, build, updates

ALL_NETWORKS = pytest.mark.parametrize("network", NETWORKS)
COSTS = {
    "readout": {"activation_function": "smooth_clip", "loss": "cross_entropy", "readout": True},
    "squared error": {"activation_function": "sigmoid", "output_activation": "smooth_clip", "activation_slope": 2.0},
    "inside": {"activation_function": "smooth_clip", "loss": "cross_entropy", "output_activation": "linear"},
}
STEPS = {"step_size": 1.0, "free_steps": 150, "nudged_steps": 150, "random_beta_sign": False}


def made(network, cost, scale=0.25, **options):
    """Returns a rule whose states lie between 0 and 1 and settle, with the same weights for every N."""
    torch.manual_seed(0)
    rule = build(EquilibriumPropagation, network, **COSTS[cost], **{"points": 3, **STEPS, **options})
    with torch.no_grad():
        for name, p in rule.named_parameters():
            p.mul_(scale / 2 if "_from_" in name else scale)
            if name.endswith("bias"):
                p.add_(0.6)
    return rule


def gradient(rule, x, y):
    """Returns minus the gradient of the cost at the free equilibrium by name, by autograd through iterations to it."""
    r = [x, *rule.settle(x, y)["free"].activity[1:]]
    for _ in range(60):
        r = [x, *(a if a.requires_grad else a.clone().requires_grad_() for a in r[1:])]
        Φ = sum((r[k] * rule.network.drive(k, r)).sum() for k in range(1, len(r)))
        r = [x, *(rule.f[k].function(u) for k, u in enumerate(torch.autograd.grad(Φ, r[1:], create_graph=True), 1))]
    output = rule.network.drive(rule.network.L, r) if rule.readout else r[-1]
    loss = F.cross_entropy(output, y) if rule.loss == "cross_entropy" else (output - y).square().sum(1).mean()
    names, parameters = zip(*rule.named_parameters(), strict=True)
    return {name: -g for name, g in zip(names, torch.autograd.grad(loss, parameters), strict=True)}


def relative_error(found, expected):
    differences = torch.cat([(found[name] - g).flatten() for name, g in expected.items()])
    return float(differences.norm() / torch.cat([g.flatten() for g in expected.values()]).norm())


def errors(rule, x, y, expected, points, betas):
    rule.points, rule.three_phase = points, points == 2
    return [relative_error(updates(rule, rule.settle(x, y)), expected) for rule.beta in betas]


MEASURED = {1: (0.75, 0.10), 2: (0.35, 0.0049), 3: (0.25, 5.4e-4), 4: (0.13, 3.8e-5), 6: (0.039, 1.5e-7)}
"""Relative errors at β = 0.8 and 0.1, measured once of another net."""


@pytest.mark.parametrize("cost", COSTS)
def test_the_error_is_of_order_beta_to_the_number_of_points(cost):
    """The figures are those of the published form; other costs bring poles nearer to the circle of large β."""
    x, _, y = batch()
    rule = made("dense", cost, scale=1.0 if cost == "readout" else 0.5)
    expected = gradient(rule, x, y)
    assert expected.keys() == dict(rule.named_parameters()).keys()
    for points, (at_large, at_small) in MEASURED.items():
        large, small, smaller = errors(rule, x, y, expected, points, (0.8, 0.1, 0.05))
        assert small / smaller == pytest.approx(2**points, rel=0.1)
        if cost == "readout":
            assert large < 3 * at_large
            assert small < 3 * at_small


@pytest.mark.sampled
@ALL_NETWORKS
@pytest.mark.parametrize("cost", COSTS)
def test_it_is_so_on_every_kind_of_network(network, cost):
    x, _, y = batch(network)
    rule = made(network, cost)
    expected = gradient(rule, x, y)
    large, small = errors(rule, x, y, expected, 3, (0.1, 0.05))
    assert small < 2e-3
    assert large / small == pytest.approx(8, rel=0.1)


@ALL_NETWORKS
def test_one_and_two_points_are_the_one_sided_and_the_symmetric_form_to_the_bit(network):
    x, _, y = batch(network)
    for points, three_phase in ((1, False), (2, True)):
        new, old = (
            build(EquilibriumPropagation, network, **o) for o in ({"points": points}, {"three_phase": three_phase})
        )
        new.load_state_dict(old.state_dict())
        a, b = new.settle(x, y), old.settle(x, y)
        assert list(a) == list(b)
        found = updates(new, a)
        assert all(torch.equal(update, found[name]) for name, update in updates(old, b).items())


def relaxed(rule, x, y, beta, free):
    """Returns where complex states settle."""
    start = Phase([x, *(a.to(torch.complex128) for a in free.activity[1:])])
    network = rule.network.clamp(x, rule.top, complex_states=True)
    return rule.relax(network, start, rule.nudged_steps, 1.0, y, beta)


@pytest.mark.parametrize("points", [2, 3, 4, 5, 6])
@torch.no_grad()
def test_half_of_the_points_say_what_all_of_them_do(points):
    """Every point relaxed by itself, without a thought of conjugation, and the formula as it stands."""
    x, _, y = batch()
    rule = made("dense", "readout", 1.0, points=points, beta=0.6, free_steps=12, nudged_steps=5)
    phases = rule.settle(x, y)
    assert len(phases) == 1 + points // 2 + 1
    β = [0.6 * cmath.exp(2j * cmath.pi * t / points) for t in range(points)]
    r = [relaxed(rule, x, y, β_t, phases["free"]).activity for β_t in β]
    W, b = (
        [p.to(torch.complex128) for p in of]
        for of in zip(*((c.weight, c.bias) for c in rule.network.chain), strict=True)
    )
    expected = {}
    for k in (1, 2, 3):
        if k < 3:
            dW = [z[k].t() @ z[k - 1].to(z[k]) / len(x) / β_t for z, β_t in zip(r, β, strict=True)]
            db = [z[k].mean(0) / β_t for z, β_t in zip(r, β, strict=True)]
        else:
            scores = [(z[2] @ W[2].t() + b[2]).exp() for z in r]
            e = [y - s / s.sum(1, keepdim=True) for s in scores]
            dW = [e_t.t() @ z[2] / len(x) for z, e_t in zip(r, e, strict=True)]
            db = [e_t.mean(0) for e_t in e]
        expected[f"network.wiring.{k}.weight"] = (sum(dW) / points).real
        expected[f"network.wiring.{k}.bias"] = (sum(db) / points).real
    found = updates(rule, phases)
    assert found.keys() == expected.keys()
    for name, update in expected.items():
        torch.testing.assert_close(found[name], update, rtol=1e-11, atol=1e-13)


@ALL_NETWORKS
@pytest.mark.parametrize("cost", COSTS)
@torch.no_grad()
def test_complex_states_are_the_real_ones_where_beta_is_real_and_conjugated_where_beta_is(network, cost):
    x, _, y = batch(network)
    rule = made(network, cost, 0.5, free_steps=10, nudged_steps=6)
    free = rule.settle(x, y)["free"]
    real = rule.relax(rule.clamp(x), free, 6, 1.0, y, 0.5)
    for a, b in zip(real.activity[1:], relaxed(rule, x, y, 0.5, free).activity[1:], strict=True):
        torch.testing.assert_close(b, a.to(b), rtol=1e-12, atol=1e-13)
    up, down = (relaxed(rule, x, y, β, free).activity[1:] for β in (0.3 + 0.4j, 0.3 - 0.4j))
    for a, b in zip(up, down, strict=True):
        torch.testing.assert_close(a, b.conj().resolve_conj(), rtol=1e-12, atol=1e-13)
        assert a.imag.abs().max() > 1e-4


@ALL_NETWORKS
@torch.no_grad()
def test_learned_feedback_that_starts_tied_learns_what_tied_feedback_learns(network):
    x, _, y = batch(network)
    tied = made(network, "readout", points=4, beta=0.4)
    own = made(network, "readout", points=4, beta=0.4, feedback="learned", feedback_update="same")
    for c, like in zip(own.network.weighted, tied.network.weighted, strict=True):
        c.weight.copy_(like.weight)
        if not c.is_tied:
            c.feedback_weight.copy_(like.weight)
    own.load_state_dict(tied.state_dict(), strict=False)
    found = updates(own, own.settle(x, y))
    for name, update in updates(tied, tied.settle(x, y)).items():
        torch.testing.assert_close(found[name], update, rtol=1e-10, atol=1e-13)
        V = name.replace(".weight", "._feedback_weight")
        if V in found:
            torch.testing.assert_close(found[V], update, rtol=1e-10, atol=1e-13)


@torch.no_grad()
def test_separate_updates_of_learned_feedback_take_one_side_from_the_free_state():
    x, _, y = batch()
    rule = made("dense", "readout", 1.0, points=3, beta=0.4, feedback="learned", nudged_steps=5)
    phases = rule.settle(x, y)
    free, found = phases["free"].activity, updates(rule, phases)
    β = [0.4 * cmath.exp(2j * cmath.pi * t / 3) for t in range(3)]
    r = [relaxed(rule, x, y, β_t, phases["free"]).activity for β_t in β]
    slopes = [sum(z[k] / β_t for z, β_t in zip(r, β, strict=True)).real / 3 for k in (1, 2)]
    torch.testing.assert_close(found["network.wiring.2.weight"], slopes[1].t() @ free[1] / len(x))
    torch.testing.assert_close(found["network.wiring.2._feedback_weight"], free[2].t() @ slopes[0] / len(x))


@torch.no_grad()
def test_a_random_sign_turns_the_circle_and_changes_nothing_where_it_has_points_on_both_sides():
    x, _, y = batch()
    for points, same in ((4, True), (3, False)):
        rule, found = made("dense", "readout", 1.0, points=points), []
        for rule.beta in (0.5, -0.5):
            found.append(updates(rule, rule.settle(x, y)))
        close = [torch.allclose(found[0][name], found[1][name], rtol=1e-9, atol=1e-12) for name in found[0]]
        assert all(close) if same else not any(close)


@torch.no_grad()
def test_in_single_precision_and_with_bfloat16_products_it_learns_the_same_within_their_rounding():
    x, _, y = batch()
    rule = made("dense", "readout", 1.0, points=4, beta=0.5)
    expected = updates(rule, rule.settle(x, y))
    rule = rule.float()
    single = updates(rule, rule.settle(x.float(), y.float()))
    assert relative_error(single, expected) < 1e-5
    for c in rule.network.connections:
        c.product_dtype = torch.bfloat16
    assert 1e-5 < relative_error(updates(rule, rule.settle(x.float(), y.float())), expected) < 0.02
