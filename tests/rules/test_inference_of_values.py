"""How predictive coding's values descend: momentum, what the output is held at, and any f, against torch's own SGD."""

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch.nn import functional as F

from bioplausible import DigitsDataModule, NudgedPredictiveCoding, PredictiveCoding, UserError
from bioplausible.rules import LearningRule
from tests.helpers import batch, build, updates

MOMENTA = {
    "none": {},
    "momentum": {"inference_momentum": 0.6},
    "Nesterov": {"inference_momentum": 0.6, "inference_nesterov": True},
}
BETAS = {"plain": {}, "positive": {"beta": 0.3}, "negative": {"beta": -0.2}}
HIDDEN = {"relu": F.relu, "tanh": torch.tanh, "gelu": F.gelu, "hard_tanh": F.hardtanh}
RESIDUAL = [5, 6, 6, 6, 4]
"""A network whose layers 2 and 3 are residual."""
η, T = 0.05, 7
FALLING = {"step_size_rule": "divide_by_slow_loop_index", "step_size": η, "step_size_floor": 0.02}
FALLING |= {"step_size_decay": 0.3, "inference_steps": T}
"""Step sizes that fall from η: each iteration moves all that it moves by its own."""


def reference(rule, x, energy_of, start=None, settles=slice(1, -1)):
    """Returns x and the values where torch's SGD with the rule's momentum takes them in T steps, and their energy.

    Args:
        rule: its network and momentum.
        x: input.
        energy_of: the energy of all samples from values and predictions.
        start: values to start from; None: those of the feedforward pass.
        settles: which values move.
    """
    v = [a.detach().clone() for a in (rule.values(x) if start is None else start)]
    leaves = [a.requires_grad_() for a in v[settles]]
    μ, nesterov = rule.inference_momentum, rule.inference_nesterov
    optimizer = torch.optim.SGD(leaves, lr=η, momentum=μ, nesterov=nesterov)
    f = HIDDEN[rule.hparams["activation_function"]]

    def energy():
        f_v = [v[0], *(f(a) for a in v[1:])]
        μ = [None, *(rule.network.drive(k, f_v) for k in range(1, len(v)))]
        if rule.hparams.get("residual"):
            μ[2:-1] = [a + b for a, b in zip(μ[2:-1], v[1:-2], strict=True)]
        return energy_of(v, μ)

    for rate in rule.step_sizes:
        optimizer.param_groups[0]["lr"] = rate
        for leaf, g in zip(leaves, torch.autograd.grad(energy(), leaves), strict=True):
            leaf.grad = g
        optimizer.step()
    return v, energy()


