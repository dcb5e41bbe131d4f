"""Progress of training: a bar at a terminal, a line an epoch elsewhere."""

import math
import time
from datetime import timedelta
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar, Timer, TQDMProgressBar

from bioplausible.lightning_internals import batches_left, progress
from bioplausible.rules.base import LearningRule
from bioplausible.training.stop_on_signal import ended_by_signal


class RunClock:
    """Tells how long the rest of training will take, by what its batches have taken so far, validation with them."""

    def __init__(self) -> None:
        self._since, self._batches, self._step = 0.0, 0, 0

    def start(self, trainer: Trainer) -> None:
        """Starts to count, where training starts or goes on."""
        self._since, self._batches, self._step = time.monotonic(), 0, trainer.global_step

    def count(self) -> None:
        """Counts a batch."""
        self._batches += 1

    def left(self, trainer: Trainer) -> str:
        """Returns the time to the end that the Trainer's options set, as h:mm:ss; nothing where it can't be known."""
        seconds = [left for left in (c.time_remaining() for c in _timers(trainer)) if left is not None]
        if self._batches:
            batches, steps = self._batches_left(trainer), trainer.global_step - self._step
            if trainer.max_steps != -1 and steps:
                batches = min(batches, (trainer.max_steps - trainer.global_step) * self._batches / steps)
            seconds.append((time.monotonic() - self._since) / self._batches * batches)
        least = min(seconds, default=math.inf)
        return "" if math.isinf(least) else str(timedelta(seconds=max(round(least), 0)))

    def _batches_left(self, trainer: Trainer) -> float:
        if trainer.max_epochs in (None, -1):
            return math.inf
        now = progress(trainer)
        of_one = trainer.num_training_batches
        return (trainer.max_epochs - now.epochs_begun) * of_one + of_one - now.batches_begun


class LiveProgressBar(TQDMProgressBar):
    """Progress bar with the accuracy of the running epoch so far, the last validation's, and the time left.

    The bar's own time is that of the epoch; ``left`` is that of all epochs.

    Args:
        refresh_rate: batches between two refreshes; each costs about as much as a small rule's batch.
    """

    def __init__(self, refresh_rate: int = 20) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self._clock = RunClock()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._clock.start(trainer)
        super().on_train_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the batch."""
        self._clock.count()
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Returns what the bar shows."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        accuracy = _training_accuracy(pl_module)
        if accuracy is not None:
            metrics = {"train/accuracy": accuracy, **metrics}
        shown = {name: f"{value:.2%}" if "accuracy" in name else value for name, value in metrics.items()}
        left = self._clock.left(trainer)
        return {**shown, **({"left": left} if left else {})}


class EpochLines(ProgressBar):
    """One line an epoch, for files and pipes: which epoch, training and validation accuracy, seconds, the time left."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = RunClock()
        self._shown = True
        self._since = 0.0
        self._validation: float | None = None

    def disable(self) -> None:
        """Shows nothing from now on."""
        self._shown = False

    def enable(self) -> None:
        """Shows it again."""
        self._shown = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clocks: training that resumes within an epoch goes through no epoch's start."""
        self._clock.start(trainer)
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the epoch's clock."""
        self._since, self._validation = time.monotonic(), None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the batch."""
        self._clock.count()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the validation accuracy, which the epoch's end shows."""
        accuracy = trainer.callback_metrics.get("val/accuracy")
        self._validation = None if accuracy is None or trainer.sanity_checking else float(accuracy)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows the epoch, unless a signal cut it short: it will go on."""
        if not self._shown or (ended_by_signal(trainer) and batches_left(trainer)):
            return
        number, last = progress(trainer).epochs_begun, trainer.max_epochs
        of_all = f"/{last}" if last not in (None, -1) else ""
        accuracies = {"train": _training_accuracy(pl_module), "validation": self._validation}
        parts = [f"epoch {number:>{len(of_all) - 1 if of_all else 0}}{of_all}"]
        parts += [f"{name} {value:7.2%}" for name, value in accuracies.items() if value is not None]
        parts.append(f"{time.monotonic() - self._since:.1f} s")
        left = self._clock.left(trainer)
        self.print("   ".join([*parts, *([f"{left} left"] if left else [])]), flush=True)


def _training_accuracy(pl_module: LightningModule) -> float | None:
    """Returns the accuracy of the running epoch so far; None where nothing has been counted."""
    if not isinstance(pl_module, LearningRule) or not pl_module.train_means.update_called:
        return None
    return float(pl_module.train_means.totals[0] / pl_module.train_means.totals[2])


def _timers(trainer: Trainer) -> list[Timer]:
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, Timer)]
