"""What a run's configuration is made of: options, environment, files, and below them a recipe or a checkpoint's.

jsonargparse puts all of it together. What it can't know is done here before: which recipe a rule that is named alone
means, which run ``last`` is, and that the settings of one class are not those of another.
"""

import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from pytorch_lightning import callbacks, loggers
from pytorch_lightning.cli import LightningArgumentParser

import bioplausible.data
import bioplausible.rules
from bioplausible.commands.recipes import recipe_of, recipes
from bioplausible.commands.run_loggers import LIGHTNINGS_NAME, folder_of_runs
from bioplausible.commands.sources import Loader, Source, with_content
from bioplausible.commands.trainer import TRAINER_DEFAULTS, RunTrainer
from bioplausible.resume.kept_options import RATES
from bioplausible.training import loggers as training_loggers
from bioplausible.training import schedulers
from bioplausible.training.loggers import is_file_logger

KEPT = {
    "model": ("layer_sizes", "network"),
    "data": ("batch_size", "evaluation_batch_size", "validation_split", "subset_size", "num_workers"),
}
"""What another rule or data set keeps of the settings before: which network, and how much data at a time."""

SCHEDULE, PLATEAU = "model.lr_scheduler", "ReduceLROnPlateau"
"""The place of a schedule, and the name that torch and Lightning each have a class of."""

ALTERNATIVES = {"model.layer_sizes": "model.network", "model.network": "model.layer_sizes"}
"""Settings of which one is given: where a later source names the other one, the earlier one does not count."""

LOGGERS = "trainer.logger"

MODULES = (
    bioplausible.rules,
    bioplausible.data,
    training_loggers,
    loggers,
    callbacks,
    torch.optim,
    torch.optim.lr_scheduler,
    schedulers,
)
"""Where a class is looked for that is named without its module."""


def last_of(given: Sequence[Source], *keys: str) -> Any:
    """Returns the value that the last source which sets it gives a setting; None where none does.

    A file's null does not count: each saved configuration has it. An option's does.
    """
    value = None
    for source in given:
        here: Any = source.content
        for key in keys:
            here = here.get(key) if isinstance(here, dict) else None
        takes_back = here is None and source.option == ".".join(keys)
        value = here if takes_back or here is not None else value
    return value


def class_of(given: Sequence[Source], place: str) -> str | None:
    """Returns the class that the sources name last for a place such as ``model``; None for none."""
    named = [class_at(source.content, place) for source in given]
    return next((name for name in reversed(named) if name), None)


def options_of(part: str, given: Sequence[Source]) -> frozenset[str]:
    """Returns the names of the options of a class, such as that of ``model``, that the sources give."""
    places = set().union(*(_set_places(source.content) | {_plain_place(source.option)} for source in given))
    return frozenset(place.split(".")[1] for place in places if place.startswith(f"{part}."))


def implied_recipe(given: Sequence[Source]) -> dict[str, Any]:
    """Returns the recipe that lies below the sources: the named rule's for the named data set, CorInfoMax's for digits.

    Nothing, where a file names a rule and sets it up. Where there is no such recipe, the rule has its own defaults, and
    data and Trainer those of the data set's recipe for CorInfoMax.
    """
    if any(s.is_file and class_at(s.content, "model") and _settings(s.content.get("model")) for s in given):
        return {}
    rule, data = (
        _last(named) if _same(named, f"bioplausible.{_last(named)}") else named  # not a user's own of that name
        for named in (class_of(given, "model") or "CorInfoMax", class_of(given, "data") or "DigitsDataModule")
    )
    path = None if "." in rule + data else recipe_of(data, rule)
    if path is not None:
        return _recipe(path)
    other = (None if "." in data else recipe_of(data, "CorInfoMax")) or recipes() / "digits" / "corinfomax.yaml"
    config = _recipe(other)
    del config["model"]
    if class_of([Source(config)], "data") != data:
        del config["data"]
    return config


def consistent(given: Sequence[Source], say: Callable[[str], None] = print) -> list[Source]:
    """Returns the sources without what they set of another class than the one that counts in the end.

    A setting belongs to the class that is named last before it, or else first after it.

    Args:
        given: the sources.
        say: is told in one line of what is left out.
    """
    adjusted = _replaced(given)
    for place in sorted({"model", "data"} | class_places(*(source.content for source in given))):
        named = [class_at(source.content, place) for source in adjusted]
        now = next((name for name in reversed(named) if name), None)
        if now is None:
            continue
        left: dict[str, tuple[dict[str, None], dict[str, None]]] = {}  # names kept and dropped, by class, each once
        owner = next((n for n, source in zip(named, adjusted, strict=True) if n and not source.is_implied), now)
        for i, source in enumerate(adjusted):
            before = named[i] or owner
            owner = owner if source.is_implied else before
            if _same(before, now):
                continue
            changed, kept, dropped = _renamed(source.content, place, now)
            if changed != source.content:
                adjusted[i] = with_content(source, changed)
            for names, more in zip(left.setdefault(before, ({}, {})), (kept, dropped), strict=True):
                names.update(dict.fromkeys(more))
        for before, (kept_names, dropped_names) in left.items():
            if dropped_names:
                new, old = (now, before) if _last(now) == _last(before) else (_last(now), _last(before))
                keeps = f"{', '.join(kept_names)} stay{'s' if len(kept_names) == 1 else ''}, " if kept_names else ""
                say(
                    f"{place} is {new} instead of {old}: {keeps}{', '.join(dropped_names)}"
                    f" of {old} {'is' if len(dropped_names) == 1 else 'are'} left out."
                )
    for i, source in enumerate(adjusted):
        for place in ALTERNATIVES.keys() & _set_places(source.content):
            other = ALTERNATIVES[place]
            for j in range(i):
                if adjusted[j].is_file and other in _set_places(adjusted[j].content):
                    adjusted[j] = with_content(adjusted[j], _without(adjusted[j].content, other))
    return _with_one_plateau(_with_single_rates(adjusted))


