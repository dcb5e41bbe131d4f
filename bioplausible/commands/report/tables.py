"""Runs grouped into settings, their seeds aggregated, beside the published figures."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

import bioplausible.data
import bioplausible.rules
from bioplausible.commands.recipes import all_recipes
from bioplausible.commands.report.configurations import plain
from bioplausible.commands.report.nets import net_name
from bioplausible.commands.report.runs import Run
from bioplausible.commands.report.significance import ALPHA, Comparison, Estimate, welch
from bioplausible.training.hyperparameters import AVERAGERS, STOPPERS

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
                theirs = (entry["data"], entry["rule"], net_name(entry), entry.get("loss", self.first.loss))
                found = theirs == (self.first.data, self.first.rule, self.first.net, self.first.loss)
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
        rivals = [_leaves(other.first.options) for other in found if kind(other) == kind(one)]
        mine = _leaves(one.first.options)
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


def _leaves(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options with those of a class, or of a callback, each under a name of its own, as ``model.optimizer.lr``.

    A class stands under the name of what it is given for, a callback's name under its own: ``on``. What was changed on
    the way is left out, for titles say it anyway.
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        of_class = isinstance(value, Mapping) and "class_path" in value
        if of_class or (isinstance(value, Mapping) and name.rpartition(".")[2] in (*STOPPERS, *AVERAGERS)):
            found[name] = value["class_path"] if of_class else "on"
            inner = (value.get("init_args") or {}) if of_class else value
            found |= {f"{name}.{option}": entry for option, entry in inner.items()}
        elif name != "run.resumed":
            found[name] = value
    return found


def _tells(name: str, mine: Mapping[str, Any], rivals: Sequence[Mapping[str, Any]]) -> bool:
    """Returns whether an option tells a setting from another one, whose class or callback is not already another."""
    above = name.rpartition(".")[0]
    alike = [other for other in rivals if above not in mine or other.get(above) == mine[above]]
    return any(other.get(name) != mine[name] for other in alike)


LENGTH = {"trainer.max_epochs", "trainer.max_steps", "trainer.min_epochs", "trainer.min_steps", "trainer.max_time"}
"""What was to be trained: it is what was trained that counts."""


def departures(run: Run) -> list[str]:
    """Returns in words how a run departs from the shipped recipe of its rule, data set, net and loss.

    Of several such recipes the nearest one counts. An option that it does not name has its class's default there.
    """
    nearest, found = nearest_recipe(run)
    return ["there is no recipe of it"] if nearest is None else found


def nearest_recipe(run: Run) -> tuple[str | None, list[str]]:
    """Returns the recipe of a run's rule, data set, net and loss from which it departs least, and in what.

    It is named as ``cifar10/corinfomax``; None: there is none.
    """
    of_net = [(n, r) for n, r in shipped(tuple(all_recipes())) if _kind(r) == _kind(run)]
    found = ((name, _departures(run, recipe)) for name, recipe in of_net)
    return min(found, key=lambda one: len(one[1]), default=(None, []))


@cache
def shipped(paths: tuple[Path, ...]) -> list[tuple[str, Run]]:
    """Returns recipes by their names, each as a run that trained nothing."""
    return [
        (f"{path.parent.name}/{path.stem}", Run(path.parent, config=yaml.safe_load(path.read_text()))) for path in paths
    ]


def _kind(run: Run) -> tuple[str, str, str, str | None]:
    """Returns a run's data, rule, net and loss; a recipe may leave its rule's default loss out."""
    return run.data, run.rule, run.net, run.loss or _default(run, "model.loss")


def _departures(run: Run, recipe: Run) -> list[str]:
    wanted, mine = recipe.options, run.options
    found = [] if run.epochs == recipe.planned[0] else [f"{run.epochs} epochs, not {recipe.planned[0]}"]
    for name in sorted((wanted.keys() | mine.keys()) - LENGTH - run.told_apart.keys()):
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
    return None if cls is None else _defaults(cls).get(option)


@cache
def _defaults(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        for name, parameter in inspect.signature(base.__init__).parameters.items():  # type: ignore[misc]
            found.setdefault(name, None if parameter.default is parameter.empty else plain(parameter.default))
    return found


def _contains(whole: Any, part: Any) -> bool:
    """Returns whether all that a recipe says of a part is so in a run's configuration, which says more."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(_contains(whole.get(name), part[name]) for name in part)
    return bool(whole == part)
