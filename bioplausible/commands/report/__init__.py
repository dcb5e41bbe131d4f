"""``python -m bioplausible report``: what finished and running runs did, as a page, and as tables to take away."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from bioplausible.commands.arguments import CommandArguments, path_named
from bioplausible.commands.fast_imports import fast_imports
from bioplausible.commands.program import this_program
from bioplausible.errors import UserError


def arguments() -> CommandArguments:
    """Returns what the command takes."""
    parser = CommandArguments(
        "report",
        "Writes what finished and running runs did as a page, index.html, and as tables to take away.",
        ["lightning_logs", "lightning_logs/digits --out digits"],
    )
    parser.add_argument(
        "runs", nargs="+", type=path_named, metavar="RUN_DIR", help="runs, or folders with runs below them"
    )
    parser.add_argument("--out", type=path_named, default=Path("report"), help="folder to write (default: report)")
    return parser


def run(args: Sequence[str]) -> int:
    """Writes the report of runs into a folder (:func:`bioplausible.commands.report.page.write`), and returns 0.

    Raises:
        UserError: there are no runs, or the folder can't be written to.
    """
    options = arguments().parse_args(args)

    # only now: torch and Lightning take seconds, and what comes before needs neither
    with fast_imports():
        from bioplausible.commands.report.page import write
        from bioplausible.commands.report.reading import find_runs

    found = find_runs(options.runs)
    try:
        write(found, options.out, f"{this_program()} report {shlex.join(args)}")
    except OSError as error:
        raise UserError(f"The report can't be written to {options.out} ({error.strerror}): choose --out.") from error
    finished = sum(r.finished for r in found)
    print(f"{len(found)} {'run' if len(found) == 1 else 'runs'}, {finished} finished")
    for other in (r for r in found if not r.finished):
        print(f"  {other.path}: {other.status}")
    print(f"report  {options.out / 'index.html'}")
    return 0
