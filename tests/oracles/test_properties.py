"""Properties that hold for every rule the package exports, and for generated networks and inputs."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from bioplausible import (
    CorInfoMax,
    DirectDifferenceTargetPropagation,
    EquilibriumPropagation,
    ForwardForward,
    LocalDifferenceReconstruction,
    PredictiveCoding,
)
from bioplausible.errors import UserError
from bioplausible.functional import update_inverse_correlation_
from bioplausible.rules.corinfomax_network import CorInfoMaxNetwork
from bioplausible.rules.target_propagation import TargetPropagation
from tests.helpers import NETWORKS, VARIANTS, all_rules, batch, build
from tests.helpers import updates as local_updates

RULES = pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)
ALL_VARIANTS = pytest.mark.parametrize("variant", VARIANTS)
ALL_NETWORKS = pytest.mark.parametrize("network", NETWORKS)


def test_all_nine_rules_are_there():
    assert len(all_rules()) >= 9


@torch.no_grad()
def updates(rule, phases):
    """Returns the local update of each parameter, also of those that learn in steps of their own."""
    if not isinstance(rule, LocalDifferenceReconstruction):
        return local_updates(rule, phases)
    names = {id(p): name for name, p in rule.named_parameters()}
    return {names[id(p)]: u.clone() for step in rule.updates(phases) for p, u in step}


def require_a_whole_update_and_output(rule, x, y):
    """Each parameter is in one group and has one finite update; activities and probabilities have their shapes.

    What a rule moves itself may be in a group for its rate.
    """
    phases = rule.settled(x, y)
    found = updates(rule, phases)
    assert found.keys() == dict(rule.named_parameters()).keys()
    for name, parameter in rule.named_parameters():
        assert found[name].shape == parameter.shape
        assert found[name].isfinite().all()
    grouped = [id(p) for group in rule.parameter_groups() for p in group["params"] if p.requires_grad]
    assert sorted(grouped) == sorted(map(id, rule.parameters()))
    assert [a.shape[1:] for a in rule.activity(x)] == [torch.Size(shape) for shape in rule.network.shapes]
    assert rule(x).shape == y.shape
    probabilities = rule.class_probabilities(rule(x))
    assert torch.allclose(probabilities.sum(1), torch.ones(len(x), dtype=torch.float64))


@RULES
@pytest.mark.parametrize("sizes", [[5, 3], [5, 4, 3], [7, 6, 5, 4], [6, 5, 5, 4, 4, 3]], ids=len)
@torch.no_grad()
def test_any_depth(cls, sizes):
    x, _, y = batch(sizes)
    if cls is ForwardForward and len(sizes) == 2:
        with pytest.raises(UserError, match="ForwardForward has no hidden layer to learn in"):
            build(cls, sizes)
        return
    require_a_whole_update_and_output(build(cls, sizes), x, y)


@ALL_VARIANTS
@ALL_NETWORKS
@torch.no_grad()
def test_any_wiring(variant, network):
    cls, options = VARIANTS[variant]
    x, _, y = batch(network)
    require_a_whole_update_and_output(build(cls, network, **options), x, y)


def sides(rule) -> dict[str, tuple[set[int], set[str]]]:
    """Returns by parameter the layers and the other parameters that its update may depend on, from the equations.

    A synapse sees the two layers that it joins and, for the winners of max pooling, its own connection's weights. A
    bias sees its own layer. CorInfoMax's synapses see the prediction error of a neuron, to which all connections into
    it (of W), or out of it (of V), contribute.
    """
    found: dict[str, tuple[set[int], set[str]]] = {}
    network, names = rule.network, {id(p): name for name, p in rule.named_parameters()}

    def of(connections):
        return {names[id(p)] for c in connections for p in c.parameters()}

    for c in network.connections:
        above, below = network.out_of(c.pre), network.into(c.post)
        W, V, b = ({names[id(t)]} if id(t) in names else set() for t in (c.weight, c._feedback_weight, c.bias))
        layers, V_layers, others, V_others = {c.pre, c.post}, {c.pre, c.post}, of([c]), of([c])
        if isinstance(rule, CorInfoMaxNetwork):
            layers, V_layers = {c.post, *(d.pre for d in below)}, {c.pre, *(d.post for d in above)}
            others, V_others = of(below), of(above)
        if isinstance(rule, TargetPropagation):  # V reconstructs from all layers that its own one reaches
            reached = [d for e in above for d in network.into(e.post)]
            V_layers, V_others = {c.pre, *(e.post for e in above), *(d.pre for d in reached)}, of(above + reached)
        third = {network.L} if hasattr(rule, "error_correlations") else set()  # the output's error is broadcast
        if getattr(rule, "forward_broadcast", 0) and c.post == network.L:
            third |= {*range(1, network.L)}
        found |= dict.fromkeys(W, (layers | third, others)) | dict.fromkeys(V, (V_layers | third, V_others))
        reads_out = getattr(rule, "readout", False) and c.post == network.L  # the output is no state, only its drive
        found |= {name: ({c.pre, c.post} if reads_out else {c.post} | third, of([c])) for name in b}
    for k in getattr(rule, "classifier", ()):  # forward-forward's, which reads several layers
        found[f"classifier.{k}"] = ({int(k), network.L}, set())
    if isinstance(rule, TargetPropagation):
        all_there_is = {*range(network.L + 1)}, set(names.values())
        runs_up = isinstance(rule, DirectDifferenceTargetPropagation) or getattr(rule, "differs", False)
        for k in rule.feedback_layers:
            mine = {names[id(p)] for p in rule.feedback_parameters(k)}
            V = next((found[name] for name in mine if name in found), all_there_is)
            # noise runs from layer k to the output and down again: tests/rules/test_target_propagation.py knows what of
            found |= dict.fromkeys(mine, all_there_is if runs_up else (V[0], V[1] | mine))
    return found


def learned_laterals(rule, phases) -> dict[int, torch.Tensor]:
    """Returns what B or M would be after a batch, by layer."""
    learned = copy.deepcopy(rule)
    learned.update_state(phases, learned.optimizer(learned.parameter_groups()))
    return {k: lateral.weight for k, lateral in learned.network.laterals.items()}


@pytest.mark.sampled
@ALL_VARIANTS
@ALL_NETWORKS
@torch.no_grad()
def test_every_update_is_local(variant, network):
    """With the settled states held, what a parameter learns depends on its two sides and its own connection alone."""
    cls, options = VARIANTS[variant]
    rule = build(cls, network, **options)
    for c in rule.network.connections:
        if c.bias is not None:
            c.bias.add_(0.3)  # no layer of rectified units is silent
    x, _, y = batch(network)
    phases = rule.settled(x, y)
    if isinstance(rule, TargetPropagation):  # targets are states: what they depend on is tested with these rules
        held = rule.targets(phases["feedforward"])
        rule.targets = lambda phase: held
    before, allowed = updates(rule, phases), sides(rule)
    assert before.keys() == allowed.keys()

    def disturbed(layer):
        """Returns the phases with another state of one layer, errors and membrane potentials included."""
        copies = {}
        for name, p in phases.items():
            activity = [a + (k == layer) * 0.1 * torch.rand_like(a) for k, a in enumerate(p.activity)]
            internal = {
                key: [a + (k == layer) * 0.1 * torch.rand_like(a) for k, a in enumerate(value, 1)]
                if key in ("delta", "error", "u", "plus", "minus", "neurons")
                else value
                for key, value in p.internal.items()
            }
            if layer == rule.network.L and "output_error" in internal:
                internal["output_error"] = [ε + 0.1 * torch.rand_like(ε) for ε in internal["output_error"]]
            copies[name] = replace(p, activity=activity, internal=internal)
        return copies

    seen = {name: set() for name in before}
    for layer in range(rule.network.L + 1):
        for name, update in updates(rule, disturbed(layer)).items():
            if not torch.equal(before[name], update):
                seen[name].add(layer)
    for name, layers in seen.items():
        assert layers <= allowed[name][0], f"{name} depends on layer {layers - allowed[name][0]}"
        for c in rule.network.connections:
            if rule.get_parameter(name) is c.weight:  # and it does learn from both of its sides
                assert {c.pre, c.post} <= layers or (getattr(rule, "readout", False) and c.post == rule.network.L), name
        assert layers, f"{name} depends on nothing"
    after = learned_laterals(rule, phases)
    for layer in range(rule.network.L + 1):
        for k, lateral in learned_laterals(rule, disturbed(layer)).items():
            broadcast = layer == rule.network.L and any(getattr(rule, "lateral_decorrelation", {}).values())
            changes = k == layer or broadcast
            assert torch.equal(after[k], lateral) != changes, f"the lateral weights of {k} and layer {layer}"
    for name, p in rule.named_parameters():
        saved = p.clone()
        p.add_(0.1 * torch.rand_like(p))
        for other, update in updates(rule, phases).items():
            assert torch.equal(before[other], update) or name in allowed[other][1], f"{other} depends on {name}"
        p.copy_(saved)


class NoSynchronisation(TorchDispatchMode):
    """Raises where a tensor's value is read by the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert "_local_scalar_dense" not in str(func), "the host waits for a tensor's value"
        return func(*args, **(kwargs or {}))


