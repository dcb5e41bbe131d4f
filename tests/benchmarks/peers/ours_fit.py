"""Whole training of a rule of this package: loader, Trainer, metrics, TensorBoard and progress bar included."""

import sys

from bioplausible.commands.benchmark.whole_training import training
from tests.benchmarks.peers.ours import CONFIGS, Ours
from tests.benchmarks.peers.problem import Problem
from tests.benchmarks.peers.worker import answer

if __name__ == "__main__":
    recipe = CONFIGS / f"{Problem.load(sys.argv[1]).recipe}.yaml"
    answer(lambda batches: training(recipe, batches), Ours.packages)
