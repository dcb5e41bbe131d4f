"""A recorded trajectory replayed through the real rule, and how far the two differ."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from bioplausible.commands.verify.recorded_rule import RecordedRule
from bioplausible.commands.verify.recording import SMALL, Recording

STATES = "free|nudged|antinudged|first|second|state|feedforward|error|plus|minus|burst|burst_target|target"
"""The kinds of arrays that are states of a layer."""


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
            held = self.recording.after_step(batch_idx).keys()
            idle = {name: weight for name, weight in self.rule.idle.items() if name in held}
            replayed, terms = {**idle, **weights, **self.rule.observations()}, self.rule.terms()
        self.recording.require_keys(self.rule, batch_idx, replayed.keys())
        for key, recorded in self.recording.after_step(batch_idx).items():
            self._compare(f"step{batch_idx}", key, replayed[key], recorded, terms.get(key, 0.0))

    def _compare(self, when: str, key: str, replayed: torch.Tensor, recorded: Any, terms: float = 0.0) -> None:
        error, index = largest_error(replayed.detach().cpu().numpy(), recorded, terms=terms)
        self.differences.append(Difference(_group(key), error, f"{when}/{key}{index}"))


def replay(path: Path, accelerator: str = "cpu") -> list[Difference]:
    """Trains the recorded rule on the recorded batches and returns how each recorded array differs.

    It is the rule's own training step under a Trainer, in float64.

    Args:
        path: the ``.npz`` file.
        accelerator: where it trains, ``cpu`` or ``gpu``.

    Raises:
        UserError: the file is no recording, or of an unknown rule.
    """
    recording = Recording(path)
    rule = recording.rule()
    compare = _Compare(recording, rule)
    trainer = Trainer(
        accelerator=accelerator,
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
    if re.fullmatch(r"(W|Wfb|Wfa|Wdir|Whid|b|bfb|bdir|bhid)\d*", key):
        return "weights"
    if re.fullmatch(r"[BM]\d+", key):
        return "lateral matrices"
    if re.fullmatch(r"(R|Rerror)\d+", key):
        return "correlations"
    if re.fullmatch(rf"({STATES})\d+", key):
        return "states"
    return "derived"
