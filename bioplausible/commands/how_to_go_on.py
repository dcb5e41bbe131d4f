"""Training that a signal stops: that it does, and what to type then."""

import shlex
import signal
import threading
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn

from bioplausible.commands.program import this_program
from bioplausible.errors import UserError
from bioplausible.resume.checkpoint_callbacks import LastCheckpoint
from bioplausible.resume.checkpoint_files import newest_checkpoint


class OwnHandler(Callback):
    """Keeps the command's handler of SIGTERM in Trainer's place.

    Trainer's only notes the signal: an evaluation that is at its last batch ends as if none had come, and of several
    processes it waits for the others, which are at work on something else.
    """

    def __init__(self) -> None:
        self._own: Any = signal.SIG_DFL

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Notes the handler, before Trainer's takes its place."""
        self._own = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the place again."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._own)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes it again, where this is all that Trainer does: while it trains, another handler may be at work."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self.on_train_start(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes it again."""
        self.on_train_start(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes it again."""
        self.on_train_start(trainer, pl_module)


class HowToGoOn(Callback):
    """Prints the command that goes on from the newest checkpoint, where Ctrl-C ends a run at once."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Prints it."""
        if isinstance(exception, KeyboardInterrupt) and trainer.is_global_zero:
            print(f"\n{how_to_go_on(trainer)}")


def last_checkpoint(trainer: Trainer) -> Path | None:
    """Returns the checkpoint that training ended with; None where there is none."""
    found = [c.best_model_path for c in trainer.checkpoint_callbacks if isinstance(c, LastCheckpoint)]
    return Path(found[0]) if found and Path(found[0]).is_file() else None  # a fast_dev_run writes none


def how_to_go_on(trainer: Trainer) -> str:
    """Returns a line with the command that goes on from the newest checkpoint."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, LastCheckpoint) and callback.dirpath is not None:
            try:
                newest = newest_checkpoint(callback.dirpath)
            except UserError:
                break
            return f"go on with         {this_program()} fit --ckpt_path {shlex.quote(str(newest))}"
    return "no checkpoint      was written: train anew"
