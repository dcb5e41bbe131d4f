"""All that is looked at, by name: what shows it, and the options that are varied."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.oracles import records
from tests.oracles.shown import of_commands, of_observers, of_report, of_rules, of_sweep
from tests.oracles.shown.keeping import Kept, Shown, changed

Entries = dict[str, Kept]
"""What is kept of each case, by its name."""


class Subject(NamedTuple):
    """Something that shows.

    Attributes:
        results: yields what is shown, each with the name of what it begins with, and its own; what they begin with is a
            case too, without a name of its own. It takes the size of a disturbance.
        options: names of those that are varied.
    """

    results: Callable[[float], Iterator[tuple[str, str, Shown]]]
    options: set[str]


def subjects() -> dict[str, Subject]:
    """Returns all of them: observers, the rules, and the commands that draw or print numbers."""
    found = {name: Subject(partial(of_observers.results, name), of_observers.options_of(name)) for name in observed()}
    found |= {name: Subject(results, options()) for name, (results, options) in of_commands.SUBJECTS.items()}
    found["Rules"] = Subject(of_rules.results, set())
    found["Report"] = Subject(of_report.results, of_report.options())
    found["Sweep"] = Subject(of_sweep.results, set())
    return found


def observed() -> list[str]:
    """Returns the names of the observers, of which those that look at no training are looked at elsewhere."""
    return [name for name in of_observers.observers() if name not in of_observers.ELSEWHERE]


def name_of(base: str, case: str) -> str:
    """Returns a case's name in the file."""
    return f"{base} / {case}" if case else base


def path(name: str) -> Path:
    """Returns the file of a subject."""
    return Path(__file__).with_name(f"{name}.json")


def recorded(entries: Entries, base: str, case: str) -> Kept | None:
    """Returns what was recorded of a case; None where nothing was."""
    if base not in entries or name_of(base, case) not in entries:
        return None
    return changed(entries[base], entries[name_of(base, case)]) if case else entries[base]


def read(name: str) -> Entries:
    """Returns what is recorded of a subject; nothing where there is no file."""
    return records.read(path(name))


def write(name: str, entries: Entries) -> None:
    """Writes the file of a subject."""
    records.write(path(name), entries)
