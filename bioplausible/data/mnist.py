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
    raw_files = "the four files {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz"
    image_shape = (1, 28, 28)
    sizes: ClassVar[dict[bool, int]] = {True: 60_000, False: 10_000}

    def dataset(self, root: Path, *, train: bool, download_from: str | None = None) -> Any:
        """Returns torchvision's data set."""
        official = getattr(torchvision.datasets, self.folder)
        if not download_from:
            return official(str(root), train=train, download=download_from is not None)
        # a mirror may have compressed the files anew: their content is checked when they are read, not the archive
        files = [(name, None) for name, _ in official.resources]
        mirrored = type(self.folder, (official,), {"mirrors": [download_from], "resources": files})
        return mirrored(str(root), train=train, download=True)

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
    debian_package = "dataset-fashion-mnist, in /usr/share/datasets/fashion-mnist,"
