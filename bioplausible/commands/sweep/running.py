"""A trial in a process of its own: trained, gone on with where it was killed, and known again when it is finished."""

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar

import yaml

from bioplausible.commands.report.logs import read_log
from bioplausible.commands.report.reading import read_run
from bioplausible.commands.sweep.trials import TEST, VALIDATION, Trial
from bioplausible.errors import UserError
from bioplausible.resume.checkpoint_files import newest_checkpoint

T = TypeVar("T")

LOG = "log.txt"
"""File in a trial's folder with what its processes said."""

NOTE = "trial.yaml"
"""File in a trial's folder that says what it is a trial of."""

OUTCOME = "outcome.yaml"
"""File in the folder of a search's trial that says how it ended."""

SECONDS = "seconds.txt"
"""File in a trial's folder that says how long it has been trained, whatever has stopped it."""

PATIENCE = 30.0
"""Seconds that a trial waits for the process that trained it before: a killed sweep's lives on for some."""


@dataclass(frozen=True)
class Outcome:
    """What came out of a search's trial.

    Attributes:
        accuracy: validation accuracy of its last epoch; it alone chooses.
        best_accuracy: the best of all its epochs.
        stopped_after: epochs after which it was stopped as hopeless; None where it was trained to its end.
    """

    accuracy: float
    best_accuracy: float
    stopped_after: int | None = None


def is_finished(trial: Trial) -> bool:
    """Returns whether a trial's run is there and finished.

    Raises:
        UserError: its folder holds a run of something else, or a damaged note.
    """
    begun = begun_with(trial)
    if begun is None:
        return False
    if begun != trial.what:
        raise UserError(
            f"{trial.folder} holds a trial of another recipe, or with other options or environment variables: name"
            " another folder with --out, or delete this one."
        )
    # a trial that never sees the test split is finished where its process said so
    return read_run(Path(trial.folder)).finished if trial.scored_by == TEST else outcome(trial) is not None


def begun_with(trial: Trial) -> dict[str, Any] | None:
    """Returns what the trial in a trial's folder is one of; None where none was begun.

    Raises:
        UserError: the note is damaged.
    """
    return _noted(trial, NOTE, _mapping, "its trial is trained anew")


def outcome(trial: Trial) -> Outcome | None:
    """Returns what came out of a search's trial; None while it is not finished.

    Raises:
        UserError: the note is damaged.
    """
    return _noted(trial, OUTCOME, _outcome, "its trial goes on from its checkpoint")


def seconds(trial: Trial) -> float:
    """Returns for how long a trial has been trained, in all its processes.

    Raises:
        UserError: the note is damaged.
    """
    return _noted(trial, SECONDS, float, "its trial's time counts from 0") or 0.0


def last_words(trial: Trial) -> str:
    """Returns the last line of a trial's log: why it failed, where it did; nothing where there is none."""
    file = Path(trial.folder) / LOG
    lines = [line for line in file.read_text(errors="replace").splitlines() if line.strip()] if file.is_file() else []
    return lines[-1].removeprefix("error: ") if lines else ""


def validation_accuracies(trial: Trial) -> list[float]:
    """Returns the validation accuracy after each epoch so far, of a trial that may be running."""
    curve = read_log(Path(trial.folder)).curves.get(VALIDATION, {})
    return [curve[step] for step in sorted(curve)]


def note_stopped(trial: Trial, epochs: int) -> None:
    """Notes that a trial is stopped as hopeless, so that it is not gone on with."""
    found = validation_accuracies(trial)[:epochs]
    _write(Path(trial.folder) / OUTCOME, yaml.safe_dump(asdict(Outcome(found[-1], max(found), epochs))))


