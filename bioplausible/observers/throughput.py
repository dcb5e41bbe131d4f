"""Speed of training."""

import time
from typing import Any, cast

from pytorch_lightning import Callback, LightningModule, Trainer

from bioplausible.lightning_internals import batches_left, ends_here, within_epoch
from bioplausible.rules import LearningRule
from bioplausible.training.stop_on_signal import ended_by_signal


class SamplesPerSecond(Callback):
    """Logs ``throughput/samples_per_second`` of each training epoch: all that a batch takes, validation excluded."""

    def __init__(self) -> None:
        self._samples = 0
        self._seconds = 0.0
        self._since = 0.0
        self._logged_at = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock: training that resumes within an epoch goes through no epoch's start."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._samples, self._seconds, self._since = 0, 0.0, time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the batch, of all processes, and reads the clock."""
        now = time.perf_counter()
        self._samples += len(cast(LearningRule, pl_module).classes)
        self._seconds += now - self._since
        self._since = now

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves out the time that validation took."""
        self._since = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the epoch's mean speed, unless it is one that a signal cut short: it will go on."""
        self._log(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Logs it before the last checkpoint where training ends within an epoch: a kill may come right after."""
        if within_epoch(trainer) and ends_here(trainer):
            self._log(trainer)

    def _log(self, trainer: Trainer) -> None:
        if self._logged_at == trainer.global_step or (ended_by_signal(trainer) and batches_left(trainer)):
            return
        self._logged_at = trainer.global_step
        for logger in trainer.loggers:
            speed = self._samples / self._seconds if self._seconds else 0.0
            logger.log_metrics({"throughput/samples_per_second": speed}, step=trainer.global_step - 1)
