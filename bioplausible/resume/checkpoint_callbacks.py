"""When checkpoints are written."""

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from bioplausible.errors import UserError
from bioplausible.lightning_internals import batch_in_epoch, forget_best, moved_files, save_now, stops_early
from bioplausible.resume.checkpoint_files import is_whole, read_checkpoint
from bioplausible.training.loggers import RunLogger


class _RunCheckpoint(ModelCheckpoint):
    """ModelCheckpoint that knows its files even when the run's folder was moved, or is named in another way.

    Attributes:
        overwrites: its files' names are the same in every run.
    """

    overwrites = True

    def __init__(self, **options: Any) -> None:
        super().__init__(enable_version_counter=False, **options)

    @property
    def state_key(self) -> str:
        """Name of its state in a checkpoint: the same whatever its options are when training resumes."""
        return type(self).__name__

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the state, with its files where the run lies now."""
        here = str(self.dirpath)

        def moved(path: str) -> str:
            return str(Path(here) / Path(path).name) if path else path

        super().load_state_dict(moved_files(state_dict, here, moved))
        self.current_score = state_dict["current_score"]  # saved by the base class, but not loaded


class LastCheckpoint(_RunCheckpoint):
    """Writes ``last.ckpt`` after each epoch, and at the step where ``max_steps`` or ``max_time`` cuts an epoch short.

    The one before is kept as ``previous.ckpt``.

    Lightning ends a cut epoch like a whole one: a checkpoint written then would resume with the next epoch and leave
    out the rest of this one.
    """

    def __init__(self) -> None:
        super().__init__(filename="last", save_on_train_epoch_end=True)

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        """Keeps the one before as ``previous.ckpt``, unless it is damaged.

        Raises:
            UserError: the run's folder disappeared; training went on to this checkpoint, written where it was.
        """
        last = Path(filepath)
        if trainer.is_global_zero and last.is_file() and is_whole(last):
            previous = last.with_name(f"previous{self.FILE_EXTENSION}")
            link = last.with_name(f".{previous.name}.aside")
            try:
                link.unlink(missing_ok=True)  # a kill left it
                link.hardlink_to(last)
            except OSError:  # a file system without links
                last.replace(previous)
            else:
                link.replace(previous)
        super()._save_checkpoint(trainer, filepath)
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger) and logger.lost:
                raise UserError(
                    f"The run's folder {logger.log_dir} disappeared, and with it what was logged: go on from where"
                    f" training is now with --ckpt_path {filepath}."
                )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Writes the checkpoint where this step is the last one and others of the epoch remain."""
        stops = trainer.global_step == trainer.max_steps or stops_early(trainer)
        if stops and batch_idx + 1 < trainer.num_training_batches:
            save_now(self, trainer)


class BestCheckpoint(_RunCheckpoint):
    """Writes ``best.ckpt`` after each epoch whose validation accuracy rose above all before.

    Without a validation split there is no best: the test split never selects.
    """

    def __init__(self) -> None:
        super().__init__(filename="best", monitor="val/accuracy", mode="max", save_on_train_epoch_end=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sets a best checkpoint aside that lies ahead of where training resumes: it belongs to what is taken back."""
        best = Path(str(self.dirpath)) / f"best{self.FILE_EXTENSION}"
        if trainer.ckpt_path is None:
            return
        ahead = False
        resumed = best.resolve() == Path(trainer.ckpt_path).resolve()
        if trainer.is_global_zero and best.is_file() and not resumed:
            step = read_checkpoint(best)["global_step"]
            ahead = step > trainer.global_step
            if ahead:
                best.replace(best.with_name(f"best_before_resume_step={step}{self.FILE_EXTENSION}"))
        if trainer.strategy.broadcast(ahead):
            forget_best(self)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the checkpoint where this epoch went to its end, was validated and is the best."""
        cut = batch_in_epoch(trainer) + 1 < trainer.num_training_batches
        if self.monitor in trainer.callback_metrics and not cut:
            super().on_train_epoch_end(trainer, pl_module)


class EveryNSteps(_RunCheckpoint):
    """Writes ``step=….ckpt`` every N training steps and keeps the newest.

    A step that ends an epoch is written after the epoch's validation and metrics: training that resumes there misses
    nothing of the epoch's end.

    Args:
        every_n_steps: N.
        keep: how many to keep; −1 keeps all.

    Raises:
        UserError: N is not positive, or ``keep`` is neither positive nor −1.
    """

    def __init__(self, every_n_steps: int, keep: int = 1) -> None:
        if every_n_steps < 1:
            raise UserError(f"checkpoint_every_n_steps is {every_n_steps}: it must be at least 1.")
        if keep < 1 and keep != -1:
            raise UserError(f"checkpoint_keep is {keep}: it must be at least 1, or -1 to keep all.")
        super().__init__(
            filename="{step}",
            monitor="step",
            mode="max",
            save_top_k=keep,
            every_n_train_steps=every_n_steps,
            save_on_train_epoch_end=False,
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Writes a checkpoint where one is due within an epoch."""
        if batch_idx + 1 < trainer.num_training_batches:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes a checkpoint where one is due at the end of an epoch."""
        super().on_train_batch_end(trainer, pl_module, None, None, int(trainer.num_training_batches) - 1)
