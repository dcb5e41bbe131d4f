"""The handwritten digits that ship inside scikit-learn."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
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
        table = _table()
        pixels, classes = torch.from_numpy(table[:, :-1]), torch.from_numpy(table[:, -1])
        order = torch.randperm(len(classes), generator=generator(SPLIT_SEED, 1))
        held_out = len(order) // 5
        index = order[held_out:] if train else order[:held_out]
        images = pixels.float().reshape(-1, 1, 8, 8) / 16
        return images[index], classes.long()[index]


def _table() -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """Returns a row an image, its 64 pixels and then its class, as scikit-learn's load_digits reads them.

    They come from its file, for importing scikit-learn, and SciPy and pandas with it, takes longer than a short run.
    """
    spec = find_spec("sklearn")  # which imports nothing
    for folder in (spec and spec.submodule_search_locations) or []:
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits  # another release may keep it elsewhere

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])
