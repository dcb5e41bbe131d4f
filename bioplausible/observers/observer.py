"""What all observers share: when they look, and the batch they look at."""

from abc import abstractmethod
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from bioplausible.errors import UserError
from bioplausible.lightning_internals import ends_here
from bioplausible.observers.figures import keep_as_pdf
from bioplausible.observers.of_one_run import OfOneRun
from bioplausible.rules import LearningRule
from bioplausible.training.batch import labelled
from bioplausible.training.data_parallel import join
from bioplausible.training.stop_on_signal import ended_by_signal


class Observer(OfOneRun):
    """Looks at a training batch every so many steps and after the last one; it changes nothing that is learned.

    Args:
        every_n_steps: steps between two looks.

    Raises:
        UserError: the interval is not positive.
    """

    def __init__(self, every_n_steps: int) -> None:
        if every_n_steps < 1:
            raise UserError(f"every_n_steps is {every_n_steps}: it must be at least 1.")
        self.every_n_steps = every_n_steps
        super().__init__()

    def start_anew(self) -> None:
        """Forgets the last look, and the batch."""
        self._looked_at = self._ended_at = -1
        self._batch: Any = None

    @abstractmethod
    def look(self, trainer: Trainer, rule: LearningRule, x: Tensor, y: Tensor) -> None:
        """Looks at the rule after a training step.

        Args:
            trainer: the Trainer.
            rule: the rule.
            x: the batch's input (n × shape_0).
            y: its classes (n).
        """

    def last_batch(self, rule: LearningRule) -> tuple[Tensor, Tensor]:
        """Returns the images and classes of this process's share of the last training batch."""
        return labelled(rule.read_batch(self._batch))

    def look_at_end(self, trainer: Trainer, rule: LearningRule) -> None:
        """Shows what is shown once, where training ends."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Looks where it is time."""
        self._batch = batch
        if trainer.global_step % self.every_n_steps == 0:
            self._look(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Looks once more at the end, before the last checkpoint: a kill may come right after."""
        if ends_here(trainer):
            self._look_at_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks once more at the end."""
        self._look_at_end(trainer, pl_module)
        keep_as_pdf(trainer)

    def _look_at_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._ended_at == trainer.global_step or ended_by_signal(trainer):
            return
        self._ended_at = trainer.global_step
        if self._looked_at != trainer.global_step:
            self._look(trainer, pl_module)
        if isinstance(pl_module, LearningRule):
            self.look_at_end(trainer, pl_module)

    def _look(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._batch is None or not isinstance(pl_module, LearningRule):
            return
        self._looked_at = trainer.global_step
        x, y = join(self.last_batch(pl_module))
        with torch.no_grad():
            self.look(trainer, pl_module, pl_module.network.as_input(x), y)
