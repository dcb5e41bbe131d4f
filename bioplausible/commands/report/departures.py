"""How a run departs from the shipped recipe whose published figure it might be held to."""

import inspect
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml

import bioplausible.data
import bioplausible.rules
from bioplausible.commands.recipes import all_recipes
from bioplausible.commands.report.configurations import NO_RESULT, leaves, plain
from bioplausible.commands.report.runs import Run
from bioplausible.training import schedulers

LENGTH = {"trainer.max_epochs", "trainer.max_steps", "trainer.min_epochs", "trainer.min_steps", "trainer.max_time"}
"""What was to be trained: it is what was trained that counts."""

AS_IN_TRAINING = {"model.evaluation_steps": "model.free_steps", "model.evaluation_step_size": "model.step_size"}
"""Options whose None stands for another one."""

OF_THE_NET = {"model.layer_sizes", "model.network"}
"""Options that a run's network stands for, by its name."""


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
    of_net = [(n, r) for n, r in shipped(tuple(all_recipes())) if kind_of(r) == kind_of(run)]
    found = ((name, _departures(run, recipe)) for name, recipe in of_net)
    return min(found, key=lambda one: len(one[1]), default=(None, []))


@cache
def shipped(paths: tuple[Path, ...]) -> list[tuple[str, Run]]:
    """Returns recipes by their names, each as a run that trained nothing."""
    return [
        (f"{path.parent.name}/{path.stem}", Run(path.parent, config=yaml.safe_load(path.read_text()))) for path in paths
    ]


def kind_of(run: Run) -> tuple[str, str, str, str | None]:
    """Returns a run's data, rule, net and loss; a recipe may leave its rule's default loss out."""
    return run.data, run.rule, run.net, run.loss or _defaults_of(run, "model").get("loss")


def _departures(run: Run, recipe: Run) -> list[str]:
    wanted, mine = leaves(spelled_out(recipe)), leaves(spelled_out(run))
    found = [] if run.epochs == recipe.planned[0] else [f"{run.epochs} epochs, not {recipe.planned[0]}"]
    found += run.changed
    for name in sorted((wanted.keys() | mine.keys()) - LENGTH - run.told_apart.keys()):
        above = name.rpartition(".")[0]
        if wanted.get(above) == mine.get(above) and not _same(mine.get(name), wanted.get(name)):
            other = "" if wanted.get(name) is None else f", not {wanted[name]}"
            found.append(f"{name.partition('.')[2]}={mine.get(name)}{other}")
    return found


def spelled_out(run: Run) -> dict[str, Any]:
    """Returns each option that bears on a run's results, those at their defaults too.

    The optimizer's rate, or weight decay, is left out where each layer has one of its own: nothing learns by it.
    """
    found = dict(run.options)
    for part in ("model", "data"):
        given = run.config[part].get("init_args") or {}
        defaults = _defaults_of(run, part)
        found |= {f"{part}.{name}": value for name, value in defaults.items() if name not in given}
        found |= {f"{part}.{name}": None for name, value in given.items() if value is None}
    found = {name: _with_defaults(value) for name, value in found.items() if name not in NO_RESULT | OF_THE_NET}
    found["model.network"] = run.net
    found |= {name: found.get(other) for name, other in AS_IN_TRAINING.items() if found.get(name) is None}
    of_optimizer = found.get("model.optimizer", {}).get("init_args", {})
    for of_layers, idle in (("learning_rates", "lr"), ("weight_decays", "weight_decay")):
        values = [value for name, value in found.items() if name.endswith(of_layers)]
        if values and not any(value is None or (isinstance(value, list) and None in value) for value in values):
            of_optimizer.pop(idle, None)
    return {name: value for name, value in found.items() if value is not None}


def _with_defaults(value: Any) -> Any:
    """Returns an optimizer or schedule with all its options; all else as it is."""
    if isinstance(value, type):
        value = {"class_path": value.__name__}
    if not (isinstance(value, Mapping) and "class_path" in value):
        return value
    places = (torch.optim, torch.optim.lr_scheduler, schedulers)
    cls = next((found for place in places if (found := getattr(place, value["class_path"], None)) is not None), None)
    given = dict(value.get("init_args") or {})
    if cls is not None:  # a run from Python tells what its class fixes too, as AdamW does Adam's kind of decay
        own = inspect.signature(cls).parameters
        given = {name: given.get(name, default) for name, default in _defaults(cls).items() if name in own}
    return {**plain({"class_path": value["class_path"], "init_args": given})}


def _defaults_of(run: Run, part: str) -> dict[str, Any]:
    """Returns the defaults of a run's rule or data module by name; none of a class of a user's own."""
    place, name = (bioplausible.rules, run.rule) if part == "model" else (bioplausible.data, run.data)
    cls = getattr(place, name, None)
    return {} if cls is None else _defaults(cls)


@cache
def _defaults(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        for name, parameter in inspect.signature(base.__init__).parameters.items():  # type: ignore[misc]
            found.setdefault(name, None if parameter.default is parameter.empty else plain(parameter.default))
    return found


def _same(one: Any, other: Any) -> bool:
    """Returns whether two values of an option mean the same: a number stands for a list of it, one for each layer."""
    if isinstance(one, list) != isinstance(other, list):
        entries, number = (one, other) if isinstance(one, list) else (other, one)
        return bool(entries) and all(entry == number for entry in entries)
    return bool(one == other)
