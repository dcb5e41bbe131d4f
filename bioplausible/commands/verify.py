"""``python -m bioplausible verify``: replay recorded trajectories through the real rules."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from bioplausible.commands.arguments import CommandArguments
from bioplausible.errors import UserError
from bioplausible.rules import LearningRule

ARGUMENT_NAMES = {
    "lambda_": "forgetting_factor",
    "hopfield_g": "leak",
    "lr_ff": "feedforward_learning_rates",
    "lr_fb": "feedback_learning_rates",
    "neural_lr_start": "step_size",
    "neural_lr_stop": "step_size_floor",
    "neural_lr_rule": "step_size_rule",
    "neural_lr_decay": "step_size_decay",
    "neural_lr": "step_size",
    "lr_w": "learning_rates",
    "lambda_per_step": "nudge_per_step",
}
"""Hyperparameters in a recording's ``meta`` whose name differs from the rule's argument."""

SMALL = 1e-3
"""Entries below this share of their array's largest count as if they had it: rounding is relative to the largest.

With Adam all do: its 1e-8, which the published code puts elsewhere, shifts small and large weights alike.
"""


@dataclass(frozen=True)
class Difference:
    """Where a replay differs most from its recording.

    Attributes:
        group: what kind of quantity it is.
        error: largest relative error.
        place: key and index of that entry.
    """

    group: str
    error: float
    place: str


class Recording:
    """A recorded trajectory.

    Args:
        path: the ``.npz`` file.

    Raises:
        UserError: it is no recording.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with np.load(path, allow_pickle=False) as file:
                self.arrays: dict[str, Any] = {key: file[key] for key in file.files}
            self.meta: dict[str, Any] = json.loads(str(self.arrays.pop("meta")))
            self.x, self.y = torch.from_numpy(self.arrays.pop("x")), torch.from_numpy(self.arrays.pop("y"))
        except Exception as error:  # zip, NumPy and JSON each raise their own
            raise UserError(
                f"{path} is no recorded trajectory ({type(error).__name__}: {error}): it must be an .npz file with"
                " meta, x, y, init/… and step0/…, as tests/golden/README.md describes."
            ) from error

    @property
    def adam(self) -> bool:
        """Whether the optimizer was Adam."""
        return self.meta.get("optimizer") == "adam"

    @property
    def tolerance(self) -> float:
        """The largest relative error with which a replay still agrees."""
        return 1e-6 if self.adam else 1e-9

    @property
    def small(self) -> float:
        """The share of an array's largest entry below which its entries count as if they had it."""
        return 1.0 if self.adam else SMALL

    def rule(self) -> LearningRule:
        """Returns the rule with the recorded hyperparameters and initial weights, in float64."""
        meta = {ARGUMENT_NAMES.get(name, name): value for name, value in self.meta.items()}
        for name in ("rule", "layer_sizes"):
            if name not in meta:
                raise UserError(f"{self.path} does not say its {name}: add it to meta.")
        if meta.get("optimizer", "sgd") not in ("sgd", "adam"):
            raise UserError(f"{self.path} was recorded with {meta['optimizer']}: verify knows sgd and adam.")
        rule = rule_class(str(meta["rule"])).from_recording(meta).double()
        weights = rule.recorded_weights()
        initial = {
            key.removeprefix("init/"): value
            for key, value in self.arrays.items()
            if key.startswith("init/") and key.removeprefix("init/") not in rule.recorded_but_unused
        }
        if initial.keys() != weights.keys():
            raise UserError(f"{self.path} starts from {sorted(initial)}, the rule has {sorted(weights)}.")
        with torch.no_grad():
            for name, weight in weights.items():
                if weight.shape != initial[name].shape:
                    raise UserError(
                        f"{self.path} has init/{name} of shape {initial[name].shape}, the rule {tuple(weight.shape)}."
                    )
                weight.copy_(torch.from_numpy(initial[name]))
        return rule

    def after_step(self, step: int) -> dict[str, Any]:
        """Returns what was recorded after a step, by its key without the step."""
        prefix = f"step{step}/"
        return {key.removeprefix(prefix): value for key, value in self.arrays.items() if key.startswith(prefix)}


