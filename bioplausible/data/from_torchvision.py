"""Any classification data set of torchvision's, or of its form, by the path of its class."""

import inspect
import pkgutil
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torchvision.datasets
from PIL import Image
from torch import Tensor

from bioplausible.data.mnist import owner_of
from bioplausible.data.own import OwnDataModule, expanded, require_splittable, split_by_class
from bioplausible.data.picture_shape import Pictures
from bioplausible.errors import UserError
from bioplausible.errors.checks import require
from bioplausible.training.batch import Source, as_classes

OF_THE_SAME_NAMES = {
    torchvision.datasets.MNIST: "MNIST",
    torchvision.datasets.FashionMNIST: "Fashion-MNIST",
    torchvision.datasets.KMNIST: "Kuzushiji-MNIST",
}
"""The data sets whose files have one another's names, of which torchvision reads any that lie there."""


class TorchvisionDataModule(OwnDataModule):
    """A data set of torchvision's that gives pairs (picture, class), such as ``KMNIST``, ``EMNIST``, ``SVHN``.

    Of a data set that is told ``train`` (true or false) or ``split`` these are the parts; of one that is told neither,
    a fixed fifth of each class is the test part. Files are looked for below ``data_dir``, and fetched there where the
    data set can do so. Classes of which there is no sample for training, as the first one of EMNIST's letters, are left
    out. EMNIST's pictures, whose rows torchvision takes for columns, are turned upright.

    Args:
        dataset: the class: its name in ``torchvision.datasets``, or the path of one in the same form.
        data_dir: folder that holds the data sets in torchvision's layout; ``~`` is the home folder.
        dataset_options: further arguments of the class, such as ``{split: letters}`` for EMNIST.
        splits: what the class calls its parts for training and for the test, where it is told ``split``.
        size: side of the square, or [height, width], to which pictures are brought; None: they all have one size.
        channels: 1 for brightness, 3 for colours; None: as the first picture.
        standardise: as that of :class:`bioplausible.data.own.OwnDataModule`.
        **options: those of :class:`bioplausible.data.ImageDataModule`.

    Raises:
        UserError: there is no such class, it refuses its arguments, its files are missing or damaged, or it gives
            something else than pictures with one class each.
    """

    def __init__(
        self,
        dataset: str,
        data_dir: str = "data",
        dataset_options: dict[str, Any] | None = None,
        splits: list[str] | None = None,
        size: int | list[int] | None = None,
        channels: int | None = None,
        standardise: bool = False,
        **options: Any,
    ) -> None:
        self.dataset = dataset
        self.data_dir = expanded("data_dir", data_dir)
        self._class = _class_of(dataset)
        self._options = dict(dataset_options or {})
        self._told = _told(self._class, self._options)
        require(
            splits is None or self._told == "split",
            f"splits is {splits}, but {dataset} is not told a split: leave it out.",
        )
        require(
            splits is None or len(splits) == 2, f"splits is {splits}: give two, that for training and for the test."
        )
        self._splits_named = splits or ["train", "test"]
        training = self._made(train=True)
        self._refuse_files_of_others(training)
        labels = _labels(training, self.place("train"))
        present = sorted(set(labels))
        self._numbers = {label: k for k, label in enumerate(present)}
        names = _names(training, present)
        first, _ = self._sample(training, 0)
        self._pictures = Pictures(first, size, channels, f"Picture 0 of {self.place('train')}")
        self.stretches = self._pictures.resizes
        self.found(self._pictures.shape, names)
        if self._told is None:
            require_splittable(
                [names[self._numbers[n]] for n in labels], self.place("train"), "choose another data set"
            )
        super().__init__(standardise=standardise, **options)

    def place(self, part: str) -> str:
        """Returns the data set's name."""
        return f"torchvision's {self._class.__name__}"

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Returns a part's images (N × channels × height × width) and classes (N).

        Raises:
            UserError: it holds something else than pictures of one shape, or the test part has other classes.
        """
        dataset = self._made(train or self._told is None)
        images = torch.empty(len(dataset), *self._pictures.shape)
        classes = torch.empty(len(dataset), dtype=torch.int64)
        for i in range(len(dataset)):
            picture, label = self._sample(dataset, i)
            require(
                label in self._numbers,
                f"{self.place('test')} has the class {label} in its test part, and no sample for training of it: leave"
                " the data set out.",
            )
            images[i] = self._pictures.read(picture, f"Picture {i} of {self.place('train')}")
            classes[i] = self._numbers[label]
        if self._told is None:
            chosen = split_by_class(classes)[0 if train else 1].sort().values
            images, classes = images[chosen], classes[chosen]
        return images, classes

    def _sample(self, dataset: Any, i: int) -> tuple[Image.Image, int]:
        """Returns a sample's picture, upright, and class."""
        picture, label = _picture(dataset[i], self.place("train"))
        # its files hold column after column; a network that learned so would misread a picture of one's own
        if issubclass(self._class, torchvision.datasets.EMNIST):
            picture = picture.transpose(Image.Transpose.TRANSPOSE)
        return picture, label

    def _made(self, train: bool) -> Any:
        """Returns a part of the data set, whose files are fetched where they are missing.

        They are fetched aside, and take their names when all are there: a failure, a crash or a second process leaves
        no half of a file.
        """
        told: dict[str, dict[str, Any]] = {
            "train": {"train": train},
            "split": {"split": self._splits_named[0 if train else 1]},
        }
        arguments = {**self._options, **(told[self._told] if self._told else {})}
        fetches = _takes(self._class, "download")
        try:
            return self._class(str(self.data_dir), **arguments, **({"download": False} if fetches else {}))
        except (RuntimeError, OSError) as error:
            if not fetches:
                raise self._refused(error) from error
        except Exception as error:
            raise self._refused(error) from error
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            aside = Path(tempfile.mkdtemp(prefix=f".{self._class.__name__}-", dir=self.data_dir))
        except OSError as error:
            raise UserError(
                f"The data folder {self.data_dir} can't be written to ({error.strerror}): choose another with"
                " --data.init_args.data_dir."
            ) from error
        try:
            self._class(str(aside), **arguments, download=True)
            for file in sorted(path for path in aside.rglob("*") if path.is_file()):
                target = self.data_dir / file.relative_to(aside)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
            return self._class(str(self.data_dir), **arguments, download=False)
        except Exception as error:
            raise UserError(
                f"{self.place('train')} is not whole below {self.data_dir}, and could not be fetched ({_said(error)}):"
                " put its files there in torchvision's layout, or name the folder that has them with"
                " --data.init_args.data_dir."
            ) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _refuse_files_of_others(self, dataset: Any) -> None:
        mine = OF_THE_SAME_NAMES.get(self._class)
        files = [] if mine is None else sorted(Path(dataset.raw_folder).glob("*-ubyte*"))
        for file in files:
            owner = owner_of(file)
            require(
                owner in (None, mine),
                f"{self.place('train')} has in its place the file {file}, which is {owner}'s: move the folder"
                f" {file.parent} away, so that its files are fetched, or name that data set.",
            )

    def _refused(self, error: Exception) -> UserError:
        return UserError(
            f"{self.place('train')} can't be read ({_said(error)}): name the folder that has its files with data_dir,"
            " or give what its class asks for in dataset_options."
        )


