"""The handwritten digits that ship inside scikit-learn."""

import torch
from torch import Tensor

from bioplausible.data.base import SPLIT_SEED, ImageDataModule
from bioplausible.training.randomness import generator


class DigitsDataModule(ImageDataModule):
    """1,797 handwritten digits of 8 × 8 pixels (Alpaydin & Kaynak 1998), from scikit-learn: nothing to download.

    The data have no official test split: a fixed random fifth (359 images) is the test split. Pixels 0 … 16 are divided
    by 16. The arguments are those of :class:`bioplausible.data.ImageDataModule`.
    """

    image_shape = (1, 8, 8)

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Returns the images of a split and their classes."""
        from sklearn.datasets import load_digits  # scikit-learn takes long to import, and other data need none of it

        digits = load_digits()
        order = torch.randperm(len(digits.target), generator=generator(SPLIT_SEED, 1))
        held_out = len(order) // 5
        index = order[held_out:] if train else order[:held_out]
        images = torch.from_numpy(digits.images).float()[:, None] / 16
        return images[index], torch.from_numpy(digits.target).long()[index]