def trainer_defaults(given: Sequence[Source]) -> dict[str, Any]:
    """Returns the defaults of the Trainer's options: where another logger is named, nothing of RunLogger's."""
    named = class_of(given, LOGGERS) or "RunLogger"
    listed = any(LOGGERS in _lists(source.content) for source in given if not source.option.endswith("+"))
    if _last(named) == "RunLogger" and not listed:
        return TRAINER_DEFAULTS
    others = {name: value for name, value in TRAINER_DEFAULTS.items() if name != "logger"}
    place = {} if listed else _place(named, given)
    return {**others, "logger": {"class_path": named, "init_args": place}} if place else others


def placed_loggers(given: Sequence[Source]) -> list[Source]:
    """Returns the sources with the place where the runs lie, in lists of loggers, for each logger that has none."""

    def placed(entry: Any) -> Any:
        named = class_at({"logger": entry}, "logger")
        place = {} if named is None else _place(named, given)
        if not place:
            return entry
        further = entry if isinstance(entry, dict) else {}
        return {**further, "class_path": named, "init_args": {**place, **(further.get("init_args") or {})}}

    found = list(given)
    for i, source in enumerate(given):
        if LOGGERS in _lists(source.content):
            entries = [placed(entry) for entry in source.content["trainer"]["logger"]]
            if entries != source.content["trainer"]["logger"]:
                trainer = {**source.content["trainer"], "logger": entries}
                found[i] = with_content(source, {**source.content, "trainer": trainer})
    return found


def _place(named: str, given: Sequence[Source]) -> dict[str, Any]:
    """Returns what says where a logger of files logs, where nobody says it; nothing for other loggers.

    Its folder is that of all runs, and its name None, which becomes that of data set and rule.
    """
    cls = _resolved(named)
    if cls is None or not is_file_logger(cls):
        return {}
    parameters = inspect.signature(cls).parameters
    save_dir, name = (parameters.get(option) for option in ("save_dir", "name"))
    place: dict[str, Any] = {}
    if save_dir is not None and save_dir.default is inspect.Parameter.empty:
        place["save_dir"] = folder_of_runs(last_of(given, "trainer", "default_root_dir"))
    if name is not None and name.default == LIGHTNINGS_NAME:
        place["name"] = None
    return place


def words(given: Sequence[Source]) -> list[str]:
    """Returns the sources as words of a command line."""
    return [word for source in given for word in source.words]


def run_places(given: Sequence[Source]) -> list[Path]:
    """Returns the folders below which the runs of a configuration lie, for ``last``.

    Where no folder is named that is the loggers', and the one for checkpoints of runs without any.

    Args:
        given: what the configuration is made of; of all this only the Trainer's part is parsed.
    """
    given = placed_loggers(consistent(given, lambda _: None))
    parser = LightningArgumentParser(exit_on_error=False)
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
        return [Path(named).expanduser()]
    root = Path(trainer.default_root_dir or ".").expanduser()
    return [Path(folder_of_runs(trainer.default_root_dir)).expanduser(), root / "checkpoints"] if options else [root]


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


def class_places(*contents: Mapping[str, Any]) -> set[str]:
    """Returns the places where configurations give a class settings, such as ``model.optimizer``.

    A place has no ``init_args`` in it, as in the short form of options.
    """
    below = set().union(*(_set_places(content) for content in contents))
    places = {place.rpartition(".")[0] for place in below} - {""}
    return {place for place in places if any(class_at(content, place) for content in contents)}


def class_at(content: Mapping[str, Any], place: str) -> str | None:
    """Returns the class that a configuration names at a place, with settings or alone; None for none."""
    node = _at(content, place)
    named = node.get("class_path") if isinstance(node, dict) else node
    return named if isinstance(named, str) else None


def _at(content: Mapping[str, Any], place: str) -> Any:
    """Returns what a configuration sets at a place; None for nothing."""
    node: Any = content
    for key in place.split("."):
        node = _settings(node).get(key)
    return node


