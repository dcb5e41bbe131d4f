"""``python -m tests.benchmarks.peers``: the speed of other codes beside ours, in turns; ``make benchmark-peers``.

The tables go to standard output, in Markdown. The exit status is 1 where a code learns something else than ours.
"""

import argparse
import datetime
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bioplausible.commands.benchmark import LEAST
from bioplausible.training.environment import processor
from tests.benchmarks.peers.comparison import CODES, Row, compare
from tests.benchmarks.peers.process import ROOT

NAMES = {
    "ours": "**bare step**",
    "ours_compiled": "**bare step, compiled**",
    "ours_fit": "**whole `fit`**",
    "plain_torch": "plain torch",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables, and returns the exit status."""
    options = options_of(arguments)
    print(
        f"{datetime.date.today()}, {processor()}, Python {platform.python_version()}; {options.rounds} turns of", end=""
    )
    print(f" {options.batches} batches\n")
    same = True
    with tempfile.TemporaryDirectory() as folder:
        for recipe in options.recipes or CODES:
            load = os.getloadavg()[0]
            rows = compare(recipe, options.environments, Path(folder), options.cores, options.rounds, options.batches)
            print("\n".join(table(recipe, rows, options.cores)))
            print(f"\nLoad average before and after: {load:.1f}, {os.getloadavg()[0]:.1f}\n", flush=True)
            same &= all(row.agreement is None or row.agreement.same for row in rows)
    return 0 if same else 1


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers", description="Other codes beside ours.")
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=f"of {', '.join(CODES)}; default: all")
    parser.add_argument("--environments", type=Path, default=ROOT / "build/peers", help="folder of theirs")
    parser.add_argument("--cores", type=int, nargs="+", help="numbers of cores; default: 1, and 2 where there are two")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each code")
    parser.add_argument("--batches", type=int, default=100, help=f"batches a turn; of whole fit {LEAST} at least")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.recipes) - CODES.keys()):
        parser.error(f"there is nothing to compare {', '.join(unknown)} with: choose from {', '.join(CODES)}.")
    if not hasattr(os, "sched_setaffinity"):
        parser.error("processes are kept to some of the cores, which only Linux lets this do: run it there.")
    there = len(os.sched_getaffinity(0))
    options.cores = options.cores or [1, 2][:there]
    if not all(1 <= count <= there for count in options.cores):
        parser.error(f"cores is {options.cores}: there are {there}.")
    if options.rounds < 1 or options.batches < 1:
        parser.error("rounds and batches must be at least 1.")
    options.environments = options.environments.absolute()
    return options


def table(recipe: str, rows: Sequence[Row], counts: Sequence[int]) -> list[str]:
    """Returns what was found for a recipe, in lines of Markdown.

    Times and ratios to ours are medians, and those of all cores together stand in brackets.
    """
    heads = [f"{n} core{'s' * (n > 1)}, ms | × ours" for n in counts]
    lines = [f"| {recipe} | versions | same update | {' | '.join(heads)} |"]
    lines.append("| --- | --- | --- |" + " --- | --- |" * len(counts))
    for row in rows:
        cells = [NAMES.get(row.code, row.code), ", ".join(" ".join(pair) for pair in row.versions.items())]
        cells.append(f"not run: {row.reason}" if row.reason else str(row.agreement or ""))
        for n in counts:
            own, ratio = (
                f"{row.median(n, 0, of):.2f} ({row.median(n, 1, of):.2f})" if not row.reason else ""
                for of in (None, rows[0])
            )
            cells += [own, ratio]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
