"""How what is shown is kept: texts as they are, few numbers with ten digits, many as a projection and a norm."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any
from zlib import crc32

import numpy as np
import torch

from tests.oracles.records import projected, rounded

Shown = dict[str, Any]
"""Texts, numbers and arrays by their names, in the order in which they were shown."""

Kept = dict[str, Any]
"""The same as JSON has it."""

FEW = 6
"""Numbers that are kept one by one."""

TOLERANCE, OF_FLOAT32 = 1e-8, 1e-6
"""Largest difference that is none, as a share of the norm: of what was computed in float64 and in float32."""

NOTHING = 1e-13
"""Size below which a number is nothing but rounding."""

REFUSED = "refused"
"""Name of a sentence that refuses."""

IN_FLOAT32 = re.compile(r"(train|val|test|test_each_epoch)/| area \d")
"""Names of what was rounded to float32 on the way: by a rule before it logs it, or where points are drawn."""


class Lines(str):
    """A text of many lines of which each is kept as a number: any change is seen, and it is said in which line."""


def kept(shown: Mapping[str, Any]) -> Kept:
    """Returns what is kept of everything that was shown."""
    return {name: _kept(value) for name, value in shown.items()}


def changes(start: Kept, now: Kept) -> Kept:
    """Returns what a case keeps beside what it begins with: what is other there, and None for what is not there.

    What is refused shows nothing else that counts, and is kept as a whole.
    """
    if REFUSED in now:
        return now
    other = {name: value for name, value in now.items() if name not in start or differs(start[name], value, name)}
    return {**other, **{name: None for name in start if name not in now}}


def changed(start: Kept, other: Kept) -> Kept:
    """Returns what a case showed, of what it keeps beside what it begins with."""
    if other.get(REFUSED) is not None:
        return other
    return {name: value for name, value in {**start, **other}.items() if value is not None}


def differences(recorded: Kept, shown: Shown) -> Iterator[str]:
    """Yields in words what is not shown as it was recorded."""
    now = kept(shown)
    for name in [*recorded, *(name for name in now if name not in recorded)]:
        if name not in now:
            yield f"{name} is not shown any more"
        elif name not in recorded:
            yield f"{name} is new: {_short(now[name])}"
        elif (what := differs(recorded[name], now[name], name)) is not None:
            text = shown[name].splitlines() if isinstance(shown[name], Lines) else []
            yield f"{name}: {what if not text else _where(text, recorded[name], now[name])}"


def differs(a: Any, b: Any, name: str) -> str | None:
    """Returns in words how two kept values differ; None where they are the same but for rounding."""
    said = f"{_short(b)}, and not {_short(a)}"
    if type(a) is not type(b) or isinstance(a, str):
        return None if a == b else said
    if isinstance(a, Mapping):
        if a.keys() != b.keys():
            return said
        (kind, before), now = *a.items(), *b.values()
        of_parts = zip(before[::2], now[::2], before[1::2], strict=True)
        same = (abs(x - y) <= _tolerance(name, kind) * norm + NOTHING for x, y, norm in of_parts)
        return None if all(same) else said
    if len(a) != len(b):
        return said
    same = (
        x == y
        or (not isinstance(x, str) and not isinstance(y, str) and abs(x - y) <= abs(x) * _tolerance(name) + NOTHING)
        for x, y in zip(a, b, strict=True)
    )
    return None if all(same) else said


def _tolerance(name: str, kind: str = "") -> float:
    return OF_FLOAT32 if IN_FLOAT32.search(name) or kind.startswith("float32") else TOLERANCE


def _kept(value: Any) -> Any:
    if isinstance(value, Lines):
        return " ".join(f"{crc32(line.encode()) % 4096:x}" for line in value.splitlines())
    if isinstance(value, str):
        return value
    array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    entries = array.astype(np.float64).ravel()
    if array.size <= FEW and array.dtype != np.float32:
        return [rounded(float(x)) if math.isfinite(x) else str(x) for x in entries]
    # of points, x and y each by itself: one of them may be much the smaller
    parts = array if array.shape[0] == 2 else array.T if array.shape[-1] == 2 else [array]
    numbers = [number for part in parts for number in _projected(part)]
    return {f"{'float32 ' * (array.dtype == np.float32)}{'x'.join(map(str, array.shape))}": numbers}


def _projected(part: Any) -> list[float]:
    entries = np.asarray(part, dtype=np.float64)
    finite = np.isfinite(entries)
    number = projected([np.where(finite, entries, 0.0), ~finite])  # what is not finite counts by its place
    return [rounded(number.value), rounded(number.norm)]


def _short(kept: Any) -> str:
    text = str(kept)
    return text if len(text) < 200 else f"{text[:200]} …"


def _where(text: list[str], recorded: str, now: str) -> str:
    before, after = recorded.split(), now.split()
    for i, line in enumerate(text):
        if i >= len(before) or before[i] != after[i]:
            return f"line {i + 1} is another one: {line}"
    return f"{len(before) - len(after)} lines at the end are missing"
