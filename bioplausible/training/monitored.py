"""Whether callbacks and schedules can do what they are for: found out before training, where that can be known."""

from typing import Any, cast

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    EarlyStopping,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    SpikeDetection,
    StochasticWeightAveraging,
)
from torch.optim.lr_scheduler import ReduceLROnPlateau

from bioplausible.errors import UserError
from bioplausible.errors.checks import require

NAMES = tuple(f"{stage}/{name}" for stage in ("train", "val") for name in ("accuracy", "loss"))
"""What every rule logs for callbacks."""

TESTED_EACH_EPOCH = "test_each_epoch"
"""How the scalars begin that an observer logs of the test split while training goes on."""

COST = "cost"
"""How the scalars begin that an observer logs of what training costs."""

KNOWN = ("bioplausible.", "pytorch_lightning.")
"""Packages whose rules and callbacks log nothing else for callbacks."""


def require_callbacks_that_fit(trainer: Trainer, rule: LightningModule) -> None:
    """Checks the callbacks that need what a learning rule has not.

    Raises:
        UserError: there is one.
    """
    if any(isinstance(callback, LearningRateFinder) for callback in _callbacks(trainer)):
        raise UserError(
            "LearningRateFinder follows one rate's loss, and a learning rule has a rate for each layer: leave it out,"
            " and try rates with the command sweep."
        )
    for callback in _callbacks(trainer):
        name = type(callback).__name__
        require(
            not isinstance(callback, SpikeDetection),
            f"{name} watches the loss that an optimizer descends, and a learning rule has none: leave it out; the"
            " callback Guard finds out where training diverges.",
        )
        require(
            not isinstance(callback, BackboneFinetuning) or hasattr(rule, "backbone"),
            f"{name} holds back the part of a network that is called backbone, and {type(rule).__name__} has none:"
            " leave it out.",
        )


def searches(trainer: Trainer) -> bool:
    """Returns whether a BatchSizeFinder searches for a batch size before training, and before each evaluation."""
    return any(isinstance(callback, BatchSizeFinder) for callback in _callbacks(trainer))


def refuse_search(trainer: Trainer) -> None:
    """Raises a :class:`bioplausible.UserError` where a batch size is searched for and training resumes."""
    if searches(trainer):
        raise UserError(
            "BatchSizeFinder would search again, and training begin anew instead of where the checkpoint lies: leave it"
            " out, for the batch size that it found is taken up from the checkpoint."
        )


def search_no_more(trainer: Trainer) -> None:
    """Takes a BatchSizeFinder from a Trainer: training has a batch size now.

    Each evaluation would search too, and count steps and epochs from 0 again.
    """
    others = [callback for callback in _callbacks(trainer) if not isinstance(callback, BatchSizeFinder)]
    trainer.callbacks = others  # type: ignore[attr-defined]


def require_monitored(trainer: Trainer, rule: LightningModule) -> None:
    """Checks what callbacks and schedules monitor, once the optimizer is built.

    Raises:
        UserError: one monitors the test split, what is never logged, or what is not by the time at which it looks.
    """
    for callback in _callbacks(trainer):
        looks = isinstance(callback, ModelCheckpoint) or (isinstance(callback, EarlyStopping) and callback.strict)
        monitor = getattr(callback, "monitor", None)
        _refuse_test_split(type(callback).__name__, monitor)
        own = type(callback).__module__.startswith("bioplausible.")  # they look only where there is something
        if looks and monitor is not None and not own:
            _require_logged(type(callback).__name__, monitor, trainer, rule)
    for config in trainer.lr_scheduler_configs:
        if not isinstance(config.scheduler, ReduceLROnPlateau):
            continue
        monitor = plateau_monitor(config.scheduler)
        _refuse_test_split("ReduceLROnPlateau", monitor)
        _require_logged("ReduceLROnPlateau", monitor, trainer, rule)
        if cast(Any, rule).lr_scheduler_interval == "step" and monitor in NAMES:
            raise UserError(
                f"ReduceLROnPlateau monitors {monitor}, which is a mean over many batches, but acts after each batch:"
                " set lr_scheduler_interval to epoch."
            )
        every = trainer.check_val_every_n_epoch
        if monitor.startswith("val/") and monitor in NAMES and every is not None and every > 1:
            raise UserError(
                f"ReduceLROnPlateau monitors {monitor} after each epoch, but check_val_every_n_epoch is {every}: set it"
                " to 1, or monitor train/loss."
            )


def require_average(trainer: Trainer) -> None:
    """Checks that averages of weights begin before training ends: else the first weights would be the result.

    Raises:
        UserError: one doesn't.
    """
    epochs = trainer.max_epochs
    for callback in _callbacks(trainer):
        if (
            isinstance(callback, StochasticWeightAveraging)
            and epochs not in (None, -1)
            and callback.swa_start >= epochs
        ):
            raise UserError(
                f"StochasticWeightAveraging begins after {callback.swa_start} epochs, and max_epochs is {epochs}: lower"
                " swa_epoch_start, or leave the callback out."
            )


def plateau_monitor(scheduler: ReduceLROnPlateau) -> str:
    """Returns what a ReduceLROnPlateau monitors: Lightning's subclass names it, by default it is ``train/loss``."""
    return str(getattr(scheduler, "monitor", "train/loss"))


def _refuse_test_split(who: str, monitor: Any) -> None:
    """Raises UserError where the test split would choose something: it would no longer tell of new images."""
    if isinstance(monitor, str) and monitor.startswith(("test/", f"{TESTED_EACH_EPOCH}/")):
        raise UserError(f"{who} monitors {monitor}, but the test split chooses nothing: monitor val/accuracy instead.")


def _require_logged(who: str, monitor: str, trainer: Trainer, rule: LightningModule) -> None:
    missing = _no_validation(trainer)
    if monitor.startswith("val/") and monitor in NAMES and missing:
        raise UserError(f"{who} monitors {monitor}, but there is no validation, for {missing}.")
    logged = [name for name in NAMES if not (name.startswith("val/") and missing)]
    callbacks = _callbacks(trainer)
    others = any(not type(thing).__module__.startswith(KNOWN) for thing in (rule, *callbacks))
    rates = any(isinstance(callback, LearningRateMonitor) for callback in callbacks) and monitor.startswith("lr-")
    counted = who != "ReduceLROnPlateau" and monitor in ("step", "epoch")
    if monitor not in logged and not (others or rates or counted):
        raise UserError(
            f"{who} monitors {monitor}, which nothing logs: choose {', '.join(logged[:-1])} or {logged[-1]}."
        )


def _no_validation(trainer: Trainer) -> str:
    """Returns why nothing is validated; nothing where something is, as far as one can tell before training."""
    if trainer.limit_val_batches == 0:
        return "limit_val_batches is 0: leave that out"
    if not has_validation(getattr(trainer, "datamodule", None)):
        return "validation_split is 0: give it a share of the training images"
    every, epochs = trainer.check_val_every_n_epoch, trainer.max_epochs
    if every is not None and epochs not in (None, -1) and every > epochs:
        return f"check_val_every_n_epoch is {every} and max_epochs {epochs}: lower the first"
    return ""


def has_validation(data: Any) -> bool:
    """Returns whether a data module validates, as far as it says so."""
    return bool(getattr(data, "has_validation", getattr(data, "validation_split", None) != 0))


def _callbacks(trainer: Trainer) -> list[Any]:
    return list(trainer.callbacks)  # type: ignore[attr-defined]
