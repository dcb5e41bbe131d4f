"""A code in a process of its own, in its own environment."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.peers.problem import Arrays

ROOT = Path(__file__).parents[3]
HERE = ("ours", "ours_compiled", "ours_fit", "plain_torch")
"""The scripts that need no environment of their own."""


class NotRunError(Exception):
    """Why a code could not be timed."""


def python_of(script: str, environments: Path) -> Path:
    """Returns the interpreter that has what a script imports.

    Raises:
        NotRunError: there is none.
    """
    python = Path(sys.executable) if script in HERE else environments / script / "bin/python"
    if not python.exists():
        raise NotRunError("its environment is not there: `make benchmark-peers` sets it up")
    return python


@contextlib.contextmanager
def cores(count: int) -> Iterator[None]:
    """Keeps this process, and what it starts, to so many of the cores that it may use."""
    before = os.sched_getaffinity(0)
    assert count <= len(before)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Process:
    """A process that learns with one code.

    Args:
        python: the interpreter of its environment.
        script: its module in this folder.
        problem: file.
        folder: where it writes what it learned, and its complaints.

    Raises:
        NotRunError: it ends before it is ready.
    """

    def __init__(self, python: Path, script: str, problem: Path, folder: Path) -> None:
        self._changes, self._complaints = folder / f"{script}.npz", folder / f"{script}.txt"
        self._changes.unlink(missing_ok=True)
        # each takes the threads that it takes by itself on these cores, whatever we were told
        environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment |= {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        with self._complaints.open("w") as complaints:
            self._process = subprocess.Popen(
                [str(python), "-m", f"tests.benchmarks.peers.{script}", str(problem), str(self._changes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=environment,
                cwd=folder,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._questions, self._answers = self._process.stdin, self._process.stdout
        try:
            self.versions: dict[str, str] = self._answer()
        except NotRunError:
            self.close()
            raise

    def _answer(self) -> Any:
        line = self._answers.readline()
        if not line:
            said = self._complaints.read_text().strip().splitlines() or ["it ended without a word"]
            raise NotRunError(said[-1])
        return json.loads(line)

    def learned(self) -> Arrays | None:
        """Returns what it learned; None of one that only trains."""
        if not self._changes.exists():
            return None
        with np.load(self._changes) as stored:
            return dict(stored)

    def time(self, batches: int) -> tuple[float, float]:
        """Returns the milliseconds of a batch, and those of all cores together.

        Raises:
            NotRunError: it ended.
        """
        with contextlib.suppress(BrokenPipeError):  # the answer will say why
            print(batches, file=self._questions, flush=True)
        wall, busy = self._answer()
        return wall, busy

    def close(self) -> None:
        """Ends it."""
        with contextlib.suppress(BrokenPipeError):
            self._questions.close()
        self._answers.close()
        self._process.wait()
