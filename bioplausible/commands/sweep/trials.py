"""What a sweep trains: one recipe, seed and set of options a trial, in a folder of its own."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from bioplausible.commands.configuration import class_of
from bioplausible.commands.recipes import snake_case
from bioplausible.commands.report.nets import net_name
from bioplausible.commands.sources import sources
from bioplausible.errors import UserError

LONGEST_NAME = 200
"""Bytes of a folder's name."""

TEST, VALIDATION = "test/accuracy", "val/accuracy"
"""What a trial is scored by."""


@dataclass(frozen=True)
class Trial:
    """One combination.

    Attributes:
        name: ``digits/corinfomax/seed=0,beta=0.5``: folder and name of the recipe, with the trial's own data set and
            rule where it has others, and the combination.
        folder: folder of its run.
        arguments: of ``fit``.
        what: seed, options and the recipe's text, to know again what was trained.
        threads: threads that torch computes with.
        scored_by: the accuracy that counts: :data:`TEST`, or :data:`VALIDATION` in a search.
    """

    name: str
    folder: str
    arguments: list[str]
    what: dict[str, Any]
    threads: int
    scored_by: str = TEST


def trials(recipe: Path, seeds: Sequence[int], grid: dict[str, list[str]], out: Path, threads: int) -> list[Trial]:
    """Returns every combination of seeds and values.

    Args:
        recipe: YAML file.
        seeds: values of seed_everything.
        grid: values by option, for example ``{"model.init_args.beta": ["0.5", "1.0"]}``.
        out: folder of the whole sweep.
        threads: threads a trial.
    """
    found = []
    for seed, values in product(seeds, product(*grid.values())):
        options = dict(zip(grid, values, strict=True))
        found.append(trial(recipe, combination(seed, options), seed, options, out, threads))
    return found


def combination(seed: int, options: Mapping[str, str]) -> str:
    """Returns seed and options in words: by the last part of their names, unless two have the same."""
    short = {key: key.rpartition(".")[2] for key in options}
    if len(set(short.values())) < len(short):
        short = {key: key for key in options}
    return ",".join([f"seed={seed}", *(f"{short[key]}={_shown(key, v)}" for key, v in options.items())])


def trial(
    recipe: Path,
    name: str,
    seed: int,
    options: Mapping[str, str],
    out: Path,
    threads: int,
    scored_by: str = TEST,
    drawn: Mapping[str, Any] | None = None,
    observers: Sequence[str] = (),
) -> Trial:
    """Returns one trial.

    Args:
        recipe: YAML file.
        name: seed and options in words, which name the trial's folder.
        seed: value of seed_everything.
        options: of ``fit``, without the dashes.
        out: folder of the whole sweep.
        threads: threads it computes with.
        scored_by: the accuracy that counts.
        drawn: in a search, what was drawn, by the distribution's name.
        observers: further callbacks.
    """
    arguments = ["--config", str(recipe.resolve()), "--seed_everything", str(seed)]
    for key, value in options.items():
        arguments += [f"--{key}", value]
    for observer in observers:
        arguments += ["--trainer.callbacks+", observer]
    kind = kind_of(recipe, arguments)
    folder = out / kind / _folder_name(name)
    arguments += ["--trainer.logger.init_args.save_dir", str(out), "--trainer.logger.init_args.name", kind]
    arguments += ["--trainer.logger.init_args.version", folder.name, "--trainer.enable_progress_bar", "false"]
    what: dict[str, Any] = {"seed": seed, "options": dict(options), "recipe": recipe.read_text()}
    environment = {name: value for name, value in os.environ.items() if name.startswith("PL_FIT__")}
    if environment:  # they reach fit as options do
        what["environment"] = environment
    if observers:
        what["observers"] = list(observers)
    if drawn is not None:
        what["drawn"] = dict(drawn)
    return Trial(f"{kind}/{name}", str(folder), arguments, what, threads, scored_by)


def kind_of(recipe: Path, arguments: Sequence[str] = ()) -> str:
    """Returns folder and name of a recipe, such as ``digits/corinfomax``.

    Where a trial has another data set or rule than the recipe, theirs stand in the names: a run must not lie where the
    recipe's own are looked for.

    Args:
        recipe: YAML file.
        arguments: of ``fit``, the recipe among them; none for the recipe itself.
    """
    given = sources("fit", arguments)
    of_recipe = [source for source in given if source.is_file][-1:]
    names = [recipe.resolve().parent.name, recipe.stem]
    for i, place in enumerate(("data", "model")):
        theirs, mine = class_of(of_recipe, place), class_of(given, place)
        if theirs is not None and mine is not None:
            names[i] = names[i].replace(snake_case(theirs), snake_case(mine))
    return "/".join(names)


def refuse_same_folders(every: Sequence[Trial]) -> None:
    """Checks that each trial has a folder of its own.

    Raises:
        UserError: two have the same.
    """
    if len({trial.folder for trial in every}) < len(every):
        raise UserError("Two trials would have the same folder: give each recipe (by folder and name) and value once.")


def _shown(key: str, value: str) -> str:
    """Returns an option's value as a trial's name has it: a network in its short form."""
    if key.rpartition(".")[2] != "network":
        return value
    try:
        return net_name({"network": yaml.safe_load(value)})
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError):
        return value  # no network: its trial will say so


def _folder_name(combined: str) -> str:
    """Returns a combination as a folder's name, which may have 255 bytes at most."""
    name = combined.replace("/", "_")
    if len(name.encode()) <= LONGEST_NAME:
        return name
    start = name.encode()[: LONGEST_NAME - 10].decode(errors="ignore")
    return f"{start}…{hashlib.sha256(name.encode()).hexdigest()[:7]}"
