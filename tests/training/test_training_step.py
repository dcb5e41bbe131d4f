"""What a training step does besides learning: schedules, means, losses, confidences, throughput, what resumes."""

import copy
import random
import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

from bioplausible import (
    Backpropagation,
    DirectFeedbackAlignment,
    EquilibriumPropagation,
    ErrorBroadcastDecorrelation,
    FeedbackAlignment,
    IncrementalPredictiveCoding,
    KolenPollack,
    MuPredictiveCoding,
    NudgedPredictiveCoding,
    Phase,
    PredictiveCoding,
)
from bioplausible.errors import UserError
from bioplausible.observers.throughput import SamplesPerSecond
from bioplausible.resume.exact_resume import ExactResume
from bioplausible.training.metrics import EpochMeans
from bioplausible.training.preconditions import Preconditions
from tests.helpers import SIZES, all_rules, batch, build

SAMPLES, BATCH = 22, 4  # six batches, the last of two


def train(rule, epochs=2, callbacks=(), validate=False, **options):
    """Trains a rule on random samples, with no more of a Trainer than it needs."""
    x, y, _ = batch(n=SAMPLES)
    loader = DataLoader(TensorDataset(x, y), batch_size=BATCH)
    trainer = Trainer(
        accelerator="cpu",
        precision="64-true",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        num_sanity_val_steps=0,
        **options,
    )
    trainer.fit(rule, loader, *([loader] if validate else []))
    return trainer


