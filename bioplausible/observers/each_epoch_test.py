"""Test accuracy after each epoch, for figures: it chooses nothing."""

from itertools import islice
from typing import Any, cast

from pytorch_lightning import Callback, LightningModule, Trainer

from bioplausible.errors import UserError
from bioplausible.lightning_internals import batches_left
from bioplausible.observers.figures import log_scalars
from bioplausible.rules import LearningRule
from bioplausible.training.metrics import EpochMeans
from bioplausible.training.monitored import TESTED_EACH_EPOCH
from bioplausible.training.stop_on_signal import ended_by_signal


class EachEpochTest(Callback):
    """Scores the test split after each epoch of training, as published figures do.

    ``test_each_epoch/accuracy`` and ``test_each_epoch/loss`` go to the loggers alone: no checkpoint, schedule or early
    stop can see them, and one that asks for them is refused before training. Training comes to the same bits with and
    without it; the result of a run is ``test/accuracy``, of its last weights.

    Raises:
        UserError: there is no data module with a test split, or the run has no logger, or leaves the test split out.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Loads the test split."""
        if stage != "fit":
            return
        data = getattr(trainer, "datamodule", None)
        if data is None or not isinstance(pl_module, LearningRule):
            raise UserError(
                "EachEpochTest scores a learning rule by the test split of a data module: train with one, or leave"
                " EachEpochTest out."
            )
        if trainer.limit_test_batches == 0:
            raise UserError(
                "EachEpochTest looks at the test split, and limit_test_batches is 0, as in a search: leave one of them"
                " out."
            )
        if not trainer.loggers:
            raise UserError(
                "EachEpochTest writes to the loggers alone, and logger is false: give the run a logger, or leave"
                " EachEpochTest out."
            )
        data.setup("test")
        if _batches(trainer, data.test_dataloader()) == 0:
            raise UserError(
                f"EachEpochTest looks at the test split, and limit_test_batches {trainer.limit_test_batches} of it is"
                " no whole batch: raise it, or set the data's evaluation_batch_size lower."
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Scores the weights, unless the epoch is one that a signal cut short: it will go on."""
        if ended_by_signal(trainer) and batches_left(trainer):
            return
        rule, was_training = cast(LearningRule, pl_module), pl_module.training
        loader = cast(Any, trainer).datamodule.test_dataloader()
        means = EpochMeans(persistent=False).to(rule.device)
        rule.eval()
        trainer.testing = True  # a data module augments what comes while the trainer is training
        try:
            for batch in islice(loader, _batches(trainer, loader)):
                rule.evaluate(means, trainer.strategy.batch_to_device(batch))
        finally:
            trainer.training = True
            rule.train(was_training)
        log_scalars(trainer, {f"{TESTED_EACH_EPOCH}/{name}": float(v) for name, v in means.compute().items()})


def _batches(trainer: Trainer, loader: Any) -> int:
    """Returns how many of a loader's batches ``limit_test_batches`` leaves."""
    limit = trainer.limit_test_batches
    return limit if isinstance(limit, int) else int(limit * len(loader))
