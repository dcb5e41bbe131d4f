"""A recorded trajectory, read from its file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bioplausible.commands.verify.recorded_rules import RecordedRule, recorded_rule
from bioplausible.errors import UserError

SMALL = 1e-3
"""Entries below this share of their array's largest count as if they had it: rounding is relative to the largest.

With Adam all do: its 1e-8, which the published code puts elsewhere, shifts small and large weights alike.
"""


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

    def rule(self) -> RecordedRule:
        """Returns the rule with the recorded hyperparameters and initial weights, in float64.

        Raises:
            UserError: the recording does not say what it was made of, or starts from other weights than the rule has.
        """
        if "rule" not in self.meta or not {"layer_sizes", "architecture"} & self.meta.keys():
            missing = "rule" if "rule" not in self.meta else "layer_sizes"
            raise UserError(f"{self.path} does not say its {missing}: add it to meta.")
        if self.meta.get("optimizer", "sgd") not in ("sgd", "adam"):
            raise UserError(f"{self.path} was recorded with {self.meta['optimizer']}: verify knows sgd and adam.")
        recorded = recorded_rule(self.meta, batch_size=self.x.shape[1])
        weights = recorded.weights()
        initial = {
            key.removeprefix("init/"): value
            for key, value in self.arrays.items()
            if key.startswith("init/") and key.removeprefix("init/") not in recorded.unused
        }
        if initial.keys() != weights.keys():
            raise UserError(f"{self.path} starts from {sorted(initial)}, the rule has {sorted(weights)}.")
        with torch.no_grad():
            for name, weight in weights.items():
                if weight.shape != initial[name].shape:
                    raise UserError(
                        f"{self.path} has init/{name} of shape {initial[name].shape}, the rule {tuple(weight.shape)}."
                    )
                weight.copy_(torch.from_numpy(initial[name]) / recorded.units(name))
        return recorded

    def after_step(self, step: int) -> dict[str, Any]:
        """Returns what was recorded after a step, by its key without the step."""
        prefix = f"step{step}/"
        return {key.removeprefix(prefix): value for key, value in self.arrays.items() if key.startswith(prefix)}
