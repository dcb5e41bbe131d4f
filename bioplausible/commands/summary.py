"""What ``fit`` says at its end: what was trained, how good it is, where it lies, and how to go on."""

import shlex
from collections.abc import Mapping, Sized
from datetime import timedelta
from typing import Any, cast

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor

from bioplausible.commands.how_to_go_on import last_checkpoint
from bioplausible.commands.program import this_program
from bioplausible.commands.run_loggers import how_to_look, where_it_lies
from bioplausible.data import ImageDataModule
from bioplausible.lightning_internals import batches_left, progress
from bioplausible.resume.checkpoint_callbacks import BestCheckpoint
from bioplausible.rules import LearningRule
from bioplausible.training.loggers import folder_of_run


def summary(
    trainer: Trainer,
    rule: LearningRule,
    data: ImageDataModule,
    seconds: float,
    validation: Mapping[str, Any],
    test: Mapping[str, Any],
) -> list[str]:
    """Returns the lines.

    Args:
        trainer: has trained.
        rule: what it trained.
        data: on what.
        seconds: how long that took in this process.
        validation: the metrics of the weights that training ended with, on the validation split; empty where not run.
        test: the same on the test split.
    """
    drawn, last = data.training_data(), last_checkpoint(trainer)
    epochs, steps = progress(trainer).epochs_finished, trainer.global_step
    length = f"{epochs} epoch{'s' * (epochs != 1)}, {steps} step{'s' * (steps != 1)}"
    if batches_left(trainer):  # Lightning counts the epoch as finished
        length = f"{steps} step{'s' * (steps != 1)}, which end within epoch {epochs}"
    length = f"{length}; {timedelta(seconds=round(seconds))} of it now"
    lines = [
        f"rule                 {type(rule).__name__}, {'-'.join(map(str, rule.network.sizes))}",
        f"data                 {type(data).__name__}, {drawn.used - drawn.held_out} training images",
        f"trained for          {length if steps else '0 steps: nothing was trained'}",
        f"run                  {where_it_lies(trainer)}",
        f"checkpoint           {last or 'none'}",
    ]
    best, of_which = _best_checkpoint(trainer), "" if last is None else f" in {last.name}"
    in_best = "" if best is None else f", {float(cast(Tensor, best.best_model_score)):.2%} in best.ckpt"
    if data.has_validation:
        validated = _percent(validation.get("val/accuracy"), of_which)
        limited = _on(of_which_images(rule, data, "val")) if validation else ""
        lines.append(f"validation accuracy  {validated}{in_best}{limited}")
    else:
        lines.append("validation accuracy  none (validation_split is 0)")
    tested = _percent(test.get("test/accuracy"), of_which)
    limited = _on(of_which_images(rule, data, "test")) if test else ""
    lines.append(f"test accuracy        {tested}{limited}")
    return [*lines, *how_to_look(trainer), *_how_to_go_on(trainer, epochs)]


def of_which_images(rule: LearningRule, data: ImageDataModule, split: str) -> str:
    """Returns on how many of a split's images the rule was measured last; nothing where on all of them.

    They are counted, not worked out from ``limit_val_batches`` and the like: several processes share them.

    Args:
        rule: was measured.
        data: on what.
        split: ``val`` or ``test``.
    """
    if split == "val":
        measured, images = rule.val_means.samples, data.training_data().held_out
    else:
        measured, images = rule.test_means.samples, len(cast(Sized, data.test_dataloader().dataset))
    return f"{measured} of {images} images" if measured < images else ""


def _on(images: str) -> str:
    return f", on {images}" if images else ""


def _percent(accuracy: float | None, of_which: str) -> str:
    return "not run" if accuracy is None else f"{accuracy:.2%}{of_which}"


def _best_checkpoint(trainer: Trainer) -> BestCheckpoint | None:
    """Returns what wrote ``best.ckpt``; None where nothing did."""
    found = (callback for callback in trainer.checkpoint_callbacks if isinstance(callback, BestCheckpoint))
    return next((best for best in found if best.best_model_score is not None), None)


def _how_to_go_on(trainer: Trainer, epochs: int) -> list[str]:
    """Returns the commands that compare, score and continue the run, where it left what they need."""
    folder, last, best = folder_of_run(trainer), last_checkpoint(trainer), _best_checkpoint(trainer)
    program, lines = this_program(), []
    if folder is not None and not any(isinstance(logger, CSVLogger) for logger in trainer.loggers):
        lines.append(f"compare it with      {program} report {shlex.quote(str(folder))}")
    if best is not None:
        lines.append(f"score the best with  {program} test --ckpt_path {shlex.quote(best.best_model_path)}")
    lengths = {"max_epochs": (epochs, trainer.max_epochs), "max_steps": (trainer.global_step, trainer.max_steps)}
    ended_by = next((name for name, (done, most) in lengths.items() if done == most), None)
    if last is not None and ended_by is not None:
        longer = f"--trainer.{ended_by} {2 * lengths[ended_by][0]}"
        lines.append(f"train longer with    {program} fit --ckpt_path {shlex.quote(str(last))} {longer}")
    return lines
