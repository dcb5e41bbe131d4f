"""What a configuration sets, and where: places in nested settings, with ``init_args`` or in the short form."""

from collections.abc import Mapping
from typing import Any


def set_places(content: Mapping[str, Any]) -> set[str]:
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


def plain_place(option: str) -> str:
    """Returns an option's place: without ``init_args``, and without the + that appends."""
    return ".".join(key for key in option.removesuffix("+").split(".") if key != "init_args")


def settings_of(node: Any) -> dict[str, Any]:
    """Returns what a configuration sets of a class: its ``init_args``, or the short form's entries."""
    if not isinstance(node, dict):
        return {}
    within = node.get("init_args")
    short = {key: value for key, value in node.items() if key not in ("class_path", "init_args")}
    return {**short, **(within if isinstance(within, dict) else {})}


def class_places(*contents: Mapping[str, Any]) -> set[str]:
    """Returns the places where configurations give a class settings, such as ``model.optimizer``.

    A place has no ``init_args`` in it, as in the short form of options.
    """
    below = set().union(*(set_places(content) for content in contents))
    places = {place.rpartition(".")[0] for place in below} - {""}
    return {place for place in places if any(class_at(content, place) for content in contents)}


def class_at(content: Mapping[str, Any], place: str) -> str | None:
    """Returns the class that a configuration names at a place, with settings or alone; None for none."""
    node = setting_at(content, place)
    named = node.get("class_path") if isinstance(node, dict) else node
    return named if isinstance(named, str) else None


def setting_at(content: Mapping[str, Any], place: str) -> Any:
    """Returns what a configuration sets at a place; None for nothing."""
    node: Any = content
    for key in place.split("."):
        node = settings_of(node).get(key)
    return node


def is_set(content: Mapping[str, Any], place: str) -> bool:
    """Returns whether a configuration sets something at a place, be it null."""
    node: Any = content
    for key in place.split("."):
        within = settings_of(node)
        if key not in within:
            return False
        node = within[key]
    return True


def lists(content: Mapping[str, Any]) -> list[str]:
    """Returns the places where a configuration gives a list."""
    return [place for place in sorted(set_places(content)) if isinstance(setting_at(content, place), list)]


def without(content: dict[str, Any], place: str) -> dict[str, Any]:
    """Returns a configuration without what it sets at a place."""

    def remove(node: dict[str, Any], keys: list[str]) -> dict[str, Any]:
        key, *further = keys
        if key not in node and isinstance(node.get("init_args"), dict):
            return {**node, "init_args": remove(node["init_args"], keys)}
        if further:
            return {**node, key: remove(node[key], further)}
        return {name: value for name, value in node.items() if name != key}

    return remove(content, place.split("."))


def with_value(content: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """Returns a configuration with another value at a place that it sets."""

    def change(node: dict[str, Any], keys: list[str]) -> dict[str, Any]:
        key, *further = keys
        if key not in node:
            return {**node, "init_args": change(node["init_args"], keys)}
        return {**node, key: change(node[key], further) if further else value}

    return change(content, place.split("."))
