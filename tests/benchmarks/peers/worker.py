"""How a code that is timed answers: first what it learns, for the check, then as often as asked what a batch takes.

It runs in the environment of its own code, so it needs numpy alone.
"""

import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import cycle
from typing import Any, Literal

import numpy as np

from tests.benchmarks.peers.problem import Arrays, Problem

ADAM_BATCHES = 10
"""After so many batches with Adam the weights are compared once more."""


class Learner(ABC):
    """A network that learns with one code.

    Args:
        problem: the network, and how it learns.
        optimizer: Adam, which is timed, or gradient descent with rate 1, whose step is the update itself.
    """

    packages: Sequence[str]
    """Whose versions are told."""

    @abstractmethod
    def __init__(self, problem: Problem, optimizer: Literal["adam", "sgd"]) -> None: ...

    @abstractmethod
    def batch(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        """Returns images (n × d_0) and one-hot targets (n × d_2) as :meth:`step` takes them."""

    @abstractmethod
    def step(self, x: Any, y: Any) -> None:
        """Learns a batch: what is timed."""

    @abstractmethod
    def weights(self) -> Arrays:
        """Returns W_1, b_1, W_2 and b_2, laid out as in the problem, when all steps are done."""

    def wait(self) -> None:  # noqa: B027 - nothing to wait for where the step itself computes
        """Returns when all steps are done."""


def learned(learner: type[Learner], problem: Problem) -> tuple[Arrays, Learner]:
    """Returns what each parameter changes by in one batch with rate 1 and in some with Adam, and the code with Adam."""
    found = {}
    for optimizer, batches in (("sgd", 1), ("adam", ADAM_BATCHES)):
        code = learner(problem, optimizer)
        for x, y in list(zip(problem.images, problem.targets, strict=True))[:batches]:
            code.step(*code.batch(x, y))
        found |= {f"{optimizer} {name}": new - problem.weights[name] for name, new in code.weights().items()}
    return found, code


def stopwatch(code: Learner, problem: Problem) -> Callable[[int], tuple[float, float]]:
    """Returns a function that learns so many batches, and returns the milliseconds of one, and those of all cores."""
    batches = cycle([code.batch(x, y) for x, y in zip(problem.images, problem.targets, strict=True)])

    def milliseconds(count: int) -> tuple[float, float]:
        start, busy = time.perf_counter(), time.process_time()
        for _ in range(count):
            code.step(*next(batches))
        code.wait()
        return (time.perf_counter() - start) / count * 1e3, (time.process_time() - busy) / count * 1e3

    return milliseconds


def answer(timed: Callable[[int], tuple[float, float]], packages: Sequence[str]) -> None:
    """Tells the packages' versions, then for each line of standard input what a batch took, of as many as it says."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the code prints must not mix with the answers
    print(json.dumps({name: version(name) for name in packages}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(timed(int(line))), file=answers, flush=True)


def main(learner: type[Learner]) -> None:
    """Runs a learner on the problem in the file that is named first; what it learned goes into the second one."""
    problem = Problem.load(sys.argv[1])
    changes, code = learned(learner, problem)
    np.savez(sys.argv[2], **changes)
    answer(stopwatch(code, problem), learner.packages)