@ALL_VARIANTS
@pytest.mark.parametrize("network", ["dense", "average pool", "max pool", "local", "strided skip"])
@torch.no_grad()
def test_no_host_synchronisation_while_settling_and_learning(variant, network):
    cls, options = VARIANTS[variant]
    rule = build(cls, network, **options)
    x, _, y = batch(network)
    with NoSynchronisation():
        phases = rule.settle(x, y)
        updates(rule, phases)
        rule(x)


@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    n=st.integers(1, 5),
    leak=st.floats(0, 1),
    epsilon=st.floats(0.05, 1),
    beta=st.floats(0.1, 1) | st.floats(-1, -0.1),
    regularize_lateral=st.booleans(),
    seed=st.integers(0, 100),
)
@torch.no_grad()
def test_corinfomax_activities_stay_in_the_unit_cube_and_B_symmetric(sizes, n, leak, epsilon, beta, seed, **options):
    torch.manual_seed(seed)
    if options["regularize_lateral"]:
        epsilon /= 20  # B starts below 3 · 6 here, and must below 1/ε
    rule = build(CorInfoMax, sizes, leak=leak, epsilon=epsilon, beta=beta, step_size=0.02, **options)
    for c in rule.network.connections:
        c.weight.mul_(4)  # towards both bounds
    x, _, y = batch(sizes, n, seed)
    phases = rule.settle(x, y)
    assert all(r.min() >= 0 and r.max() <= 1 for p in phases.values() for r in p.activity)
    rule.update_state(phases, None)
    for lateral in rule.network.laterals.values():
        assert torch.allclose(lateral.weight, lateral.weight.t(), atol=1e-12)


