"""When checkpoints are written."""

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn

from bioplausible.errors import UserError
from bioplausible.lightning_internals import (
    ends_here,
    forget_best,
    moved_files,
    save_now,
    trainer_option,
    validation_follows,
    within_epoch,
)
from bioplausible.resume.averaged_weights import averages_at_epoch_end, same_weights, with_result
from bioplausible.resume.checkpoint_files import ASIDE, read_checkpoint, whole_checkpoint
from bioplausible.training.loggers import RunLogger
from bioplausible.training.stop_on_signal import ended_by_signal

WITHIN_EPOCH = "within_epoch"
"""Key in a checkpoint that says whether batches of its epoch are left."""
LAST_IS_DUE = "last_is_due"
"""Key in a checkpoint that says whether ``last.ckpt`` is written at its step too."""


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
    """Writes ``last.ckpt`` after each epoch, and at the step where training ends within one.

    The one before is kept as ``previous.ckpt``. Where training ends with other weights than those that were trained,
    as after averaging, ``last.ckpt`` holds them too, and training goes on with the trained ones.

    Lightning ends a cut epoch like a whole one: a checkpoint written then would resume with the next epoch and leave
    out the rest of this one.
    """

    def __init__(self) -> None:
        super().__init__(filename="last", save_on_train_epoch_end=True)

    def state_dict(self) -> dict[str, Any]:
        """Returns the state, with the file's path before it is first written too: a signal may have written it."""
        return {**super().state_dict(), "best_model_path": str(Path(str(self.dirpath), f"last{self.FILE_EXTENSION}"))}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Removes what a kill left, and writes the checkpoint where one came between another of its step and this."""
        path = Path(str(self.dirpath), f"last{self.FILE_EXTENSION}")
        resumed = trainer.ckpt_path
        if not trainer.training or resumed is None or Path(resumed).resolve().parent != path.resolve().parent:
            return
        if trainer.is_global_zero:
            for left in path.parent.glob(f".*{ASIDE}"):
                left.unlink()
        if Path(resumed).resolve() == path.resolve() or not checkpoint.get(LAST_IS_DUE):
            return
        before = whole_checkpoint(path)
        if before is not None and before["global_step"] >= checkpoint["global_step"]:
            return
        self.best_model_path = str(path)
        state = {**checkpoint["callbacks"].get(self.state_key, self.state_dict()), "best_model_path": str(path)}
        checkpoint["callbacks"][self.state_key] = state
        if trainer.is_global_zero:
            _keep_previous(path, before)
            trainer.strategy.checkpoint_io.save_checkpoint(checkpoint, path)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Notes whether the last checkpoint is one of this step, and whether batches of the epoch are left."""
        checkpoint[WITHIN_EPOCH] = within_epoch(trainer)
        ends = ends_here(trainer) and not ended_by_signal(trainer)
        checkpoint[LAST_IS_DUE] = ends or not checkpoint[WITHIN_EPOCH]

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        """Keeps the one before as ``previous.ckpt``, unless it is damaged.

        Raises:
            UserError: the run's folder disappeared; training went on to this checkpoint, written where it was.
        """
        if trainer.is_global_zero:
            _keep_previous(Path(filepath), whole_checkpoint(Path(filepath)))
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
        if ends_here(trainer) and within_epoch(trainer) and not validation_follows(trainer):
            save_now(self, trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes it after the validation that comes in between, which may itself end training."""
        if _validates_while_training(trainer) and ends_here(trainer) and within_epoch(trainer):
            save_now(self, trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the weights into the checkpoint that training ends with, where they are others."""
        path = Path(self.best_model_path)
        if trainer_option(trainer, "fast_dev_run") or not trainer.is_global_zero:
            return
        checkpoint = whole_checkpoint(path)
        if checkpoint is None or checkpoint["global_step"] != trainer.global_step:
            return
        result = with_result(checkpoint, pl_module)
        if result is not None:
            trainer.strategy.checkpoint_io.save_checkpoint(result, path)


def _keep_previous(last: Path, checkpoint: dict[str, Any] | None) -> None:
    """Keeps a last checkpoint as ``previous.ckpt``, unless it is damaged.

    One that a signal wrote within an epoch is not kept, so that the run leaves the same as if there had been none.
    """
    if checkpoint is None or checkpoint.get(WITHIN_EPOCH):
        return
    previous = last.with_name(f"previous{last.suffix}")
    if previous.is_file() and previous.samefile(last):  # a kill came between this and the next checkpoint
        return
    link = last.with_name(f".{previous.name}{ASIDE}")
    try:
        link.unlink(missing_ok=True)  # a kill left it
        link.hardlink_to(last)
    except OSError:  # a file system without links
        last.replace(previous)
    else:
        link.replace(previous)


def _validates_while_training(trainer: Trainer) -> bool:
    return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking


class BestCheckpoint(_RunCheckpoint):
    """Writes ``best.ckpt`` where the validation accuracy rose above all before, with the weights that were validated.

    After a validation at the end of an epoch it is written once the epoch's metrics are logged, so that training that
    resumes there misses nothing of them.

    Without a validation split there is no best: the test split never selects.
    """

    def __init__(self) -> None:
        super().__init__(filename="best", monitor="val/accuracy", mode="max", save_on_train_epoch_end=True)
        self._validated = -1

    def state_dict(self) -> dict[str, Any]:
        """Returns the state, with the step of the last validation."""
        return {**super().state_dict(), "validated": self._validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the state."""
        super().load_state_dict(state_dict)
        self._validated = state_dict.get("validated", -1)

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
                best.replace(self._aside(step))
        if trainer.strategy.broadcast(ahead):
            forget_best(self)

    def _aside(self, step: int) -> Path:
        return Path(str(self.dirpath)) / f"best_before_resume_step={step}{self.FILE_EXTENSION}"

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        """Removes the one that was set aside where this is the same again."""
        super()._save_checkpoint(trainer, filepath)
        aside = self._aside(trainer.global_step)
        if trainer.is_global_zero and (before := whole_checkpoint(aside)) is not None:
            after = read_checkpoint(filepath)
            if same_weights(after["state_dict"], before["state_dict"]):
                aside.unlink()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes at which step weights were validated."""
        if _validates_while_training(trainer):
            self._validated = trainer.global_step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the checkpoint where training goes on with this epoch, or where its end changes the weights."""
        if _validates_while_training(trainer) and (within_epoch(trainer) or averages_at_epoch_end(trainer)):
            save_now(self, trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the checkpoint where a validation came with the epoch's end."""
        if self._validated == trainer.global_step and not averages_at_epoch_end(trainer):
            super().on_train_epoch_end(trainer, pl_module)


class EveryNSteps(_RunCheckpoint):
    """Writes ``step=….ckpt`` every N training steps and keeps the newest.

    A step that ends an epoch, or after which a validation comes, is written after these: training that resumes there
    misses nothing of them.

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
        self._every_n_steps = every_n_steps
        self._kept: set[str] = set()

    def state_dict(self) -> dict[str, Any]:
        """Returns the state, with the files that this checkpoint replaces: a kill may leave them."""
        return {**super().state_dict(), "replaced": sorted(self._kept - self.best_k_models.keys())}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Removes what a kill left."""
        state = checkpoint["callbacks"].get(self.state_key, {})
        if trainer.training and trainer.is_global_zero:
            for path in state.get("replaced", []):
                Path(str(self.dirpath), Path(path).name).unlink(missing_ok=True)
        state["replaced"] = []

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the state."""
        super().load_state_dict(state_dict)
        self._kept = set(self.best_k_models)

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        """Notes which files there are now."""
        super()._save_checkpoint(trainer, filepath)
        self._kept = set(self.best_k_models)

    def _should_remove_checkpoint(self, trainer: Trainer, previous: str, current: str) -> bool:
        """Returns True, also for the one that training resumed from: it is one of its own."""
        return previous != current

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Writes a checkpoint where one is due within an epoch."""
        if within_epoch(trainer) and not validation_follows(trainer):
            self._save_where_due(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes a checkpoint where one is due at a validation within an epoch."""
        if _validates_while_training(trainer) and within_epoch(trainer):
            self._save_where_due(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes a checkpoint where one is due at the end of an epoch."""
        self._save_where_due(trainer)

    def _save_where_due(self, trainer: Trainer) -> None:
        if trainer.global_step % self._every_n_steps == 0:
            save_now(self, trainer)
