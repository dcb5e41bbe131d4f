"""What a network was trained on: a part of checkpoints, for later data are compared with it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn

from bioplausible.errors import UserError

TRAINING_DATA = "training_data"
"""Key in a checkpoint of what the network was trained on."""
SPOKEN = (
    *("images", "subset_size", "validation_split", "batch_size", "mean", "std", "crop_padding", "horizontal_flip"),
    "border",
)
"""What is said of training that goes on with other values; ``images`` is the number of training images."""
OF_EVALUATION = ("mean", "std", "border")
"""What changes the images on which a network is evaluated."""


@dataclass(frozen=True)
class TrainingData:
    """What training draws from: the first images of a fixed order, of which the very first are held out."""

    dataset: str
    """The data module's class."""
    images: int
    """Training images that there are; 0 where they are not loaded, as for ``test``."""
    used: int
    """How many of them are used, held out ones included."""
    held_out: int
    """How many of these are for validation."""
    subset_size: int | None
    validation_split: float
    batch_size: int
    """With which training runs; a callback may have found it."""
    configured_batch_size: int
    """That the data module was built with."""
    mean: list[float] | None
    std: list[float] | None
    crop_padding: int
    horizontal_flip: bool
    border: int = 0
    """Checkpoints of earlier versions don't name it: there was none."""
    class_names: list[str] | None = None
    """The classes' names; None in checkpoints of earlier versions."""
    column_names: list[str] | None = None
    """The names of a table's columns; None where there are none, and in checkpoints of earlier versions."""
    content: str | None = None
    """A digest of the training images where they are a user's own; None where not, or where they are not loaded."""

    def trained_among_held_out(self, now: "TrainingData") -> int:
        """Returns how many images were trained on of those that other options of the same images hold out."""
        return max(0, min(now.held_out, self.used) - self.held_out)

    def has_other_images(self, now: "TrainingData") -> bool:
        """Returns whether the training images are known to be others, where both know them."""
        return None not in (self.content, now.content) and self.content != now.content

    def changes(self, now: "TrainingData", names: tuple[str, ...]) -> str:
        """Returns the options of these names that differ, as ``batch_size 40 instead of 20``; empty where none does."""
        before, after = asdict(self), asdict(now)
        return ", ".join(f"{n} {after[n]} instead of {before[n]}" for n in names if not _alike(after[n], before[n]))


def _alike(one: Any, other: Any) -> bool:
    """Returns whether two values are the same: means and deviations but for the rounding of an earlier version's."""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        numbers = (int, float)
        return all(
            math.isclose(a, b, rel_tol=1e-6) if isinstance(a, numbers) and isinstance(b, numbers) else a == b
            for a, b in zip(one, other, strict=True)
        )
    return bool(one == other)


class TrainedOn(Callback):
    """Keeps what a network was trained on, and refuses data options that would make something wrong be said of it.

    Training images are never called validation images: another ``validation_split`` or ``subset_size`` that would is
    refused by ``fit`` that resumes and by ``validate``, with or without ``ckpt_path``. Within an epoch, where the
    position counts batches, ``fit`` resumes with the same images and ``batch_size`` only. A batch size that a callback
    found is taken up again. Other options that differ are said in a warning.

    A data module takes part whose ``training_data()`` returns a :class:`TrainingData`.
    """

    def __init__(self) -> None:
        self.known: TrainingData | None = None
        """What the weights were trained on last; None where they were not, or it is not known."""

    def note(self, checkpoint: dict[str, Any]) -> None:
        """Adds it to a checkpoint, as plain values."""
        if self.known is not None:
            checkpoint[TRAINING_DATA] = asdict(self.known)

    def read(self, checkpoint: dict[str, Any]) -> None:
        """Takes it from a checkpoint."""
        self.known = training_data_of(checkpoint)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compares, where training goes on, before the first batch.

        Raises:
            UserError: training can't go on with these data.
        """
        data: Any = getattr(trainer, "datamodule", None)
        before = self.known
        describe = getattr(data, "training_data", None)
        if describe is None:
            self.known = None
            return
        now: TrainingData = describe()
        if before is not None and trainer.ckpt_path is not None:
            require_same_class(before, now)
            untouched = now.batch_size == now.configured_batch_size == before.configured_batch_size
            if untouched and now.batch_size != before.batch_size:
                data.batch_size = data.hparams["batch_size"] = before.batch_size  # a callback found it
                now = describe()
            require_untrained(before, now)
            if data.starts_within_epoch:
                require_same_batches(before, now)
            if before.has_other_images(now) and before.images == now.images:
                rank_zero_warn("Training goes on with other images than the checkpoint's.", stacklevel=2)
            if changes := before.changes(now, SPOKEN):
                rank_zero_warn(
                    f"Training goes on with other data options than the checkpoint's: {changes}.", stacklevel=2
                )
        elif before is not None and before.dataset == now.dataset and before.trained_among_held_out(now):
            rank_zero_warn(
                f"The network was trained before, also on {before.trained_among_held_out(now)} of the {now.held_out}"
                " images that are now for validation: its validation accuracy says too much.",
            )
        self.known = now

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compares, where a trained network is validated.

        Raises:
            UserError: it was trained on the validation images.
        """
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._compare(trainer, "validated")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compares."""
        self._compare(trainer, "tested")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compares."""
        self._compare(trainer, "asked for predictions")

    def _compare(self, trainer: Trainer, what: str) -> None:
        before, describe = self.known, getattr(getattr(trainer, "datamodule", None), "training_data", None)
        if before is None or describe is None:
            return
        now: TrainingData = describe()
        if before.dataset != now.dataset:
            rank_zero_warn(f"The network was trained on {before.dataset}, and is {what} on {now.dataset}.")
        else:
            require_same_names(before, now)
            if what == "validated":
                require_untrained(before, now)
        if changes := before.changes(now, OF_EVALUATION):
            rank_zero_warn(f"The network is {what} on images that are normalised otherwise: {changes}.")


