"""Names of classes, where a data module knows them."""

from collections.abc import Sequence
from typing import Any


def class_names(data: Any) -> list[str] | None:
    """Returns the classes' names in their order; None where a data module has none, or there is no data module."""
    names: Sequence[str] | None = getattr(data, "class_names", None)
    return None if names is None else list(names)


def name_of(data: Any, number: int) -> str:
    """Returns a class's name, or its number where it has none."""
    names = class_names(data)
    return str(number) if names is None else names[number]
