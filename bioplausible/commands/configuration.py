"""What a run's configuration is made of: options, environment, files, and below them a recipe or a checkpoint's.

jsonargparse puts all of it together. What it can't know is done here before: which recipe a rule that is named alone
means, which run ``last`` is, and that the settings of one class are not those of another.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

import bioplausible.data
import bioplausible.rules
from bioplausible.commands.class_names import bare_name, same_class
from bioplausible.commands.recipes import recipe_of, recipes
from bioplausible.commands.settings import (
    class_at,
    class_places,
    is_set,
    lists,
    plain_place,
    set_places,
    setting_at,
    settings_of,
    with_value,
    without,
)
from bioplausible.commands.sources import Loader, Source, with_content
from bioplausible.errors import UserError
from bioplausible.resume.kept_options import RATES

KEPT = {
    "model": ("layer_sizes", "network"),
    "data": ("batch_size", "evaluation_batch_size", "validation_split", "subset_size", "num_workers"),
}
"""What another rule or data set keeps of the settings before: which network, and how much data at a time."""

SCHEDULE, PLATEAU = "model.lr_scheduler", "ReduceLROnPlateau"
"""The place of a schedule, and the name that torch and Lightning each have a class of."""

OWN_NAMES = frozenset({*bioplausible.rules.__all__, *bioplausible.data.__all__})
"""Names of this package's rules and data modules, which need no module before them."""

ALTERNATIVES = {"model.layer_sizes": "model.network", "model.network": "model.layer_sizes"}
"""Settings of which one is given: where a later source names the other one, the earlier one does not count."""


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
    places = set().union(*(set_places(source.content) | {plain_place(source.option)} for source in given))
    return frozenset(place.split(".")[1] for place in places if place.startswith(f"{part}."))


def implied_recipe(given: Sequence[Source]) -> dict[str, Any]:
    """Returns the recipe that lies below the sources: the named rule's for the named data set, CorInfoMax's for digits.

    Nothing, where a file names a rule and sets it up. Where there is no such recipe, the rule, CorInfoMax where none is
    named, has its own defaults, and data and Trainer those of the data set's recipe for CorInfoMax.
    """
    if any(s.is_file and class_at(s.content, "model") and settings_of(s.content.get("model")) for s in given):
        return {}
    rule, data = (
        # not a user's own of that name
        bare_name(named) if same_class(named, f"bioplausible.{bare_name(named)}") else named
        for named in (class_of(given, "model") or "CorInfoMax", class_of(given, "data") or "DigitsDataModule")
    )
    path = None if "." in rule + data else recipe_of(data, rule)
    if path is not None:
        return _recipe(path)
    other = (None if "." in data else recipe_of(data, "CorInfoMax")) or recipes() / "digits" / "corinfomax.yaml"
    config = _recipe(other)
    del config["model"]
    if class_of(given, "model") is None:
        config["model"] = {"class_path": rule}
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
            if same_class(before, now):
                continue
            changed, kept, dropped = _renamed(source.content, place, now)
            if changed != source.content:
                adjusted[i] = with_content(source, changed)
            for names, more in zip(left.setdefault(before, ({}, {})), (kept, dropped), strict=True):
                names.update(dict.fromkeys(more))
        for before, (kept_names, dropped_names) in left.items():
            if dropped_names:
                new, old = (now, before) if bare_name(now) == bare_name(before) else (bare_name(now), bare_name(before))
                keeps = f"{', '.join(kept_names)} stay{'s' if len(kept_names) == 1 else ''}, " if kept_names else ""
                say(
                    f"{place} is {new} instead of {old}: {keeps}{', '.join(dropped_names)}"
                    f" of {old} {'is' if len(dropped_names) == 1 else 'are'} left out."
                )
    for i, source in enumerate(adjusted):
        for place in ALTERNATIVES.keys() & set_places(source.content):
            other = ALTERNATIVES[place]
            for j in range(i):
                if adjusted[j].is_file and other in set_places(adjusted[j].content):
                    adjusted[j] = with_content(adjusted[j], without(adjusted[j].content, other))
    return _named_first(_with_one_plateau(_with_own_paths(_with_single_rates(adjusted))))


def require_class_of_schedule(given: Sequence[Source]) -> None:
    """Checks that a schedule which has settings is named: rules have none by default.

    Raises:
        UserError: no source says which one it is.
    """
    if class_of(given, SCHEDULE) is None:
        names = sorted({name for source in given for name in settings_of(setting_at(source.content, SCHEDULE))})
        if names:
            raise UserError(
                f"{SCHEDULE} has settings ({', '.join(names)}) and no class: name it too, as by --{SCHEDULE} StepLR, or"
                " by class_path beside init_args in a file."
            )


