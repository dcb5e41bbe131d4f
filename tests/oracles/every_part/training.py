"""What runs log and leave in checkpoints, whole and resumed within an epoch, with each callback and schedule."""

import math
import random
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import pytorch_lightning.callbacks as of_lightning
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import (
    EarlyStopping,
    EMAWeightAveraging,
    LearningRateMonitor,
    StochasticWeightAveraging,
)
from pytorch_lightning.cli import ReduceLROnPlateau
from pytorch_lightning.loggers.logger import Logger
from torch import Tensor
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    OneCycleLR,
    StepLR,
)

from bioplausible import (
    Backpropagation,
    ContrastiveSimilarityMatching,
    CorInfoMax,
    DirectFeedbackAlignment,
    EquilibriumPropagation,
    FeedbackAlignment,
    PiecewisePower,
    UserError,
    WarmupCosine,
    observers,
)
from bioplausible.resume.checkpoint_callbacks import BestCheckpoint, EveryNSteps, LastCheckpoint
from bioplausible.training.stop_on_signal import StopOnSignal
from tests.helpers import of_the_package
from tests.oracles.every_part.data_files import Given
from tests.oracles.every_part.recording import OF_FLOAT32, Cases, Result, Value, near, number

EPOCHS = 3
STEP = 6
"""After which a checkpoint is written: within the second of three epochs of four batches."""

WITHIN = "points/points/checkpoints/within.ckpt"
"""Where it lies: beside the run's own, so that training goes on in its folder."""

SIZES = [24, 5, 3]
MOMENTUM = partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.01)
RATE = {"optimizer": partial(SGD, lr=0.1)}
EVERY_STEP = {"lr_scheduler_interval": "step"}


class Points(Logger):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.points: list[tuple[int, str, float]] = []

    name = version = "points"  # type: ignore[assignment]

    def log_hyperparams(self, *args: Any, **options: Any) -> None:
        """Does nothing."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Notes each with its step, but for what is measured in seconds."""
        of_time = ("throughput/", "cost/core_seconds")
        self.points += [(step or 0, name, float(x)) for name, x in metrics.items() if not name.startswith(of_time)]


class Notes(Callback):
    """Writes the checkpoint, and notes after each batch what each generator draws, the rates, and what is monitored."""

    def __init__(self, file: Path, step: int) -> None:
        self.file, self.step = file, step
        self.drawn: list[float] = []
        self.rates: list[float] = []
        self.monitored: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.drawn += [float(torch.rand((), dtype=torch.float64)), random.random(), np.random.rand()]
        self.rates += [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups]
        for name, value in sorted(trainer.callback_metrics.items()):
            self.monitored += [_code(name), float(value)]
        if trainer.global_step == self.step and not self.file.exists():
            trainer.save_checkpoint(self.file)


Run = dict[str, Any]
"""What a run is made of: ``rule``, ``callbacks`` (makes them), ``data``, ``seed``, and the ``step`` of the checkpoint.

And options of the rule and of Trainer.
"""

TRAINER = ("max_epochs", "max_steps", "min_steps", "check_val_every_n_epoch", "val_check_interval", "log_every_n_steps")
TRAINER += ("limit_train_batches", "limit_val_batches", "precision", "num_sanity_val_steps")

BESIDE = ("CompileRelaxation", "receptive_fields")
"""What :mod:`bioplausible.observers` has besides: a compiler, which takes up to a minute, and a function."""


def observing() -> dict[str, Run]:
    """Returns a run with each of the package's observers."""
    quick = {"Guard": {"every_n_steps": 2, "warm_up_steps": 3}, "Alignment": {"every_n_steps": 2}}
    further = {"Information": {"track_correlations": True}}
    names = [name for name in observers.__all__ if name not in BESIDE]
    return {
        name: {
            "rule": CorInfoMax,
            "callbacks": lambda name=name: [getattr(observers, name)(**quick.get(name, {}))],
            **further.get(name, {}),
        }
        for name in names
    }


