"""The bare step again, its relaxation compiled."""

import pytorch_lightning as pl

from bioplausible.observers import CompileRelaxation
from tests.benchmarks.peers.ours import Ours
from tests.benchmarks.peers.problem import Problem
from tests.benchmarks.peers.worker import main


class OursCompiled(Ours):
    """The recipe's rule as the callback CompileRelaxation trains it."""

    def __init__(self, problem: Problem, optimizer: str) -> None:
        super().__init__(problem, optimizer)
        CompileRelaxation().setup(pl.Trainer(logger=False, enable_checkpointing=False), self.rule, "fit")


if __name__ == "__main__":
    main(OursCompiled)
