"""Oracle: incremental predictive coding against torch's optimizers, and what must hold of it, with measured bounds."""

import itertools
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from bioplausible import IncrementalPredictiveCoding, Phase, PredictiveCoding, UserError
from bioplausible.observers.settling import trajectories
from bioplausible.training import pieces
from bioplausible.training.data_parallel import share
from tests.helpers import NETWORKS, batch, build, updates, work_together

ALL_NETWORKS = pytest.mark.parametrize("network", NETWORKS)
HIDDEN = {"relu": F.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
SGD, ADAM = partial(torch.optim.SGD, lr=0.05), partial(torch.optim.Adam, lr=0.01)
OPTIONS = {
    "plain": {},
    "momentum": {"inference_momentum": 0.5, "inference_nesterov": True},
    "cross entropy": {"loss": "cross_entropy"},
    "softened": {"target_range": (0.1, 0.8)},
    "discount": {"step_size": 1.7, "step_size_discount": 0.5},
    "last": {"update_weights_at": "last"},
    "residual": {"residual": True},
}


def energy_of(rule, v, y):
    """Returns F of each sample from the values, as the formula says it."""
    f = HIDDEN[rule.hparams["activation_function"]]
    f_v = [v[0], *map(f, v[1:])]
    μ = [rule.network.drive(k, f_v) for k in range(1, len(v))]
    if rule.hparams.get("residual"):
        μ[1:-1] = [a + b for a, b in zip(μ[1:-1], v[1:-2], strict=True)]
    if rule.loss == "cross_entropy":
        output = F.cross_entropy(μ[-1], y, reduction="none")
    else:
        output = (v[-1] - μ[-1]).square().sum(1) / 2
    return output + sum((a - b).square().flatten(1).sum(1) / 2 for a, b in zip(v[1:-1], μ[:-1], strict=True))


def reference(rule, x, y, target, optimizer):
    """Moves weights and values as torch's optimizers do, by the gradients of F at one point; returns v and all η."""
    o = rule.hparams
    v = [a.detach().clone() for a in rule.values(x)]
    low, high = rule.target_range
    v[-1] = low + (high - low) * target
    leaves = [a.requires_grad_() for a in v[1:-1]]
    of_values = torch.optim.SGD(
        leaves, lr=o.get("step_size", 0.1), momentum=rule.inference_momentum, nesterov=rule.inference_nesterov
    )
    η, before, T = [], float("inf"), len(rule.step_sizes)
    for t in range(T):
        energy = energy_of(rule, v, y)
        of_weights = torch.autograd.grad(energy.mean(), list(rule.parameters()), retain_graph=True)
        for leaf, g in zip(leaves, torch.autograd.grad(energy.sum(), leaves), strict=True):
            leaf.grad = g
        η.append(of_values.param_groups[0]["lr"])
        of_values.step()
        if float(energy.detach().sum()) >= before:  # from the next step on
            of_values.param_groups[0]["lr"] *= rule.step_size_discount
        before = float(energy.detach().sum())
        if t == T - 1 or rule.update_weights_at == "all":
            for p, g in zip(rule.parameters(), of_weights, strict=True):
                p.grad = g
            optimizer.step()
    return v, η


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    ("network", "f", "optimizer"),
    [("dense", "tanh", SGD), ("dense", "sigmoid", ADAM), ("max pool", "relu", SGD), ("strided skip", "tanh", ADAM)],
)
def test_values_and_weights_move_as_torchs_optimizers_would_move_them(network, f, optimizer, options):
    given = {"activation_function": f, "inference_steps": 7, "step_size": 0.2, **OPTIONS[options]}
    network = [5, 6, 6, 6, 4] if options == "residual" else network
    rule, other = (build(IncrementalPredictiveCoding, network, **given) for _ in range(2))
    other.load_state_dict(rule.state_dict())
    own, others = optimizer(rule.parameter_groups()), optimizer(list(other.parameters()))
    for seed in range(3):
        x, y, target = batch(network, seed=seed)
        phases = rule.learn(x, target, own)
        v, η = reference(other, x, y, target, others)
        for found, expected in zip(phases["inference"].activity[:-1], v, strict=False):
            torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=1e-11)
        for (name, p), (_, q) in zip(rule.named_parameters(), other.named_parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-8, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}")
        assert phases["inference"].step_size == pytest.approx(η[-1])
    if options == "discount" and network == "dense":
        assert η[-1] < η[0]  # else nothing is seen of it