RUNS: dict[str, Run] = {
    "as it is": {},
    "momentum": {"optimizer": MOMENTUM},
    "Adam": {"optimizer": partial(Adam, lr=0.01)},
    "AdamW, a group a layer": {
        "rule": EquilibriumPropagation,
        "optimizer": partial(AdamW, weight_decay=0.1),
        "learning_rates": [0.01, 0.02],
    },
    "exponential": {"lr_scheduler": partial(ExponentialLR, gamma=0.5)},
    "exponential, each step": {"lr_scheduler": partial(ExponentialLR, gamma=0.8), **EVERY_STEP},
    "steps": {"lr_scheduler": partial(StepLR, step_size=2, gamma=0.3), "optimizer": MOMENTUM, **EVERY_STEP},
    "cosine": {"lr_scheduler": partial(CosineAnnealingLR, T_max=7), **EVERY_STEP},
    "one cycle": {
        "lr_scheduler": partial(OneCycleLR, max_lr=0.3, total_steps=12),
        "optimizer": MOMENTUM,
        **EVERY_STEP,
    },
    "plateau": {"lr_scheduler": partial(ReduceLROnPlateau, monitor="val/loss", patience=0, threshold=0.5)},
    "piecewise": {"lr_scheduler": partial(PiecewisePower, bases={0: 0.9, 2: 0.5})},
    "piecewise, continuous": {"lr_scheduler": partial(PiecewisePower, bases={0: 0.9, 2: 0.5}, continuous=True)},
    "warm-up": {
        "lr_scheduler": partial(WarmupCosine, total_steps=9, warmup_steps=3, peak=2.0, floor=0.01),
        **EVERY_STEP,
    },
    "stochastic averaging, an epoch later": {
        "callbacks": lambda: [StochasticWeightAveraging(0.05, 1, annealing_epochs=3)],
        "max_epochs": 4,
        "step": 10,
    },
    "stochastic averaging at once": {
        "callbacks": lambda: [StochasticWeightAveraging(0.05, 1, annealing_epochs=0)],
        "max_epochs": 4,
        "step": 10,
    },
    "saved at an epoch's last batch": {"step": 8, "lr_scheduler": partial(ExponentialLR, gamma=0.5)},
    "known images": {"data": {"content": "some"}},
    "known images, saved at an epoch's last batch": {"data": {"content": "some", "validation_split": 0.0}, "step": 10},
    "moving average": {"callbacks": lambda: [EMAWeightAveraging(decay=0.7)]},
    "stops early": {"callbacks": lambda: [EarlyStopping("val/loss", min_delta=9.0, patience=1)], "min_steps": 10},
    "asked to stop": {
        "callbacks": lambda: [EarlyStopping("val/loss", min_delta=9.0, patience=1)],
        "min_steps": 10,
        "step": 9,
    },
    "rates": {"callbacks": lambda: [LearningRateMonitor()], "lr_scheduler": partial(ExponentialLR, gamma=0.5)},
    "of steps": {"max_steps": 10},
    "validated within epochs": {"val_check_interval": 2},
    "validated every other epoch": {"check_val_every_n_epoch": 2},
    "some batches": {"limit_train_batches": 3, "limit_val_batches": 1},
    "logged every third step": {"rule": EquilibriumPropagation, "log_every_n_steps": 3},
    "augmented": {"data": {"crop_padding": 1, "horizontal_flip": True, "border": 1}, "layer_sizes": [60, 5, 3]},
    "a subset": {"data": {"subset_size": 20, "batch_size": 4}},
    "drawn signs": {"rule": EquilibriumPropagation, "free_steps": 5, "nudged_steps": 3, "random_beta_sign": True},
    "drawn feedback": {"rule": FeedbackAlignment, "feedback": "batchwise_random_sign"},
    "fixed feedback": {"rule": DirectFeedbackAlignment},
    "lateral weights": {"rule": ContrastiveSimilarityMatching},
    "states carried over": {"rule": CorInfoMax, "layer_sizes": [24, 6, 5, 3], "three_phase": True},
}
"""Runs that are trained whole, and again from a checkpoint within an epoch."""

NOT_NAMED: Any = object()
"""Stands for an option that the rule is not given."""

