"""Runs grouped into settings, their seeds aggregated, beside the published figures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml

from bioplausible.report.runs import Run

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
    """

    runs: list[Run]

    @property
    def first(self) -> Run:
        """One of them, for what they share."""
        return self.runs[0]

    @property
    def title(self) -> str:
        """Rule and, where it has a choice, loss."""
        loss = self.first.loss
        return self.first.rule if loss is None else f"{self.first.rule}, {loss.replace('_', ' ')}"

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
    def published(self) -> Estimate | None:
        """The published test accuracy in percent of this rule, data set and net, if there is one."""
        for entry in PUBLISHED:
            net = "-".join(map(str, entry["layer_sizes"]))
            theirs = (entry["data"], entry["rule"], net, entry.get("loss", self.first.loss))
            if theirs == (self.first.data, self.first.rule, self.first.net, self.first.loss):
                return Estimate(entry["mean"], entry.get("std"), entry["seeds"])
        return None

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
    for run in runs:
        if run.finished:
            groups.setdefault(run.settings, {})[run.seed] = run
    found = [Group([by_seed[seed] for seed in sorted(by_seed)]) for by_seed in groups.values()]
    return sorted(found, key=lambda g: (g.first.data, g.first.net, g.first.rule, g.first.loss or ""))
