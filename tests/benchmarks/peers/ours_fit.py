"""Whole training of a rule of this package: loader, Trainer, metrics, TensorBoard and progress bar included."""

import sys
import time
from pathlib import Path

import torch

from bioplausible.commands.benchmark import LEAST
from bioplausible.commands.benchmark.whole_training import Clock, training
from tests.benchmarks.peers.ours import CONFIGS, Ours
from tests.benchmarks.peers.problem import Problem
from tests.benchmarks.peers.worker import answer

THREADS = torch.get_num_threads()


def timed(recipe: Path, batches: int) -> tuple[float, float]:
    """Returns the milliseconds of a batch, and those of all cores together."""
    torch.set_num_threads(THREADS)  # fit chooses anew, as in a process of its own
    busy = Clock(now=time.process_time)
    return training(recipe, max(batches, LEAST), busy), busy.milliseconds


if __name__ == "__main__":
    name = Problem.load(sys.argv[1]).recipe
    answer(lambda batches: timed(CONFIGS / f"{name}.yaml", batches), Ours.packages)
