"""Writes anew what has changed of what is shown: ``python -m tests.oracles.shown [NAME …]``.

Names are those of observers, and Rules, Report, Sweep, Look, Predictions, Summary, Verify and Benchmark. A case of
which a disturbance of 1e-13 changes a number visibly is named, and nothing is written of its subject: on another
machine it would be another one.
"""

import sys

from bioplausible.commands.quiet import quiet
from tests.oracles.records import DISTURBANCE
from tests.oracles.shown.keeping import changes, differences, kept
from tests.oracles.shown.subjects import name_of, read, recorded, subjects, write


def main(names: list[str]) -> int:
    """Writes the files of what is named, of all where nothing is, and says which cases are new or others now."""
    quiet()
    status = 0
    for name, subject in subjects().items():
        if names and name not in names:
            continue
        before, entries, starts = read(name), {}, {}
        changed, unstable = 0, list[str]()
        disturbed = subject.results(DISTURBANCE)
        for (base, case, shown), (_, _, other) in zip(subject.results(0.0), disturbed, strict=True):
            now, title = kept(shown), name_of(base, case)
            unstable += [f"{title}: {what}" for what in differences(now, other)]
            old = recorded(before, base, case)
            differs = old is None or any(differences(old, shown))
            changed += differs
            starts[base] = starts.get(base, now if differs or old is None else old)
            entries[title] = now if not case else changes(starts[base], now)
            if not differs and old is not None:  # to rounding what it was: so it stays, to the digit
                entries[title] = old if not case else changes(starts[base], old)
        print(f"{name}: {len(entries)} cases, {changed} of them new or changed")
        if unstable:
            print("not written, for these depend on rounding:", *unstable, sep="\n  ")
            status = 1
        else:
            write(name, entries)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