@given(
    r=st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=4),
    one_minus_λ=st.floats(1e-5, 0.02),
    ε=st.floats(0.1, 1),
    seed=st.integers(0, 100),
)
@torch.no_grad()
def test_regularized_lateral_weights_stay_positive_definite_and_below_one_over_epsilon(r, one_minus_λ, ε, seed):
    g = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=g)).Q
    B = basis * torch.rand(3, dtype=torch.float64, generator=g).clamp(min=1e-3) / ε @ basis.t()
    for sample in r * 20:
        update_inverse_correlation_(B, torch.tensor([sample], dtype=torch.float64), 1 - one_minus_λ, ε)
        eigenvalues = torch.linalg.eigvalsh(B)
        assert eigenvalues[0] > 0
        assert eigenvalues[-1] <= (1 + 1e-12) / ε


@ALL_VARIANTS
@ALL_NETWORKS
@torch.no_grad()
def test_float32_agrees_with_float64(variant, network):
    cls, options = VARIANTS[variant]
    rule = build(cls, network, **options)
    x, _, y = batch(network)
    double = updates(rule, rule.settled(x, y))
    single = updates(rule.float(), rule.settled(x.float(), y.float()))
    for name, update in double.items():
        assert torch.allclose(single[name].double(), update, rtol=1e-3, atol=1e-3 * float(update.abs().max()))


def test_lateral_weights_that_epsilon_cannot_bound_are_refused():
    CorInfoMax([6, 5, 4], epsilon=2.0)
    with pytest.raises(UserError, match=r"epsilon is 2\.0: with regularize_lateral B must start below"):
        CorInfoMax([6, 5, 4], epsilon=2.0, regularize_lateral=True)


RELAXATIONS = {
    "equilibrium propagation": (
        EquilibriumPropagation,
        lambda rule, x, y, p: rule.relax(
            rule.clamp(x), p["free"], rule.nudged_steps, rule.step_size, y, p["nudged"].beta
        ),
        "nudged",
    ),
    "CorInfoMax": (
        CorInfoMax,
        lambda rule, x, y, p: rule.relax(rule.network.clamp(x), p["free"], rule.nudged_step_sizes, y, p["nudged"].beta),
        "nudged",
    ),
    "predictive coding": (
        PredictiveCoding,
        lambda rule, x, y, p: rule.relax_fixed(rule.network.clamp(x), p["feedforward"], rule.soften(y)),
        "inference",
    ),
}


@pytest.mark.parametrize("name", RELAXATIONS)
def test_a_phase_depends_on_where_it_starts_and_not_on_the_winners_of_an_earlier_one(name):
    cls, relax, phase = RELAXATIONS[name]
    options = {"update_order": "asynchronous"} if cls is EquilibriumPropagation else {}
    options |= {"fixed_predictions": True} if cls is PredictiveCoding else {}
    rule = build(cls, "max pool", **options)
    x, _, y = batch("max pool")
    phases = rule.settle(x, y)
    found = relax(rule, x, y, phases)
    assert all(torch.equal(a, b) for a, b in zip(found.activity, phases[phase].activity, strict=True))