CHANGED: dict[str, tuple[str, Run]] = {
    "fewer epochs": ("as it is", {"max_epochs": 2}),
    "too few epochs": ("as it is", {"max_epochs": 0}),
    "too few steps": ("as it is", {"max_steps": 4}),
    "fewer steps": ("as it is", {"max_steps": 8}),
    "more epochs": ("as it is", {"max_epochs": 4}),
    "fewer batches": ("as it is", {"limit_train_batches": 3}),
    "too few batches": ("as it is", {"limit_train_batches": 1}),
    "another rate": ("momentum", {"optimizer": partial(MOMENTUM, lr=0.02)}),
    "another rate under a schedule": ("exponential", {"optimizer": partial(SGD, lr=0.02)}),
    "another momentum": ("momentum", {"optimizer": partial(MOMENTUM, momentum=0.5, weight_decay=0.0)}),
    "another optimizer": ("momentum", {"optimizer": partial(Adam, lr=0.01)}),
    "another schedule": ("exponential", {"lr_scheduler": partial(StepLR, step_size=1)}),
    "another base": ("exponential", {"lr_scheduler": partial(ExponentialLR, gamma=0.25)}),
    "no schedule": ("exponential", {"lr_scheduler": None}),
    "rates by layer": ("drawn signs", {"learning_rates": [0.1, 0.2]}),
    "another seed": ("as it is", {"seed": 8}),
    "another patience": ("stops early", {"callbacks": lambda: [EarlyStopping("val/loss", patience=3)]}),
    "another network": ("as it is", {"layer_sizes": [24, 6, 3]}),
    "another rule": ("as it is", {"rule": FeedbackAlignment}),
    "another option of the rule": ("as it is", {"loss": "mean_squared_error", "output_activation": "sigmoid"}),
    "another split": ("as it is", {"data": {"validation_split": 0.5}}),
    "a split of more than were used": ("a subset", {"data": {"validation_split": 0.9}}),
    "another subset": ("as it is", {"data": {"subset_size": 12}}),
    "another batch size": ("as it is", {"data": {"batch_size": 4}}),
    "another mean": ("as it is", {"data": {"mean": [0.1, 0.2]}}),
    "augmented": ("as it is", {"data": {"crop_padding": 1}}),
    "no optimizer named": ("momentum", {"optimizer": NOT_NAMED}),
    "no schedule named": (
        "exponential, each step",
        {"lr_scheduler": NOT_NAMED, "lr_scheduler_interval": NOT_NAMED, "optimizer": NOT_NAMED},
    ),
    "no rates named": ("AdamW, a group a layer", {"learning_rates": NOT_NAMED}),
    "no feedback named": ("drawn feedback", {"feedback": NOT_NAMED}),
    "an optimizer named, and no schedule": ("exponential", {"lr_scheduler": NOT_NAMED}),
    "another rate of the average": (
        "stochastic averaging at once",
        {"callbacks": lambda: [StochasticWeightAveraging(0.02, 1, annealing_epochs=0)]},
    ),
    "other images": ("known images", {"data": {"content": "others"}}),
    "other images at an epoch's end": (
        "known images, saved at an epoch's last batch",
        {"data": {"content": "others", "validation_split": 0.0}},
    ),
    "another evaluation": ("as it is", {"data": {"evaluation_batch_size": 3}}),
}
"""Which of these resume with something else than the checkpoint's."""


def results(folder: Path) -> Cases:
    """Yields every run, whole and resumed, and every one that resumes with other options."""
    runs = {**RUNS, **observing()}
    for name, run in runs.items():
        yield "whole", "" if run is RUNS["as it is"] else name, computed(run, _place(folder, name), None)
    for name, run in runs.items():
        ours = _place(folder, name)
        yield "resumed", "" if run is RUNS["as it is"] else name, computed(run, ours, ours / WITHIN)
    for name, (before, change) in CHANGED.items():
        ours = _place(folder, f"with {name}")
        shutil.copytree(_place(folder, before), ours)
        yield "resumed", f"with {name}", computed(RUNS[before] | change, ours, ours / WITHIN)


def _place(folder: Path, name: str) -> Path:
    return folder / name.replace(" ", "_")


def computed(run: Run, folder: Path, checkpoint: Path | None) -> Result:
    """Trains, and returns all that is logged, left and said, or the sentence with which it is refused.

    Args:
        run: as :data:`Run`.
        folder: where it writes.
        checkpoint: from which it resumes; None: from none.
    """
    run = dict(run)
    trainer_options = {"max_epochs": EPOCHS} | {name: run.pop(name) for name in TRAINER if name in run}
    cls, callbacks, seed = run.pop("rule", Backpropagation), run.pop("callbacks", list), run.pop("seed", None)
    of_data = {"batch_size": 5, "evaluation_batch_size": 4, "validation_split": 0.25} | run.pop("data", {})
    content = of_data.pop("content", None)
    data = Given(**of_data)
    data.content = content
    points, notes = Points(), Notes(folder / WITHIN, run.pop("step", STEP))
    options = {"layer_sizes": SIZES} | (RATE if cls is Backpropagation else {}) | run
    kept = [BestCheckpoint(), EveryNSteps(5, 2), LastCheckpoint(), StopOnSignal()]
    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(record=True) as said,
        torch.random.fork_rng(),
    ):
        warnings.simplefilter("always")
        for seed_one in (torch.manual_seed, random.seed, np.random.seed):
            seed_one(2 if checkpoint is None else 4)
        try:
            rule = _built(cls, {name: value for name, value in options.items() if value is not NOT_NAMED})
            if seed is not None:
                patch.setenv("PL_GLOBAL_SEED", str(seed))  # as seed_everything does, for this run alone
            trainer = Trainer(
                callbacks=[*callbacks(), *kept, notes],
                logger=points,
                default_root_dir=folder,
                accelerator="cpu",
                precision="64-true",
                enable_progress_bar=False,
                enable_model_summary=False,
                enable_checkpointing=True,
                **{"log_every_n_steps": 1} | trainer_options,
            )
            trainer.fit(rule, data, ckpt_path=checkpoint)
        except UserError as error:
            return str(error).replace(str(folder), "…")
    spoken = "; ".join(dict.fromkeys(str(warning.message) for warning in said if of_the_package(warning)))
    found = dict(_left(trainer, rule, points, notes))
    found["files"] = ", ".join(sorted(file.name for file in folder.rglob("*.ckpt") if file != notes.file))
    if checkpoint is None:
        found |= dict(_in_checkpoint(torch.load(notes.file, weights_only=True), folder))
        found["in files"] = number(*_in_files(sorted(folder.rglob("*.ckpt"))))
    return found | ({"said": spoken} if spoken else {})