def changes(rule, x, target, lr=1.0, optimizer=torch.optim.SGD):
    """Returns each parameter's change after a batch, divided by the rate."""
    before = {name: p.detach().clone() for name, p in rule.named_parameters()}
    rule.learn(x, target, optimizer(rule.parameter_groups(), lr=lr))
    return {name: (p.detach() - before[name]) / lr for name, p in rule.named_parameters()}


def test_as_the_rate_falls_the_update_tends_to_the_sum_of_predictive_codings_directions():
    """To 1.9e-3 at a rate of 1e-4, measured of another net; the error is linear in the rate."""
    T, given = 6, {"activation_function": "tanh", "step_size": 0.1, "step_size_rule": "constant"}
    x, _, target = batch()
    rule = build(IncrementalPredictiveCoding, inference_steps=T, **given)
    start = {name: p.clone() for name, p in rule.state_dict().items()}
    phases = rule.settle(x, target)
    expected = updates(rule, phases)  # of the feedforward pass
    for t in range(1, T):
        pc = build(PredictiveCoding, inference_steps=t, target_range=(0, 1), **given)
        pc.load_state_dict(start)
        for name, u in updates(pc, pc.settle(x, target)).items():
            expected[name] = expected[name] + u
    errors = []
    for lr in (1e-3, 1e-4, 1e-5):
        rule.load_state_dict(start)
        found = changes(rule, x, target, lr)
        errors.append(max(float((found[n] - u).norm() / u.norm()) for n, u in expected.items()))
    assert errors[1] < 4e-3
    assert errors[0] == pytest.approx(10 * errors[1], rel=0.05)
    assert errors[1] == pytest.approx(10 * errors[2], rel=0.05)


