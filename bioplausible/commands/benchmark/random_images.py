"""Data that need no files."""

from typing import Any

import torch
from torch import Tensor

from bioplausible.data import ImageDataModule


class RandomImages(ImageDataModule):
    """Random images and classes in the shape of a data set, so that a benchmark needs no files.

    Args:
        shape: (channels, height, width).
        classes: number of classes.
        size: number of images.
        options: those of :class:`bioplausible.data.ImageDataModule`.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int = 10, size: int = 6000, **options: Any) -> None:
        self.image_shape, self.num_classes, self.size = shape, classes, size
        super().__init__(**options)

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Returns uniform random images and classes."""
        draws = torch.Generator().manual_seed(0)
        return torch.rand(self.size, *self.loaded_shape, generator=draws), torch.randint(
            self.num_classes, (self.size,), generator=draws
        )