@lru_cache
def _class_of(name: str) -> Any:
    """Returns the class of a name.

    Raises:
        UserError: there is none, or it makes no data set.
    """
    path = name if "." in name else f"torchvision.datasets.{name}"
    try:
        found = pkgutil.resolve_name(path)
    except (AttributeError, ImportError, ValueError) as error:
        raise UserError(
            f"There is no data set {path}: name a class of torchvision.datasets, such as KMNIST, or the path of"
            " another."
        ) from error
    require(
        inspect.isclass(found) and hasattr(found, "__getitem__") and _takes(found, "root"),
        f"{path} is no data set in torchvision's form, which is told a root: name another class.",
    )
    return found


def _told(dataset: Any, options: dict[str, Any]) -> str | None:
    """Returns by which argument a data set is told its part: train, split or, where it is told none, None."""
    taken = {name for name in ("train", "split") if _takes(dataset, name)}
    told = "train" if "train" in taken else "split" if "split" in taken else None
    given_here = {told or "root", "root", "download", "transform", "target_transform", "transforms"}
    reserved = sorted(given_here & options.keys())
    require(
        not reserved,
        f"dataset_options has {', '.join(map(str, reserved))}, which the data module gives itself: leave it out.",
    )
    return told


def _takes(dataset: Any, name: str) -> bool:
    """Returns whether a class takes an argument, which it may pass on to its parent."""
    for base in dataset.__mro__[:-1]:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters
        if name in parameters:
            return True
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            return False
    return False


def _labels(dataset: Any, place: str) -> list[int]:
    """Returns every sample's class, without its pictures where the data set says them apart."""
    given = getattr(dataset, "targets", None)
    given = getattr(dataset, "labels", None) if given is None else given
    if given is None or len(given) != len(dataset):
        given = [_picture(dataset[i], place)[1] for i in range(len(dataset))]
    require(len(dataset) > 0, f"{place} has no samples: name another data set.")
    most = 2**31
    return [int(label) for label in as_classes(given, most, Source(place, "hold"))]


def _names(dataset: Any, present: list[int]) -> list[str]:
    """Returns the names of the classes that there are: those that the data set has for them, or their numbers."""
    known: Any = getattr(dataset, "classes", None)
    texts = isinstance(known, (list, tuple)) and all(isinstance(name, str) for name in known)
    if not texts or len(known) <= present[-1] or len(set(known)) < len(known):
        return list(map(str, present))
    return [known[label] for label in present]


def _picture(sample: Any, place: str) -> tuple[Image.Image, int]:
    """Returns a sample's picture and class.

    Raises:
        UserError: it is something else.
    """
    pair = isinstance(sample, (list, tuple)) and len(sample) == 2
    picture: Any
    label: Any
    picture, label = sample if pair else (None, None)
    is_class = isinstance(label, int) or (isinstance(label, Tensor) and label.ndim == 0)
    if hasattr(label, "item") and not is_class:
        is_class = getattr(label, "ndim", 1) == 0  # a number of NumPy's
    require(
        isinstance(picture, Image.Image) and is_class,
        f"{place} holds samples that are no pictures with one class each: name another data set.",
    )
    return picture, int(label)


def _said(error: Exception) -> str:
    """Returns what an error says of itself, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".:")
