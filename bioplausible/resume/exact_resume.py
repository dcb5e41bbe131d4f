"""What a Trainer leaves out of a checkpoint."""

import random
from typing import Any, cast

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, StochasticWeightAveraging
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason
from torch import Tensor

from bioplausible.errors.checks import require
from bioplausible.lightning_internals import (
    count_as_ended,
    end_restart,
    go_on_with,
    progress,
    restore_metrics,
    set_max_steps,
    what_follows,
    within_epoch,
)
from bioplausible.resume.averaged_weights import (
    averaging_under_way,
    end_averaging,
    start_averaging_again,
    training_weights,
)
from bioplausible.resume.checkpoint_files import epochs_begun

POSITION = "position"
"""Key in a checkpoint of what :class:`ExactResume` knows of the moment at which it was written."""


def require_end_ahead(trainer: Trainer, step: int, epoch: int) -> None:
    """Checks that training which resumes at a step, in an epoch, does not end before.

    Raises:
        UserError: it does.
    """
    for name, most, reached in (("max_epochs", trainer.max_epochs, epoch), ("max_steps", trainer.max_steps, step)):
        require(
            most in (None, -1) or most >= reached,
            f"The checkpoint is of step {step} in epoch {epoch}, and {name} {most} ends training before: set {name} to"
            f" {reached} or more, or go on from an earlier checkpoint.",
        )


def require_same_end_of_epoch(trainer: Trainer, position: dict[str, Any]) -> None:
    """Checks that an epoch whose batches or end are to come ends after the batch where training resumes, or with it.

    Trainer takes a batch for the last one by its number: else it would train on the rest of the data, or on one batch
    more, and leave out the validation at the epoch's end.

    Raises:
        UserError: it does not.
    """
    done, most = progress(trainer).batches_begun, trainer.num_training_batches
    batches_are_left, end_is_left = position.get("within_epoch"), position.get("follows")
    fits = done < most if batches_are_left else done == most if end_is_left else True
    require(
        fits or most == float("inf"),  # a stream says itself where it ends
        f"The checkpoint lies after {done} batches of an epoch that is not finished, and an epoch has {most} batches"
        " now: leave limit_train_batches as it was, or resume from a checkpoint at an epoch's end.",
    )


