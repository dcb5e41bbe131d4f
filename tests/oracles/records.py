"""Numbers and texts that are recorded as they are today: their short form, and the JSON files that hold them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DIGITS = 10
"""Of a number that is kept."""

DISTURBANCE = 1e-13
"""Relative size, hundreds of times that of rounding, of changes that must not be seen in what is recorded."""


class Number(NamedTuple):
    """A projection of arrays, and their Euclidean norm, which says how small a difference counts."""

    value: float
    norm: float


_VECTOR = np.zeros(0)


def projected(arrays: Iterable[np.ndarray]) -> Number:
    """Returns the dot product of all entries with a fixed random vector: any that moves or changes is seen."""
    global _VECTOR
    entries = np.concatenate([np.asarray(a, dtype=np.float64).ravel() for a in arrays])
    if len(entries) > len(_VECTOR):  # a longer one begins with the same numbers
        _VECTOR = np.random.RandomState(0).randn(2 * len(entries))
    return Number(float(entries @ _VECTOR[: len(entries)]), float(np.linalg.norm(entries)))


def rounded(value: float) -> float:
    """Returns a number with the digits that are kept."""
    return float(f"{value:.{DIGITS}g}")


def read(file: Path) -> dict[str, dict[str, Any]]:
    """Returns what a file holds, block by block; nothing where there is none."""
    return json.loads(file.read_text()) if file.exists() else {}


def write(file: Path, blocks: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes a file of blocks, a line an entry, so that a commit shows which have changed."""
    texts = []
    for name, entries in blocks.items():
        lines = ",\n".join(f"{_text(entry)}: {_text(kept)}" for entry, kept in entries.items())
        texts.append(f"{_text(name)}: {{\n{lines}\n}}")
    file.write_text("{\n" + ",\n".join(texts) + "\n}\n")


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
