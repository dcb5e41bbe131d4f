"""MNIST and Fashion-MNIST."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torchvision.datasets
from torch import Tensor
from torchvision.datasets.mnist import read_image_file, read_label_file
from torchvision.datasets.utils import extract_archive

from bioplausible.data.from_torchvision import DamagedFileError, TorchvisionDataModule, reason


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

    def download(self, root: Path) -> None:
        """Lets torchvision fetch, check and unpack the files."""
        getattr(torchvision.datasets, self.folder)(str(root), download=True)

    def unpack(self, file: Path, root: Path) -> None:
        """Unpacks a file; whether it is the right one, its content says: mirrors compress anew, so checksums differ."""
        extract_archive(str(file), str(root / self.raw_folder))

    def read(self, root: Path, train: bool) -> tuple[Tensor, Tensor]:
        """Returns a split's images and classes."""
        split, n = "train" if train else "t10k", self.sizes[train]
        images_file, labels_file = f"{split}-images-idx3-ubyte", f"{split}-labels-idx1-ubyte"
        images = self._read(read_image_file, root / self.raw_folder / images_file)
        labels = self._read(read_label_file, root / self.raw_folder / labels_file)
        _, height, width = self.image_shape
        if images.shape != (n, height, width):
            found = " × ".join(map(str, images.shape[1:]))
            raise DamagedFileError(images_file, f"has {len(images)} images of {found}, not {n} of {height} × {width}")
        if len(labels) != n:
            raise DamagedFileError(labels_file, f"has {len(labels)} labels, not {n}")
        if int(labels.max()) >= self.num_classes:
            raise DamagedFileError(labels_file, f"has the label {int(labels.max())}, above {self.num_classes - 1}")
        return images[:, None], labels

    @staticmethod
    def _read(reader: Callable[[str], Tensor], file: Path) -> Tensor:
        try:
            return reader(str(file))
        except FileNotFoundError as error:
            raise DamagedFileError(file.name, "is missing") from error
        except OSError as error:
            raise DamagedFileError(file.name, f"can't be read ({reason(error)})") from error
        except Exception as error:  # the reader takes what the file says of itself at its word
            raise DamagedFileError(file.name, f"is damaged, or holds something else ({reason(error)})") from error


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
