"""Leaving in good order."""

import signal
import threading
from types import FrameType
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from bioplausible.lightning_internals import batches_left, enough_epochs, set_max_steps, stops_early

_SIGNALS = {int(number): number for number in (signal.SIGINT, signal.SIGTERM)}


class StopOnSignal(Callback):
    """Ends training after the batch in which SIGINT (Ctrl-C) or SIGTERM came, so that it resumes to the same bits.

    The last checkpoint is then written as where ``max_steps`` cuts an epoch. A second signal ends at once.

    Attributes:
        signal: which one came, or None.
        cuts: whether training ends for it, at a step that would not have been the last.
        cuts_epoch: whether batches of the epoch are left then, and nothing else had asked training to stop.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.cuts = self.cuts_epoch = False
        self._before: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listens, where this is the main thread: Python lets no other."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS.values()}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._stop_listening()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ends training where a signal came, to any of the processes that train together."""
        self._tell_all(trainer)
        if self.signal is not None and trainer.global_step != trainer.max_steps:
            self.cuts = True
            # should_stop would validate first, in the midst of an epoch
            set_max_steps(trainer, trainer.global_step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes whether it cuts the epoch: EarlyStopping comes after, and judges it as if it were over."""
        self.cuts_epoch = self.cuts and batches_left(trainer) and not stops_early(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listens no longer."""
        self._stop_listening()
        self._tell_all(trainer)  # one that came since the last batch

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Listens no longer."""
        self._stop_listening()

    def _tell_all(self, trainer: Trainer) -> None:
        if trainer.world_size > 1:
            number = torch.tensor(self.signal or 0, device=trainer.strategy.root_device)
            self.signal = _SIGNALS.get(int(trainer.strategy.reduce(number, reduce_op="max")))

    def _stop_listening(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def ended_by_signal(trainer: Trainer) -> bool:
    """Returns whether a signal alone ends training: what it leaves will go on, so this is the end of nothing."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return any(
        isinstance(callback, StopOnSignal)
        and (callback.cuts_epoch or (callback.cuts and not (stops_early(trainer) or enough_epochs(trainer))))
        for callback in callbacks
    )
