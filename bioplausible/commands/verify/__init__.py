"""``python -m bioplausible verify``: replay recorded trajectories through the real rules."""

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from bioplausible.commands.arguments import CommandArguments, path_named
from bioplausible.commands.verify.recorded_rule import RecordedRule, rule_class
from bioplausible.commands.verify.recording import SMALL, TOLERANCE, Recording
from bioplausible.errors import UserError

__all__ = ["Difference", "Recording", "largest_error", "replay", "rule_class", "run"]


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


class _Compare(Callback):
    """Compares the rule with the recording at the start and after each training step."""

    def __init__(self, recording: Recording, rule: RecordedRule) -> None:
        self.recording, self.rule = recording, rule
        self.differences: list[Difference] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        derived = self.rule.at_start()
        for key, recorded in self.recording.at_start().items():
            if key in derived:
                self._compare("init", key, derived[key], recorded)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.rule.before_step(batch_idx, self.recording.after_step(batch_idx))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        self.rule.before_update()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        with torch.no_grad():
            weights = {name: w * self.rule.units(name) for name, w in self.rule.weights().items()}
            replayed, terms = {**weights, **self.rule.observations()}, self.rule.terms()
        self.recording.require_keys(self.rule, batch_idx, replayed.keys())
        for key, recorded in self.recording.after_step(batch_idx).items():
            self._compare(f"step{batch_idx}", key, replayed[key], recorded, terms.get(key, 0.0))

    def _compare(self, when: str, key: str, replayed: torch.Tensor, recorded: Any, terms: float = 0.0) -> None:
        error, index = largest_error(replayed.detach().numpy(), recorded, terms=terms)
        self.differences.append(Difference(_group(key), error, f"{when}/{key}{index}"))


def replay(path: Path) -> list[Difference]:
    """Trains the recorded rule on the recorded batches and returns how each recorded array differs.

    It is the rule's own training step under a Trainer, in float64 on the CPU.

    Args:
        path: the ``.npz`` file.

    Raises:
        UserError: the file is no recording, or of an unknown rule.
    """
    recording = Recording(path)
    rule = recording.rule()
    compare = _Compare(recording, rule)
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
    with recording.refused("the rule can't be trained with what its meta says"):
        trainer.fit(rule.rule, DataLoader(batches, batch_size=None))  # type: ignore[arg-type]  # a list is a dataset
    return compare.differences


def run(args: Sequence[str]) -> int:
    """Replays files (or all ``.npz`` files of folders) and prints how far each agrees, or why it can't be replayed.

    Returns 1 if any differs, else 2 if any can't be replayed, else 0.

    Raises:
        UserError: there is nothing to replay.
    """
    parser = CommandArguments(prog="python -m bioplausible verify", description=run.__doc__)
    parser.add_argument(
        "paths", nargs="+", type=path_named, metavar="PATH", help="recorded trajectories, or folders of them"
    )
    parser.add_argument("--tolerance", type=float, help="largest relative error (default: 1e-9)")
    options = parser.parse_args(args)
    if options.tolerance is not None and not 0 <= options.tolerance < math.inf:
        raise UserError(f"tolerance is {options.tolerance}: give a finite number that is not negative.")
    tolerance = TOLERANCE if options.tolerance is None else options.tolerance
    failed = refused = 0
    for path in _files(options.paths):
        try:
            differences = replay(path)
        except UserError as error:
            refused += 1
            print(f"error: {error}", file=sys.stderr)
            continue
        agrees = all(d.error <= tolerance for d in differences)
        failed += not agrees
        print(f"{path.name}: {'agrees' if agrees else 'DIFFERS'} (tolerance {tolerance:g})")
        for group in dict.fromkeys(d.group for d in differences):
            worst = max((d for d in differences if d.group == group), key=lambda d: d.error)
            print(f"    {group:17} {worst.error:8.1e}  at {worst.place}")
    return 1 if failed else 2 if refused else 0


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        found = sorted(path.rglob("*.npz")) if path.is_dir() else [path]
        if not found or not path.exists():
            raise UserError(f"There is no recorded trajectory at {path}: name an .npz file or a folder of them.")
        files += found
    return files


def largest_error(replayed: Any, recorded: Any, small: float = SMALL, terms: float = 0.0) -> tuple[float, list[int]]:
    """Returns the largest relative error |a − b| / max(|b|, small · max|b|, 10⁻⁶ · terms) of an array, and its index.

    Args:
        replayed: a.
        recorded: b.
        small: share of the largest entry below which entries count as if they had it.
        terms: size of the terms of which the entries are small differences: five units in their last place are 10⁻¹⁵.
    """
    if replayed.shape != recorded.shape:
        return math.inf, []
    if not recorded.size:
        return 0.0, []
    magnitude = np.abs(recorded)
    scale = np.maximum(magnitude, max(small * magnitude.max(), 1e-6 * terms, np.finfo(float).tiny))
    with np.errstate(invalid="ignore"):
        error = np.nan_to_num(np.abs(replayed - recorded) / scale, nan=math.inf, posinf=math.inf)
    index = np.unravel_index(error.argmax(), error.shape)
    return float(error[index]), [int(i) for i in index]


def _group(key: str) -> str:
    """Returns what kind of quantity a recorded key names."""
    if re.fullmatch(r"(W|Wfb|Wfa|b)\d+", key):
        return "weights"
    if re.fullmatch(r"[BM]\d+", key):
        return "lateral matrices"
    if re.fullmatch(r"(R|Rerror)\d+", key):
        return "correlations"
    if re.fullmatch(r"(free|nudged|antinudged|first|second|state|feedforward|error)\d+", key):
        return "states"
    return "derived"