def training_data_of(checkpoint: Mapping[str, Any]) -> TrainingData | None:
    """Returns what a checkpoint was trained on; None where it doesn't know, as those of earlier versions."""
    saved = checkpoint.get(TRAINING_DATA)
    return None if saved is None else TrainingData(**saved)


def require_same_class(before: TrainingData, now: TrainingData) -> None:
    """Raises a :class:`bioplausible.UserError` unless the data modules are of one class."""
    if before.dataset != now.dataset:
        raise UserError(
            f"The checkpoint was trained on {before.dataset}, not {now.dataset}, and its position and seed fit no other"
            f" data: resume with {before.dataset}, or train anew."
        )
    require_same_names(before, now)


def require_same_names(before: TrainingData, now: TrainingData) -> None:
    """Raises a :class:`bioplausible.UserError` where outputs or inputs would stand for others than they learned."""
    for what, names, given in (
        ("classes", before.class_names, now.class_names),
        ("columns", before.column_names, now.column_names),
    ):
        if names is not None and names != given:
            raise UserError(
                f"The network was trained on the {what} {', '.join(names)}, and the data have"
                f" {', '.join(given or [])}: give it the same {what} in the same order."
            )


def require_untrained(before: TrainingData, now: TrainingData) -> None:
    """Raises a :class:`bioplausible.UserError` where a network may have been trained on what is now for validation."""
    if now.held_out and before.has_other_images(now) and before.images == now.images:
        raise UserError(
            "The training images are others than those where the checkpoint was trained, and which of them it was"
            " trained on can't be told: give it the same data, or validation_split 0."
        )
    if now.held_out and before.images != now.images:
        raise UserError(
            f"There were {before.images} training images where the checkpoint was trained, and there are {now.images}:"
            " which ones it was trained on can't be told, so give it the same data, or validation_split 0."
        )
    if trained := before.trained_among_held_out(now):
        used = f"validation_split {before.validation_split} and subset_size {before.subset_size}"
        cure = "use these" if before.held_out else "score the test split with `test`, or train anew with a split"
        raise UserError(
            f"With validation_split {now.validation_split} and subset_size {now.subset_size} the network was trained on"
            f" {trained} of the {now.held_out} validation images; it was trained with {used}: {cure}."
        )


def require_same_batches(before: TrainingData, now: TrainingData) -> None:
    """Raises a :class:`bioplausible.UserError` where a position within an epoch would be another one."""
    if before.has_other_images(now) and before.images == now.images:
        raise UserError(
            "The checkpoint lies within an epoch, where its position counts batches of the same images, but now there"
            " are other ones: resume with the same data, or from a checkpoint at an epoch's end."
        )
    decisive = [(d.images, d.used, d.held_out, d.batch_size) for d in (before, now)]
    if decisive[0] != decisive[1]:
        changes = before.changes(now, ("images", "subset_size", "validation_split", "batch_size"))
        raise UserError(
            f"The checkpoint lies within an epoch, where its position counts batches of the same images, but now there"
            f" are other ones ({changes}): resume with the same options, or from a checkpoint at an epoch's end."
        )
