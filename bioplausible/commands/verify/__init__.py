"""``python -m bioplausible verify``: replay recorded trajectories through the real rules."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from bioplausible.commands.arguments import CommandArguments, path_named
from bioplausible.commands.fast_imports import fast_imports
from bioplausible.errors import UserError


def arguments() -> CommandArguments:
    """Returns what the command takes."""
    parser = CommandArguments(
        "verify",
        "Replays recorded trajectories through a rule, and prints how far each agrees, or why it can't be replayed."
        " Ends with status 1 if any differs, else 2 if any can't be replayed, else 0.",
        ["tests/golden tests/golden-rules", "mine.npz --tolerance 1e-6"],
    )
    parser.add_argument("paths", nargs="+", type=path_named, metavar="PATH", help=".npz files, or folders of them")
    parser.add_argument("--tolerance", type=float, help="largest relative error (default: 1e-9)")
    parser.add_argument(
        "--accelerator", choices=("cpu", "gpu"), default="cpu", help="where the rules train (default: cpu)"
    )
    return parser


def run(args: Sequence[str]) -> int:
    """Replays files (or all ``.npz`` files of folders) and prints how far each agrees, or why it can't be replayed.

    Returns 1 if any differs, else 2 if any can't be replayed, else 0.

    Raises:
        UserError: there is nothing to replay.
    """
    options = arguments().parse_args(args)
    if options.tolerance is not None and not 0 <= options.tolerance < math.inf:
        raise UserError(f"tolerance is {options.tolerance}: give a finite number that is not negative.")
    paths = _files(options.paths)

    # only now: torch and Lightning take seconds, and what comes before needs neither
    with fast_imports():
        import torch

        from bioplausible.commands.verify.recording import TOLERANCE
        from bioplausible.commands.verify.replay import replay

    if options.accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("accelerator is gpu, but PyTorch finds no GPU that CUDA can use: choose cpu.")
    tolerance = TOLERANCE if options.tolerance is None else options.tolerance
    failed = refused = 0
    for path in paths:
        try:
            differences = replay(path, options.accelerator)
        except UserError as error:
            refused += 1
            print(f"error: {error}", file=sys.stderr)
            continue
        agrees = all(d.error <= tolerance for d in differences)
        failed += not agrees
        print(f"{path.name}: {'agrees' if agrees else 'DIFFERS'} (tolerance {tolerance:g})")
        for group in dict.fromkeys(d.group for d in differences):
            worst = max((d for d in differences if d.group == group), key=lambda d: d.error)
            print(f"    {group:17} {worst.error:8.1e}  at {worst.place}")
    return 1 if failed else 2 if refused else 0


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        found = sorted(path.rglob("*.npz")) if path.is_dir() else [path]
        if not found or not path.exists():
            raise UserError(f"There is no recorded trajectory at {path}: name an .npz file or a folder of them.")
        files += found
    return files
