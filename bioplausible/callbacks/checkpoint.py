"""When checkpoints are written."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint


class BestAndLast(ModelCheckpoint):
    """Writes ``last.ckpt`` after each epoch, and ``best.ckpt`` where validation accuracy rose above all before.

    Without a validation split there is no best: the test split never selects.
    """

    def __init__(self) -> None:
        super().__init__(
            monitor="val/accuracy",
            mode="max",
            filename="best",
            save_last=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps only the last checkpoint where nothing is validated."""
        if not sum(trainer.num_val_batches):
            self.monitor = None
            self.save_top_k = 0


class EveryNSteps(ModelCheckpoint):
    """Writes ``step=….ckpt`` every N training steps and keeps the newest.

    A step that ends an epoch is written after the epoch's validation and metrics, so that nothing of the epoch's end is
    missed when training resumes from it.

    Args:
        every_n_steps: N.
        keep: how many to keep; −1 keeps all.
    """

    def __init__(self, every_n_steps: int, keep: int = 1) -> None:
        super().__init__(
            monitor="step",
            mode="max",
            filename="{step}",
            save_top_k=keep,
            every_n_train_steps=every_n_steps,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )
        self.every_n_steps = every_n_steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Writes a checkpoint where one is due within an epoch."""
        if batch_idx + 1 < trainer.num_training_batches:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes a checkpoint where one is due at the end of an epoch."""
        if trainer.global_step % self.every_n_steps == 0:
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))
