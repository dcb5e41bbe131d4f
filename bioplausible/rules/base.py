"""Learning rules in Lightning's Trainer: steps, metrics, optimizer and checkpoints, the same for all."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, cast

import torch
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from bioplausible.errors import UserError
from bioplausible.lightning_internals import batches_left, ends_here, trainer_option, within_epoch
from bioplausible.resume.loaded_rule import StandIn, take_callables, tell_of_stand_ins
from bioplausible.resume.rule_in_checkpoint import note_rule, require_same_rule
from bioplausible.rules.learning_step import LearningStep
from bioplausible.rules.options import refuse_without_effect
from bioplausible.training.batch import Batch, as_batch, labelled
from bioplausible.training.compile_relaxation import CompiledRelaxation
from bioplausible.training.data_parallel import join
from bioplausible.training.metrics import EpochMeans
from bioplausible.training.monitored import require_callbacks_that_fit
from bioplausible.training.optimization import (
    build_optimizer,
    build_scheduler,
    check_length,
    refuse_idle_rate,
    step_scheduler,
)
from bioplausible.training.pieces import evaluate_in_pieces
from bioplausible.training.preconditions import require_finite
from bioplausible.training.stop_on_signal import ended_by_signal


class LearningRule(LearningStep):
    """A learning rule as Lightning trains it.

    What a rule fills in is in :class:`bioplausible.rules.contract.RuleContract`. Each batch it learns
    (:meth:`bioplausible.rules.learning_step.LearningStep.learn`), adds up its metrics and steps its schedule; each
    epoch it logs their means. What is logged, and what checkpoints hold, is the same for every rule.
    """

    _stand_ins: Sequence[StandIn] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        """Lets ``activity`` take images too, as a call of the rule does."""
        super().__init_subclass__(**options)
        if "activity" in vars(cls):
            cls.activity = _of_images(cls.activity)  # type: ignore[method-assign]

    def __getstate__(self) -> dict[str, Any]:
        """Returns what copies and pickles take over: no compiled relaxations, which are tied to this rule's weights."""
        state = super().__getstate__()
        return {name: value for name, value in state.items() if not isinstance(value, CompiledRelaxation)}

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Returns the output (n × d_L) for images or vectors (n × …) of as many values as layer 0 has."""
        if len(inputs) == 1 and isinstance(inputs[0], Tensor):  # strategies call a step so, with a batch and its number
            inputs = (self.network.as_input_of_precision(inputs[0]),)
        elif len(inputs) == 1 and hasattr(inputs[0], "__array__"):
            raise UserError(
                f"A rule takes images as a tensor, not {type(inputs[0]).__name__}: give torch.as_tensor of them."
            )
        return super().__call__(*inputs, **options)

    def read_batch(self, batch: Any) -> Batch:
        """Returns what a data loader yields as images and classes (:func:`bioplausible.training.batch.as_batch`).

        Raises:
            UserError: it is nothing that can be learned from, or scored.
        """
        return as_batch(batch, self.network.sizes[-1], cast(torch.dtype, self.dtype))

    # wrapped, or Trainer would warn wherever a data module leaves this hook to the rule
    @wraps(LightningModule.on_before_batch_transfer)
    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:  # type: ignore[override]
        """Reads the batch where it does not make a GPU wait."""
        return self.read_batch(batch)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Settles, learns, and adds up the metrics for one batch of images and classes."""
        images, y = labelled(self.read_batch(batch))
        x = self.network.as_input(images)
        with torch.no_grad(), self._full_precision():
            optimizer = cast(torch.optim.Optimizer, self.optimizers())
            self.phases = self.learn(x, self.one_hot(y, x.dtype), optimizer)
            answering = self.prediction_phase(self.phases)
            self.output = self.answer(answering)
            if answering.share_of is None:
                (self.classes,) = join([y])
            else:
                self.classes, self.output = join([y, self.output])
            self._score(self.train_means, self.output, self.classes, self.one_hot(self.classes, x.dtype))
        if self.lr_scheduler_interval == "step":
            self._step_scheduler()
        every = trainer_option(self.trainer, "log_every_n_steps")  # 0: never
        if every and self.global_step % every == 0:
            with self._full_precision():
                self._write(self.dynamics())

    def on_train_start(self) -> None:
        """Lets this training write its means, whatever an earlier one of the same rule wrote at the same step."""
        self._means_written = -1

    def on_train_epoch_start(self) -> None:
        """Begins the epoch's means; one that resumes within its epoch adds to the checkpoint's and comes not here."""
        self.train_means.reset()

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's means, checks the weights, and steps an epoch-wise schedule.

        Raises:
            UserError: training has diverged; no checkpoint is written of it.
        """
        self.log_dict(self._training_means(), logger=False)  # for callbacks that monitor them
        self._write_training_means()
        self.train_means.reset()  # here too: a checkpoint of an epoch's end holds none
        require_finite(self, self.step)
        if self.lr_scheduler_interval == "epoch" and not self._will_go_on():
            self._step_scheduler()

    def on_validation_epoch_start(self) -> None:
        """Begins the validation's means: an evaluation that was stopped has left some."""
        self.val_means.reset()

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Scores one batch of the validation split, and returns the predicted classes (n) for callbacks."""
        return self.evaluate(self.val_means, batch)

    def on_validation_epoch_end(self) -> None:
        """Logs the validation means."""
        self._log_means("val", self.val_means, prog_bar=True)

    def on_test_epoch_start(self) -> None:
        """Begins the test's means."""
        self.test_means.reset()

    def test_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Scores one batch of the test split, and returns the predicted classes (n) for callbacks."""
        return self.evaluate(self.test_means, batch)

    def on_test_epoch_end(self) -> None:
        """Logs the test means."""
        self._log_means("test", self.test_means, prog_bar=False)

    def evaluate(self, means: EpochMeans, batch: Any) -> Tensor:
        """Scores one batch of any split, and returns the predicted classes (n).

        Args:
            means: take up its scores.
            batch: as the data module gives it, on this rule's device.
        """
        images, y = labelled(self.read_batch(batch))
        with torch.no_grad(), self._full_precision():
            output = self._outputs(images)
            self._score(means, output, y, self.one_hot(y, output.dtype))
            return output.argmax(1)

    def predict_step(self, batch: Any, batch_idx: int = 0) -> dict[str, Tensor]:
        """Returns ``prediction`` and ``confidence`` (the predicted class's probability) of each sample.

        And its ``label``, where the data have labels. Images alone are a batch too.
        """
        images, labels = self.read_batch(batch)
        with torch.no_grad(), self._full_precision():
            output = self._outputs(images)
            prediction = output.argmax(1)  # as it is scored: the probabilities may be alike where no output is positive
            confidence = self.class_probabilities(output).gather(1, prediction[:, None])[:, 0]
        known = {} if labels is None else {"label": labels}
        return {**known, "prediction": prediction, "confidence": confidence}

    def _outputs(self, images: Tensor) -> Tensor:
        if not len(images):  # a process's share of a batch of few
            return images.new_empty(0, self.network.sizes[-1])
        return evaluate_in_pieces(self, self.network.as_input(images), *self.network.settling)

    def _write(self, scalars: Mapping[str, Tensor]) -> None:
        """Writes scalars to the loggers at once.

        ``self.log`` would write them after the checkpoint of the same step, and a kill in between would lose them.
        """
        for logger in self.loggers:
            logger.log_metrics({name: float(value) for name, value in scalars.items()}, step=self.global_step - 1)

    def _training_means(self) -> dict[str, Tensor]:
        return {f"train/{name}": value.float() for name, value in self.train_means.compute().items()}

    def _write_training_means(self) -> None:
        """Writes the means of the epoch so far, once."""
        if self._means_written != self.step and not self._will_go_on():
            self._means_written = self.step
            self._write(self._training_means())

    def _will_go_on(self) -> bool:
        """Returns whether a signal ends training within an epoch, which is then no epoch's end."""
        return batches_left(self.trainer) and ended_by_signal(self.trainer)

    def _score(self, means: EpochMeans, output: Tensor, y: Tensor, target: Tensor) -> None:
        means.update(output.argmax(1) == y, self.sample_losses(output, target))

    def _log_means(self, stage: str, means: EpochMeans, prog_bar: bool) -> None:
        values = {name: value.float() for name, value in means.compute().items()}
        self.log(f"{stage}/accuracy", values["accuracy"], prog_bar=prog_bar)
        self.log(f"{stage}/loss", values["loss"])

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Returns the optimizer over :meth:`parameter_groups` and its scheduler.

        Raises:
            UserError: they refuse their options, or do not suit a rule that writes its updates into ``p.grad``.
        """
        if not (self._is_attached() and self.trainer.ckpt_path):  # else the checkpoint's are taken up, or named again
            tell_of_stand_ins(self, self._stand_ins)
        optimizer = build_optimizer(self.optimizer, self.parameter_groups())
        if "optimizer" in self.named_arguments:  # else it is a checkpoint's, which trains as it did
            refuse_idle_rate(optimizer, self)
        self._configured_rates.note_built(optimizer, self.parameter_groups(), self.lr_scheduler)
        if self.lr_scheduler is None:  # a checkpoint may have brought one: not before
            refuse_without_effect(self, ["lr_scheduler_interval"], "without lr_scheduler")
            return optimizer
        scheduler = build_scheduler(self.lr_scheduler, optimizer)
        if self.lr_scheduler_interval == "epoch" and self._is_attached():
            check_length(scheduler, self.trainer.max_epochs)
        config: dict[str, Any] = {"scheduler": scheduler, "interval": self.lr_scheduler_interval}
        return cast(OptimizerLRScheduler, {"optimizer": optimizer, "lr_scheduler": config})

    def prepare_data(self) -> None:
        """Takes the loggers' folders: Lightning has no earlier hook once it knows its processes."""
        self.run_folders.take(self.trainer)

    def configure_callbacks(self) -> list[Callback]:
        """Returns the callbacks that check a run, make resume exact and changed rates effective, wherever it trains.

        Raises:
            UserError: one of the user's doesn't suit a rule; some look at the rule before any other hook.
        """
        require_callbacks_that_fit(self.trainer, self)
        return self._callbacks

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the rule's name and seed to the checkpoint, unless training has diverged.

        Where training ends within an epoch, its means are logged before: a kill may come right after.
        """
        if self.step and within_epoch(self.trainer) and ends_here(self.trainer):
            self._write_training_means()
        require_finite(self, self.step)
        note_rule(self, checkpoint)
        self._trained_on.note(checkpoint)
        self._run_options.note(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Checks that the checkpoint is one of this rule and network, and takes its seed.

        Without a Trainer, as in ``load_from_checkpoint``, its optimizer and schedule too, where the rule was given
        none: a Trainer asks the callbacks, which know whether training resumes.
        """
        self.seed = require_same_rule(self, checkpoint)
        self._trained_on.read(checkpoint)
        self._run_options.read(checkpoint)
        if not self._is_attached():
            self._stand_ins = take_callables(self, checkpoint)

    def _is_attached(self) -> bool:
        try:
            return bool(self.trainer)
        except RuntimeError:  # Lightning's word for it
            return False

    def _full_precision(self) -> AbstractContextManager[Any]:
        """Keeps the network dynamics out of Trainer's autocast, for errors are small differences of large values."""
        return torch.autocast(self.device.type, enabled=False)

    def _step_scheduler(self) -> None:
        scheduler = self.lr_schedulers()
        if scheduler is not None:
            step_scheduler(cast(Any, scheduler), self.trainer.callback_metrics, self.step)


def _of_images(activity: Callable[..., list[Tensor]]) -> Callable[..., list[Tensor]]:
    @wraps(activity)
    def of_images(self: LearningRule, x: Tensor) -> list[Tensor]:
        return activity(self, self.network.as_input_of_precision(x))

    return of_images