def _recipe(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.load(path.read_text(), Loader)
    return content


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


def _plain_place(option: str) -> str:
    """Returns an option's place: without ``init_args``, and without the + that appends."""
    return ".".join(key for key in option.removesuffix("+").split(".") if key != "init_args")


def _settings(node: Any) -> dict[str, Any]:
    """Returns what a configuration sets of a class: its ``init_args``, or the short form's entries."""
    if not isinstance(node, dict):
        return {}
    within = node.get("init_args")
    short = {key: value for key, value in node.items() if key not in ("class_path", "init_args")}
    return {**short, **(within if isinstance(within, dict) else {})}


def _replaced(given: Sequence[Source]) -> list[Source]:
    """Returns the sources without what a later list replaces: the parser would fill its entries from what was there."""
    adjusted = list(given)
    for i, source in enumerate(adjusted):
        for place in [] if source.option.endswith("+") else _lists(source.content):
            for j in range(i):
                if place in _set_places(adjusted[j].content):
                    adjusted[j] = with_content(adjusted[j], _without(adjusted[j].content, place))
    return adjusted


def _lists(content: Mapping[str, Any]) -> list[str]:
    """Returns the places where a configuration gives a list."""
    return [place for place in sorted(_set_places(content)) if isinstance(_at(content, place), list)]


def _renamed(content: dict[str, Any], place: str, now: str) -> tuple[dict[str, Any], list[str], list[str]]:
    """Returns a configuration with another class at a place, and what it keeps and drops of the old one, by name."""
    kept: list[str] = []
    dropped: list[str] = []

    def change(node: dict[str, Any], keys: list[str]) -> dict[str, Any]:
        key, *further = keys
        if key not in node and isinstance(node.get("init_args"), dict):
            return {**node, "init_args": change(node["init_args"], keys)}
        if further:
            return {**node, key: change(node[key], further)} if isinstance(node.get(key), dict) else node
        if key not in node:
            return node
        settings = {name: value for name, value in _settings(node[key]).items() if value is not None}
        stays = {name: value for name, value in settings.items() if name in KEPT.get(place, ())}
        kept.extend(stays)
        dropped.extend(name for name in settings if name not in stays)
        if class_at(node, key):
            return {**node, key: {"class_path": now, **({"init_args": stays} if stays else {})}}
        if stays == settings:
            return node
        others = {name: value for name, value in node.items() if name != key}
        return {**others, key: {"init_args": stays}} if stays else others

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


def _with_single_rates(given: Sequence[Source]) -> list[Source]:
    """Returns the sources with a file's list of one rate as that rate, where a later source names another network.

    The list is one a layer, and the rate one for every layer that the other network has.
    """
    adjusted = list(given)
    for i, source in enumerate(adjusted):
        others = [later for later in adjusted[i + 1 :] if _set_places(later.content) & ALTERNATIVES.keys()]
        for place in _lists(source.content) if source.is_file and others else []:
            value = _at(source.content, place)
            if place.startswith("model.") and place.endswith(RATES) and len(value) == 1:
                adjusted[i] = with_content(adjusted[i], _with_value(adjusted[i].content, place, value[0]))
    return adjusted


def _with_one_plateau(given: Sequence[Source]) -> list[Source]:
    """Returns the sources with ReduceLROnPlateau by its path: Lightning's where a metric is named for it to monitor."""
    monitored = any(f"{SCHEDULE}.monitor" in _set_places(source.content) for source in given)
    path = f"{'pytorch_lightning.cli' if monitored else 'torch.optim.lr_scheduler'}.{PLATEAU}"
    adjusted = list(given)
    for i, source in enumerate(adjusted):
        if class_at(source.content, SCHEDULE) == PLATEAU:
            node = _at(source.content, SCHEDULE)
            value = {**node, "class_path": path} if isinstance(node, dict) else path
            adjusted[i] = with_content(source, _with_value(source.content, SCHEDULE, value))
    return adjusted


def _with_value(content: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """Returns a configuration with another value at a place that it sets."""

    def change(node: dict[str, Any], keys: list[str]) -> dict[str, Any]:
        key, *further = keys
        if key not in node:
            return {**node, "init_args": change(node["init_args"], keys)}
        return {**node, key: change(node[key], further) if further else value}

    return change(content, place.split("."))


def _last(class_path: str) -> str:
    return class_path.rpartition(".")[2]


def _same(one: str, other: str) -> bool:
    """Returns whether two names are of the same class: SGD is torch.optim.SGD, and that torch.optim.sgd.SGD."""
    if one == other or _last(one) != _last(other):
        return one == other
    classes = _resolved(one), _resolved(other)
    return None in classes or classes[0] is classes[1]


def _resolved(name: str) -> Any:
    """Returns the class of a name, which without its module is one of the package's or of its libraries'.

    None for one that is not known.
    """
    try:
        if "." in name:
            return pkgutil.resolve_name(name)
        return next((vars(module)[name] for module in MODULES if name in vars(module)), None)
    except Exception:  # whatever the user's module raises, which the parser will say
        return None
