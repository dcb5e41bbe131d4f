"""Runs as users name them. A name that means none is told before torch is imported, which takes seconds."""

import os
from difflib import get_close_matches
from pathlib import Path

from bioplausible.errors import UserError

LOG_FOLDER = "lightning_logs"
"""Folder of all runs where none is named."""
SHOWN = 3
"""Runs that are named where another name was given."""


def in_full(path: str | Path) -> str:
    """Returns a logger's folder with ``~`` and ``$VARIABLES`` written out, as TensorBoardLogger does for its log."""
    full = os.path.expandvars(path)
    return str(Path(full).expanduser()) if full.startswith("~") else full  # a Path would change what is an address


def run_named(name: str | Path) -> Path:
    """Returns the file or folder that a name means; ``last`` is the folder of all runs.

    Raises:
        UserError: there is none; the runs whose names are most like it are named, or else the newest.
    """
    path = Path(LOG_FOLDER) if str(name) == "last" else Path(name).expanduser()
    if path.exists():
        return path
    checkpoints = sorted(Path(LOG_FOLDER).rglob("*.ckpt"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    runs = list(dict.fromkeys(map(str, map(folder_of, checkpoints))))
    if not runs:
        raise UserError(f"There is no run or checkpoint {path}: train first, or name another folder or file.")
    like = [run for run in runs if str(path) in run] or get_close_matches(str(path), runs, n=SHOWN, cutoff=0.75)
    raise UserError(f"There is no run or checkpoint {path}: name one, such as {', '.join((like or runs)[:SHOWN])}.")


def folder_of(checkpoint: Path) -> Path:
    """Returns the folder of a checkpoint's run: the one with its folder ``checkpoints``, or else the file's own."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