def require_as(rule, phase, v, loss, divisor):
    """The values are these, and the updates descend the energy by each parameter."""
    for k, (found, expected) in enumerate(zip(phase.activity, v, strict=True)):
        torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=1e-11, msg=lambda m, k=k: f"v_{k}: {m}")
    gradients = torch.autograd.grad(loss / divisor, list(rule.parameters()))
    found = updates(rule, {"feedforward": phase, "inference": phase})
    for (name, _), g in zip(rule.named_parameters(), gradients, strict=True):
        torch.testing.assert_close(found[name], -g, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize(
    ("network", "f"), [("dense", "tanh"), ("max pool", "gelu"), ("strided skip", "hard_tanh"), (RESIDUAL, "tanh")]
)
def test_values_descend_as_torchs_sgd_would(network, f, momentum, beta):
    """½ Σ_k ‖e_k‖², v_L held at μ_L + β (y − μ_L) of the feedforward pass, and updates divided by β."""
    options = {**MOMENTA[momentum], **BETAS[beta], **FALLING}
    options |= {"residual": True} if network is RESIDUAL else {}
    rule = build(PredictiveCoding, network, activation_function=f, target_range=(0.1, 0.8), **options)
    x, _, y = batch(network)
    β = options.get("beta", 1.0)
    start = [a.detach() for a in rule.values(x)]
    start[-1] = start[-1] + β * (0.7 * y + 0.1 - start[-1])
    energy_of = lambda v, μ: sum((v[k] - μ[k]).square().sum() for k in range(1, len(v))) / 2  # noqa: E731
    v, energy = reference(rule, x, energy_of, start)
    require_as(rule, rule.settle(x, y)["inference"], v, energy, len(x) * β)


@pytest.mark.parametrize("momentum", MOMENTA)
def test_values_descend_with_cross_entropy(momentum):
    options = {**MOMENTA[momentum], **FALLING}
    rule = build(PredictiveCoding, activation_function="gelu", target_range=(0, 1), loss="cross_entropy", **options)
    x, classes, y = batch()

    def energy_of(v, μ):
        hidden = sum((v[k] - μ[k]).square().sum() for k in range(1, len(v) - 1)) / 2
        return hidden + F.cross_entropy(μ[-1], classes, reduction="sum")

    v, energy = reference(rule, x, energy_of)
    phase = rule.settle(x, y)["inference"]
    v[-1] = phase.activity[-1]  # there the prediction stands, not a value
    require_as(rule, phase, v, energy, len(x))


@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize(("network", "f"), [("dense", "gelu"), ("max pool", "relu"), (RESIDUAL, "tanh")])
def test_a_nudged_output_moves_with_the_others(network, f, momentum):
    """Σ_k ‖e_k‖² + β ‖v_L − y‖², the output's momentum included."""
    options = {**MOMENTA[momentum], **FALLING}
    options |= {"residual": True} if network is RESIDUAL else {}
    rule = build(NudgedPredictiveCoding, network, activation_function=f, beta=0.3, **options)
    x, _, y = batch(network)

    def energy_of(v, μ):
        return sum((v[k] - μ[k]).square().sum() for k in range(1, len(v))) + 0.3 * (v[-1] - y).square().sum()

    v, energy = reference(rule, x, energy_of, settles=slice(1, None))
    require_as(rule, rule.settle(x, y)["inference"], v, energy, 0.3)


@pytest.mark.parametrize("network", ["dense", "average pool", "max pool", "local", [5, 6, 6, 6, 6, 4]], ids=str)
def test_the_error_that_arrives_at_the_first_layer_is_backpropagations_times_a_power_of_the_step_size(network):
    """After L − 1 iterations e_1 = −η^(L−1) ∂C/∂v_1, to 1e-12 of another net."""
    given = {"activation_function": "tanh", "target_range": (0, 1), "step_size": 0.3}
    L = len(build(PredictiveCoding, network).network.shapes) - 1
    x, _, y = batch(network)
    for T in (L - 2, L - 1):
        torch.manual_seed(0)
        rule = build(PredictiveCoding, network, inference_steps=T, **given)
        found = rule.settle(x, y)["inference"].internal["error"][0]
        if T < L - 1:
            assert found.abs().max() < 1e-14  # nothing has arrived but rounding
    v = [x, rule.network.drive(1, [x]).detach().requires_grad_()]
    for k in range(2, L + 1):
        v.append(rule.network.drive(k, [v[0], *(a.tanh() for a in v[1:])]))
    (δ,) = torch.autograd.grad((v[-1] - y).square().sum() / 2, v[1])
    torch.testing.assert_close(found, -(0.3 ** (L - 1)) * δ, rtol=1e-10, atol=1e-13)


@torch.no_grad()
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("momentum", MOMENTA)
def test_values_relax_towards_fixed_predictions(momentum, beta):
    options = {**MOMENTA[momentum], **BETAS[beta], **FALLING}
    rule = build(PredictiveCoding, activation_function="tanh", target_range=(0, 1), fixed_predictions=True, **options)
    x, _, y = batch()
    β, m = options.get("beta", 1.0), options.get("inference_momentum", 0.0)
    μ = rule.values(x)
    W = [c.weight for c in rule.network.connections]
    v = [a.clone() for a in μ]
    v[-1] += β * (y - μ[-1])
    moved = [torch.zeros_like(a) for a in v]
    for rate in rule.step_sizes:
        e = [a - b for a, b in zip(v, μ, strict=True)]
        for k in (1, 2):
            g = (1 - μ[k].tanh().square()) * (e[k + 1] @ W[k]) - e[k]
            moved[k] = m * moved[k] + g
            v[k] = v[k] + rate * (g + m * moved[k] if "inference_nesterov" in options else moved[k])
    phases = rule.settle(x, y)
    for found, expected in zip(phases["inference"].activity, v, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    found = updates(rule, phases)
    for k in (1, 2, 3):
        e, r = v[k] - μ[k], x if k == 1 else μ[k - 1].tanh()
        torch.testing.assert_close(found[f"network.wiring.{k}.weight"], e.t() @ r / len(x) / β, rtol=1e-8, atol=1e-11)
        torch.testing.assert_close(found[f"network.wiring.{k}.bias"], e.mean(0) / β, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(
    ("beta", "growth", "expected"),
    [
        (0.32, 0.02, [0.32, 0.34, 0.36, 0.98, 1.0, 1.0]),
        (-0.18, 0.02, [-0.18, -0.20, -0.22, -0.84, -0.98, -1.0]),
        (-0.18, 0.0, [-0.18] * 6),
        (1.0, 0.0, [1.0] * 6),
    ],
)
def test_beta_grows_from_epoch_to_epoch_up_to_one_with_its_sign(beta, growth, expected, monkeypatch):
    rule = build(PredictiveCoding, beta=beta, beta_growth=growth)
    x, _, y = batch()
    found = []
    for epoch in (0, 1, 2, 33, 40, 70):
        monkeypatch.setattr(LearningRule, "current_epoch", property(lambda self, epoch=epoch: epoch))
        phases = rule.settle(x, y)
        way = (phases["inference"].output - phases["feedforward"].output) / (
            rule.soften(y) - phases["feedforward"].output
        )
        assert float(way.max() - way.min()) < 1e-9
        found.append(float(way.mean()))
    assert found == pytest.approx(expected)


def test_the_epoch_is_the_trainers():
    seen = []

    class Look(Callback):
        def on_train_batch_end(self, trainer, pl_module, *args):
            seen.append(pl_module.beta_now)

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_epochs=3, accelerator="cpu", enable_model_summary=False, callbacks=[Look()], **quiet)
    trainer.fit(PredictiveCoding([64, 10], beta=0.5, beta_growth=0.25), DigitsDataModule(subset_size=40))
    assert seen == [0.5, 0.5, 0.75, 0.75, 1.0, 1.0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"inference_momentum": 1.0}, "inference_momentum is 1.0: it must lie in"),
        ({"inference_momentum": -0.1}, "inference_momentum is -0.1"),
        ({"inference_nesterov": True}, "inference_nesterov has no effect without momentum"),
        ({"beta": 0}, "beta is 0: without a nudge"),
        ({"beta": 0.5, "loss": "cross_entropy", "target_range": (0, 1)}, "beta is 0.5: cross entropy compares"),
        ({"beta": 0.5, "beta_growth": -0.1}, "beta_growth is -0.1 and beta 0.5"),
        ({"beta_growth": 0.1}, "beta_growth is 0.1 and beta 1.0"),
    ],
)
def test_what_would_do_nothing_or_never_settle_is_refused(options, said):
    with pytest.raises(UserError, match=said):
        build(PredictiveCoding, **options)
