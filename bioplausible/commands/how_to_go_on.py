"""What to type after training was stopped."""

import shlex
from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer

from bioplausible.commands.program import this_program
from bioplausible.errors import UserError
from bioplausible.resume.checkpoint_callbacks import LastCheckpoint
from bioplausible.resume.checkpoint_files import newest_checkpoint


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
