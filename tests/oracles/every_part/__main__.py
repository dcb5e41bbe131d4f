"""Writes what has changed anew: ``python -m tests.oracles.every_part [PART …]``, such as ``TableDataModule``."""

import os
import sys
import tempfile
from pathlib import Path

from bioplausible.commands.quiet import quiet
from tests.oracles.every_part.nets import all_results, parts
from tests.oracles.every_part.recording import Entries, differences, entry, path
from tests.oracles.records import read, write


def main(names: list[str]) -> None:
    """Writes the files of parts, of all of them where none is named, and says how many cases are new or others now."""
    os.environ.pop("PL_GLOBAL_SEED", None)
    quiet()
    files: dict[str, Entries] = {}
    for part in parts():
        before = read(path(part.net))
        now = files.setdefault(part.net, {})
        if names and part.name not in names:
            now |= {base: cases for base, cases in before.items() if base.startswith(f"{part.name}: ")}
            continue
        changed = 0
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            for base, case, result, start in all_results(part, Path(folder).resolve()):
                old = before.get(base, {})
                changed += any(differences(old.get(case), result, old.get("")))
                now.setdefault(base, {})[case] = entry(result, start)
        cases = sum(len(of_base) for base, of_base in now.items() if base.startswith(f"{part.name}: "))
        print(f"{part.name}: {cases} cases, {changed} of them new or changed")
    for net, entries in files.items():
        write(path(net), entries)


if __name__ == "__main__":
    main(sys.argv[1:])