def tell_overruled(given: Sequence[Source], say: Callable[[str], None] = print) -> None:
    """Says which options and environment variables have no effect, for a file on the command line overrules them.

    Args:
        given: the sources.
        say: is told in one line of each.
    """
    for i, source in enumerate(given):
        if source.is_file or source.option.endswith("+"):
            continue
        for place in sorted(set_places(source.content)):
            last = next((later for later in reversed(given[i + 1 :]) if is_set(later.content, place)), None)
            if last is None or not last.is_file or place.endswith(".class_path"):  # which the place of the class has
                continue
            mine, now = (class_at(s.content, place) or setting_at(s.content, place) for s in (source, last))
            if isinstance(mine, dict) or mine == now or same_class(str(mine), str(now)):
                continue
            say(
                f"{place} is {'null' if now is None else now}, from a --config file: it overrules environment variables"
                f" and what stands before it, so {mine} is left out."
            )


def words(given: Sequence[Source]) -> list[str]:
    """Returns the sources as words of a command line."""
    return [word for source in given for word in source.words]


# ------------------------------------------------------------------------------------------------------------ internals


def _recipe(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.load(path.read_text(), Loader)
    return content


def _replaced(given: Sequence[Source]) -> list[Source]:
    """Returns the sources without what a later list replaces: the parser would fill its entries from what was there."""
    adjusted = list(given)
    for i, source in enumerate(adjusted):
        for place in [] if source.option.endswith("+") else lists(source.content):
            for j in range(i):
                if place in set_places(adjusted[j].content):
                    adjusted[j] = with_content(adjusted[j], without(adjusted[j].content, place))
    return adjusted


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
        settings = {name: value for name, value in settings_of(node[key]).items() if value is not None}
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


def _with_single_rates(given: Sequence[Source]) -> list[Source]:
    """Returns the sources with a file's list of one rate as that rate, where a later source names another network.

    The list is one a layer, and the rate one for every layer that the other network has.
    """
    adjusted = list(given)
    for i, source in enumerate(adjusted):
        others = [later for later in adjusted[i + 1 :] if set_places(later.content) & ALTERNATIVES.keys()]
        for place in lists(source.content) if source.is_file and others else []:
            value = setting_at(source.content, place)
            if place.startswith("model.") and place.endswith(RATES) and len(value) == 1:
                adjusted[i] = with_content(adjusted[i], with_value(adjusted[i].content, place, value[0]))
    return adjusted


def _with_own_paths(given: Sequence[Source]) -> list[Source]:
    """Returns the sources with this package's rules and data modules by their paths, beside a class of the user's.

    A recipe names them alone, and the parser takes no name that the user's module gives to a class of its own too.
    """
    named = [(i, part, class_at(source.content, part)) for i, source in enumerate(given) for part in ("model", "data")]
    adjusted = list(given)
    if any(name and "." in name and not name.startswith("bioplausible.") for _, _, name in named):
        for i, part, name in named:
            if name in OWN_NAMES:
                node, path = adjusted[i].content[part], f"bioplausible.{name}"
                value = {**node, "class_path": path} if isinstance(node, dict) else path
                adjusted[i] = with_content(adjusted[i], {**adjusted[i].content, part: value})
    return adjusted


def _with_one_plateau(given: Sequence[Source]) -> list[Source]:
    """Returns the sources with ReduceLROnPlateau by its path: Lightning's where a metric is named for it to monitor."""
    monitored = any(f"{SCHEDULE}.monitor" in set_places(source.content) for source in given)
    of_torch = f"torch.optim.lr_scheduler.{PLATEAU}"
    path = f"pytorch_lightning.cli.{PLATEAU}" if monitored else of_torch
    adjusted = list(given)
    for i, source in enumerate(adjusted):
        if class_at(source.content, SCHEDULE) in (PLATEAU, of_torch):
            node = setting_at(source.content, SCHEDULE)
            value = {**node, "class_path": path} if isinstance(node, dict) else path
            adjusted[i] = with_content(source, with_value(source.content, SCHEDULE, value))
    return adjusted


def _named_first(given: Sequence[Source]) -> list[Source]:
    """Returns the sources with a class named before its settings: the parser takes none of a class that comes later.

    Environment variables come before the file that names what they set up.
    """
    adjusted: list[Source] = []
    for i, source in enumerate(given):
        places = class_places(*(later.content for later in given[i:])) - {""}
        for place in sorted(places, key=lambda place: place.count(".")):
            named = class_of([*adjusted, source], place)
            later = class_of(given[i:], place)
            if named is None and later is not None and settings_of(setting_at(source.content, place)):
                content: Any = later
                for key in reversed(place.split(".")):
                    content = {key: content}
                adjusted.append(Source(content, (f"--{place}={later}",), option=place))
        adjusted.append(source)
    return adjusted
