"""Speed of training."""

import time
from typing import Any, cast

from pytorch_lightning import LightningModule, Trainer

from bioplausible.observers.epoch_log import EpochLog
from bioplausible.rules import LearningRule


class SamplesPerSecond(EpochLog):
    """Logs ``throughput/samples_per_second`` of each training epoch: all that a batch takes, validation excluded."""

    def start_anew(self) -> None:
        """Begins with no samples."""
        super().start_anew()
        self._samples = 0
        self._seconds = 0.0
        self._since = 0.0

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

    def scalars(self) -> dict[str, float]:
        """Returns the epoch's mean speed."""
        return {"throughput/samples_per_second": self._samples / self._seconds if self._seconds else 0.0}
