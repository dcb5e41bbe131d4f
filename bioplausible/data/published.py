"""Published data sets, of which every file is known."""

import os
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC, EROFS
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from bioplausible.data.base import ImageDataModule
from bioplausible.data.own import expanded
from bioplausible.errors import UserError


class DamagedFileError(Exception):
    """A file of a data set is not what it should be.

    Args:
        name: the file's name.
        problem: what is wrong with it, as ``is missing``.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} {problem}")
        self.name = name
        self.problem = problem


class PublishedDataModule(ImageDataModule):
    """A data set in torchvision's layout below ``data_dir``, fetched there where it is missing.

    Args:
        data_dir: folder that holds the data sets in torchvision's layout, or the data set's own folder there, as
            ``data/MNIST`` or ``data/MNIST/raw``; ``~`` is the home folder.
        mirror: folder with the raw files under their published names, to take them from; None: the official source.
        **options: those of :class:`bioplausible.data.ImageDataModule`.

    Raises:
        UserError: ``~`` names the home folder of nobody, or an option is outside its range.
    """

    title: ClassVar[str]
    folder: ClassVar[str]
    """What torchvision makes below ``data_dir``."""
    raw_folder: ClassVar[str]
    """Where the unpacked files lie below ``data_dir``."""
    raw_files: ClassVar[list[str]]
    """The published files."""
    debian_package: ClassVar[str | None] = None
    sizes: ClassVar[dict[bool, int]]
    """Number of images of the training split (True) and of the test split (False)."""

    def __init__(self, data_dir: str = "data", mirror: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.data_dir = expanded("data_dir", data_dir)
        self.mirror = None if mirror is None else expanded("mirror", mirror)

    @property
    def root(self) -> Path:
        """The folder that holds the data set's own: ``data_dir``, or one above it where that is the data set's own."""
        own = Path(self.raw_folder).parts
        if not _has_content(self.data_dir / self.folder):
            # links keep their names, unless what they lead to is the folder
            for here in (Path(os.path.normpath(self.data_dir.absolute())), self.data_dir.resolve()):
                for depth in range(len(own), 0, -1):
                    above = here.parents[depth - 1]
                    if here.parts[-depth:] == own[:depth] and _has_content(above / self.raw_folder):
                        return above
        return self.data_dir

    @abstractmethod
    def download(self, root: Path) -> None:
        """Fetches the published files from their official source and unpacks them below ``root``."""

    @abstractmethod
    def unpack(self, file: Path, root: Path) -> None:
        """Unpacks a published file below ``root``; raises whatever is wrong with it."""

    @abstractmethod
    def read(self, root: Path, train: bool) -> tuple[Tensor, Tensor]:
        """Returns a split's images (N × channels × height × width), uint8, and classes (N), int64, from below ``root``.

        Raises:
            DamagedFileError: a file is missing or damaged.
        """

    def prepare_data(self) -> None:
        """Fetches the files where they are missing.

        They are fetched aside, checked, and renamed when they are complete and sound: a failure, a crash or a second
        process leaves no half of a data set.

        Raises:
            UserError: the files can't be fetched, or are not those of this data set, or ``data_dir`` can't be written.
        """
        wanted = self.root / self.folder
        try:
            if wanted.exists():
                return
            self.data_dir.mkdir(parents=True, exist_ok=True)
            aside = Path(tempfile.mkdtemp(prefix=f".{self.folder}-", dir=self.data_dir))
        except OSError as error:
            raise self._not_written(error) from error
        try:
            self._fetch(aside)
            (aside / self.folder).rename(wanted)
        except OSError as error:
            if not wanted.exists():  # else another process was faster
                raise self._not_written(error) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _fetch(self, root: Path) -> None:
        if self.mirror is None:
            with self._explained(f"{self.title} could not be fetched"):
                self.download(root)
        else:
            (root / self.raw_folder).mkdir(parents=True, exist_ok=True)
            for name in self.raw_files:
                file = self.mirror / name
                with self._explained(f"{self.title}'s file {file} is missing or damaged"):
                    self.unpack(file, root)
        for train in (True, False):
            try:
                self.read(root, train)
            except DamagedFileError as error:
                source = self.mirror or "its official source"
                raise UserError(
                    f"{self.title}'s file {error.name} from {source} {error.problem}: {self._cure()}."
                ) from error

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Returns a split's images and classes, checked for number, shape and range.

        Raises:
            UserError: a file is missing, damaged, or not of this data set.
        """
        try:
            images, labels = self.read(self.root, train)
        except DamagedFileError as error:
            raise UserError(
                f"{self.title}'s file {self.root / self.raw_folder / error.name} {error.problem}: delete the"
                f" folder {self.root / self.folder}, so that its files are fetched anew."
            ) from error
        return images.float().div_(255), labels

    def _cure(self) -> str:
        package = f" (Debian's package {self.debian_package} has them)" if self.debian_package else ""
        files = ", ".join(self.raw_files)
        return f"put the published {files}{package} into one folder and name it with --data.init_args.mirror"

    def _not_written(self, error: OSError) -> UserError:
        return UserError(
            f"The data folder {self.data_dir} can't be written to ({error.strerror}): choose another with"
            " --data.init_args.data_dir."
        )

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turns whatever fetching and unpacking can raise (network, gzip, tar) into one sentence."""
        try:
            yield
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT, EROFS):
                raise
            raise UserError(f"{what} ({reason(error)}): {self._cure()}.") from error


def _has_content(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError:
        return False


def reason(error: Exception) -> str:
    """Returns what an error says of itself, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (error.strerror if isinstance(error, OSError) else None) or (lines[-1] if lines else type(error).__name__)