@pytest.mark.parametrize(("interval", "steps"), [("step", 12), ("epoch", 2)])
def test_a_schedule_steps_at_its_own_interval_and_at_no_other(interval, steps):
    rates = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    rule = build(
        Backpropagation,
        optimizer=partial(torch.optim.SGD, lr=1.0),
        lr_scheduler=partial(StepLR, step_size=1, gamma=0.5),
        lr_scheduler_interval=interval,
    )
    trainer = train(rule, callbacks=[Watch()])
    expected = [0.5 ** (t if interval == "step" else t // 6) for t in range(12)]
    assert rates == expected
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.5**steps


def test_training_means_are_those_of_their_epoch_alone_and_weigh_samples():
    class Score(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            correct = pl_module.output.argmax(1) == pl_module.classes
            target = pl_module.one_hot(pl_module.classes, torch.float64)
            scores.append((trainer.current_epoch, correct, pl_module.sample_losses(pl_module.output, target)))
            assert torch.equal(pl_module.classes, batch[1])

    scores, written = [], []
    rule = build(Backpropagation, optimizer=partial(torch.optim.SGD, lr=2.0))
    rule._write = written.append
    train(rule, epochs=3, callbacks=[Score()])
    means = [scalars for scalars in written if "train/loss" in scalars]
    assert len(means) == 3
    for epoch, found in enumerate(means):
        correct = torch.cat([c for e, c, _ in scores if e == epoch])
        loss = torch.cat([x for e, _, x in scores if e == epoch])
        assert len(loss) == SAMPLES
        assert float(found["train/accuracy"]) == pytest.approx(float(correct.double().mean()))
        assert float(found["train/loss"]) == pytest.approx(float(loss.mean()))
    assert float(means[0]["train/loss"]) != pytest.approx(float(means[2]["train/loss"]), rel=1e-3)


def test_evaluation_means_are_those_of_their_evaluation_alone():
    logged = []
    rule = build(Backpropagation, optimizer=partial(torch.optim.SGD, lr=0.5))
    x, y, target = batch(n=SAMPLES)

    class Watch(Callback):
        def on_validation_end(self, trainer, pl_module):
            output = pl_module(x)
            expected = {
                "val/accuracy": float((output.argmax(1) == y).double().mean()),
                "val/loss": float(pl_module.sample_losses(output, target).mean()),
            }
            logged.append(({k: float(trainer.callback_metrics[k]) for k in expected}, expected))

    train(rule, epochs=3, callbacks=[Watch()], validate=True)
    assert len(logged) == 3
    for found, expected in logged:
        assert found == pytest.approx(expected, rel=1e-6)


class Stops(Callback):
    """Raises what a user's key, or a refusal, raises after the second batch of a stage."""

    def __init__(self, stage):
        self.stage = stage

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self._stop("train", batch_idx)

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self._stop("val", batch_idx)

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self._stop("test", batch_idx)

    def _stop(self, stage, batch_idx):
        if stage == self.stage and batch_idx == 1:
            raise UserError("Stopped.")


def logged(rule, stage):
    """Returns the means of one epoch of a stage, as a Trainer logs them."""
    if stage == "test":
        x, y, _ = batch(n=SAMPLES)
        trainer = Trainer(logger=False, accelerator="cpu", precision="64-true", enable_progress_bar=False)
        trainer.test(rule, DataLoader(TensorDataset(x, y), batch_size=BATCH), verbose=False)
    else:
        trainer = train(rule, epochs=1, validate=stage == "val")
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(stage)}


def stopped(rule, stage):
    x, y, _ = batch(n=SAMPLES)
    loader = DataLoader(TensorDataset(x, (y + 1) % 4), batch_size=BATCH)  # other classes: other means
    options = {"logger": False, "accelerator": "cpu", "precision": "64-true", "enable_progress_bar": False}
    trainer = Trainer(callbacks=[Stops(stage)], max_epochs=1, enable_checkpointing=False, **options)
    run = partial(trainer.test, verbose=False) if stage == "test" else partial(trainer.fit, val_dataloaders=loader)
    with pytest.raises(UserError, match="Stopped"):
        run(rule, loader)


@pytest.mark.parametrize("stage", ["train", "val", "test"])
def test_means_after_an_epoch_that_was_stopped_are_those_of_the_next_one_alone(stage):
    rule = build(Backpropagation, optimizer=partial(torch.optim.SGD, lr=0.1))
    first = copy.deepcopy(rule.network.state_dict())
    expected = logged(rule, stage)
    assert len(expected) == 2
    stopped(rule, stage)
    rule.network.load_state_dict(first)
    assert logged(rule, stage) == expected


def test_training_means_after_a_state_from_within_an_epoch_are_those_of_the_next_one_alone():
    rule = build(Backpropagation, optimizer=partial(torch.optim.SGD, lr=0.1))
    stopped(rule, "train")
    within, other = copy.deepcopy(rule.state_dict()), copy.deepcopy(rule)
    other.train_means.reset()
    rule.load_state_dict(within)
    assert logged(rule, "train") == logged(other, "train")


def test_a_second_training_of_a_rule_that_ends_at_the_same_step_writes_its_means():
    written = []
    rule = build(Backpropagation)
    rule._write = written.append
    for _ in range(2):
        train(rule, epochs=1)
    assert ["train/loss" in scalars for scalars in written].count(True) == 2


def test_means_know_how_many_samples_they_are_of():
    means = EpochMeans(persistent=True)
    means.update(torch.tensor([True, False, True]), torch.tensor([1.0, 2.0, 6.0]))
    means.update(torch.tensor([False]), torch.tensor([11.0]))
    assert {k: float(v) for k, v in means.compute().items()} == {"accuracy": 0.5, "loss": 5.0}
    means.reset()
    means.update(torch.tensor([True]), torch.tensor([3.0]))
    assert {k: float(v) for k, v in means.compute().items()} == {"accuracy": 1.0, "loss": 3.0}
    assert "totals" in EpochMeans(persistent=True).state_dict()
    assert "totals" not in EpochMeans(persistent=False).state_dict()


OUTPUT = [[0.2, -0.4, 1.1, 0.7], [0.5, 0.5, -2.0, 0.9]]
LOSSES = {
    "mean over outputs": lambda r, y: sum((a - b) ** 2 for a, b in zip(r, y, strict=True)) / 4,
    "sum": lambda r, y: sum((a - b) ** 2 for a, b in zip(r, y, strict=True)),
    "half": lambda r, y: sum((a - b) ** 2 for a, b in zip(r, y, strict=True)) / 2,
    "half, softened": lambda r, y: sum((a - (0.94 * b + 0.03)) ** 2 for a, b in zip(r, y, strict=True)) / 2,
    "cross entropy": lambda r, y: -np.log(np.exp(r)[y.index(1)] / np.exp(r).sum()),
    "binary cross entropy": lambda r, y: (
        -sum(np.log(b / (1 + np.exp(-a)) + (1 - b) / (1 + np.exp(a))) for a, b in zip(r, y, strict=True))
    ),
}
OF_RULE = [
    (Backpropagation, {}, "cross entropy"),
    (Backpropagation, {"loss": "mean_squared_error"}, "mean over outputs"),
    (FeedbackAlignment, {}, "mean over outputs"),
    (FeedbackAlignment, {"loss": "cross_entropy"}, "cross entropy"),
    (DirectFeedbackAlignment, {}, "cross entropy"),
    (ErrorBroadcastDecorrelation, {}, "mean over outputs"),
    (ErrorBroadcastDecorrelation, {"loss": "cross_entropy"}, "cross entropy"),
    (KolenPollack, {"loss": "binary_cross_entropy"}, "binary cross entropy"),
    (EquilibriumPropagation, {}, "sum"),
    (EquilibriumPropagation, {"loss": "cross_entropy", "output_activation": "linear"}, "cross entropy"),
    (PredictiveCoding, {}, "half, softened"),
    (PredictiveCoding, {"loss": "cross_entropy", "target_range": (0, 1)}, "cross entropy"),
    (NudgedPredictiveCoding, {}, "sum"),
    *((cls, {}, "half") for cls in all_rules() if "CorInfoMax" in cls.__name__),
    *((cls, {}, "sum") for cls in all_rules() if cls.__name__ == "ContrastiveSimilarityMatching"),
]


@pytest.mark.parametrize(("cls", "options", "loss"), OF_RULE, ids=[f"{c.__name__}, {loss}" for c, _, loss in OF_RULE])
def test_each_rules_loss_and_confidence(cls, options, loss):
    """The loss with its own target and factor; the confidence is the softmax where that is what the loss takes."""
    rule = build(cls, **options)
    output, y = torch.tensor(OUTPUT, dtype=torch.float64), [2, 0]
    found = rule.sample_losses(output, rule.one_hot(torch.tensor(y), torch.float64))
    for i, (r, c) in enumerate(zip(OUTPUT, y, strict=True)):
        assert float(found[i]) == pytest.approx(LOSSES[loss](r, [int(k == c) for k in range(4)]))
    rule._outputs = lambda images: output
    predicted = rule.predict_step((torch.rand(2, rule.network.sizes[0]), torch.tensor(y)), 0)
    assert predicted["label"].tolist() == y
    assert predicted["prediction"].tolist() == [2, 3]
    if loss == "cross entropy":
        shares = [np.exp(r) / np.exp(r).sum() for r in OUTPUT]
    elif loss == "binary cross entropy":
        ŷ = 1 / (1 + np.exp(-np.array(OUTPUT)))
        shares = list(ŷ / ŷ.sum(1, keepdims=True))
    else:
        shares = [np.maximum(r, 0) / np.maximum(r, 0).sum() for r in OUTPUT]
    assert predicted["confidence"].tolist() == pytest.approx([max(share) for share in shares])
    silent = rule.class_probabilities(torch.zeros(1, 4, dtype=torch.float64))
    assert silent[0].tolist() == pytest.approx([0.25] * 4)


def test_throughput_counts_training_samples_and_training_time_alone(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    logged = []
    logger = SimpleNamespace(log_metrics=lambda scalars, step: logged.append((scalars, step)))
    trainer = SimpleNamespace(loggers=[logger], global_step=0, callbacks=[])
    speed, rule = SamplesPerSecond(), SimpleNamespace(classes=torch.zeros(20))
    speed.on_train_start(trainer, rule)
    for epoch in range(2):
        clock.now += 1000  # between epochs nothing is trained
        speed.on_train_epoch_start(trainer, rule)
        for n in (20, 20, 8):
            rule.classes = torch.zeros(n)
            trainer.global_step += 1
            clock.now += 2 + epoch
            speed.on_train_batch_end(trainer, rule, None, None, 0)
            clock.now += 50  # a validation
            speed.on_validation_end(trainer, rule)
        speed.on_train_epoch_end(trainer, rule)
    expected = [48 / 6, 48 / 9]
    assert [scalars["throughput/samples_per_second"] for scalars, _ in logged] == pytest.approx(expected)
    assert [step for _, step in logged] == [2, 5]


def draws():
    return torch.rand(3).tolist(), random.random(), np.random.rand(3).tolist(), random.gauss(0, 1), np.random.randn()


def test_every_generator_goes_on_where_the_checkpoint_left_it():
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    draws()
    saved = ExactResume().state_dict()
    expected = draws()
    resumed, trainer = ExactResume(), Trainer(logger=False, enable_checkpointing=False)
    resumed.load_state_dict(saved)
    draws()
    resumed.on_train_start(trainer, None)
    assert draws() == expected
    resumed.on_train_start(trainer, None)  # once alone
    assert draws() != expected


def test_a_checkpoint_brings_its_seed_and_a_given_one_wins(monkeypatch):
    rule, checkpoint = build(EquilibriumPropagation), {}
    rule.seed = 5
    rule._trainer = SimpleNamespace(global_step=0, loggers=[])
    rule.on_save_checkpoint(checkpoint)
    checkpoint["state_dict"] = rule.state_dict()
    fresh = build(EquilibriumPropagation)
    fresh.on_load_checkpoint(checkpoint)
    assert fresh.seed == 5
    trainer = Trainer(logger=False, enable_checkpointing=False)
    trainer.ckpt_path = "last.ckpt"
    Preconditions().on_fit_start(trainer, fresh)
    assert fresh.seed == 5  # nobody gave one: the checkpoint's
    torch.manual_seed(17)
    trainer.ckpt_path = None
    Preconditions().on_fit_start(trainer, fresh)
    assert fresh.seed == 17  # no checkpoint either: torch's
    monkeypatch.setenv("PL_GLOBAL_SEED", "8")
    for path in (None, "last.ckpt"):
        fresh.seed, trainer.ckpt_path = 5, path
        Preconditions().on_fit_start(trainer, fresh)
        assert fresh.seed == 8


@pytest.mark.parametrize("what", ["rule", "shape", "missing", "version"])
def test_a_checkpoint_of_something_else_is_refused(what):
    rule = build(EquilibriumPropagation)
    state = rule.state_dict()
    name = "Backpropagation" if what == "rule" else "EquilibriumPropagation"
    if what == "shape":
        state["network.wiring.1.weight"] = state["network.wiring.1.weight"][:, :-1]
    elif what == "missing":
        del state["network.wiring.2.bias"]
    elif what == "version":
        state["connections.0.weight"] = torch.zeros(1)
    with pytest.raises(UserError):
        rule.on_load_checkpoint({"learning_rule": {"name": name, "seed": 3}, "state_dict": state})
    assert rule.seed == 0


def test_a_phases_speed_is_that_of_each_layer_and_its_residual_the_fastest():
    """RMS of the last change over the step size."""
    x, before = torch.zeros(4, 3), [torch.zeros(4, 2), torch.zeros(4, 2, 2, 2)]
    after = [torch.full((4, 2), 0.3), torch.zeros(4, 2, 2, 2)]
    after[1][0, 0, 0, 0] = 0.4
    phase = Phase([x, *after], previous=before, step_size=0.5)
    assert phase.speeds().tolist() == pytest.approx([0.3 / 0.5, (0.4**2 / 32) ** 0.5 / 0.5])
    assert float(phase.residual()) == pytest.approx(0.6)
    assert phase.output is after[1]
    assert phase.batch_size == 4
    assert Phase([x], share_of=9).batch_size == 9


def test_updates_are_descended_with_their_own_sign_and_rates():
    """p ← p + lr · update, each group with its own rate."""
    x, y, target = batch()
    rule = build(EquilibriumPropagation, learning_rates=[0.1, 0.2, 0.3], random_beta_sign=False)
    before = {name: p.clone() for name, p in rule.named_parameters()}
    optimizer = torch.optim.SGD(rule.parameter_groups(), lr=9)
    phases = rule.settle(x, target)
    names = {id(p): name for name, p in rule.named_parameters()}
    found = {names[id(p)]: u.clone() for p, u in rule.local_updates(phases)}
    rule.learn(x, target, optimizer)
    for k, lr in enumerate([0.1, 0.2, 0.3], start=1):
        for kind in ("weight", "bias"):
            name = f"network.wiring.{k}.{kind}"
            torch.testing.assert_close(rule.get_parameter(name), before[name] + lr * found[name])
    assert rule.answer(rule.prediction_phase(phases)) is phases["free"].output
    assert SIZES[-1] == phases["free"].output.shape[1]
    assert y.shape == (6,)


@pytest.mark.parametrize("cls", all_rules())
def test_the_predicted_class_is_the_scored_one_where_no_output_is_positive(cls):
    """All of the outputs' shares may be alike there."""
    rule = build(cls)
    output = -torch.rand(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 0.1
    rule._outputs = lambda images: output
    x = torch.rand(50, 7)
    found = rule.predict_step(x)
    assert torch.equal(found["prediction"], output.argmax(1))
    assert (found["confidence"] >= 0.25 - 1e-12).all()


@pytest.mark.parametrize("cls", [PredictiveCoding, IncrementalPredictiveCoding, MuPredictiveCoding])
def test_confidence_counts_from_a_negative_lowest_target_on(cls):
    """With targets −1 and 1 the shares of (−0.5, 0, −1, 0.5) are those of (0.5, 1, 0, 1.5)."""
    rule = build(cls, target_range=(-1, 1))
    found = rule.class_probabilities(torch.tensor([[-0.5, 0.0, -1.0, 0.5]], dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor([[1, 2, 0, 3]], dtype=torch.float64) / 6)
