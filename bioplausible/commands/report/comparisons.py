"""Every rule against every other one of a table, over the seeds that both have."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from bioplausible.commands.report.significance import ALPHA, Comparison, holm, p_text, paired, signed
from bioplausible.commands.report.tables import Group

COLUMNS = ("data", "net", "rule", "other_rule", "n", "difference", "t", "p", "p_holm")
"""Of comparisons.csv."""


@dataclass(frozen=True)
class Pair:
    """Two settings.

    Attributes:
        one: a setting.
        other: another one.
        n: seeds that both have.
        test: the paired test of their test accuracies in percent, one minus other; None where there is none.
        p: its p-value, corrected for the number of tests of the table (:func:`holm`).
    """

    one: Group
    other: Group
    n: int
    test: Comparison | None = None
    p: float | None = None


def pairs(groups: Sequence[Group]) -> list[Pair]:
    """Returns all pairs of a table's settings, tested where they have three seeds in common."""
    both = list(combinations(groups, 2))
    tests = [paired(one.accuracies, other.accuracies) for one, other in both]
    corrected = iter(holm([test.p for test in tests if test is not None]))
    return [
        Pair(
            one,
            other,
            len(one.accuracies.keys() & other.accuracies.keys()),
            test,
            None if test is None else next(corrected),
        )
        for (one, other), test in zip(both, tests, strict=True)
    ]


def matrix(groups: Sequence[Group]) -> list[dict[str, str]]:
    """Returns the pairs as a table: row minus column in points, p, and the number of common seeds; * for p < 0.05.

    Nothing where no pair is tested.
    """
    found = pairs(groups)
    if all(pair.test is None for pair in found):
        return []
    cells = {}
    for pair in found:
        for row, column, sign in ((pair.one, pair.other, 1), (pair.other, pair.one, -1)):
            text = f"no test (n = {pair.n})"
            if pair.test is not None and pair.p is not None:
                star = "*" if pair.p < ALPHA else ""
                text = f"{signed(sign * pair.test.difference)}{star}, {p_text(pair.p)} (n = {pair.n})"
            cells[id(row), id(column)] = text
    names = [f"{i}" for i in range(1, len(groups) + 1)]
    return [
        {"": name, "rule": row.title}
        | {other: cells.get((id(row), id(column)), "") for other, column in zip(names, groups, strict=True)}
        for name, row in zip(names, groups, strict=True)
    ]


def numbers(pair: Pair) -> dict[str, str | int]:
    """Returns a row of comparisons.csv."""
    line: dict[str, str | int] = {"data": pair.one.data_name, "net": pair.one.first.net}
    line |= {"rule": pair.one.title, "other_rule": pair.other.title, "n": pair.n}
    test = pair.test
    values = {"difference": test and test.difference, "t": test and test.t, "p": test and test.p, "p_holm": pair.p}
    return line | {name: "" if value is None else f"{value:.6g}" for name, value in values.items()}
