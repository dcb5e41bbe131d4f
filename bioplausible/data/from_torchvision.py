"""Data sets whose files torchvision obtains and checks."""

import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from bioplausible.data.base import ImageDataModule
from bioplausible.errors import UserError


class TorchvisionDataModule(ImageDataModule):
    """A data set in torchvision's layout below ``data_dir``, fetched there where it is missing.

    Args:
        data_dir: folder that holds the data sets in torchvision's layout.
        mirror: folder with the raw files under their published names, to take them from; None: the official source.
        **options: those of :class:`bioplausible.data.ImageDataModule`.
    """

    title: ClassVar[str]
    folder: ClassVar[str]
    """What torchvision makes below ``data_dir``."""
    raw_folder: ClassVar[str]
    """Where torchvision puts the published files below ``data_dir``."""
    raw_files: ClassVar[list[str]]
    """The published files."""
    debian_package: ClassVar[str | None] = None
    sizes: ClassVar[dict[bool, int]]
    """Number of images of the training split (True) and of the test split (False)."""

    def __init__(self, data_dir: str = "data", mirror: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.data_dir = Path(data_dir)
        self.mirror = mirror

    @abstractmethod
    def dataset(self, root: Path, *, train: bool, download: bool) -> Any:
        """Returns torchvision's data set; with ``download`` it fetches and unpacks what is missing."""

    @abstractmethod
    def tensors(self, dataset: Any) -> tuple[Tensor, Tensor]:
        """Returns its images (N × channels × height × width), uint8, and classes (N), int64."""

    def prepare_data(self) -> None:
        """Fetches the files where they are missing.

        They are fetched aside and renamed when complete: a crash or a second process leaves no half of a data set.

        Raises:
            UserError: the files can't be fetched; it says what to put where.
        """
        if (self.data_dir / self.folder).exists():
            return
        with self._explained("not there and could not be fetched"):
            self.data_dir.mkdir(parents=True, exist_ok=True)
            aside = Path(tempfile.mkdtemp(prefix=f".{self.folder}-", dir=self.data_dir))
            try:
                if self.mirror is not None:
                    (aside / self.raw_folder).mkdir(parents=True, exist_ok=True)
                    for name in self.raw_files:
                        shutil.copyfile(Path(self.mirror) / name, aside / self.raw_folder / name)
                self.dataset(aside, train=True, download=True)
                (aside / self.folder).rename(self.data_dir / self.folder)
            except OSError:
                if not (self.data_dir / self.folder).exists():  # else another process was faster
                    raise
            finally:
                shutil.rmtree(aside, ignore_errors=True)

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Returns a split's images and classes, checked for number, shape and range.

        Raises:
            UserError: the files are missing, damaged, or not those of this data set.
        """
        with self._explained("missing or damaged"):
            images, labels = self.tensors(self.dataset(self.data_dir, train=train, download=False))
        expected = (self.sizes[train], *self.image_shape)
        low, high = int(labels.min()), int(labels.max())
        if tuple(images.shape) != expected or len(labels) != len(images) or low < 0 or high >= self.num_classes:
            raise UserError(
                f"{self.title} in {self.data_dir / self.folder} has images {tuple(images.shape)} and {len(labels)}"
                f" labels from {low} to {high}, not images {expected} and labels from 0 to {self.num_classes - 1}:"
                " delete that folder, so that the files are fetched anew."
            )
        return images.float().div_(255), labels

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turns whatever reading files can raise (network, gzip, tar, pickle, format) into one sentence."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            package = f" (Debian's package {self.debian_package} has them)" if self.debian_package else ""
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise UserError(
                f"{self.title}'s files are {what} in {self.data_dir / self.folder}: delete that folder if it exists,"
                f" put {', '.join(self.raw_files)}{package} into one folder and name it with --data.init_args.mirror."
                f" [{lines[-1].strip() if lines else type(error).__name__}]"
            ) from error
