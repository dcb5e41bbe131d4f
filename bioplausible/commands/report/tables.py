"""Runs grouped into settings, their seeds aggregated, beside the published figures."""

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml

import bioplausible.data
import bioplausible.rules
from bioplausible.commands.recipes import all_recipes
from bioplausible.commands.report.configurations import plain
from bioplausible.commands.report.nets import net_name
from bioplausible.commands.report.runs import Run

PUBLISHED: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("published.yaml").read_text())


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: the mean.
        std: standard deviation with n − 1; None for one seed, or where it is not known.
        n: number of seeds.
    """

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate":
        """Returns the estimate from the values of each seed."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else None, len(values))

    def __str__(self) -> str:
        return f"{self.mean:.2f}" if self.std is None else f"{self.mean:.2f} ± {self.std:.2f}"


@dataclass
class Group:
    """Runs of one setting that differ in nothing but their seed.

    Attributes:
        runs: the finished ones, one a seed (of two with the same seed, the later).
        differs: what tells it from other settings of the same rule, data set and net, as ``beta=0.5``.
    """

    runs: list[Run]
    differs: str = ""

    @property
    def first(self) -> Run:
        """One of them, for what they share."""
        return self.runs[0]

    @property
    def title(self) -> str:
        """Rule, its loss where it has a choice, what tells it from other settings, and what was changed on the way."""
        loss = self.first.loss
        parts = [self.first.rule, *([] if loss is None else [loss.replace("_", " ")])]
        return ", ".join([*parts, *([self.differs] if self.differs else []), *self.first.changed])

    @property
    def seeds(self) -> list[int]:
        """The seeds."""
        return [run.seed for run in self.runs]

    def estimate(self, name: str, scale: float = 1.0) -> Estimate | None:
        """Returns a scalar's last value over the seeds."""
        values = [run.last(name) for run in self.runs]
        known = [value * scale for value in values if value is not None]
        return Estimate.of(known) if known else None

    @property
    def accuracy(self) -> Estimate:
        """Test accuracy in percent."""
        found = self.estimate("test/accuracy", 100)
        assert found is not None  # a finished run was tested
        return found

    @property
    def validation(self) -> Estimate | None:
        """Validation accuracy in percent at the end; None without a validation split."""
        return self.estimate("val/accuracy", 100)

    @property
    def best_validation(self) -> Estimate | None:
        """The best validation accuracy in percent of each run; None without a validation split."""
        best = [run.best("val/accuracy") for run in self.runs]
        known = [100 * value for value in best if value is not None]
        return Estimate.of(known) if known else None

    @property
    def figure(self) -> Estimate | None:
        """The published test accuracy in percent of this rule, network, loss and data set, whatever the settings."""
        for entry in PUBLISHED:
            theirs = (entry["data"], entry["rule"], net_name(entry), entry.get("loss", self.first.loss))
            if theirs == (self.first.data, self.first.rule, self.first.net, self.first.loss):
                return Estimate(entry["mean"], entry.get("std"), entry["seeds"])
        return None

    @property
    def not_comparable(self) -> str:
        """Why the published figure, if there is one, says nothing about these runs; empty where it does."""
        if self.figure is None:
            return ""
        return "; ".join(dict.fromkeys(reason for run in self.runs for reason in departures(run)))

    @property
    def published(self) -> Estimate | None:
        """The published figure, for runs that trained as it says."""
        return None if self.not_comparable else self.figure

    @property
    def deviates(self) -> bool | None:
        """Whether measured and published mean differ by more than two combined standard errors; None: can't be told.

        |m − p| > 2 √(s_m²/n_m + s_p²/n_p); it takes two seeds on either side.
        """
        measured, published = self.accuracy, self.published
        if published is None or measured.std is None or published.std is None:
            return None
        error = math.sqrt(measured.std**2 / measured.n + published.std**2 / published.n)
        return abs(measured.mean - published.mean) > 2 * error


def group(runs: Sequence[Run]) -> list[Group]:
    """Returns the finished runs grouped by setting, in the order of data set, net, rule and loss."""
    groups: dict[str, dict[int, Run]] = {}
    for run in sorted(runs, key=lambda run: run.ended):
        if run.finished:
            of_seed = groups.setdefault(run.settings, {})
            if run.seed in of_seed:
                of_seed[run.seed].note = f"a later run has its seed: {run.path}"
            of_seed[run.seed] = run
    found = [Group([by_seed[seed] for seed in sorted(by_seed)]) for by_seed in groups.values()]

    def kind(one: Group) -> tuple[str, str, str, str]:
        return one.first.data, one.first.net, one.first.rule, one.first.loss or ""

    for one in found:
        rivals = [other.first.options for other in found if kind(other) == kind(one)]
        mine = one.first.options
        varying = [name for name in mine if any(other.get(name) != mine[name] for other in rivals)]
        one.differs = ", ".join(f"{name.partition('.')[2]}={mine[name]}" for name in varying)
    return sorted(found, key=lambda one: (*kind(one), one.differs))


LENGTH = {"trainer.max_epochs", "trainer.max_steps", "trainer.min_epochs", "trainer.min_steps", "trainer.max_time"}
"""What was to be trained: it is what was trained that counts."""


def departures(run: Run) -> list[str]:
    """Returns in words how a run departs from the shipped recipe of its rule, data set, net and loss.

    An option that the recipe does not name has its class's default there.
    """
    for path in all_recipes():
        theirs = Run(path.parent, config=yaml.safe_load(path.read_text()))
        if (theirs.data, theirs.rule, theirs.net, theirs.loss) == (run.data, run.rule, run.net, run.loss):
            break
    else:
        return ["there is no recipe of it"]
    wanted, mine = theirs.options, run.options
    found = [] if run.epochs == theirs.planned[0] else [f"{run.epochs} epochs, not {theirs.planned[0]}"]
    for name in sorted((wanted.keys() | mine.keys()) - LENGTH):
        default = wanted.get(name, _default(run, name))
        if not _contains(mine.get(name, default), default):
            value = mine.get(name)
            found.append(f"{name.partition('.')[2]}={value}" + ("" if default is None else f", not {default}"))
    return found


def _default(run: Run, name: str) -> Any:
    """Returns an option's default of the run's rule or data module; None where none is known."""
    part, _, option = name.partition(".")
    classes = {"model": (bioplausible.rules, run.rule), "data": (bioplausible.data, run.data)}
    cls = getattr(*classes[part], None) if part in classes else None
    for base in getattr(cls, "__mro__", ()):
        parameter = inspect.signature(base.__init__).parameters.get(option)
        if parameter is not None:
            return None if parameter.default is parameter.empty else plain(parameter.default)
    return None


def _contains(whole: Any, part: Any) -> bool:
    """Returns whether all that a recipe says of a part is so in a run's configuration, which says more."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(_contains(whole.get(name), part[name]) for name in part)
    return bool(whole == part)
