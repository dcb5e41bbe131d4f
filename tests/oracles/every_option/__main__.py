"""Writes the numbers anew that have changed: ``python -m tests.oracles.every_option [RULE …]``.

A case whose numbers a disturbance of 1e-13 changes visibly is named, and nothing is written of its rule: on another
machine they would be others.
"""

import sys
from collections.abc import Iterator

from tests.helpers import all_rules
from tests.oracles.every_option.cases import Result, results
from tests.oracles.every_option.numbers import KINDS, TOLERANCE
from tests.oracles.every_option.recording import Entries, differences, entry, read, write
from tests.oracles.records import DISTURBANCE

VISIBLE = 0.1
"""Share of the tolerance that a disturbance, which is hundreds of times that of rounding, may change a number by."""


def unlike(result: Result, disturbed: Result) -> Iterator[str]:
    """Yields in words what a disturbance changes visibly."""
    if isinstance(result, str) or isinstance(disturbed, str):
        if result != disturbed:
            yield f"{result}, or {disturbed}"
        return
    for kind, a, b in zip(KINDS, result, disturbed, strict=True):
        if not abs(a.value - b.value) <= VISIBLE * TOLERANCE[kind] * a.norm:
            yield f"{kind} {a.value}, or {b.value}"


def main(names: list[str]) -> int:
    """Writes the files of rules, of all of them where none is named, and says which cases are new or others now."""
    status = 0
    for cls in all_rules():
        if names and cls.__name__ not in names:
            continue
        before, entries = read(cls), Entries()
        unstable: list[str] = []
        changed, anew, start, old_start = 0, False, None, None
        for (base, case, result), (_, _, disturbed) in zip(results(cls), results(cls, DISTURBANCE), strict=True):
            old = before.get(base, {}).get(case)
            if not case:
                start, old_start = result, old
            assert start is not None
            differs = any(differences(old, result, start, old_start))
            anew = differs if not case else anew
            unstable += [f"{base} / {case}: {what}" for what in unlike(result, disturbed)]
            changed += differs
            entries.setdefault(base, {})[case] = entry(result, start) if differs or anew or old is None else old
        print(f"{cls.__name__}: {sum(map(len, entries.values()))} cases, {changed} of them new or changed")
        if unstable:
            print("not written, for these depend on rounding:", *unstable, sep="\n  ")
            status = 1
        else:
            write(cls, entries)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
