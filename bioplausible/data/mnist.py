"""MNIST and Fashion-MNIST."""

from pathlib import Path
from typing import Any, ClassVar

import torchvision.datasets
from torch import Tensor

from bioplausible.data.from_torchvision import TorchvisionDataModule


class MNISTDataModule(TorchvisionDataModule):
    """60,000 + 10,000 handwritten digits of 28 × 28 pixels (LeCun et al. 1998), in [0, 1] without normalisation.

    ``mirror`` may name a folder with the four published ``…-ubyte.gz`` files. The other arguments are those of
    :class:`bioplausible.data.TorchvisionDataModule`.
    """

    title = "MNIST"
    folder = "MNIST"
    raw_folder = "MNIST/raw"
    raw_files: ClassVar[list[str]] = [name for name, _ in torchvision.datasets.MNIST.resources]
    image_shape = (1, 28, 28)
    sizes: ClassVar[dict[bool, int]] = {True: 60_000, False: 10_000}

    def dataset(self, root: Path, *, train: bool, download: bool) -> Any:
        """Returns torchvision's data set."""
        dataset = getattr(torchvision.datasets, self.folder)
        if self.mirror is not None:
            # mirrors compress the files anew, so that checksums of the archives say nothing: their content is checked
            unchecked = [(name, None) for name, _ in dataset.resources]
            dataset = type(self.folder, (dataset,), {"resources": unchecked})
        return dataset(str(root), train=train, download=download)

    def tensors(self, dataset: Any) -> tuple[Tensor, Tensor]:
        """Returns its images and classes."""
        return dataset.data[:, None], dataset.targets


class FashionMNISTDataModule(MNISTDataModule):
    """60,000 + 10,000 pictures of clothes of 28 × 28 pixels (Xiao et al. 2017), in [0, 1] without normalisation.

    ``mirror`` may name the folder that Debian's package ``dataset-fashion-mnist`` installs,
    ``/usr/share/datasets/fashion-mnist``. The other arguments are those of
    :class:`bioplausible.data.TorchvisionDataModule`.
    """

    title = "Fashion-MNIST"
    folder = "FashionMNIST"
    raw_folder = "FashionMNIST/raw"
    debian_package = "dataset-fashion-mnist, in /usr/share/datasets/fashion-mnist,"
