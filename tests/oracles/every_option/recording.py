"""The numbers as they are kept, one file a rule, one line a case."""

from collections.abc import Iterator
from pathlib import Path

from bioplausible.rules import LearningRule
from tests.oracles import records
from tests.oracles.every_option.cases import Result
from tests.oracles.every_option.numbers import KINDS, TOLERANCE, agree

Entry = str | list[float | None]
"""How a sentence begins, or ten digits of each number; None where it is that of what the case begins with."""

Entries = dict[str, dict[str, Entry]]
"""By what a case begins with, and by its name."""

SAME = 0.01
"""Share of the tolerance within which a number is that of what the case begins with: else it stands for itself."""

LENGTH = 40
"""Of the beginning of a sentence that is kept: it names the option and its value."""


def path(cls: type[LearningRule]) -> Path:
    """Returns the file of a rule."""
    return Path(__file__).with_name(f"{cls.__name__}.json")


def read(cls: type[LearningRule]) -> Entries:
    """Returns what is recorded of a rule; nothing where there is no file."""
    return records.read(path(cls))


def write(cls: type[LearningRule], entries: Entries) -> None:
    """Writes the file of a rule."""
    records.write(path(cls), entries)


def entry(result: Result, start: Result) -> Entry:
    """Returns how a result is kept.

    Args:
        result: of a case.
        start: of what it begins with; the same object where that is the case.
    """
    if isinstance(result, str):
        return result[:LENGTH]
    if result is start or isinstance(start, str):
        return [records.rounded(number.value) for number in result]
    return [
        None
        if abs(number.value - first.value) <= SAME * TOLERANCE[kind] * number.norm
        else records.rounded(number.value)
        for kind, number, first in zip(KINDS, result, start, strict=True)
    ]


def differences(recorded: Entry | None, result: Result, start: Result, recorded_start: Entry | None) -> Iterator[str]:
    """Yields in words where a result is not what was recorded of it.

    Args:
        recorded: what was.
        result: of the case.
        start: of what it begins with.
        recorded_start: what was recorded of that.
    """
    if recorded is None:
        yield "is not recorded"
    elif isinstance(recorded, str) or isinstance(result, str):
        found = result[:LENGTH] if isinstance(result, str) else "it is computed"
        expected = recorded if isinstance(recorded, str) else "it is computed"
        if found != expected:
            yield f"{found!r}, and not {expected!r}"
    else:
        firsts = recorded if isinstance(recorded_start, str) or recorded_start is None else recorded_start
        for kind, number, value, first in zip(KINDS, result, recorded, firsts, strict=True):
            expected = first if value is None else value
            if expected is None or not agree(kind, number.value, expected, number.norm):
                yield f"{kind}: {number.value:.9g}, and not {expected:.9g}"
