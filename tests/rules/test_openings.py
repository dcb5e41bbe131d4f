"""Rules of a user's own that take several steps a batch, draw for each sample, and have complex activities."""

from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.nn.utils import clip_grad_norm_

from bioplausible import Backpropagation, DigitsDataModule, UserError
from bioplausible.__main__ import main
from bioplausible.observers import Alignment, Guard, Representations, Settling
from bioplausible.observers.throughput import SamplesPerSecond
from bioplausible.rules import LearningRule
from bioplausible.training import pieces
from bioplausible.training.data_parallel import share
from tests.examples.node_perturbation import NodePerturbation
from tests.examples.settled_feedback import SettledFeedback
from tests.helpers import EXAMPLES, ROOT, batch, build, command_line, differences, result, work_together

STEPS = 3
MOVING = {"lr": 0.1, "momentum": 0.6, "weight_decay": 0.05}


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)


def code_of(name: str) -> str:
    """Returns an example without what it says of itself."""
    return (EXAMPLES / f"{name}.py").read_text().partition("\n\n")[2]


def test_the_documentation_shows_the_examples():
    documented = (ROOT / "docs/rules.md").read_text()
    for name in ("settled_feedback", "node_perturbation"):
        assert f'```python title="{name}.py"\n{code_of(name)}```' in documented


# ------------------------------------------------------------------------------------------------ several steps a batch


class Steps(Callback):
    """Notes the step under which each step of the optimizer is shown, and the parameters that it moves."""

    def __init__(self):
        self.seen, self.after, self.gradients = [], [], 0

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        moved = frozenset(name for name, p in pl_module.named_parameters() if p.grad is not None)
        self.seen.append((trainer.global_step, pl_module.step, moved))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.after.append(trainer.global_step)
        self.gradients += sum(p.grad is not None for p in pl_module.parameters())


def fit(rule, *callbacks, **options):
    trainer = Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=4,
        **options,
    )
    trainer.fit(rule, DigitsDataModule(validation_split=0.1, subset_size=230))
    return trainer


@pytest.mark.parametrize("stop", [{"max_epochs": 2}, {"max_steps": 7}], ids=str)
def test_batches_are_counted_however_many_steps_each_takes(stop):
    rates = []

    def scheduler(optimizer):
        rates.append(torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9))
        return rates[0]

    rule = SettledFeedback(
        feedback_steps=STEPS, layer_sizes=[64, 9, 8, 10], lr_scheduler=scheduler, lr_scheduler_interval="step"
    )
    steps, saved = Steps(), ModelCheckpoint(every_n_train_steps=3, save_top_k=-1, filename="{step}")
    trainer = fit(rule, steps, saved, **stop)
    batches = stop.get("max_steps", 2 * 11)
    assert trainer.global_step == batches == rule.step == rates[0].last_epoch
    assert steps.after == list(range(1, batches + 1))
    assert sorted(Path(saved.dirpath).glob("*.ckpt")) == sorted(
        Path(saved.dirpath) / f"step={n}.ckpt" for n in range(3, batches + 1, 3)
    )
    feedback = frozenset(name for name, _ in rule.named_parameters() if "feedback" in name)
    forward = frozenset(name for name, _ in rule.named_parameters()) - feedback
    assert steps.seen == [(n, n, moved) for n in range(batches) for moved in [feedback] * STEPS + [forward]]
    assert steps.gradients == batches * len(list(rule.parameters()))  # the last update of each is still there to see


@pytest.mark.parametrize("limit", [None, 0.3])
@pytest.mark.parametrize("network", ["dense", "max pool", "strided skip"])
def test_what_a_step_does_not_update_it_leaves_alone(network, limit):
    """The oracle has an optimizer for V and one for W and b, and takes each step by hand."""
    rule, other = (build(SettledFeedback, network, feedback_steps=STEPS, gradient_norm_limit=limit) for _ in range(2))
    other.load_state_dict(rule.state_dict())
    V = [p for name, p in other.named_parameters() if "feedback" in name]
    W = [p for name, p in other.named_parameters() if "feedback" not in name]
    optimizer = torch.optim.SGD(rule.parameter_groups(), **MOVING)
    of_V, of_W = torch.optim.SGD(V, **MOVING), torch.optim.SGD(W, **MOVING)

    def take(optimizer, parameters, updates):
        for p, u in updates:
            p.grad = -u
        if limit is not None:
            clip_grad_norm_(parameters, limit)
        optimizer.step()

    for seed in range(3):
        x, _, y = batch(network, seed=seed)
        rule.learn(x, y, optimizer)
        with torch.no_grad():
            phase = other.settle(x, y)["feedforward"]
            for t in range(STEPS):
                take(of_V, V, other.feedback_updates(phase, t))
            take(of_W, W, other.local_updates({"feedforward": phase}))
    torch.testing.assert_close(rule.state_dict(), other.state_dict(), rtol=1e-12, atol=1e-12)