def _built(cls: Callable[..., Any], options: Run) -> Any:
    """Returns a rule that drew its initial values in float64: in float32 their last digit depends on the CPU."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return cls(**options)
    finally:
        torch.set_default_dtype(before)


def _left(trainer: Trainer, rule: Any, points: Points, notes: Notes) -> Iterator[tuple[str, Value]]:
    names = sorted({name for _, name, _ in points.points})
    yield (
        "logged",
        number(*(x for step, name, value in points.points for x in (step, _code(name), value)), share=OF_FLOAT32),
    )
    yield "names", f"{len(points.points)} points of {len(names)} names, {trainer.global_step} steps"
    yield "weights", near([t.double() for t in rule.state_dict().values()])
    yield "rates", number(*notes.rates)
    yield "drawn", number(*notes.drawn)
    yield "monitored", number(*notes.monitored, share=OF_FLOAT32)


def _in_checkpoint(checkpoint: dict[str, Any], folder: Path) -> Iterator[tuple[str, Value]]:
    loops = checkpoint.pop("loops")["fit_loop"]
    callbacks = {key.partition("{")[0]: state for key, state in checkpoint.pop("callbacks").items()}
    callbacks.get("Cost", {}).pop("seconds", None)
    callbacks["ExactResume"] = sorted(callbacks["ExactResume"])  # states of generators, whose draws are recorded
    parts = {name: part for name, part in checkpoint.items() if name not in OF_LIGHTNING}
    parts["progress"] = [loops["epoch_progress"]["total"], loops["epoch_loop.batch_progress"]["current"]]
    parts |= {name: state for name, state in callbacks.items() if not hasattr(of_lightning, name)}
    for name, part in parts.items():
        keep = _of_torch if name in HELD_BY_TORCH else _of_files if name in WRITERS else _anything
        yield f"saved {name}", number(*_numbers(part, str(folder), keep))


def _in_files(files: list[Path]) -> Iterator[float]:
    """Yields the weights in each checkpoint that the run leaves, their step, and which other weights they hold."""
    for file in files:
        held = torch.load(file, weights_only=True)
        yield from (_code(file.name), held["global_step"])
        for name in (name for name in held if name.endswith("state_dict") or name.endswith("model_state")):
            yield from _numbers({name: held[name]}, "", _anything)


OF_LIGHTNING = (
    "pytorch-lightning_version",
    "hparams_name",
    "datamodule_hparams_name",
    "hyper_parameters",
    "hparams_type",
)
HELD_BY_TORCH = ("optimizer_states", "lr_schedulers", "ConfiguredRates")
WRITERS = ("BestCheckpoint", "EveryNSteps", "LastCheckpoint")

Keep = Callable[[str, Any], bool]


def _anything(name: str, value: Any) -> bool:
    return True


def _of_torch(name: str, value: Any) -> bool:
    """Returns whether this is no switch, of which another version of torch may have more."""
    return value is not None and not isinstance(value, bool) and not name.startswith("_")


def _of_files(name: str, value: Any) -> bool:
    """Returns whether this is not of Lightning alone, of which another version may have more."""
    known = ("best_model_score", "best_model_path", "current_score", "best_k_models", "validated", "replaced")
    return name in known or "/" in name


def _numbers(part: Any, folder: str, keep: Keep) -> Iterator[float]:
    """Yields all that a part of a checkpoint holds as numbers, texts by their checksum."""
    if isinstance(part, Tensor):
        yield from (_finite(x) for x in part.double().flatten().tolist())
    elif isinstance(part, Mapping):
        for name, value in sorted(part.items(), key=lambda item: str(item[0])):
            if keep(str(name), value):
                yield _code(str(name).replace(folder, ""))
                yield from _numbers(value, folder, keep)
    elif isinstance(part, (list, tuple)):
        yield float(len(part))
        for value in part:
            yield from _numbers(value, folder, keep)
    elif part is None or isinstance(part, str):
        yield _code(str(part).replace(folder, ""))
    else:
        yield _finite(float(part))


def _finite(x: float) -> float:
    return x if math.isfinite(x) else _code(str(x))


def _code(text: str) -> float:
    """Returns a number in [0, 1) that stands for a text."""
    return crc32(text.encode()) / 2**32
