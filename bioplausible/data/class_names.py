"""Names of classes, where a data module knows them."""

from collections.abc import Sequence
from typing import Any


def class_names(data: Any) -> list[str] | None:
    """Returns the classes' names in their order; None where a data module has none, or there is no data module."""
    names: Sequence[str] | None = getattr(data, "class_names", None)
    return list(names) if names else None


def telling_names(data: Any) -> list[str] | None:
    """Returns the classes' names where they say more than their numbers; None where they don't."""
    names = class_names(data)
    return None if names is None or names == [str(k) for k in range(len(names))] else names


def name_of(data: Any, number: int) -> str:
    """Returns a class's name, or its number where it has none."""
    names = class_names(data)
    return str(number) if names is None else names[number]


LONGEST = 16
"""Characters of a name in a figure."""


def shortened(name: str) -> str:
    """Returns a name that is too long for a figure with its end cut off, and without what would be set as a formula."""
    short = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
    return short.replace("$", r"\$")
