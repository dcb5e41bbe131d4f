"""A recipe with options of ``fit`` in it: as a configuration, and as a file that ``fit`` takes."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from bioplausible.commands.configuration import consistent, implied_recipe
from bioplausible.commands.sources import Source, sources


def configuration(arguments: Sequence[str]) -> dict[str, Any]:
    """Returns the configuration that arguments of ``fit`` come to, each class's settings under ``init_args``.

    Args:
        arguments: such as ``--config FILE --model.beta 0.5``.
    """
    given = sources("fit", arguments)
    given = consistent([Source(implied_recipe(given), is_file=True, is_implied=True), *given], lambda _: None)
    merged: dict[str, Any] = {}
    for source in given:
        merged = _merged(merged, source.content)
    return merged


def recipe_text(arguments: Sequence[str], comments: Sequence[str]) -> str:
    """Returns a recipe: the configuration that arguments of ``fit`` come to, below comments.

    Args:
        arguments: such as ``--config FILE --model.beta 0.5``.
        comments: lines.
    """
    lines = "".join(f"# {line}\n" for line in comments)
    return lines + yaml.dump(configuration(arguments), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def option_text(value: Any) -> str:
    """Returns an option's value as the command line takes it."""
    if isinstance(value, str):
        return value
    return yaml.safe_dump(value, default_flow_style=True, width=float("inf")).removesuffix("...\n").strip()


class _Dumper(yaml.SafeDumper):
    """Writes lists of numbers in one line, as recipes have them."""


def _list(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.Node:
    flow = not any(isinstance(value, dict) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=flow)


_Dumper.add_representer(list, _list)


def _merged(below: Any, above: Any) -> Any:
    """Returns a configuration with another one over it; a class alone keeps the settings that it has."""
    if isinstance(above, str) and isinstance(below, Mapping) and "class_path" in below:
        return {**below, "class_path": above}
    if not isinstance(above, Mapping):
        return above
    if isinstance(below, str):
        below = {"class_path": below}
    if not isinstance(below, Mapping):
        return _merged({}, above)
    both = [_long(below, above), _long(above, below)]
    return {
        **both[0],
        **{name: _merged(both[0].get(name), value) for name, value in both[1].items()},
    }


def _long(content: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a class under ``init_args``, where one of two configurations names one."""
    if not any(name in part for part in (content, other) for name in ("class_path", "init_args")):
        return dict(content)
    short = {name: value for name, value in content.items() if name not in ("class_path", "init_args")}
    kept = {name: content[name] for name in ("class_path", "init_args") if name in content}
    return {**kept, "init_args": {**(content.get("init_args") or {}), **short}} if short else kept
