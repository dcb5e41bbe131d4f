"""Options of a run as a whole with which training goes on, where they are other ones than the checkpoint's."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_warn

from bioplausible.training.hyperparameters import of_run

RUN_OPTIONS = "run_options"
"""Key in a checkpoint of the options with which its network was trained."""


class RunOptions(Callback):
    """Says where the seed, the precision or the limit of training or validation batches changes on resume.

    They are those that ``resumed.yaml`` notes too, by the same names. Each may be changed on the way: a seed that
    somebody gives, on the command line or by ``seed_everything``, takes the place of the checkpoint's.
    """

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def note(self, checkpoint: dict[str, Any]) -> None:
        """Adds the options that the weights were trained with last to a checkpoint, as plain values."""
        if self._known:
            checkpoint[RUN_OPTIONS] = self._known

    def read(self, checkpoint: dict[str, Any]) -> None:
        """Takes them from a checkpoint; those of earlier versions know the seed alone."""
        seed = checkpoint["learning_rule"]["seed"]
        self._known = {"seed": seed, **checkpoint.get(RUN_OPTIONS, {})}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compares, where training goes on: the seed is fixed by now, and nothing refuses the run any more."""
        before, now = self._known, of_run(trainer, pl_module)
        self._known = now
        if trainer.ckpt_path is None:
            return
        changed = [name for name, value in before.items() if value != now[name]]
        if not changed:
            return
        said = ", ".join(f"{name} {now[name]} instead of {before[name]}" for name in changed)
        within = "seed" in changed and getattr(getattr(trainer, "datamodule", None), "starts_within_epoch", False)
        twice = " The epoch that it goes on in has another order now: some images come twice, and others not at all."
        rank_zero_warn(f"Training goes on with other options than the checkpoint's: {said}.{twice * within}")
