"""What a run's configuration is made of: options, environment, files, and below them a recipe or a checkpoint's.

jsonargparse puts all of it together. What it can't know is done here before: which recipe a rule that is named alone
means, which run ``last`` is, and that the settings of one class are not those of another.
"""

import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from pytorch_lightning import loggers
from pytorch_lightning.cli import LightningArgumentParser

from bioplausible.commands.recipes import named_recipe, recipe_of, recipes
from bioplausible.commands.trainer import TRAINER_DEFAULTS, RunTrainer
from bioplausible.training.loggers import LOG_FOLDER

KEPT = {
    "model": ("layer_sizes", "network"),
    "data": ("batch_size", "evaluation_batch_size", "validation_split", "subset_size", "num_workers"),
}
"""What another rule or data set keeps of the settings before: which network, and how much data at a time."""

ALTERNATIVES = {"model.layer_sizes": "model.network", "model.network": "model.layer_sizes"}
"""Settings of which one is given: where a later source names the other one, the earlier one does not count."""

CONFIG = ("--config", "-c")


class _Loader(yaml.SafeLoader):
    """YAML's loader that takes 1e-3 for a number, as jsonargparse does."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


@dataclass(frozen=True)
class Source:
    """One thing that a configuration is made of.

    Attributes:
        content: what it sets, nested; of an option ``--model.beta 0.5`` this is ``{"model": {"beta": 0.5}}``.
        words: the words of the command line; none for an environment variable.
        is_file: whether it is a configuration file.
    """

    content: dict[str, Any]
    words: tuple[str, ...] = ()
    is_file: bool = False


def sources(command: str, args: Sequence[str]) -> list[Source]:
    """Returns what a command's configuration is made of, the later ones of which count.

    Args:
        command: ``fit``, …
        args: its options.
    """
    found = []
    prefix = f"PL_{command.upper()}__"
    for name, value in sorted(os.environ.items()):
        if name == f"{prefix}CONFIG":
            found.append(_file(value, ()))
        elif name.startswith(prefix):
            found.append(Source(_nested(name.removeprefix(prefix).lower().split("__"), _value(value))))
    rest = list(args)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if not equals and word.startswith("-") and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
            words: tuple[str, ...] = (word, value)
        else:
            words = (word,)
        if name in CONFIG:
            found.append(_file(value, words))
        elif name.startswith("--"):
            keys = name.removeprefix("--").removesuffix("+").split(".")
            found.append(Source(_nested(keys, _value(value)), words))
        else:
            found.append(Source({}, words))
    return found


def last_of(given: Sequence[Source], *keys: str) -> Any:
    """Returns the value that the last source which sets it gives a setting; None where none does."""
    value = None
    for source in given:
        here: Any = source.content
        for key in keys:
            here = here.get(key) if isinstance(here, dict) else None
        value = value if here is None else here
    return value


def class_of(given: Sequence[Source], place: str) -> str | None:
    """Returns the class that the sources name last for ``model`` or ``data``, without its module; None for none."""
    named = [class_at(source.content, place) for source in given]
    return next((name.rpartition(".")[2] for name in reversed(named) if name), None)


def implied_recipe(given: Sequence[Source]) -> dict[str, Any]:
    """Returns the recipe that lies below the sources: the named rule's for the named data set, CorInfoMax's for digits.

    Nothing, where a file sets up a rule. Where there is no such recipe, the rule has its own defaults, and data and
    Trainer those of the data set's recipe for CorInfoMax.
    """
    if any(source.is_file and _settings(source.content.get("model")) for source in given):
        return {}
    rule, data = class_of(given, "model") or "CorInfoMax", class_of(given, "data") or "DigitsDataModule"
    path = recipe_of(data, rule)
    if path is not None:
        return _mapping(yaml.load(path.read_text(), _Loader))
    other = recipe_of(data, "CorInfoMax") or recipes() / "digits" / "corinfomax.yaml"
    config = _mapping(yaml.load(other.read_text(), _Loader))
    del config["model"]
    if class_of([Source(config)], "data") != data:
        del config["data"]
    return config


def consistent(given: Sequence[Source], say: Callable[[str], None] = print) -> list[Source]:
    """Returns the sources without what earlier ones set of another class than the one that counts in the end.

    Args:
        given: the sources.
        say: is told in one line of what is left out.
    """
    adjusted = list(given)
    places = {"model", "data"}.union(*(class_places(source.content) for source in given))
    for i in range(len(adjusted) - 1, -1, -1):  # from the last one on: what it says counts for all before
        for place in sorted(places):
            now = class_at(adjusted[i].content, place)
            for j in range(i) if now else ():
                before = class_at(adjusted[j].content, place)
                if before is None or now is None or _same(before, now):
                    continue
                changed, kept, dropped = _renamed(adjusted[j].content, place, now)
                adjusted[j] = _with(adjusted[j], changed)
                if dropped:
                    keeps = f"{', '.join(kept)} stay{'s' if len(kept) == 1 else ''}, " if kept else ""
                    say(
                        f"{place} is {_last(now)} instead of {_last(before)}: {keeps}{', '.join(dropped)}"
                        f" of {_last(before)} {'is' if len(dropped) == 1 else 'are'} left out."
                    )
        for place in ALTERNATIVES.keys() & _set_places(adjusted[i].content):
            other = ALTERNATIVES[place]
            for j in range(i):
                if other in _set_places(adjusted[j].content):
                    adjusted[j] = _with(adjusted[j], _without(adjusted[j].content, other))
    return adjusted


def trainer_defaults(given: Sequence[Source]) -> dict[str, Any]:
    """Returns the defaults of the Trainer's options: where another logger is named, nothing of RunLogger's."""
    named = class_of(given, "trainer.logger")
    if named in (None, "RunLogger"):
        return TRAINER_DEFAULTS
    others = {name: value for name, value in TRAINER_DEFAULTS.items() if name != "logger"}
    save_dir = inspect.signature(getattr(loggers, str(named), object)).parameters.get("save_dir")
    if save_dir is None or save_dir.default is not inspect.Parameter.empty:
        return others
    return {**others, "logger": {"class_path": named, "init_args": {"save_dir": LOG_FOLDER}}}


def words(given: Sequence[Source]) -> list[str]:
    """Returns the sources as words of a command line."""
    return [word for source in given for word in source.words]


def log_folder(command: str, given: Sequence[Source]) -> Path:
    """Returns the folder below which the runs of a configuration lie, for ``last``.

    Args:
        command: ``fit``, …
        given: what its configuration is made of; of all this only the Trainer's part is parsed.
    """
    parser = LightningArgumentParser(exit_on_error=False, default_env=True, env_prefix=f"PL_{command.upper()}_")
    parser.add_argument("--config", action="config")
    parser.add_lightning_class_args(RunTrainer, "trainer")
    parser.set_defaults({f"trainer.{name}": value for name, value in trainer_defaults(given).items()})
    parts: list[str] = []
    for source in given:
        if source.is_file and "trainer" in source.content:
            parts += ["--config", yaml.safe_dump({"trainer": source.content["trainer"]}, sort_keys=False)]
        elif "trainer" in source.content:
            parts += source.words
    trainer = parser.parse_args(parts).trainer
    first = trainer.logger[0] if isinstance(trainer.logger, list) and trainer.logger else trainer.logger
    options = first.get("init_args") if isinstance(first, Namespace) else None
    named = options.get("save_dir") if options else None
    if named:
        return Path(named).expanduser()
    return Path(trainer.default_root_dir or ".").expanduser() / (LOG_FOLDER if options else "")


def plain_values(config: Namespace) -> None:
    """Turns defaults that are objects into what one would write for them, so that a saved configuration reads back."""
    for key, value in list(config.items(branches=False)):
        if isinstance(value, Enum):
            config[key] = value.value
        elif isinstance(value, torch.device):
            config[key] = str(value)
        elif isinstance(value, list):
            for entry in value:
                if isinstance(entry, Namespace):
                    plain_values(entry)


# ------------------------------------------------------------------------------------------------------------ internals


def class_places(content: Mapping[str, Any]) -> set[str]:
    """Returns the places where a configuration gives a class its settings, such as ``model.optimizer``.

    A place has no ``init_args`` in it, as in the short form of options.
    """
    return {keys.removesuffix(".class_path") for keys in _set_places(content) if keys.endswith(".class_path")}


def class_at(content: Mapping[str, Any], place: str) -> str | None:
    """Returns the class that a configuration names at a place, with settings or alone; None for none."""
    node: Any = content
    for key in place.split("."):
        node = _settings(node).get(key)
    named = node.get("class_path") if isinstance(node, dict) else node
    return named if isinstance(named, str) else None


def _set_places(content: Mapping[str, Any]) -> set[str]:
    """Returns the places that a configuration gives a value other than null."""
    found: set[str] = set()

    def look(node: Any, keys: tuple[str, ...]) -> None:
        if node is not None and keys:
            found.add(".".join(keys))
        if isinstance(node, dict):
            for key, below in node.items():
                look(below, keys if key == "init_args" else (*keys, str(key)))

    look(content, ())
    return found


def _settings(node: Any) -> dict[str, Any]:
    """Returns what a configuration sets of a class: its ``init_args``, or the short form's entries."""
    if not isinstance(node, dict):
        return {}
    within = node.get("init_args")
    short = {key: value for key, value in node.items() if key not in ("class_path", "init_args")}
    return {**short, **(within if isinstance(within, dict) else {})}


