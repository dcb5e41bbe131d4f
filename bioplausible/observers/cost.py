"""What training costs, for comparisons at equal cost."""

import time
from typing import Any, cast

from pytorch_lightning import LightningModule, Trainer

from bioplausible.observers.epoch_log import EpochLog
from bioplausible.rules import LearningRule
from bioplausible.training.copied_step import copied_step
from bioplausible.training.data_parallel import processes
from bioplausible.training.monitored import COST
from bioplausible.training.products import Products


class Cost(EpochLog):
    """Logs after each epoch what training has cost so far, for figures of accuracy against cost.

    ``cost/core_seconds``: seconds of processor time that this process spent in training batches, all its threads added
    up: settling, updates, optimizer, metrics, and the share of other observers in them; without data loading,
    validation and tests. Processor time grows little where other programs take turns on the core, as wall time does.
    On a GPU it is not logged: there the processor only starts the work.
    ``cost/teraoperations``: floating-point operations in matrix products and convolutions, in 10¹², of all processes.
    They are counted once, in a step of a copy of the rule on as many samples as the first batch has, and multiplied by
    the samples seen.

    A run that is resumed goes on from its checkpoint's figures.
    """

    def start_anew(self) -> None:
        """Begins with a cost of nothing."""
        super().start_anew()
        self._seconds: float | None = 0.0
        self._samples = 0
        self._operations_per_sample: float | None = None
        self._since = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Returns what a resumed run goes on from."""
        return {"seconds": self._seconds, "samples": self._samples, "per_sample": self._operations_per_sample}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a checkpoint's figures."""
        self._seconds, self._samples = state_dict["seconds"], state_dict["samples"]
        self._operations_per_sample = state_dict["per_sample"]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Reads the clock."""
        self._since = time.process_time()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds the batch; after the first one, counts its operations."""
        if pl_module.device.type != "cpu":
            self._seconds = None  # and it stays so: what follows on a CPU is not the whole
        elif self._seconds is not None:
            self._seconds += time.process_time() - self._since
        samples = len(cast(LearningRule, pl_module).classes)
        self._samples += samples
        if self._operations_per_sample is None:
            self._operations_per_sample = operations_per_sample(trainer, cast(LearningRule, pl_module), samples)

    def scalars(self) -> dict[str, float]:
        """Returns the cost so far."""
        spent = self._samples * (self._operations_per_sample or 0.0) / 1e12
        seconds = {} if self._seconds is None else {f"{COST}/core_seconds": self._seconds}
        return {**seconds, f"{COST}/teraoperations": spent}


def operations_per_sample(trainer: Trainer, rule: LearningRule, samples: int) -> float:
    """Returns the floating-point operations in matrix products and convolutions of a training step, for each sample.

    Args:
        trainer: holds the rule.
        rule: a copy of it takes the step.
        samples: in the batch, of all processes together.
    """
    mine = -(-samples // processes())
    rule.trainer = None  # or it would be copied too
    try:
        with copied_step(rule, mine) as step, Products() as products:
            step()
    finally:
        rule.trainer = trainer
    # each process took as many: a batch that they can't share evenly is rounded up
    return float(products.operations / mine)
