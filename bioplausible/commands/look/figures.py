"""Figures of a trained network."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.utils import save_image

from bioplausible.data import ImageDataModule
from bioplausible.data.class_names import class_names, telling_names
from bioplausible.errors import UserError
from bioplausible.functional import as_real
from bioplausible.observers.alignment import cosines_of_batch, draw_alignment
from bioplausible.observers.drawings import (
    confusion_of,
    draw_activity,
    draw_confusion,
    draw_tsne,
    enlarged,
    receptive_fields,
)
from bioplausible.observers.figures import as_pdf, as_png
from bioplausible.observers.information import draw_information
from bioplausible.observers.settling import TOLERANCE, draw_settling, trajectories
from bioplausible.resume.training_data import TrainingData, require_untrained
from bioplausible.rules import CorInfoMax, LearningRule
from bioplausible.trained import load_and_compare
from bioplausible.training.batch import Batch

FEWEST_OF_TSNE = 10


class NothingToDrawError(Exception):
    """A network, or what is known of it, has nothing that a figure shows; its text says why."""


@dataclass
class Subject:
    """A trained network and the images that it is shown.

    Attributes:
        rule: the network.
        data: what it was trained on; None where that is not known, or not to be had.
        trained_on: what the checkpoint says of it; None where it says nothing.
        samples: training images that settle, the first ones.
    """

    rule: LearningRule
    data: ImageDataModule | None
    trained_on: TrainingData | None
    samples: int

    @property
    def known_data(self) -> ImageDataModule:
        """The data module."""
        if self.data is None:
            raise NothingToDrawError("the data on which it was trained are not known, or not to be had here")
        return self.data

    @cached_property
    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs (n × shape_0), classes (n) and one-hot targets (n × d_L)."""
        self.known_data.prepare_data()
        self.known_data.setup("fit")
        images = self.known_data.images_of("train")
        shown, classes = images[torch.arange(min(self.samples, len(images)))]
        assert classes is not None
        x = self.rule.network.as_input(shown).to(next(self.rule.parameters()))
        return x, classes, self.rule.one_hot(classes, x.dtype)


def draw(checkpoint: Path, names: Sequence[str], samples: int, folder: Path) -> Iterator[tuple[str, str | None]]:
    """Draws figures into a folder, and yields the name of each, and why there is none, where there is none.

    Each is there as PNG and PDF, but one of pixels, as receptive fields are, as PNG only.

    Args:
        checkpoint: of the network.
        names: of the figures.
        samples: training images that settle.
        folder: where to; it is made.

    Raises:
        UserError: the network or its data can't be had.
        OSError: a file can't be written.
    """
    (rule, data), trained_on = load_and_compare(checkpoint)
    subject = Subject(rule, data, trained_on, samples)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        try:
            with torch.no_grad():
                drawn = DRAW[name](subject)
        except NothingToDrawError as error:
            yield name, str(error)
            continue
        file = folder / f"{name}.png"
        if isinstance(drawn, Figure):
            file.write_bytes(as_png(drawn))
            file.with_suffix(".pdf").write_bytes(as_pdf(drawn))
        else:
            save_image(drawn, file)
        yield name, None


# ---------------------------------------------------------------------------------------------------------- the figures


def _receptive_fields(subject: Subject) -> Tensor:
    fields = receptive_fields(subject.rule, None if subject.data is None else subject.data.image_shape)
    if fields is None:
        raise NothingToDrawError("layer 1 sees no grey or coloured images, or it is not known of what shape")
    return enlarged(fields)


def _settling(subject: Subject) -> Figure:
    x, _, target = subject.batch
    found = trajectories(subject.rule, x, target, TOLERANCE)
    if not found:
        raise NothingToDrawError(f"{type(subject.rule).__name__} has no phase that iterates")
    return draw_settling(found, TOLERANCE)


def _activity(subject: Subject) -> Figure:
    x, _, target = subject.batch
    return draw_activity(subject.rule.settled(x, target))


def _confusion_matrix(subject: Subject) -> Figure:
    data = subject.known_data
    data.prepare_data()
    split, stage = ("validation", "fit") if data.validation_split else ("test", "test")
    data.setup(stage)
    if split == "validation" and subject.trained_on is not None:
        try:
            require_untrained(subject.trained_on, data.training_data())
        except UserError as error:  # other figures say nothing of images that were not trained on
            raise NothingToDrawError(str(error)) from error
    loader = cast("DataLoader[Batch]", data.val_dataloader() if data.validation_split else data.test_dataloader())
    scored = [subject.rule.predict_step(batch) for batch in loader]
    predicted, true = (torch.cat([found[name] for found in scored]) for name in ("prediction", "label"))
    confusion = confusion_of(predicted=predicted, true=true, classes=subject.rule.network.sizes[-1])
    return draw_confusion(confusion, split, class_names(data))


def _alignment(subject: Subject) -> Figure:
    angles, cosines = subject.rule.alignment_angles(), {}
    if subject.data is not None:
        x, classes, _ = subject.batch
        cosines = cosines_of_batch(subject.rule, x, classes)
    if not angles and not cosines:
        raise NothingToDrawError("there are no feedback weights, and no updates to compare with backpropagation's")
    return draw_alignment(angles, cosines)


def _information(subject: Subject) -> Figure:
    if not isinstance(subject.rule, CorInfoMax) or not subject.rule.correlations:
        raise NothingToDrawError("it is of CorInfoMax that was trained with track_correlations")
    x, _, target = subject.batch
    return draw_information(subject.rule, x, target)


def _tsne(subject: Subject) -> Figure:
    x, classes, _ = subject.batch
    hidden = [as_real(r) for r in subject.rule.activity(x)[1:-1]]
    if not hidden or len(x) < FEWEST_OF_TSNE:
        raise NothingToDrawError(f"it takes a hidden layer, and at least {FEWEST_OF_TSNE} images")
    return draw_tsne(hidden, classes, subject.rule.network.sizes[-1], telling_names(subject.data))


DRAW: dict[str, Callable[[Subject], Figure | Tensor]] = {
    "receptive_fields": _receptive_fields,
    "settling": _settling,
    "activity": _activity,
    "confusion_matrix": _confusion_matrix,
    "alignment": _alignment,
    "information": _information,
    "tsne": _tsne,
}
"""What draws each of :data:`bioplausible.commands.look.FIGURES`."""
