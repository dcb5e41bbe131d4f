"""A recorded trajectory, read from its file."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bioplausible.commands.verify.meta import Meta, parse
from bioplausible.commands.verify.recorded_rule import RecordedRule
from bioplausible.commands.verify.recorded_rules import recorded_rule
from bioplausible.errors import UserError, refusals
from bioplausible.errors.checks import require

TOLERANCE = 1e-9
"""The largest relative error with which a replay still agrees."""

SMALL = 1e-3
"""Entries below this share of their array's largest count as if they had it: rounding is relative to the largest."""

INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)


class Recording:
    """A recorded trajectory.

    Args:
        path: the ``.npz`` file.

    Raises:
        UserError: it is no recording, or holds what belongs to no step.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with np.load(path, allow_pickle=False) as file:
                names: list[str] = file.files
                self.arrays: dict[str, Any] = {key: file[key] for key in names}
            self.meta = parse(str(self.arrays.pop("meta")))
            x, y = self.arrays.pop("x"), self.arrays.pop("y")
        except Exception as error:  # zip, NumPy and JSON each raise their own
            said = " ".join(str(error).split())
            raise UserError(
                f"{path} is no recorded trajectory ({type(error).__name__}: {said}): it must be an .npz file with"
                " meta, x, y, init/… and step0/…, as tests/golden/README.md describes."
            ) from error
        twice = sorted({name for name in names if names.count(name) > 1})
        self._require(not twice, f"it holds {', '.join(twice)} twice")
        for name, array in {"x": x, "y": y, **self.arrays}.items():
            self._require_numbers(name, array)
        self.x, self.y = torch.from_numpy(x).double(), torch.from_numpy(y)
        steps = len(self.y) if self.y.ndim == 2 else 0
        self._require(
            self.y.numel() > 0 and steps > 0 and self.x.shape[:2] == self.y.shape,
            f"x is {_times(self.x.shape)} and y {_times(self.y.shape)}, where both start with the steps and the samples"
            " of a batch",
        )
        self._require(self.y.dtype in INTEGERS, f"y is {self.y.dtype}, where it should be whole numbers, the classes")
        self.y = self.y.long()
        strays = [
            key for key in self.arrays if not key.startswith(("init/", *(f"step{step}/" for step in range(steps))))
        ]
        self._require(not strays, f"it holds {', '.join(strays)}, which is neither init/… nor of one of {steps} steps")
        self._require(bool(self.after_step(0)), "it records nothing after the first step: there is nothing to compare")
        first = self.after_step(0).keys()
        for step in range(1, steps):
            now = self.after_step(step).keys()
            alone = [f"step0/{key}" for key in first - now] + [f"step{step}/{key}" for key in now - first]
            self._require(not alone, f"each step holds the same arrays but for {', '.join(sorted(alone))}")

    def rule(self) -> RecordedRule:
        """Returns the rule with the recorded hyperparameters and initial weights, in float64.

        Raises:
            UserError: the recording does not say what it was made of, says what is not known of its rule, or starts
                from other weights than the rule has.
        """
        with self.refused("its meta is not that of its rule"):
            start = {name: tuple(weight.shape) for name, weight in self.at_start().items()}
            recorded = recorded_rule(Meta(self.meta), len(self.x), self.x.shape[1], start)
        self._require(
            self.x.shape[2:] == torch.Size(recorded.rule.network.shapes[0]),
            f"x has samples of {_times(self.x.shape[2:])}, its network takes {_times(recorded.rule.network.shapes[0])}",
        )
        classes = recorded.rule.network.sizes[-1]
        self._require(
            int(self.y.min()) >= 0 and int(self.y.max()) < classes, f"y is not of the classes 0 … {classes - 1}"
        )
        self._start(recorded)
        return recorded

    def _start(self, recorded: RecordedRule) -> None:
        """Sets the weights to the recorded initial ones."""
        weights, given = recorded.weights(), self.at_start()
        derived = recorded.at_start().keys()
        missing = (weights.keys() | derived & self.after_step(0).keys()) - given.keys()
        unknown = given.keys() - weights.keys() - derived - recorded.unused.keys()
        self._require(not missing, f"it lacks init/{', init/'.join(sorted(missing))}, with which the rule starts")
        self._require(not unknown, f"it has init/{', init/'.join(sorted(unknown))}, which the rule does not have")
        with torch.no_grad():
            for name, weight in weights.items():
                self._require(
                    weight.shape == given[name].shape,
                    f"its init/{name} is {_times(given[name].shape)}, the rule's {_times(weight.shape)}",
                )
                weight.copy_(torch.from_numpy(given[name]) / recorded.units(name))
        for name, shape in recorded.unused.items():
            if name in given:
                self._require(
                    given[name].shape == shape, f"its init/{name} is {_times(given[name].shape)}, not {_times(shape)}"
                )
                recorded.idle[name] = torch.from_numpy(given[name])

    def require_keys(self, recorded: RecordedRule, step: int, replayed: Iterable[str]) -> None:
        """Checks that a step's arrays are those that a recording of the rule holds.

        Args:
            recorded: the rule.
            step: its number.
            replayed: the keys of what the rule has after it.

        Raises:
            UserError: one is missing, or is none that the rule has.
        """
        found = self.after_step(step).keys()
        missing, unknown = recorded.expected(replayed, found) - found, found - set(replayed)
        require(
            not unknown, f"it records {self._keys(step, unknown)}, which {type(recorded.rule).__name__} does not have"
        )
        require(
            not missing,
            f"it lacks {self._keys(step, missing)}: add what is missing, or leave out the whole kind and let meta say"
            " in holds which kinds of arrays there are",
        )

    @staticmethod
    def _keys(step: int, keys: Iterable[str]) -> str:
        return ", ".join(f"step{step}/{key}" for key in sorted(keys))

    @contextmanager
    def refused(self, why: str) -> Iterator[None]:
        """Turns what is raised of this recording into one sentence that names its file.

        Args:
            why: of what is no :class:`bioplausible.UserError`.
        """
        try:
            yield
        except UserError as error:
            raise self._refused(str(error)) from error
        except refusals() as error:  # a number where a list belongs, a list that is too short …
            said = " ".join(str(error).split())
            raise self._refused(f"{why} ({type(error).__name__}: {said})") from error

    def at_start(self) -> dict[str, Any]:
        """Returns what was recorded before the first step, by its key there."""
        return {key.removeprefix("init/"): value for key, value in self.arrays.items() if key.startswith("init/")}

    def after_step(self, step: int) -> dict[str, Any]:
        """Returns what was recorded after a step, by its key without the step."""
        prefix = f"step{step}/"
        return {key.removeprefix(prefix): value for key, value in self.arrays.items() if key.startswith(prefix)}

    def _require_numbers(self, name: str, array: Any) -> None:
        """Checks that an array holds finite numbers, in the precision that its meta says."""
        self._require(
            array.dtype.kind in "iu" or array.dtype == np.float64,
            f"its {name} holds {array.dtype}, where it should be float64, the arithmetic of the recorded run",
        )
        broken = np.argwhere(~np.isfinite(array))
        self._require(
            not len(broken), f"its {name} is not finite at {broken[0].tolist() if len(broken) else []}: record it anew"
        )

    def _require(self, condition: bool, reason: str) -> None:
        require(condition, str(self._refused(reason)))

    def _refused(self, reason: str) -> UserError:
        return UserError(f"{self.path} can't be replayed: {reason.rstrip('.')}.")


def _times(shape: Any) -> str:
    """Returns ``3 × 4``; ``a number`` where there is no axis."""
    return " × ".join(map(str, shape)) or "a number"