def _renamed(content: dict[str, Any], place: str, now: str) -> tuple[dict[str, Any], list[str], list[str]]:
    """Returns a configuration with another class at a place, and what it keeps and drops of the old one, by name."""
    kept: list[str] = []
    dropped: list[str] = []

    def change(node: dict[str, Any], keys: list[str]) -> dict[str, Any]:
        key, *further = keys
        if key not in node and isinstance(node.get("init_args"), dict):
            return {**node, "init_args": change(node["init_args"], keys)}
        if further:
            return {**node, key: change(node[key], further)}
        settings = {name: value for name, value in _settings(node[key]).items() if value is not None}
        stays = {name: value for name, value in settings.items() if name in KEPT.get(place, ())}
        kept.extend(stays)
        dropped.extend(name for name in settings if name not in stays)
        return {**node, key: {"class_path": now, **({"init_args": stays} if stays else {})}}

    return change(content, place.split(".")), kept, dropped


def _without(content: dict[str, Any], place: str) -> dict[str, Any]:
    """Returns a configuration without what it sets at a place."""

    def remove(node: dict[str, Any], keys: list[str]) -> dict[str, Any]:
        key, *further = keys
        if key not in node and isinstance(node.get("init_args"), dict):
            return {**node, "init_args": remove(node["init_args"], keys)}
        if further:
            return {**node, key: remove(node[key], further)}
        return {name: value for name, value in node.items() if name != key}

    return remove(content, place.split("."))


