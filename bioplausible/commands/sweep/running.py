"""A trial in a process of its own: trained, gone on with where it was killed, and known again when it is finished."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from bioplausible.commands.report.runs import read_run
from bioplausible.commands.sweep.trials import TEST, Trial
from bioplausible.errors import UserError
from bioplausible.resume.checkpoint_files import newest_checkpoint

LOG = "log.txt"
"""File in a trial's folder with what its processes said."""

NOTE = "trial.yaml"
"""File in a trial's folder that says what it is a trial of."""

OUTCOME = "outcome.yaml"
"""File in the folder of a search's trial that says how it ended."""

SECONDS = "seconds.txt"
"""File in a trial's folder that says how long it has been trained, whatever has stopped it."""


@dataclass(frozen=True)
class Outcome:
    """What came out of a trial.

    Attributes:
        accuracy: of its last epoch, of the split that it is scored by; it alone chooses.
        best_accuracy: the best of all epochs' validation accuracies; of a trial that is scored by the test split there
            is but the last.
    """

    accuracy: float
    best_accuracy: float


def is_finished(trial: Trial) -> bool:
    """Returns whether a trial's run is there and finished.

    Raises:
        UserError: its folder holds a run of something else.
    """
    folder = Path(trial.folder)
    note = folder / NOTE
    if not note.is_file():
        return False
    if yaml.safe_load(note.read_text()) != trial.what:
        raise UserError(
            f"{folder} holds a trial of another recipe or with other options: name another folder with --out, or delete"
            " this one."
        )
    # a trial that never sees the test split is finished where its process said so
    return read_run(folder).finished if trial.scored_by == TEST else (folder / OUTCOME).is_file()


def outcome(trial: Trial) -> Outcome | None:
    """Returns what came out of a search's trial; None while it is not finished."""
    file = Path(trial.folder) / OUTCOME
    return Outcome(**yaml.safe_load(file.read_text())) if file.is_file() else None


def seconds(trial: Trial) -> float:
    """Returns for how long a trial has been trained, in all its processes."""
    file = Path(trial.folder) / SECONDS
    return float(file.read_text()) if file.is_file() else 0.0


def last_words(trial: Trial) -> str:
    """Returns the last line of a trial's log: why it failed, where it did; nothing where there is none."""
    file = Path(trial.folder) / LOG
    lines = [line for line in file.read_text(errors="replace").splitlines() if line.strip()] if file.is_file() else []
    return lines[-1].removeprefix("error: ") if lines else ""


def run_trial(trial: Trial) -> float:
    """Trains a trial in a process of its own, or goes on where it was killed, and returns the accuracy that counts.

    Raises:
        RuntimeError: it failed; the sentence is the last line of its log.
    """
    folder = Path(trial.folder)
    note = folder / NOTE
    arguments = trial.arguments
    if note.is_file() and list(folder.rglob("*.ckpt")):
        arguments = ["--ckpt_path", str(newest_checkpoint(folder)), "--trainer.enable_progress_bar", "false"]
    else:
        shutil.rmtree(folder, ignore_errors=True)  # nothing that could be resumed
        folder.mkdir(parents=True)
        note.write_text(yaml.safe_dump(trial.what))
    with (folder / LOG).open("a") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "bioplausible", "fit", *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": str(trial.threads)},
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
        status = _wait(process, trial)
    if status != 0:
        raise RuntimeError(last_words(trial) or f"exit status {status}")
    run = read_run(folder)
    accuracy, best = run.last(trial.scored_by), run.best(trial.scored_by)
    if accuracy is None or best is None:
        raise RuntimeError("it was not tested" if trial.scored_by == TEST else "it was not validated")
    if trial.scored_by != TEST:
        text = yaml.safe_dump(asdict(Outcome(accuracy, best)))
        _write(folder / OUTCOME, text)
    return accuracy


def _wait(process: subprocess.Popen[bytes], trial: Trial) -> int:
    """Waits for a process, notes for how long, and returns its exit status."""
    file, before, start = Path(trial.folder) / SECONDS, seconds(trial), time.monotonic()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        _write(file, f"{before + time.monotonic() - start:.1f}\n")
        if process.returncode is not None:
            return process.returncode


def _write(file: Path, text: str) -> None:
    """Writes a file whole or not at all: a kill may come at any time."""
    part = file.with_suffix(".part")
    part.write_text(text)
    part.replace(file)


def _die_with_parent() -> None:
    """Asks Linux to kill this process with its parent: a sweep that is killed leaves no training behind."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
