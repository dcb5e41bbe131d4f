"""CIFAR-10 and CIFAR-100."""

from pathlib import Path
from typing import Any, ClassVar

import torch
import torchvision.datasets
from torch import Tensor

from bioplausible.data.from_torchvision import TorchvisionDataModule


class CIFAR10DataModule(TorchvisionDataModule):
    """50,000 + 10,000 colour pictures of 32 × 32 pixels in 10 classes (Krizhevsky 2009).

    Normalised with the paper's constants: the channels' means, and three times their standard deviations as commonly
    quoted (0.2023, 0.1994, 0.2010). ``mirror`` may name a folder with ``cifar-10-python.tar.gz``. The other arguments
    are those of :class:`bioplausible.data.TorchvisionDataModule`.
    """

    title = "CIFAR-10"
    folder = "cifar-10-batches-py"
    raw_folder = ""
    raw_files: ClassVar[list[str]] = [torchvision.datasets.CIFAR10.filename]
    image_shape = (3, 32, 32)
    sizes: ClassVar[dict[bool, int]] = {True: 50_000, False: 10_000}
    default_mean: ClassVar[list[float] | None] = [0.4914, 0.4822, 0.4465]
    default_std: ClassVar[list[float] | None] = [0.6069, 0.5982, 0.6030]
    torchvision_class: ClassVar[type[torchvision.datasets.CIFAR10]] = torchvision.datasets.CIFAR10

    def dataset(self, root: Path, *, train: bool, download: bool) -> Any:
        """Returns torchvision's data set, whose every file it has checked by its checksum."""
        return self.torchvision_class(str(root), train=train, download=download)

    def tensors(self, dataset: Any) -> tuple[Tensor, Tensor]:
        """Returns its images and classes."""
        return torch.from_numpy(dataset.data).permute(0, 3, 1, 2), torch.tensor(dataset.targets)


class CIFAR100DataModule(CIFAR10DataModule):
    """50,000 + 10,000 colour pictures of 32 × 32 pixels in 100 classes (Krizhevsky 2009).

    Normalised with the constants of CIFAR-10, as in the paper. ``mirror`` may name a folder with
    ``cifar-100-python.tar.gz``. The other arguments are those of :class:`bioplausible.data.TorchvisionDataModule`.
    """

    title = "CIFAR-100"
    folder = "cifar-100-python"
    raw_files: ClassVar[list[str]] = [torchvision.datasets.CIFAR100.filename]
    num_classes = 100
    torchvision_class = torchvision.datasets.CIFAR100