class _Compare(Callback):
    """Compares the rule with the recording after each training step."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.differences: list[Difference] = []
        self.per_step = {
            ARGUMENT_NAMES.get(name, name).removesuffix("_per_step"): values
            for name, values in recording.meta.items()
            if name.endswith("_per_step")
        }

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        for name, values in self.per_step.items():
            setattr(pl_module, name, values[batch_idx])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, LearningRule)
        with torch.no_grad():
            replayed = {**pl_module.recorded_weights(), **pl_module.recorded_observations()}
        for key, recorded in self.recording.after_step(batch_idx).items():
            if key not in replayed:
                raise UserError(f"{self.recording.path} records {key}, which {type(pl_module).__name__} does not have.")
            error, index = largest_error(replayed[key].detach().numpy(), recorded, self.recording.small)
            self.differences.append(Difference(_group(key), error, f"step{batch_idx}/{key}{index}"))


def rule_class(name: str) -> type[LearningRule]:
    """Returns the rule with this recorded name, or with this class path (``my_module.MyRule``).

    Raises:
        UserError: there is none.
    """
    for cls in _subclasses(LearningRule):
        if cls.recorded_as == name:
            return cls
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
        if issubclass(found, LearningRule):
            return cast(type[LearningRule], found)
    except (ImportError, AttributeError, ValueError, TypeError):
        pass
    known = ", ".join(sorted(cls.recorded_as for cls in _subclasses(LearningRule) if cls.recorded_as))
    raise UserError(f"There is no rule {name}: a recording's rule is one of {known}, or a class path.")


def replay(path: Path) -> list[Difference]:
    """Trains the recorded rule on the recorded batches and returns how each recorded array differs.

    It is the rule's own training step under a Trainer, in float64 on the CPU.

    Args:
        path: the ``.npz`` file.

    Raises:
        UserError: the file is no recording, or of an unknown rule.
    """
    recording = Recording(path)
    compare = _Compare(recording)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        precision="64-true",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[compare],
    )
    batches = list(zip(recording.x, recording.y, strict=True))
    if not recording.after_step(0):
        raise UserError(f"{path} records nothing after the first step: there is nothing to compare.")
    trainer.fit(recording.rule(), DataLoader(batches, batch_size=None))  # type: ignore[arg-type]  # a list is a dataset
    return compare.differences


def run(args: Sequence[str]) -> int:
    """Replays files (or all ``.npz`` files of folders), prints a line each, and returns 1 if any differs, else 0.

    Raises:
        UserError: there is nothing to replay, or a file is no recording.
    """
    parser = CommandArguments(prog="python -m bioplausible verify", description=run.__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="recorded trajectories, or folders of them")
    parser.add_argument("--tolerance", type=float, help="largest relative error (default: 1e-9; with Adam 1e-6)")
    options = parser.parse_args(args)
    failed = 0
    for path in _files(options.paths):
        differences = replay(path)
        tolerance = Recording(path).tolerance if options.tolerance is None else options.tolerance
        agrees = all(d.error <= tolerance for d in differences)
        failed += not agrees
        print(f"{path.name}: {'agrees' if agrees else 'DIFFERS'} (tolerance {tolerance:g})")
        for group in dict.fromkeys(d.group for d in differences):
            worst = max((d for d in differences if d.group == group), key=lambda d: d.error)
            print(f"    {group:17} {worst.error:8.1e}  at {worst.place}")
    return 1 if failed else 0


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        found = sorted(path.rglob("*.npz")) if path.is_dir() else [path]
        if not found or not path.exists():
            raise UserError(f"There is no recorded trajectory at {path}: name an .npz file or a folder of them.")
        files += found
    return files


def _subclasses(cls: type) -> Iterator[type[LearningRule]]:
    for sub in cast(list[type[LearningRule]], cls.__subclasses__()):
        yield sub
        yield from _subclasses(sub)


def largest_error(replayed: Any, recorded: Any, small: float = SMALL) -> tuple[float, list[int]]:
    """Returns the largest relative error |a − b| / max(|b|, small · max|b|) of an array, and its index."""
    if replayed.shape != recorded.shape:
        return math.inf, []
    magnitude = np.abs(recorded)
    scale = np.maximum(magnitude, max(small * magnitude.max(), np.finfo(float).tiny))
    error = np.nan_to_num(np.abs(replayed - recorded) / scale, nan=math.inf)
    index = np.unravel_index(error.argmax(), error.shape)
    return float(error[index]), [int(i) for i in index]


def _group(key: str) -> str:
    """Returns what kind of quantity a recorded key names."""
    if re.fullmatch(r"(W|Wfb|Wfa|b)\d+", key):
        return "weights"
    if re.fullmatch(r"[BM]\d+", key):
        return "lateral matrices"
    if re.fullmatch(r"(free|nudged|antinudged|state)\d+", key):
        return "states"
    return "derived"
