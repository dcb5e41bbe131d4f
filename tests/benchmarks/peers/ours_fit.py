"""Whole training of a rule of this package: loader, Trainer, metrics, TensorBoard and progress bar included."""

import sys
import time
from pathlib import Path

from bioplausible.commands.benchmark import LEAST
from bioplausible.commands.benchmark.whole_training import Clock, training
from tests.benchmarks.peers.ours import CONFIGS, Ours
from tests.benchmarks.peers.problem import Problem
from tests.benchmarks.peers.worker import answer


def timed(recipe: Path, batches: int) -> tuple[float, float]:
    """Returns the milliseconds of a batch, and those of all cores together."""
    busy = Clock(now=time.process_time)
    return training(recipe, max(batches, LEAST), busy), busy.milliseconds


if __name__ == "__main__":
    name = Problem.load(sys.argv[1]).recipe
    answer(lambda batches: timed(CONFIGS / f"{name}.yaml", batches), Ours.packages)