@ALL_NETWORKS
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_iteration_moves_the_output_layer_alone_whatever_the_optimizer(network, loss, dtype, monkeypatch):
    """Adam would make a full step of errors that are but rounding, also where a batch settles in pieces."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1)
    monkeypatch.setattr(pieces, "WEIGHTS_A_NEURON", 10**9)
    monkeypatch.setattr(pieces, "FEWEST", 7)
    rule = build(IncrementalPredictiveCoding, network, inference_steps=1, loss=loss, activation_function="tanh")
    x, _, target = batch(network, n=20)
    found = changes(rule.to(dtype), x.to(dtype), target.to(dtype), 0.01, torch.optim.Adam)
    output = f"network.wiring.{rule.network.L}."
    for name, change in found.items():
        assert bool(change.any()) == name.startswith(output), name


@ALL_NETWORKS
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
def test_the_energy_falls_at_every_iteration(network, loss):
    rule = build(IncrementalPredictiveCoding, network, loss=loss, activation_function="tanh", step_size=0.02)
    x, _, target = batch(network)
    found = []
    rule.watch = lambda t, v, η: found.append(float(rule.energy(Phase(v), target).sum()))
    rule.learn(x, target, torch.optim.SGD(rule.parameter_groups(), lr=0.002))
    assert len(found) == 51
    assert all(after < before for before, after in itertools.pairwise(found))


@pytest.mark.parametrize("network", ["dense", "max pool", "identity skip"])
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
def test_weights_that_move_last_learn_what_predictive_coding_of_one_iteration_less_does(network, loss):
    given = {"loss": loss, "target_range": (0, 1), "activation_function": "tanh", "step_size": 0.2}
    rule = build(IncrementalPredictiveCoding, network, inference_steps=8, update_weights_at="last", **given)
    pc = build(PredictiveCoding, network, inference_steps=7, **given)
    pc.load_state_dict(rule.state_dict())
    x, _, target = batch(network)
    found, expected = (changes(r, x, target) for r in (rule, pc))
    for name, change in expected.items():
        torch.testing.assert_close(found[name], change, rtol=1e-9, atol=1e-12)
        assert change.any()


@pytest.mark.parametrize("network", ["dense", "max pool", "identity skip"])
def test_callbacks_see_the_inference_of_predictive_coding_with_weights_that_stay(network):
    given = {"target_range": (0, 1), "activation_function": "tanh", "step_size": 0.2, "inference_steps": 6}
    rule, pc = build(IncrementalPredictiveCoding, network, **given), build(PredictiveCoding, network, **given)
    pc.load_state_dict(rule.state_dict())
    x, _, target = batch(network)
    found, expected = rule.settled(x, target), pc.settle(x, target)
    for a, b in zip(found["inference"].activity, expected["inference"].activity, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)
    assert all(torch.equal(p, q) for p, q in zip(rule.parameters(), pc.parameters(), strict=True))
    assert trajectories(rule, x, target, tolerance=1e-3).keys() == {"inference"}


NET = "max pool"
TOGETHER = {"step_size": 0.8, "step_size_discount": 0.5, "inference_steps": 6, "inference_momentum": 0.3}


def learned(exchange="updates"):
    """Returns the state after batches of uneven shares, even ones, and one of which not every process has a sample."""
    torch.manual_seed(0)
    IncrementalPredictiveCoding.exchange = exchange
    rule = build(IncrementalPredictiveCoding, NET, activation_function="tanh", **TOGETHER)
    optimizer = torch.optim.SGD(rule.parameter_groups(), lr=0.1, momentum=0.5)
    for n in (7, 6, 1):
        x, _, target = batch(NET, n, seed=n)
        rule.phases = rule.learn(share(x), share(target), optimizer)
    sizes = torch.tensor([rule.phases["inference"].step_size])
    return {"last step size": sizes, **{name: tensor.clone() for name, tensor in rule.state_dict().items()}}


@pytest.mark.parametrize("exchange", ["phases", "updates"])
def test_two_processes_learn_what_one_does(exchange, tmp_path):
    """Step sizes that the energy of all samples decides included."""
    first, second = work_together(learned, exchange, folder=tmp_path)
    assert all(torch.equal(first[key], second[key]) for key in first)
    expected = learned()
    assert float(expected["last step size"]) < 0.8
    torch.testing.assert_close(first, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_a_batch_learns_the_same_in_pieces_of_any_size(size, monkeypatch):
    found = []
    for fewest in (100, size):
        monkeypatch.setattr(pieces, "PIECE_BYTES", 1)
        monkeypatch.setattr(pieces, "WEIGHTS_A_NEURON", 10**9)
        monkeypatch.setattr(pieces, "FEWEST", fewest)
        found.append(learned())
    torch.testing.assert_close(*found, rtol=1e-11, atol=1e-12)


def test_the_phase_of_a_batch_is_where_values_and_errors_end():
    rule = build(IncrementalPredictiveCoding, inference_steps=5, loss="cross_entropy")
    x, _, target = batch()
    phase = rule.learn(x, target, torch.optim.SGD(rule.parameter_groups(), lr=0.1))["inference"]
    hidden = zip(rule.errors(phase)[:-1], phase.internal["error"], strict=False)
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-14) for a, b in hidden)
    assert len(phase.previous) == rule.network.L
    assert 0 < float(phase.residual()) < 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        *(({"step_size_discount": d}, "step_size_discount") for d in (0.0, -0.5, 1.1)),
        ({"step_size_discount": 0.5, "inference_steps": 2}, "step_size_discount has no effect"),
        ({"update_weights_at": "first"}, "update_weights_at is 'first': choose all or last"),
        ({"loss": "cross_entropy", "target_range": (0, 0.9)}, "target_range"),
        ({"target_range": (0.9, 0.1)}, "target_range"),
        ({"inference_steps": 0}, "inference_steps"),
    ],
    ids=str,
)
def test_bad_options_are_refused_by_name(options, said):
    with pytest.raises(UserError, match=said):
        build(IncrementalPredictiveCoding, **options)
