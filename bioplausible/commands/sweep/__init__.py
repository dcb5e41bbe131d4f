"""``python -m bioplausible sweep``: every combination of seeds and options, or a study's trials, on Ray Tune."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from bioplausible.commands.arguments import CommandArguments, path_named, recipe_named, study_named
from bioplausible.commands.fast_imports import fast_imports
from bioplausible.commands.program import this_program
from bioplausible.errors import UserError


def arguments() -> CommandArguments:
    """Returns what the command takes."""
    parser = CommandArguments(
        "sweep",
        "Trains with every combination of seeds and options, or a study's trials, several at once, and writes their"
        " report. The same command goes on where it was stopped.",
        ["--config digits/corinfomax --seeds 0,1,2", "--study digits --list"],
    )
    parser.add_argument(
        "--config", type=recipe_named, action="append", default=[], help="recipe; may be given several times"
    )
    parser.add_argument("--seeds", help="seeds, separated by commas (default: 0)")
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="KEY=V1,V2",
        help="values of an option of fit, for example model.init_args.beta=0.5,1.0; may be given several times",
    )
    parser.add_argument(
        "--study",
        type=study_named,
        metavar="FILE",
        help="YAML file that says all this, and what to compare or to search",
    )
    parser.add_argument("--list", action="store_true", help="print the trials, as arguments of fit, and train nothing")
    parser.add_argument(
        "--out", type=path_named, default=Path("sweep"), help="folder of runs and report (default: sweep)"
    )
    parser.add_argument("--cpus", type=int, help="cores to use (default: all)")
    parser.add_argument("--threads", type=int, default=1, help="threads, and cores, a trial (default: 1)")
    parser.add_argument("--address", help="address of a Ray cluster that shares the folder; default: this machine")
    return parser


def run(args: Sequence[str]) -> int:
    """Runs every trial that is not finished, writes the report, and returns 0, or 1 where a trial failed or is missing.

    Ctrl-C and SIGTERM end it with 130 and 143, and the trials with it.

    Raises:
        UserError: an option or the study is wrong, or Ray is not installed.
    """
    options = arguments().parse_args(args)
    if bool(options.study) == bool(options.config):
        raise UserError("sweep needs --config RECIPE or --study FILE, one of the two.")
    if options.study and (options.seeds is not None or options.grid):
        raise UserError("--seeds and --grid go with --config: a study names its seeds and values in its file.")
    cpus = options.cpus or os.cpu_count() or 1
    if options.threads < 1 or cpus < options.threads:
        raise UserError(f"threads is {options.threads}: it must lie between 1 and the {cpus} cores.")

    # only now: torch and Lightning take seconds, and what comes before needs neither
    with fast_imports():
        from bioplausible.commands.sweep.trained_and_reported import sweep

    return sweep(options, cpus, f"{this_program()} sweep {shlex.join(args)}")