def _with(source: Source, content: dict[str, Any]) -> Source:
    """Returns a source with other content, which a file hands on as text; an option stays what was typed."""
    if not source.is_file:
        return source
    return replace(source, content=content, words=("--config", yaml.safe_dump(content, sort_keys=False)))


def _file(value: str, given: tuple[str, ...]) -> Source:
    """Returns a configuration file, or one given as text; what can't be read says so where it is parsed."""
    try:
        named = named_recipe(value)
        path = named or Path(value).expanduser()
        is_path = path.is_file()
    except OSError:  # a text too long for a name
        named, path, is_path = None, Path(), False
    try:
        content = _mapping(yaml.load(path.read_text() if is_path else value, _Loader))
        for place in ("model", "data") if is_path else ():
            below = content.get(place)
            if isinstance(below, str) and (path.parent / below).is_file():  # a file of its own, beside this one
                content[place] = yaml.load((path.parent / below).read_text(), _Loader)
    except (yaml.YAMLError, OSError, UnicodeDecodeError):
        content = {}
    return Source(content, given if named is None else ("--config", str(named)), is_file=True)


def _mapping(content: Any) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}


def _value(text: str) -> Any:
    """Returns what an option's text means, a YAML file's content where it names one."""
    try:
        path = Path(text).expanduser()
        if path.suffix in (".yaml", ".yml") and path.is_file():
            return yaml.load(path.read_text(), _Loader)
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, OSError, ValueError):
        return text


def _nested(keys: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return _mapping(value)


def _last(class_path: str) -> str:
    return class_path.rpartition(".")[2]


def _same(one: str, other: str) -> bool:
    """Returns whether two names are of the same class: SGD is torch.optim.SGD."""
    return one == other or (_last(one) == _last(other) and ("." not in one or "." not in other))
