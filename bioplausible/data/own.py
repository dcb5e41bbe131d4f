"""What data of a user's own have in common, whatever the form in which they come."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from bioplausible.data.base import SPLIT_SEED, ImageDataModule
from bioplausible.data.batches import Images
from bioplausible.errors import UserError
from bioplausible.errors.checks import require
from bioplausible.training.batch import Source
from bioplausible.training.randomness import generator

PARTS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
"""Words for a part of the data, in the names of arrays and folders."""

TELLING_ROWS = 1000
"""Rows that tell whether digits are lost: to sort all of large data takes seconds."""
MOST_MERGED = 0.1
"""Of a column's different numbers, the share that may come to be the same in float32: of many numbers some do."""
TEST_SHARE = 5
"""One sample of a class in so many is a test sample."""


class OwnDataModule(ImageDataModule):
    """Data whose shape and classes are found in them, rather than known beforehand.

    A subclass calls :meth:`found` and then this constructor, and fills in :meth:`load` and, where there is a part for
    validation, :meth:`load_validation`.

    Args:
        standardise: whether each channel's mean is subtracted and each channel divided by its standard deviation (of a
            vector each value's), both of the images that are trained on: not of those for validation or test. A
            channel that is the same everywhere becomes 0.
        **options: those of :class:`bioplausible.data.ImageDataModule`.

    Raises:
        UserError: an option is outside its range, or two of them contradict each other or the data.
    """

    has_digest = True
    own_validation: bool = False
    """Whether the data have a part for validation."""

    def __init__(self, standardise: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.standardise = standardise
        require(
            not standardise or (self.mean is None and self.std is None),
            "standardise and mean or std are both given: leave one of them out.",
        )
        require(
            not self.own_validation or self.validation_split == 0,
            f"The data have a part for validation and validation_split is {self.validation_split}: leave out one of"
            " them.",
        )
        if self.loaded_shape[1:] == (1, 1):
            moved = {"border": self.border, "crop_padding": self.crop_padding, "horizontal_flip": self.horizontal_flip}
            given = [name for name, value in moved.items() if value]
            require(not given, f"The data are vectors, not images: leave out {' and '.join(given)}.")

    def found(self, image_shape: Sequence[int], class_names: Sequence[str]) -> None:
        """Takes up what was found in the data.

        Args:
            image_shape: (channels, height, width); (d, 1, 1) of vectors of d values, which may be any numbers.
            class_names: the classes' names in their order.

        Raises:
            UserError: there are fewer than two classes.
        """
        channels, height, width = image_shape
        require(
            len(class_names) >= 2,
            f"{self.place('train')} has one class alone ({class_names[0] if class_names else 'none'}): a network needs"
            " at least two to tell apart.",
        )
        self.image_shape = (channels, height, width)
        self.class_names = tuple(class_names)
        self.num_classes = len(class_names)
        self.in_unit_interval = (height, width) != (1, 1)

    @abstractmethod
    def place(self, part: str) -> str:
        """Returns where a part lies (train, val or test), for sentences: as ``cells.npz``."""

    def load_validation(self) -> tuple[Tensor, Tensor]:
        """Returns the images and classes of the part for validation, as :meth:`load` does."""
        raise NotImplementedError

    @property
    def has_validation(self) -> bool:
        """Whether training is validated."""
        return self.own_validation or super().has_validation

    def _source(self, part: str) -> Source:
        return Source(self.place(part), "hold")

    def _loaded(self, train: bool) -> Images:
        images = super()._loaded(train)
        if self.standardise and self.mean is None:
            self._measure(images if train else super()._loaded(train=True))
        if train and self.mean is None and not self.in_unit_interval:
            self._tell_of_lost_digits(images.images.flatten(1))
        return images

    def prepared(self, images: Tensor) -> Tensor:
        """Returns images in [0, 1] as the network gets them, standardised by the training part where that is asked for.

        Raises:
            UserError: the training part is not there to measure.
        """
        if self.standardise and self.mean is None:  # of pictures of one's own, before the data are loaded
            self._measure(super()._loaded(train=True))
        return super().prepared(images)

    def _held_out(self, images: Images, positions: Tensor) -> Images:
        if not self.own_validation:
            return super()._held_out(images, positions)
        given = self._as_images(self.load_validation(), self._source("val"))
        self.validation_content = given.digest
        return given

    def _measure(self, images: Images) -> None:
        """Takes mean and standard deviation of the images that are trained on."""
        trained, _ = self._choose(len(images))
        values = images.images[trained].transpose(0, 1).flatten(1).double()
        low, std = values.amin(1), values.std(1, correction=0)
        # but for the rounding of float64, as where a column was computed
        constant = std <= 4 * torch.finfo(values.dtype).eps * values.abs().amax(1)
        self.mean = torch.where(constant, low, values.mean(1)).tolist()
        self.std = std.masked_fill(constant, 1.0).tolist()

    def _tell_of_lost_digits(self, vectors: Tensor) -> None:
        """Warns where many of a column's numbers, of vectors (N × d) that stay as they are, are one in float32."""
        some = vectors[:: -(-len(vectors) // TELLING_ROWS)]
        for i, column in enumerate(some.t()):
            if len(column.float().unique()) < len(column.unique()) * (1 - MOST_MERGED):
                rank_zero_warn(
                    f"{self.place('train')} has different numbers in column"
                    f" {self.column_names[i] if self.column_names else i + 1} that are the same to the network, for"
                    " float32 has too few digits: say standardise: true."
                )


def split_by_class(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the positions of training and of test samples: a fixed random fifth of each class is for the test.

    It does not depend on the seed.

    Args:
        labels: classes (N).
    """
    draws = generator(SPLIT_SEED, 1)
    train: list[Tensor] = []
    test: list[Tensor] = []
    for label in sorted(set(labels.tolist())):
        mine = (labels == label).nonzero()[:, 0]
        mine = mine[torch.randperm(len(mine), generator=draws)]
        held_out = test_count(len(mine))
        train.append(mine[held_out:])
        test.append(mine[:held_out])
    return torch.cat(train), torch.cat(test)


def test_count(samples: int) -> int:
    """Returns how many of a class's samples are for the test: a fifth, at least one."""
    return max(1, samples // TEST_SHARE)


def require_splittable(classes: Sequence[str], where: str, cure: str) -> None:
    """Raises UserError where a class has a single sample: one for training and one for the test are needed.

    Args:
        classes: each sample's.
        where: the file or folder.
        cure: how to give a test part.
    """
    for name, count in sorted(Counter(classes).items()):
        require(
            count > 1,
            f"{where} has a single sample of the class {name}, which can't be both for training and for the test:"
            f" {cure}.",
        )


def in_order(names: Sequence[str]) -> list[str]:
    """Returns names of classes, each once, in the order of their numbers where all are whole numbers, else by text."""
    each = set(names)
    try:
        return sorted(each, key=lambda name: (int(name), name))
    except ValueError:
        return sorted(each)


def expanded(name: str, given: str | Path) -> Path:
    """Returns a path with ``~`` as the home folder.

    Args:
        name: the option's, for the sentence.
        given: the path.

    Raises:
        UserError: ``~`` names the home folder of nobody.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise UserError(f"{name} is {given}, but there is no such home folder: give another path.") from error
