"""What every constructor checks of its arguments."""

import inspect
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bioplausible.errors import UserError

LARGEST = 1e30
"""Magnitude that float32 holds, with room for a product with activities and rates; its inverse is held too."""


def require(condition: bool, sentence: str) -> None:
    """Raises a :class:`UserError` with this sentence unless the condition holds."""
    if not condition:
        raise UserError(sentence)


def require_representable(name: str, value: Any) -> None:
    """Checks that each number in an argument is finite and of a magnitude that float32 computes with.

    And that no text in it, such as a path, holds a NUL byte.

    Args:
        name: the argument's name.
        value: a number or a text, or a list or dictionary of these; what is neither is not looked at.

    Raises:
        UserError: one is NaN, infinite or too large, or a text that is none.
    """
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for entry in value:
            require_representable(name, entry)
    elif isinstance(value, (int, float)):
        require(abs(value) <= LARGEST, f"{name} is {value}: give a finite number of a magnitude up to {LARGEST:g}.")
    elif isinstance(value, (str, Path)):
        require("\0" not in str(value), f"{name} is {str(value)!r}: write it without the NUL byte.")


def require_arguments(cls: type, arguments: Mapping[str, Any]) -> None:
    """Checks a class's arguments: each number representable, and None only where its signature says so.

    The command line lets ``null`` through everywhere.

    Args:
        cls: the class, whose base classes may take some of the arguments.
        arguments: their values by name.

    Raises:
        UserError: one is neither.
    """
    optional = _may_be_none(cls)
    for name, value in arguments.items():
        require(value is not None or name in optional, f"{name} is None: give it a value, or leave it out.")
        require_representable(name, value)


@cache  # to read the signatures takes a third of the time in which a small rule is built
def _may_be_none(cls: type) -> frozenset[str]:
    signatures = [inspect.signature(base.__init__).parameters.values() for base in cls.__mro__]  # type: ignore[misc]
    return frozenset(
        p.name
        for parameters in signatures
        for p in parameters
        if p.default is None or p.annotation is p.empty or any(w in str(p.annotation) for w in ("None", "Optional"))
    )
