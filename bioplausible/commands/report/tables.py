"""Runs grouped into settings, their seeds aggregated, beside the published figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from bioplausible.commands.report.configurations import leaves
from bioplausible.commands.report.departures import departures, kind_of, nearest_recipe
from bioplausible.commands.report.nets import net_name
from bioplausible.commands.report.runs import Run
from bioplausible.commands.report.significance import ALPHA, Comparison, Estimate, welch

PUBLISHED: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("published.yaml").read_text())


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
    def data_name(self) -> str:
        """The data set."""
        return self.first.data.removesuffix("DataModule")

    @property
    def accuracies(self) -> dict[int, float]:
        """Test accuracy in percent by seed."""
        return {run.seed: 100 * value for run in self.runs if (value := run.last("test/accuracy")) is not None}

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
        return Estimate.of(list(self.accuracies.values()))  # a finished run was tested

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

    @cached_property
    def _nearest(self) -> str | None:
        return nearest_recipe(self.first)[0]

    @cached_property
    def _departures(self) -> str:
        return "; ".join(dict.fromkeys(reason for run in self.runs for reason in departures(run)))

    @property
    def figure(self) -> Estimate | None:
        """The published test accuracy in percent of this rule, network, loss and data set, whatever the settings.

        Where several settings of these are published, that of the recipe which is nearest.
        """
        for entry in PUBLISHED:
            if "recipe" in entry:
                found = entry["recipe"] == self._nearest
            else:
                loss = entry.get("loss", kind_of(self.first)[3])
                found = (entry["data"], entry["rule"], net_name(entry), loss) == kind_of(self.first)
            if found:
                return Estimate(entry["mean"], entry.get("std"), entry.get("seeds"))
        return None

    @property
    def not_comparable(self) -> str:
        """Why the published figure, if there is one, says nothing about these runs; empty where it does."""
        return "" if self.figure is None else self._departures

    @property
    def published(self) -> Estimate | None:
        """The published figure, for runs that trained as it says."""
        return None if self.not_comparable else self.figure

    @property
    def against_published(self) -> Comparison | None:
        """Welch's test of the test accuracy against the published one; None where it can't be told."""
        return None if self.published is None else welch(self.accuracy, self.published)

    @property
    def deviates(self) -> bool | None:
        """Whether measured and published mean differ (p < 0.05 in Welch's test); None where it can't be told."""
        test = self.against_published
        return None if test is None else test.p < ALPHA


def group(runs: Sequence[Run]) -> list[Group]:
    """Returns the finished runs grouped by setting, in the order of data set, net, rule and loss."""
    _tell_apart([run for run in runs if run.finished])
    groups: dict[str, dict[int, Run]] = {}
    for run in sorted(runs, key=lambda run: run.ended):
        if run.finished:
            of_seed = groups.setdefault(run.settings, {})
            if run.seed in of_seed:
                of_seed[run.seed].later = run
            of_seed[run.seed] = run
    found = [Group([by_seed[seed] for seed in sorted(by_seed)]) for by_seed in groups.values()]

    def kind(one: Group) -> tuple[str, str, str, str]:
        return one.first.data, one.first.net, one.first.rule, one.first.loss or ""

    for one in found:
        rivals = [leaves(other.first.options) for other in found if kind(other) == kind(one)]
        mine = leaves(one.first.options)
        one.differs = ", ".join(f"{name.partition('.')[2]}={mine[name]}" for name in mine if _tells(name, mine, rivals))
    return sorted(found, key=lambda one: (*kind(one), one.differs))


def _tell_apart(runs: Sequence[Run]) -> None:
    """Notes of runs with the same options of the data by which digests their images differ.

    One that has no digest, as one of an earlier version, is not told from others by that.
    """
    alike: dict[str, list[Run]] = {}
    for run in runs:
        run.told_apart = {}
        of_data = {name: value for name, value in run.options.items() if name.startswith("data")}
        alike.setdefault(yaml.safe_dump(of_data), []).append(run)
    for some in alike.values():
        for name in {name for run in some for name in run.digests}:
            if len({run.digests[name] for run in some if name in run.digests}) > 1:
                for run in some:
                    run.told_apart[name] = run.digests.get(name, "not known")


def _tells(name: str, mine: Mapping[str, Any], rivals: Sequence[Mapping[str, Any]]) -> bool:
    """Returns whether an option tells a setting from another one, whose class or callback is not already another."""
    above = name.rpartition(".")[0]
    alike = [other for other in rivals if above not in mine or other.get(above) == mine[above]]
    return any(other.get(name) != mine[name] for other in alike)
