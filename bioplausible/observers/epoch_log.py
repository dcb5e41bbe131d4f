"""What is logged once an epoch, and once more where training ends within one."""

from abc import abstractmethod
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from bioplausible.lightning_internals import batches_left, ends_here, within_epoch
from bioplausible.observers.figures import log_scalars
from bioplausible.observers.of_one_run import OfOneRun
from bioplausible.training.stop_on_signal import ended_by_signal


class EpochLog(OfOneRun):
    """Logs :meth:`scalars` at each epoch's end, unless it is one that a signal cut short: it will go on."""

    def start_anew(self) -> None:
        """Forgets that anything was logged."""
        self._logged_at = -1

    @abstractmethod
    def scalars(self) -> dict[str, float]:
        """Returns what is logged, by name."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the epoch's scalars."""
        self._log(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Logs them before the last checkpoint where training ends within an epoch: a kill may come right after."""
        if within_epoch(trainer) and ends_here(trainer):
            self._log(trainer)

    def _log(self, trainer: Trainer) -> None:
        if self._logged_at == trainer.global_step or (ended_by_signal(trainer) and batches_left(trainer)):
            return
        self._logged_at = trainer.global_step
        log_scalars(trainer, self.scalars())