class Again(Backpropagation):
    """Takes the same errors and activities three times, so that winners are asked for after weights have moved."""

    def updates(self, phases):
        for _ in range(3):
            yield self.local_updates(phases)


def test_winners_are_found_anew_after_each_step(monkeypatch):
    x, _, y = batch("max pool", n=9)
    found = []
    for held in (True, False):
        torch.manual_seed(0)
        rule = build(Again, "max pool")
        if not held:
            for c in rule.network.connections:
                monkeypatch.setattr(c, "hold_weights", lambda held: None)
        with torch.no_grad():
            before = [c.winners(r) for c, r in zip(rule.network.chain, rule.activity(x), strict=False)]
            rule.learn(x, y, torch.optim.SGD(rule.parameter_groups(), lr=5.0))
            after = [c.winners(r) for c, r in zip(rule.network.chain, rule.activity(x), strict=False)]
        assert not torch.equal(before[0], after[0])
        found.append(rule.state_dict())
    torch.testing.assert_close(*found, rtol=0, atol=0)


class Nothing(Backpropagation):
    """Never learns."""

    def updates(self, phases):
        return []


def test_a_batch_without_updates_counts_and_moves_nothing():
    rule = Nothing(layer_sizes=[64, 9, 10])
    before = {name: p.clone() for name, p in rule.named_parameters()}
    assert fit(rule, max_epochs=1).global_step == 11
    assert all(torch.equal(p, before[name]) for name, p in rule.named_parameters())


# ------------------------------------------------------------------------------------------------ draws for each sample

RULES = {"SettledFeedback": SettledFeedback, "NodePerturbation": NodePerturbation}
NETWORK = {"SettledFeedback": "max pool", "NodePerturbation": "average pool"}


def learned(name: str, exchange: str = "smaller") -> dict:
    """Returns the state after batches of uneven shares, even ones, and one of which not every process has a sample."""
    torch.manual_seed(0)
    LearningRule.exchange = exchange
    rule = build(RULES[name], NETWORK[name])
    optimizer = torch.optim.SGD(rule.parameter_groups(), **MOVING)
    for n in (7, 6, 1):
        x, _, target = batch(NETWORK[name], n, seed=n)
        rule.phases = rule.learn(share(x), share(target), optimizer)
    return {name: tensor.clone() for name, tensor in rule.state_dict().items()}


