"""A user's own picture files, in a folder for each class."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from bioplausible.data.own import PARTS, OwnDataModule, expanded, require_splittable, test_count
from bioplausible.data.picture_shape import Pictures
from bioplausible.errors import UserError
from bioplausible.errors.checks import require

NO_SAMPLES = ("thumbs.db", "desktop.ini")
"""Files that Windows leaves in folders of pictures."""


class ImageFolderDataModule(OwnDataModule):
    """Pictures in a folder for each class, whose name is the class's: ``FOLDER/cat/1.png``, ``FOLDER/dog/2.jpg``.

    Where ``FOLDER`` has ``train`` and ``test``, and maybe ``val``, these are the parts, each with a folder a class.
    Else a fifth of each class's pictures, at least one, is the test part: which ones is told by their names alone, so
    it is the same on every machine and in every run. Files are found as torchvision's ``ImageFolder`` finds them;
    files and folders whose names begin with a dot are passed over, and of other files a warning tells.

    Pixels are brought to [0, 1]: of eight bits divided by 255, of sixteen by 65,535.

    Args:
        folder: the folder; ``~`` is the home folder.
        size: side of the square, or [height, width], to which pictures are brought, whatever their proportions; None:
            they all have one size.
        channels: 1 for brightness, 3 for colours; None: as the first picture.
        standardise: as that of :class:`bioplausible.data.own.OwnDataModule`.
        **options: those of :class:`bioplausible.data.ImageDataModule`.

    Raises:
        UserError: there are no such folders, or a picture can't be read or differs from the others.
    """

    def __init__(
        self,
        folder: str,
        size: int | list[int] | None = None,
        channels: int | None = None,
        standardise: bool = False,
        **options: Any,
    ) -> None:
        self.folder = expanded("folder", folder)
        self._parts = _parts(self.folder)
        self.own_validation, self._own_test = "val" in self._parts, "test" in self._parts
        for part in self._parts.values():
            _warn_of_unread(part)
        files = _files(self._parts["train"])
        names = sorted(files)
        self._pictures = Pictures(files[names[0]][0], size, channels)
        self.stretches = self._pictures.resizes
        self.found(self._pictures.shape, names)
        if not self._own_test:
            each = [name for name in names for _ in files[name]]
            require_splittable(each, str(self.folder), "add more, or give folders train and test")
        super().__init__(standardise=standardise, **options)

    def place(self, part: str) -> str:
        """Returns the part's folder."""
        return str(self._parts.get(part, self.folder))

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Returns a part's images (N × channels × height × width) and classes (N).

        Raises:
            UserError: a picture can't be read or has another shape, or the test part has other classes.
        """
        if self._own_test:
            return self._load_part("train" if train else "test")
        files = _files(self._parts["train"])
        chosen = {name: _share(self._parts["train"], files[name], train) for name in files}
        return self._read(chosen)

    def load_validation(self) -> tuple[Tensor, Tensor]:
        """Returns the part for validation."""
        return self._load_part("val")

    def _load_part(self, part: str) -> tuple[Tensor, Tensor]:
        files = _files(self._parts[part])
        unknown = sorted(set(files) - set(self.class_names))
        require(
            not unknown,
            f"{self._parts[part]} has the class {', '.join(unknown)}, which {self._parts['train']} has not: give both"
            " the same folders.",
        )
        return self._read(files)

    def _read(self, files: dict[str, list[str]]) -> tuple[Tensor, Tensor]:
        labelled = [(file, label) for label, name in enumerate(self.class_names) for file in files.get(name, [])]
        images = torch.empty(len(labelled), *self._pictures.shape)
        for i, (file, _) in enumerate(labelled):
            images[i] = self._pictures.read(file)
        return images, torch.tensor([label for _, label in labelled])


class _Classes(ImageFolder):  # type: ignore[misc]  # torchvision says no types
    """torchvision's, without hidden folders and files."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), is_valid_file=lambda file: _is_picture(Path(file), folder), allow_empty=True)

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        names = sorted(entry.name for entry in Path(directory).iterdir() if entry.is_dir() and entry.name[0] != ".")
        return names, {name: k for k, name in enumerate(names)}


def _parts(folder: Path) -> dict[str, Path]:
    """Returns the parts' folders.

    Raises:
        UserError: the folder can't be read, or has a part for the test or validation without one for training.
    """
    try:
        below = {entry.name.lower(): entry for entry in folder.iterdir() if entry.is_dir()}
    except OSError as error:
        raise UserError(f"The folder {folder} can't be read ({error.strerror}): name another one.") from error
    found = {part: [below[name] for name in names if name in below] for part, names in PARTS.items()}
    if not found["train"]:
        others = [str(path) for part in ("test", "val") for path in found[part]]
        require(
            not others,
            f"{folder} has {' and '.join(others)}, but no folder train beside: add it, or rename a class of that name.",
        )
        return {"train": folder}
    parts = {}
    for part, paths in found.items():
        require(len(paths) < 2, f"{folder} has {' and '.join(map(str, paths))}: leave one of them out.")
        if paths:
            parts[part] = paths[0]
    others = sorted(name for name in below if name[0] != "." and below[name] not in parts.values())
    require(
        not others,
        f"{folder} has the folders {', '.join(others)} beside {parts['train']}: put folders of classes into train,"
        " test or val.",
    )
    return parts


def _files(folder: Path) -> dict[str, list[str]]:
    """Returns the pictures of each class by their names.

    Raises:
        UserError: there are none.
    """
    try:
        found = _Classes(folder)
    except OSError as error:
        raise UserError(f"The folder {folder} can't be read ({error.strerror}): name another one.") from error
    except ValueError as error:  # of a folder without folders
        raise UserError(
            f"{folder} has no folder of a class: put the pictures of each class into one, as {folder}/cat/1.png."
        ) from error
    files: dict[str, list[str]] = {name: [] for name in found.classes}
    for file, label in found.samples:
        files[found.classes[label]].append(file)
    empty = [name for name, of_class in files.items() if not of_class]
    require(
        not empty,
        f"{folder} has no pictures in {', '.join(empty)}: add some (.png, .jpg, …), or remove the folder.",
    )
    return files


def _is_picture(file: Path, folder: Path) -> bool:
    """Returns whether a file's name is a picture's, and nothing in its path below a folder is hidden."""
    return file.suffix.lower() in IMG_EXTENSIONS and not _is_hidden(file, folder)


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(name[0] == "." for name in file.relative_to(folder).parts)


def _warn_of_unread(folder: Path) -> None:
    """Warns where there are files that look like samples to a user and are none."""
    unread = sorted(
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if not (file.parent != folder and _is_picture(file, folder))
        and file.name.lower() not in NO_SAMPLES
        and not _is_hidden(file, folder)
        and file.is_file()
    )
    *endings, last = sorted(IMG_EXTENSIONS)
    if unread:
        rank_zero_warn(
            f"{folder} has {len(unread)} file{'s' * (len(unread) > 1)} that {'are' if len(unread) > 1 else 'is'} not"
            f" read, such as {unread[0]}: a picture lies in a class's folder, and its name ends in"
            f" {', '.join(endings)} or {last}."
        )


def _share(folder: Path, files: Sequence[str], train: bool) -> list[str]:
    """Returns those of a class's files that are for training, or for the test, as the hashes of their names say."""

    def key(file: str) -> bytes:
        return hashlib.sha256(Path(file).relative_to(folder).as_posix().encode()).digest()

    ordered = sorted(files, key=key)
    held_out = test_count(len(ordered))
    return sorted(ordered[held_out:] if train else ordered[:held_out])