class ExactResume(Callback):
    """Makes training that resumes from a checkpoint end with the same bits as if it had never stopped.

    Within an epoch this needs data that resume too, as this package's data modules do.

    Saves with each checkpoint, and restores when training resumes:

    * the states of the random number generators;
    * the metrics that callbacks and schedulers monitor, some of which are older than the checkpoint's step;
    * what comes right after the checkpoint, where that is not the next batch: a validation, or an epoch's end;
    * that an EarlyStopping asked for a stop, which ``min_steps`` or ``min_epochs`` may delay. One whose options are
      other ones now decides anew.

    Everything is stored as tensors and numbers, so that checkpoints load with ``weights_only=True``.
    """

    def __init__(self) -> None:
        self._restored: dict[str, Any] = {}
        self._position: dict[str, Any] = {}
        self._max_steps: int | None = None
        self._patience: dict[int, int] = {}
        self._averaging: list[StochasticWeightAveraging] = []
        self._only_end_of_epoch = False

    def state_dict(self) -> dict[str, Any]:
        """Returns the states of torch's (also each GPU's), Python's and NumPy's generators."""
        version, internal, gauss = random.getstate()
        algorithm, keys, *numpy_rest = np.random.get_state(legacy=True)
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if cast(Any, torch.cuda).is_initialized() else [],
            "python": [version, list(internal), gauss],
            "numpy": [algorithm, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *numpy_rest],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps the states until training starts: building data and model in between may draw numbers."""
        self._restored = state_dict

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds metrics, what follows, and what EarlyStopping knows."""
        checkpoint[POSITION] = {
            "follows": what_follows(trainer, checkpoint),
            "within_epoch": within_epoch(trainer),
            "metrics": {name: torch.as_tensor(value).cpu() for name, value in trainer.callback_metrics.items()},
            "early_stopping": [_options(callback) for callback in _early_stopping(trainer)],
        }

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Notes each EarlyStopping's patience: the checkpoint's would take its place."""
        self._patience = {id(callback): callback.patience for callback in _early_stopping(trainer)}
        self._position, self._restored, self._averaging = {}, {}, []

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keeps them until training starts, and takes up the weights that are trained where others are the result.

        Raises:
            UserError: training was to end before the checkpoint.
        """
        if trainer.training:
            require_end_ahead(trainer, checkpoint["global_step"], epochs_begun(checkpoint))
            self._position = checkpoint.get(POSITION, {})
            self._averaging = averaging_under_way(trainer, checkpoint)
            weights = training_weights(checkpoint)
            if weights is not None:
                pl_module.load_state_dict(weights)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hides ``max_steps`` from Trainer while it restores its counters.

        Where it is set, Trainer would take a finished epoch for one that was interrupted, and go through its end again.
        """
        if self._restored:
            self._max_steps = trainer.max_steps
            set_max_steps(trainer, -1)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restores everything, where training resumes.

        Raises:
            UserError: the checkpoint lies within an epoch that would not end as it should.
        """
        self._give_back_max_steps(trainer)
        require_same_end_of_epoch(trainer, self._position)
        self._restore_early_stopping(trainer)
        restore_metrics(trainer, self._position.get("metrics", {}))
        follows = self._position.get("follows", "")
        go_on_with(trainer, follows)
        self._only_end_of_epoch = follows == "epoch_end"
        start_averaging_again(self._averaging, trainer, pl_module)
        self._position, self._averaging = {}, []
        if self._restored:
            self._restore_generators()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lets the next epoch start as any other."""
        if self._only_end_of_epoch:
            end_restart(trainer)
            self._only_end_of_epoch = False

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Does what the end of training does, where nothing was left to train."""
        self._give_back_max_steps(trainer)
        count_as_ended(trainer)
        if self._restored:
            end_averaging(trainer, pl_module)
            self._restored = {}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Gives ``max_steps`` back where training did not come to start."""
        self._give_back_max_steps(trainer)

    def _give_back_max_steps(self, trainer: Trainer) -> None:
        if self._max_steps is not None:
            set_max_steps(trainer, self._max_steps)
            self._max_steps = None

    def _restore_early_stopping(self, trainer: Trainer) -> None:
        callbacks = _early_stopping(trainer)
        for callback in callbacks:
            callback.patience = self._patience.get(id(callback), callback.patience)
        before = self._position.get("early_stopping")
        if before is None:
            return
        if [_options(callback) for callback in callbacks] == before:
            asked = any(callback.stopping_reason != EarlyStoppingReason.NOT_STOPPED for callback in callbacks)
            trainer.should_stop = trainer.should_stop or asked
        else:
            for callback in callbacks:
                callback.stopping_reason = EarlyStoppingReason.NOT_STOPPED

    def _restore_generators(self) -> None:
        state, self._restored = self._restored, {}
        torch.set_rng_state(state["torch"])
        if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        algorithm, keys, *rest = state["numpy"]
        np.random.set_state((algorithm, keys.numpy().astype(np.uint32), *rest))


def _early_stopping(trainer: Trainer) -> list[EarlyStopping]:
    return [callback for callback in trainer.early_stopping_callbacks if isinstance(callback, EarlyStopping)]


def _options(callback: EarlyStopping) -> dict[str, Any]:
    """Returns what a callback's decisions depend on besides the metrics."""
    names = ("monitor", "mode", "patience", "min_delta", "stopping_threshold", "divergence_threshold", "check_finite")
    values = {name: getattr(callback, name) for name in names}
    return {name: float(value) if isinstance(value, Tensor) else value for name, value in values.items()}