@pytest.mark.parametrize("exchange", ["phases", "updates"])
@pytest.mark.parametrize("name", RULES)
def test_two_processes_learn_what_one_does(name, exchange, tmp_path):
    first, second = work_together(learned, name, exchange, folder=tmp_path)
    assert all(torch.equal(first[key], second[key]) for key in first)
    torch.testing.assert_close(first, learned(name), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("name", RULES)
def test_a_batch_learns_the_same_in_pieces_of_any_size(name, size, monkeypatch):
    found, noise = [], []
    for fewest in (100, size):
        monkeypatch.setattr(pieces, "PIECE_BYTES", 1)
        monkeypatch.setattr(pieces, "WEIGHTS_A_NEURON", 10**9)
        monkeypatch.setattr(pieces, "FEWEST", fewest)
        torch.manual_seed(0)
        rule = build(RULES[name], NETWORK[name])
        optimizer = torch.optim.SGD(rule.parameter_groups(), lr=0.1)
        x, _, target = batch(NETWORK[name], n=8)
        phases = rule.learn(x, target, optimizer)
        found.append(rule.state_dict())
        noise.append(next(iter(phases.values())).internal.get("noise", []))
    torch.testing.assert_close(*found, rtol=1e-11, atol=1e-12)
    assert all(torch.equal(a, b) for a, b in zip(*noise, strict=True))  # to the bit


def test_draws_want_the_samples_that_settle():
    class Wrong(NodePerturbation):
        def settle(self, x, target):
            self.draws(x[1:])
            raise AssertionError

    rule = build(Wrong)
    x, _, target = batch()
    with pytest.raises(UserError, match="draws got 5 samples while 6 settle"):
        rule.learn(x, target, torch.optim.SGD(rule.parameters(), lr=0.1))
    assert torch.equal(rule.draws(x[1:]).keys, rule.draws(x).keys[:-1])  # what failed leaves nothing behind


@pytest.mark.parametrize("name", ["settled_feedback", "node_perturbation"])
def test_they_resume_to_the_same_bits(name, tmp_path):
    config = ["fit", "--config", str(EXAMPLES / f"{name}.yaml"), "--data.init_args.subset_size", "230"]
    config += ["--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", "2"]
    ends = []
    for kill in (None, 16):
        folder = tmp_path / str(kill)
        folder.mkdir()
        status = command_line([*config, "--checkpoint_every_n_steps", "4"], folder, kill_before_step=kill)
        assert status == (0 if kill is None else -9)
        if kill is not None:
            assert command_line(["fit", "--ckpt_path", "last"], folder) == 0
        ends.append(result(folder, Path(f"lightning_logs/digits/{name}/version_0")))
    assert ends[0][0]["global_step"] == 3 * 11
    assert list(differences(ends[0][0], ends[1][0])) == []
    assert ends[1][1] == ends[0][1]


# -------------------------------------------------------------------------------------------------- complex activities


@pytest.mark.parametrize("network", ["dense", "convolution", "average pool", "local", "strided skip"])
def test_the_slope_is_the_losss_along_the_noise(network):
    rule = build(NodePerturbation, network)
    x, _, target = batch(network)
    with torch.no_grad():
        (phase,) = rule.settle(x, target).values()
    moved = [torch.zeros_like(ξ, requires_grad=True) for ξ in phase.internal["noise"]]
    r = [x]
    for k, noise in enumerate(moved, start=1):
        a = rule.network.drive(k, r) + noise
        r.append(a.tanh() if k < rule.network.L else a)
    δ = torch.autograd.grad(rule.sample_losses(r[-1], target).sum(), moved)
    slope = sum((d * ξ).flatten(1).sum(1) for d, ξ in zip(δ, phase.internal["noise"], strict=True))
    torch.testing.assert_close(phase.internal["slope"][0], slope.detach(), rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(rule.answer(phase), r[-1].detach())
    assert phase.output.is_complex()
    assert not rule.answer(phase).is_complex()


class Complex(NodePerturbation):
    """Shows its activities as complex numbers too."""

    def activity(self, x):
        return [torch.complex(r, r / 2) for r in super().activity(x)]

    def forward(self, x):
        return self.activity(x)[-1].real


def test_observers_look_at_complex_activities():
    rule = Complex(layer_sizes=[64, 12, 10], optimizer=lambda p: torch.optim.SGD(p, lr=0.003))
    observers = [Guard(every_n_steps=2), Representations(every_n_steps=5), Settling(every_n_steps=5)]
    fit(rule, *observers, SamplesPerSecond(), Alignment(every_n_steps=5), max_epochs=1)
    assert rule.phases["perturbed"].activity[1].dtype == torch.complex64


def test_they_fit_and_test_from_the_command_line(capsys):
    assert main(["fit", "--config", str(EXAMPLES / "settled_feedback.yaml"), "--trainer.max_epochs", "10"]) == 0
    assert float(capsys.readouterr().out.split("test accuracy")[1].split("%")[0]) >= 90


def test_draws_are_of_the_seed_and_the_step():
    class At(NodePerturbation):
        step = 0

    rule, (x, _, _) = build(At), batch()
    keys = []
    for rule.seed in (0, 1):
        for rule.step in (0, 1):
            keys.append(rule.draws(x).keys)
    assert len(torch.cat(keys).unique()) == 4 * len(x)
