"""Oracle: coupled learning and contrastive Hebbian learning, forms of equilibrium propagation that hold the output."""

import pytest
import torch

from bioplausible import EquilibriumPropagation, Phase
from tests.helpers import NETWORKS, batch, build, updates

ALL_NETWORKS = pytest.mark.parametrize("network", NETWORKS)
COUPLED = {"hold_output": True, "output_activation": "linear", "random_beta_sign": False, "step_size": 0.5}
FORMS = {
    "positive": ({"beta": 0.3}, (0.0, 0.3), ("free", "nudged")),
    "negative": ({"beta": -0.3}, (-0.3, 0.0), ("nudged", "free")),
    "centered": ({"beta": 0.3, "three_phase": True}, (-0.3, 0.3), ("antinudged", "nudged")),
    "contrastive": ({"beta": 1.0}, (0.0, 1.0), ("free", "nudged")),
}


def gentle(rule):
    with torch.no_grad():
        for name, p in rule.named_parameters():
            p.mul_(0.1 if "_from_" in name else 0.2)
            if name.endswith("bias"):
                p.add_(0.4)
    return rule


@ALL_NETWORKS
@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_each_form_holds_the_output_at_its_betas_and_contrasts_the_two_phases(network, form):
    options, betas, names = FORMS[form]
    x, _, y = batch(network)
    rule = build(EquilibriumPropagation, network, **COUPLED, **options)
    phases = rule.settle(x, y)
    free = phases["free"].output
    first, second = (phases[name] for name in names)
    for phase, β in zip((first, second), betas, strict=True):
        assert phase.beta == β
        torch.testing.assert_close(phase.output, free - β * (free - y))
    found, s = updates(rule, phases), betas[1] - betas[0]
    names = {id(p): name for name, p in rule.named_parameters()}
    for c in rule.network.weighted:
        (r1, q1), (r2, q2) = ((p.activity[c.post], p.activity[c.pre]) for p in (first, second))
        expected = (c.correlate(r2, q2) - c.correlate(r1, q1)) / s
        torch.testing.assert_close(found[names[id(c.weight)]], expected, rtol=1e-10, atol=1e-12)


@ALL_NETWORKS
@torch.no_grad()
def test_hidden_layers_relax_from_the_free_state_without_a_cost(network):
    """With the output held where it is, nothing moves; the last layer below it feels the held output alone."""
    x, _, y = batch(network)
    rule = gentle(build(EquilibriumPropagation, network, beta=0.5, **{**COUPLED, "free_steps": 600, "nudged_steps": 1}))
    phases = rule.settle(x, y)
    free, held = phases["free"], phases["nudged"]
    at_rest = rule.relax(rule.clamp(x), free, 1, 0.5, free.output, 1.0)
    for a, b in zip(free.activity, at_rest.activity, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    r = [*free.activity[:-1], held.output]
    for k in range(1, rule.network.L):
        u = rule.network.drive(k, r) + rule.network.feedback(k, r, at=r)
        torch.testing.assert_close(held.activity[k], (r[k] + 0.5 * (u - r[k])).clamp(0, 1))


@ALL_NETWORKS
def test_contrastive_hebbian_learning_descends_the_difference_of_two_energies(network):
    """ΔW = −∂(E_clamped − E_free)/∂W, by differences along a direction; measured once: 1.4e-10."""
    x, _, y = batch(network)
    options = {**COUPLED, "beta": 1.0, "free_steps": 500, "nudged_steps": 500}
    rule = gentle(build(EquilibriumPropagation, network, **options))
    found = updates(rule, rule.settle(x, y))
    g = torch.Generator().manual_seed(1)
    directions = {name: torch.randn(p.shape, generator=g, dtype=p.dtype) for name, p in rule.named_parameters()}
    length = torch.stack([d.square().sum() for d in directions.values()]).sum().sqrt()
    directions = {name: d / length for name, d in directions.items()}

    @torch.no_grad()
    def difference(h):
        for name, p in rule.named_parameters():
            p.add_(directions[name], alpha=h)
        phases = rule.settle(x, y)
        clamped, free = (rule.energy(Phase(phases[name].activity), y).mean() for name in ("nudged", "free"))
        for name, p in rule.named_parameters():
            p.sub_(directions[name], alpha=h)
        return float(clamped - free)

    h = 1e-5
    slope = -(8 * (difference(h) - difference(-h)) - difference(2 * h) + difference(-2 * h)) / (12 * h)
    expected = float(sum((found[name] * direction).sum() for name, direction in directions.items()))
    assert slope == pytest.approx(expected, abs=1e-9)
    assert abs(expected) > 1e-3


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_the_energy_of_a_held_phase_has_no_cost_in_it(form):
    """Nothing but Φ of β = 0 is what the layers below descend there."""
    x, _, y = batch()
    rule = build(EquilibriumPropagation, **COUPLED, **FORMS[form][0])
    for phase in rule.settle(x, y).values():
        r = phase.activity
        drives = [rule.network.drive(k, r) for k in range(1, rule.network.L + 1)]
        expected = sum((r_k.square() / 2 - r_k * u).sum(1) for r_k, u in zip(r[1:], drives, strict=True))
        torch.testing.assert_close(rule.energy(phase, y), expected, rtol=1e-12, atol=1e-12)


def test_a_cold_start_is_the_default():
    """A batch learns the same whatever came before, with the same weights."""
    x, _, y = batch()
    found = []
    for before in (0, 1):
        torch.manual_seed(0)
        rule = build(EquilibriumPropagation, beta=0.3, free_steps=5, learning_rates=0.0, **COUPLED)
        optimizer = rule.optimizer(rule.parameter_groups())
        for seed in range(before):
            rule.learn(*(batch(seed=seed + 5)[i] for i in (0, 2)), optimizer)
        found.append(rule.learn(x, y, optimizer))
    assert all(torch.equal(a, b) for a, b in zip(*(f["nudged"].activity for f in found), strict=True))
