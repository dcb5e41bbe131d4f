"""MNIST and Fashion-MNIST."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torchvision.datasets
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor
from torchvision.datasets.mnist import read_image_file, read_label_file
from torchvision.datasets.utils import calculate_md5, extract_archive

from bioplausible.data.published import DamagedFileError, PublishedDataModule, reason

PUBLISHED = {
    "6bbc9ace898e44ae57da46a324031adb": "MNIST",
    "a25bea736e30d166cdddb491f175f624": "MNIST",
    "2646ac647ad5339dbf082846283269ea": "MNIST",
    "27ae3e4e09519cfbb04c329615203637": "MNIST",
    "f4a8712d7a061bf5bd6d2ca38dc4d50a": "Fashion-MNIST",
    "9018921c3c673c538a1fc5bad174d6f9": "Fashion-MNIST",
    "8181f5470baa50b63fa0f6fddb340f0a": "Fashion-MNIST",
    "15d484375f8d13e6eb1aabb0c3f46965": "Fashion-MNIST",
    # of what is published packed, torchvision knows the checksums
    **{
        checksum: title
        for title, dataset in (
            ("MNIST", torchvision.datasets.MNIST),
            ("Fashion-MNIST", torchvision.datasets.FashionMNIST),
            ("Kuzushiji-MNIST", torchvision.datasets.KMNIST),
        )
        for _, checksum in dataset.resources
    },
}
"""The data sets whose files have the same names, by the MD5 checksums of their published files, unpacked and packed."""


def owner_of(file: Path) -> str | None:
    """Returns whose published file this is, as ``Fashion-MNIST``, whatever its name; None where it is not known."""
    return PUBLISHED.get(calculate_md5(file))


class MNISTDataModule(PublishedDataModule):
    """60,000 + 10,000 handwritten digits of 28 × 28 pixels (LeCun et al. 1998), in [0, 1] without normalisation.

    ``mirror`` may name a folder with the four published ``…-ubyte.gz`` files. Those of other data sets have the same
    names: what is known to be another one is refused, and what is not known is said in a warning. The other arguments
    are those of :class:`bioplausible.data.PublishedDataModule`.
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
        """Unpacks a file, unless it is another data set's; mirrors compress anew, so its content will be asked too."""
        owner = owner_of(file)
        if owner not in (None, self.title):
            raise ValueError(f"it is {owner}'s")
        extract_archive(str(file), str(root / self.raw_folder))

    def read(self, root: Path, train: bool) -> tuple[Tensor, Tensor]:
        """Returns a split's images and classes.

        Raises:
            DamagedFileError: a file is missing, damaged, or another data set's.
        """
        split, n = "train" if train else "t10k", self.sizes[train]
        images_file, labels_file = f"{split}-images-idx3-ubyte", f"{split}-labels-idx1-ubyte"
        images = self._read(read_image_file, root / self.raw_folder / images_file)
        labels = self._read(read_label_file, root / self.raw_folder / labels_file)
        _, height, width = self.loaded_shape
        if images.shape != (n, height, width):
            found = " × ".join(map(str, images.shape[1:]))
            raise DamagedFileError(images_file, f"has {len(images)} images of {found}, not {n} of {height} × {width}")
        if len(labels) != n:
            raise DamagedFileError(labels_file, f"has {len(labels)} labels, not {n}")
        if int(labels.max()) >= self.num_classes:
            raise DamagedFileError(labels_file, f"has the label {int(labels.max())}, above {self.num_classes - 1}")
        self._require_own(root / self.raw_folder / images_file, root / self.raw_folder / labels_file)
        return images[:, None], labels

    def _require_own(self, *files: Path) -> None:
        """Refuses files that are known to be another data set's, and warns of those that are not known."""
        owners = {file.name: owner_of(file) for file in files}
        for name, owner in owners.items():
            if owner not in (None, self.title):
                raise DamagedFileError(name, f"is {owner}'s")
        if unknown := [name for name, owner in owners.items() if owner is None]:
            self.has_digest = True
            rank_zero_warn(
                f"{self.title}'s {' and '.join(unknown)} are not as published: make sure that they are {self.title}'s."
            )

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


CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
"""The names of Fashion-MNIST's classes."""


class FashionMNISTDataModule(MNISTDataModule):
    """60,000 + 10,000 pictures of clothes of 28 × 28 pixels (Xiao et al. 2017), in [0, 1] without normalisation.

    ``mirror`` may name the folder that Debian's package ``dataset-fashion-mnist`` installs,
    ``/usr/share/datasets/fashion-mnist``. The other arguments are those of
    :class:`bioplausible.data.PublishedDataModule`.
    """

    title = "Fashion-MNIST"
    folder = "FashionMNIST"
    raw_folder = "FashionMNIST/raw"
    class_names = CLOTHES
    debian_package = "dataset-fashion-mnist, in /usr/share/datasets/fashion-mnist,"
