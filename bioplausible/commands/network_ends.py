"""The network's first and last size, where a configuration leaves them to the data."""

import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from jsonargparse import Namespace

from bioplausible.errors.checks import require


def fill_ends(config: Namespace, say: Callable[[str], None]) -> None:
    """Puts the data's sizes where ``layer_sizes`` or ``network`` leaves the first or the last one out.

    That is told by null in its place; by a single entry of ``layer_sizes``, which is a hidden layer; and by a first
    entry of ``network`` that is a layer rather than the input's shape. The data are built only where it is asked for.

    Args:
        config: a command's, in which the list is replaced, so that it is saved in full.
        say: is told in one line of what was done.

    Raises:
        UserError: the list can be read in two ways, or null is amid it.
    """
    options = config.model.get("init_args") or {}
    for name, completed in (("layer_sizes", _sizes), ("network", _layers)):
        given = options.get(name)
        if not isinstance(given, list) or not _leaves_out(name, given):
            continue
        require(
            None not in given[1:-1],
            f"{name} is {_written(given)}: null stands for the first or the last entry alone, which the data say.",
        )
        of_data = config.data.get("init_args")
        data = pkgutil.resolve_name(config.data.class_path)(**(of_data.as_dict() if of_data else {}))
        who = type(data).__name__
        channels, height, width = data.image_shape
        shape = data.input_size if name == "layer_sizes" or height == width == 1 else [channels, height, width]
        options[name] = completed(given, shape, data.num_classes, who)
        say(f"{name} is {_written(options[name])}: what was left out is as {who} has it")


def _leaves_out(name: str, given: list[Any]) -> bool:
    """Returns whether a list leaves an end to the data."""
    if len(given) > 1 and None in given:
        return True
    if name == "layer_sizes":
        return len(given) == 1 and given[0] is not None
    return bool(given) and isinstance(given[0], Mapping)


def _sizes(given: list[Any], size: Any, classes: int, who: str) -> list[Any]:
    if None in given:
        return [size if given[0] is None else given[0], *given[1:-1], classes if given[-1] is None else given[-1]]
    require(
        given != [size],
        f"layer_sizes is {_written(given)}, which may be {who}'s {size} input values alone or a hidden layer of as many"
        f" units: write {_written([size, classes])} or {_written([size, *given, classes])}.",
    )
    _require_hidden(given, given[0], size, classes, "layer_sizes", who)
    return [size, *given, classes]


def _layers(given: list[Any], shape: Any, classes: int, who: str) -> list[Any]:
    begins_with_a_layer = isinstance(given[0], Mapping)
    first = shape if begins_with_a_layer or given[0] is None else given[0]
    layers = given if begins_with_a_layer else given[1:]
    last = layers[-1]
    if last is None:
        return [first, *layers[:-1], classes]
    if not begins_with_a_layer:
        return [first, *layers]
    _require_hidden(given, last.get("dense") if isinstance(last, Mapping) else last, shape, classes, "network", who)
    return [first, *layers, classes]


def _require_hidden(given: list[Any], last: Any, first: Any, classes: int, name: str, who: str) -> None:
    """Checks that what stands last is a hidden layer, for the last size is left out too.

    Raises:
        UserError: it has as many units as there are classes.
    """
    require(
        last != classes,
        f"{name} is {_written(given)}, whose last entry may be the output of {who}'s {classes} classes or a hidden"
        f" layer of as many units: write {_written([first, *given])} or {_written([first, *given, classes])}.",
    )


def _written(value: Any) -> str:
    """Returns a list as YAML has it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_written(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    return "null" if value is None else str(value)