class Training:
    """A trial's process: from the start, or from where the trial was killed.

    Args:
        trial: the trial.
        log: its log, which holds the lock of its folder. It is closed once there is nothing left to note there.
    """

    def __init__(self, trial: Trial, log: TextIO) -> None:
        self.trial, self._log = trial, log
        folder = Path(trial.folder)
        note, arguments = folder / NOTE, trial.arguments
        if note.is_file() and list(folder.rglob("*.ckpt")):
            arguments = ["--ckpt_path", str(newest_checkpoint(folder)), "--trainer.enable_progress_bar", "false"]
        else:
            _clear(folder)  # nothing that could be resumed
            _write(note, yaml.safe_dump(trial.what))
        self._before, self._start = seconds(trial), time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bioplausible", "fit", *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": str(trial.threads)},
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )

    def wait(self, timeout: float) -> bool:
        """Waits for the process for some seconds, notes how long it has trained, and returns whether it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        _write(Path(self.trial.folder) / SECONDS, f"{self._before + time.monotonic() - self._start:.1f}\n")
        return self._process.returncode is not None

    def terminate(self) -> None:
        """Tells the process to end: it leaves a checkpoint, and ``fit --ckpt_path FOLDER`` goes on from it."""
        self._process.terminate()
        self._log.close()

    def conclude(self) -> float:
        """Returns the accuracy that counts, once the process has ended.

        Raises:
            RuntimeError: it failed; the sentence is the last line of its log.
        """
        trial, status = self.trial, self._process.returncode
        with self._log:  # with its lock: a sweep that waits for the folder finds the outcome
            if status != 0:
                if status < 0 or not last_words(trial):
                    how = "killed" if status < 0 else "ended without a word"
                    print(f"\nerror: {how} (exit status {status})", file=self._log, flush=True)
                raise RuntimeError(last_words(trial))
            accuracy, best = _accuracies(trial)
            if trial.scored_by == VALIDATION:
                _write(Path(trial.folder) / OUTCOME, yaml.safe_dump(asdict(Outcome(accuracy, best))))
        return accuracy


def begin(trial: Trial) -> Training | None:
    """Starts a trial's process; returns None where the trial is finished.

    Another sweep may have finished it while this one waited for its folder: to train it again would delete that run.

    Raises:
        RuntimeError: another process trains in the trial's folder, and goes on.
        UserError: its folder holds a run of something else, or a damaged note.
    """
    folder = Path(trial.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((folder / LOG).open("a"))
        _wait_for_the_last_one(log)
        if is_finished(trial):
            return None
        training = Training(trial, log)
        stack.pop_all()
    return training


def run_trial(trial: Trial) -> float:
    """Trains a trial in a process of its own, or goes on where it was killed, and returns the accuracy that counts.

    Raises:
        RuntimeError: it failed; the sentence is the last line of its log.
    """
    training = begin(trial)
    if training is None:
        return _accuracies(trial)[0]
    while not training.wait(1):
        pass
    return training.conclude()


def _noted(trial: Trial, name: str, read: Callable[[str], T], without: str) -> T | None:
    """Returns what a file in a trial's folder says; None where it is not there.

    Args:
        trial: the trial.
        name: of the file.
        read: reads its text.
        without: what follows where it is deleted.

    Raises:
        UserError: it is damaged.
    """
    file = Path(trial.folder) / name
    try:
        return read(file.read_text()) if file.is_file() else None
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} is damaged: delete it, and {without}.") from error


def _mapping(text: str) -> dict[str, Any]:
    return dict(yaml.safe_load(text))


def _outcome(text: str) -> Outcome:
    said = _mapping(text)
    return Outcome(float(said["accuracy"]), float(said["best_accuracy"]), said.get("stopped_after"))


def _accuracies(trial: Trial) -> tuple[float, float]:
    """Returns the accuracy that counts of a trial's last epoch and the best of all its epochs.

    Raises:
        RuntimeError: it has none.
    """
    run = read_run(Path(trial.folder))
    accuracy, best = run.last(trial.scored_by), run.best(trial.scored_by)
    if accuracy is None or best is None:
        raise RuntimeError("it was not tested" if trial.scored_by == TEST else "it was not validated")
    return accuracy, best


def _wait_for_the_last_one(log: TextIO) -> None:
    """Takes a trial's folder, once the process that trained there before has ended.

    Of a sweep that was killed, trials live on until Ray or Linux ends them. A trial's process keeps its log open, and
    with it the lock, as long as it lives; its sweep does until the outcome is noted.

    Raises:
        RuntimeError: it does not end.
    """
    latest = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > latest:
                folder = Path(log.name).parent
                raise RuntimeError(
                    f"another process trains in {folder}: wait for its sweep to end, or end it, and sweep again"
                ) from None
            time.sleep(0.1)
        else:
            return


def _clear(folder: Path) -> None:
    """Removes what is in a trial's folder but for its log, which is emptied: a process that starts has it open."""
    for path in folder.iterdir():
        if path.name == LOG:
            os.truncate(path, 0)
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _write(file: Path, text: str) -> None:
    """Writes a file whole or not at all: a kill may come at any time."""
    part = file.with_suffix(".part")
    part.write_text(text)
    part.replace(file)


def _die_with_parent() -> None:
    """Asks Linux to kill this process with its parent: a sweep that is killed leaves no training behind."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
