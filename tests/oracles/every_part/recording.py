"""A case's result as named numbers and texts, and how it is kept: what differs from what the case begins with."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tests.oracles.records import projected, rounded

SHARE = 1e-8
"""Largest difference of numbers that is none, as a share of their norm."""

OF_FLOAT32 = 1e-6
"""The same of numbers that were computed in float32."""

SAME = 0.01
"""Share of what is allowed within which a number is that of what the case begins with."""


class Near(NamedTuple):
    """A number, and how far another one may lie from it."""

    value: float
    within: float


Value = Near | str
Result = dict[str, Value] | str
"""By name, or the sentence with which it is refused."""

Kept = dict[str, float | str | None] | str
"""What differs from what a case begins with; None where that has more."""

Entries = dict[str, dict[str, Kept]]
Cases = Iterator[tuple[str, str, Result]]
"""The name of what a case begins with, its own, and its result; what it begins with comes first, without a name."""


def near(tensors: Iterable[Tensor], share: float = SHARE) -> Value:
    """Returns one number of tensors: their dot product with a fixed random vector."""
    found = projected([np.zeros(0), *(_real(tensor).double().numpy() for tensor in tensors)])
    if not math.isfinite(found.value):
        return "not finite"
    return Near(found.value, share * found.norm)


def number(*values: float, share: float = SHARE) -> Value:
    """Returns one number of several."""
    return near([torch.tensor(values, dtype=torch.float64)], share)


def path(net: str) -> Path:
    """Returns the file of a net."""
    return Path(__file__).with_name(f"{net}.json")


def entry(result: Result, start: Result) -> Kept:
    """Returns how a result is kept.

    Args:
        result: of a case.
        start: of what it begins with; the same object where that is the case.
    """
    if isinstance(result, str):
        return result
    first = {} if result is start or isinstance(start, str) else start
    gone: dict[str, float | str | None] = dict.fromkeys(name for name in first if name not in result)
    new = {name: value for name, value in result.items() if name not in first or not _equal(value, first[name], SAME)}
    return gone | {name: v if isinstance(v, str) else rounded(v.value) for name, v in new.items()}


def same(a: Result, b: Result) -> bool:
    """Returns whether two results are the same but for rounding."""
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return a.keys() == b.keys() and all(_equal(value, b[name]) for name, value in a.items())


def differences(recorded: Kept | None, result: Result, recorded_start: Kept | None) -> Iterator[str]:
    """Yields in words where a result is not what was recorded of it.

    Args:
        recorded: what was.
        result: of the case.
        recorded_start: what was recorded of what it begins with.
    """
    if recorded is None:
        yield "is not recorded"
        return
    if isinstance(recorded, str) or isinstance(result, str):
        found, expected = (r if isinstance(r, str) else "it is computed" for r in (result, recorded))
        if found != expected:
            yield f"{found!r}, and not {expected!r}"
        return
    expected_values = (recorded_start if isinstance(recorded_start, dict) else {}) | recorded
    expected_values = {name: value for name, value in expected_values.items() if value is not None}
    for name in [*result, *(name for name in expected_values if name not in result)]:
        found_value, expected_value = result.get(name), expected_values.get(name)
        if isinstance(found_value, Near) and isinstance(expected_value, float | int):
            if not abs(found_value.value - expected_value) <= found_value.within:
                yield f"{name}: {found_value.value:.9g}, and not {expected_value:.9g}"
        elif found_value != expected_value:
            yield f"{name}: {found_value!r}, and not {expected_value!r}"


def _equal(a: Value, b: Value, share: float = 1.0) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return abs(a.value - b.value) <= share * a.within


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
