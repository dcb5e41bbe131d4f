"""CIFAR-10 and CIFAR-100."""

from pathlib import Path
from typing import ClassVar

import torch
import torchvision.datasets
from torch import Tensor
from torchvision.datasets.utils import check_integrity, extract_archive

from bioplausible.data.published import DamagedFileError, PublishedDataModule, reason

TEN_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""The names of CIFAR-10's classes, as its file ``batches.meta`` has them."""

# fmt: off
HUNDRED_CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
    "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
    "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
    "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
    "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
)
# fmt: on
"""The names of CIFAR-100's classes, as its file ``meta`` has them."""


class CIFAR10DataModule(PublishedDataModule):
    """50,000 + 10,000 colour pictures of 32 × 32 pixels in 10 classes (Krizhevsky 2009).

    Normalised with the paper's constants: the channels' means, and three times their standard deviations as commonly
    quoted (0.2023, 0.1994, 0.2010). ``mirror`` may name a folder with ``cifar-10-python.tar.gz``. The other arguments
    are those of :class:`bioplausible.data.PublishedDataModule`.
    """

    title = "CIFAR-10"
    folder = raw_folder = "cifar-10-batches-py"
    raw_files: ClassVar[list[str]] = [torchvision.datasets.CIFAR10.filename]
    image_shape = (3, 32, 32)
    sizes: ClassVar[dict[bool, int]] = {True: 50_000, False: 10_000}
    class_names: tuple[str, ...] = TEN_CLASSES
    default_mean: ClassVar[list[float] | None] = [0.4914, 0.4822, 0.4465]
    default_std: ClassVar[list[float] | None] = [0.6069, 0.5982, 0.6030]
    torchvision_class: ClassVar[type[torchvision.datasets.CIFAR10]] = torchvision.datasets.CIFAR10

    def download(self, root: Path) -> None:
        """Lets torchvision fetch, check and unpack the archive."""
        self.torchvision_class(str(root), download=True)

    def unpack(self, file: Path, root: Path) -> None:
        """Unpacks the archive where it is the published one."""
        with file.open("rb"):
            pass  # a file that is missing or can't be opened says so
        if not check_integrity(str(file), self.torchvision_class.tgz_md5):
            raise ValueError("its checksum is not that of the published file")
        extract_archive(str(file), str(root))

    def read(self, root: Path, train: bool) -> tuple[Tensor, Tensor]:
        """Returns a split's images and classes, whose every file torchvision has checked by its checksum."""
        try:
            dataset = self.torchvision_class(str(root), train=train)
        except Exception as error:  # of damaged files it does not say which
            culprit = self._culprit(root / self.folder)
            if culprit is None:
                raise
            raise culprit from error
        return torch.from_numpy(dataset.data).permute(0, 3, 1, 2), torch.tensor(dataset.targets)

    def _culprit(self, folder: Path) -> DamagedFileError | None:
        official = self.torchvision_class
        about = (official.meta["filename"], official.meta["md5"])
        for name, checksum in (*official.train_list, *official.test_list, about):
            try:
                if not check_integrity(folder / name, checksum):
                    missing = not (folder / name).exists()
                    problem = "is missing" if missing else "is damaged: its checksum is not that of the published file"
                    return DamagedFileError(name, problem)
            except OSError as error:
                return DamagedFileError(name, f"can't be read ({reason(error)})")
        return None


class CIFAR100DataModule(CIFAR10DataModule):
    """50,000 + 10,000 colour pictures of 32 × 32 pixels in 100 classes (Krizhevsky 2009).

    Normalised with the constants of CIFAR-10, as in the paper. ``mirror`` may name a folder with
    ``cifar-100-python.tar.gz``. The other arguments are those of :class:`bioplausible.data.PublishedDataModule`.
    """

    title = "CIFAR-100"
    folder = raw_folder = "cifar-100-python"
    raw_files: ClassVar[list[str]] = [torchvision.datasets.CIFAR100.filename]
    num_classes = 100
    class_names = HUNDRED_CLASSES
    torchvision_class = torchvision.datasets.CIFAR100
