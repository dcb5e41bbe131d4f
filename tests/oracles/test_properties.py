"""Properties that hold for every rule the package exports, and for generated networks and inputs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from bioplausible import CorInfoMax
from bioplausible.errors import UserError
from bioplausible.functional import update_inverse_correlation_
from bioplausible.rules import Phase
from tests.helpers import SIZES, all_rules, batch, build, updates

RULES = pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)


def test_all_eight_rules_are_there():
    assert len(all_rules()) >= 8


@RULES
@pytest.mark.parametrize("sizes", [[5, 3], [5, 4, 3], [7, 6, 5, 4], [6, 5, 5, 4, 4, 3]], ids=len)
@torch.no_grad()
def test_any_depth(cls, sizes):
    rule = build(cls, sizes)
    x, _, y = batch(sizes)
    phases = rule.settle(x, y)
    found = updates(rule, phases)
    assert found.keys() == dict(rule.named_parameters()).keys()
    for name, parameter in rule.named_parameters():
        assert found[name].shape == parameter.shape
        assert found[name].isfinite().all()
    assert rule(x).shape == y.shape
    probabilities = rule.class_probabilities(rule(x))
    assert torch.allclose(probabilities.sum(1), torch.ones(len(x), dtype=torch.float64))


@RULES
@torch.no_grad()
def test_updates_are_local(cls):
    """With the settled activities held, what a synapse learns depends on its two sides and its own weights alone."""
    rule = build(cls)
    x, _, y = batch()
    phases = rule.settle(x, y)
    before = updates(rule, phases)

    def disturbed(layer):
        copies = {}
        for name, p in phases.items():
            activity = [a + (k == layer) * 0.1 * torch.rand_like(a) for k, a in enumerate(p.activity)]
            internal = {
                key: [a + (k == layer) * 0.1 for k, a in enumerate(value, 1)] if key == "delta" else value
                for key, value in p.internal.items()
            }
            copies[name] = Phase(activity, p.nudge, p.previous, p.step_size, internal)
        return copies

    L = len(SIZES) - 1
    for layer in range(L + 1):
        after = updates(rule, disturbed(layer))
        for k in range(1, L + 1):
            touched = layer in (k - 1, k)
            changed = not torch.equal(before[f"connections.{k - 1}.weight"], after[f"connections.{k - 1}.weight"])
            assert not changed or touched, f"W_{k} depends on layer {layer}"
    for k in range(1, L + 1):
        saved = {name: p.clone() for name, p in rule.named_parameters()}
        for name, p in rule.named_parameters():
            if not name.startswith(f"connections.{k - 1}."):
                p.add_(0.1)
        after = updates(rule, phases)
        assert torch.equal(before[f"connections.{k - 1}.weight"], after[f"connections.{k - 1}.weight"])
        for name, p in rule.named_parameters():
            p.copy_(saved[name])


class NoSynchronisation(TorchDispatchMode):
    """Raises where a tensor's value is read by the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert "_local_scalar_dense" not in str(func), "the host waits for a tensor's value"
        return func(*args, **(kwargs or {}))


@RULES
@torch.no_grad()
def test_no_host_synchronisation_while_settling_and_learning(cls):
    rule = build(cls)
    x, _, y = batch()
    with NoSynchronisation():
        updates(rule, rule.settle(x, y))
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
    x, _, y = batch(sizes, n, seed)
    phases = rule.settle(x, y)
    assert all(r.min() >= 0 and r.max() <= 1 for p in phases.values() for r in p.activity)
    rule.update_state(phases, None)
    for lateral in rule.laterals:
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


@RULES
@torch.no_grad()
def test_float32_agrees_with_float64(cls):
    rule = build(cls)
    x, _, y = batch()
    double = updates(rule, rule.settle(x, y))
    single = updates(rule.float(), rule.settle(x.float(), y.float()))
    for name, update in double.items():
        assert torch.allclose(single[name].double(), update, rtol=1e-3, atol=1e-3 * float(update.abs().max()))


def test_lateral_weights_that_epsilon_cannot_bound_are_refused():
    CorInfoMax([6, 5, 4], epsilon=2.0)
    with pytest.raises(UserError, match=r"epsilon is 2\.0: with regularize_lateral B must start below"):
        CorInfoMax([6, 5, 4], epsilon=2.0, regularize_lateral=True)
