"""Small data in the forms that the data modules read: files, folders, tables, classes of a user's own."""

import csv
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bioplausible import ImageDataModule

SEED = 4
"""Of all numbers here."""


class Given(ImageDataModule):
    """A user's own module, which returns what it was given."""

    image_shape = (2, 4, 3)
    num_classes = 3
    form = "float32"

    def load(self, train: bool) -> tuple[Any, Any]:
        n = 24 if train else 9
        draw = np.random.RandomState(SEED + train)
        images, classes = draw.rand(n, *self.loaded_shape), draw.randint(3, size=n)
        return FORMS[self.form](images, classes)


def _tensors(images: Any, classes: Any, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(images).to(dtype), torch.from_numpy(classes)


FORMS: dict[str, Any] = {
    "float32": _tensors,
    "float64": lambda x, y: _tensors(x, y, torch.float64),
    "float16": lambda x, y: _tensors(x, y, torch.float16),
    "booleans": lambda x, y: (torch.from_numpy(x > 0.5), y > 0),
    "arrays": lambda x, y: (x, y.astype(np.uint8)),
    "big-endian": lambda x, y: (x.astype(">f8"), y.astype(">i4")),
    "lists": lambda x, y: [x.tolist(), y.tolist()],
    "classes as a column": lambda x, y: (x, y[:, None]),
    "whole floats as classes": lambda x, y: (x, y.astype(float)),
    "one-hot": lambda x, y: (x, np.eye(3)[y]),
    "nearly one-hot": lambda x, y: (x, np.eye(3)[y] * 0.9),
    "bytes": lambda x, y: ((x * 255).astype(np.uint8), y),
    "beyond white": lambda x, y: (x * 1.01, y),
    "below black": lambda x, y: (x - 0.01, y),
    "NaN": lambda x, y: (np.where(x == x.flat[5], np.nan, x), y),
    "classes from 1": lambda x, y: (x, y + 1),
    "halves as classes": lambda x, y: (x, y / 2),
    "another shape": lambda x, y: (x[..., 1:], y),
    "fewer classes": lambda x, y: (x, y[1:]),
    "nothing": lambda x, y: (x[:0], y[:0]),
    "three fields": lambda x, y: (x, y, y),
    "a dictionary": lambda x, y: {"x": x, "y": y},
    "text": lambda x, y: ("images", y),
}
"""What ``load`` may return, right and wrong."""


class OneChannel(Given):
    """The same without colours, whose images may lack the dimension of their one channel."""

    image_shape = (1, 4, 3)

    def load(self, train: bool) -> tuple[Any, Any]:
        images, classes = super().load(train)
        return images[:, 0], classes


# --------------------------------------------------------------------------------------------- torchvision's own form


class Undivided:
    """Pictures in torchvision's form that are not told a part."""

    classes: Sequence[str] = ("circle", "square", "star")
    shift = 0

    def __init__(self, root: str, offset: int = 0) -> None:
        n = 30 - 12 * self.shift
        draw = np.random.RandomState(SEED + self.shift)
        self.pixels = draw.randint(256, size=(n, *self.shape), dtype=np.uint8)
        self.targets = [(int(t) + offset) for t in draw.randint(3, size=n)]

    shape: tuple[int, ...] = (4, 5)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> tuple[Image.Image, Any]:
        return Image.fromarray(self.pixels[i]), self.targets[i]


class ToldTrain(Undivided):
    """Told whether it is for training; in colours, and its first class is empty."""

    shape = (4, 5, 3)
    classes = ("nothing", "circle", "square", "star")

    def __init__(self, root: str, train: bool = True) -> None:
        self.shift = 0 if train else 1
        super().__init__(root, offset=1)


class ToldSplit(Undivided):
    """Told a split by its name."""

    def __init__(self, root: str, split: str = "train") -> None:
        self.shift = ["train", "test", "extra"].index(split)
        super().__init__(root)


class Unequal(ToldSplit):
    """With a picture of another size."""

    def __getitem__(self, i: int) -> tuple[Image.Image, Any]:
        picture, label = super().__getitem__(i)
        return (picture.resize((6, 7)) if i == 3 else picture), label


class Vague:
    """Not pictures with one class each."""

    def __init__(self, root: str) -> None:
        self.targets = [0, 1]

    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> tuple[str, int]:
        return "picture", i


# ------------------------------------------------------------------------------------------------------------- arrays


def numbers(n: int, *shape: int, seed: int = SEED) -> tuple[Any, Any]:
    """Returns numbers in [0, 1) and classes 0 … 2, each of them there."""
    draw = np.random.RandomState(seed)
    return draw.rand(n, *shape), np.concatenate([np.arange(3), draw.randint(3, size=n - 3)])


def write_arrays(folder: Path) -> dict[str, Path]:
    """Writes files of arrays, right and wrong, and returns them by what they are."""
    folder.mkdir(parents=True)
    x, y = numbers(30, 4, 5)
    v, _ = numbers(30, 4)
    colours, _ = numbers(30, 3, 4, 3)
    words = np.array(["oak", "ash", "yew"])[y]
    parts = {"x_test": numbers(9, 4, 5, seed=5)[0], "y_test": numbers(9, seed=5)[1]}
    validated = {"val_images": numbers(12, 4, 5, seed=6)[0], "val_labels": numbers(12, seed=6)[1]}
    found: dict[str, dict[str, Any]] = {
        "images": {"x": x, "y": y},
        "pixels": {"images": (x * 255).astype(np.uint8), "labels": y},
        "dark pixels": {"x": (x * 127).astype(np.uint8), "y": y},
        "with channels": {"x": colours, "y": y},
        "channels last": {"Data": colours[:, :, :, :2].transpose(0, 2, 3, 1)[..., :1], "Target": y},
        "vectors": {"x": v * 6 - 3, "y": words},
        "whole vectors": {"x": (v * 90).astype(np.int16), "y": y},
        "a constant": {"x": v * [1, 1, 0, 1] + [0, 0, 7, 0], "y": y.astype(float)},
        "booleans": {"x": x > 0.5, "y": np.eye(3)[y]},
        "named": {"x": x.astype(">f4"), "y": y[:, None], "class_names": np.array(["b", "a", "c"])},
        "numbers as words": {"x": x, "y": np.array(["10", "9", "2"])[y]},
        "with a test part": {"x_train": x, "y_train": y, **parts},
        "with all parts": {"x_train": x, "y_train": y, **parts, **validated},
        "with a part for validation": {"x": x, "y": y, **validated},
        "another pixel": {"x": np.where(x == x[7, 1, 2], 0.5, x), "y": y},
        "an unknown name": {"x": x, "y": y, "z": y},
        "the same twice": {"x": x, "train_data": x, "y": y},
        "no classes": {"x": x},
        "a gap": {"x": x, "y": y * 2},
        "from 1": {"x": x, "y": y + 1},
        "one class": {"x": x, "y": y * 0},
        "a single sample": {"x": x, "y": np.where(np.arange(30) == 4, 3, y)},
        "beyond 1": {"x": x * 2, "y": y},
        "NaN": {"x": np.where(x == x[7, 1, 2], np.nan, x), "y": y},
        "infinite vectors": {"x": np.where(v == v[3, 1], np.inf, v), "y": y},
        "complex": {"x": x + 1j, "y": y},
        "one dimension": {"x": x[:, 0, 0], "y": y},
        "fewer classes": {"x": x, "y": y[2:]},
        "a name twice": {"x": x, "y": y, "class_names": np.array(["a", "b", "a"])},
        "another shape in the test": {"x_train": x, "y_train": y, **parts, "x_test": parts["x_test"][:, 1:]},
        "another type in the test": {"x_train": (x * 255).astype(np.uint8), "y_train": y, **parts},
        "another class in the test": {"x_train": v, "y_train": words, "x_test": v[:2], "y_test": ["oak", "fir"]},
    }
    files = {name: folder / f"{name.replace(' ', '_')}.npz" for name in found}
    for name, arrays in found.items():
        np.savez(files[name], **arrays)
    files["a pair"] = folder / "pair.pt"
    torch.save((torch.from_numpy(x), torch.from_numpy(y)), files["a pair"])
    files["a dictionary"] = folder / "dictionary.pt"
    torch.save({"x": torch.from_numpy(x).half(), "y": words.tolist()}, files["a dictionary"])
    files["another kind"] = folder / "arrays.mat"
    files["no file"] = folder / "none.npz"
    return files


# ------------------------------------------------------------------------------------------------------------- tables


def write_tables(folder: Path) -> dict[str, Path]:
    """Writes CSV files, right and wrong, and returns them by what they are."""
    folder.mkdir(parents=True)
    x, y = numbers(30, 3)
    rows = [[i, *(f"{cell:.4f}" for cell in x[i]), ("oak", "ash", " yew ")[y[i]]] for i in range(30)]
    of_test = [[i, *(f"{1 - float(cell):.4f}" for cell in row[1:-1]), row[-1]] for i, row in enumerate(rows[:9])]
    names = ["row", "height", "width", "age", "kind"]
    first = [[row[-1], *row[1:-1]] for row in rows]
    found: dict[str, tuple[Iterable[Sequence[Any]], str]] = {
        "table": ([names, *rows], ","),
        "test": ([names, *of_test], ","),
        "semicolons": ([names, *rows], ";"),
        "without names": ([row[1:] for row in rows], ","),
        "class first": ([["kind", *names[1:4]], *first], ","),
        "whole numbers": ([names[1:], *[[*map(int, x[i] * 9), int(y[i])] for i in range(30)]], ","),
        "numbers as classes": ([names[1:], *[[*x[i], (10, 9, 2)[y[i]]] for i in range(30)]], ","),
        "a constant": ([names[1:], *[[x[i, 0], 7, x[i, 1], y[i]] for i in range(30)]], ","),
        "numbered": ([["0", "1", "2"], *[[*x[i, :2], y[i]] for i in range(30)]], ","),
        "a gap": ([names, *rows[:4], [4, "", 1, 2, "oak"], *rows], ","),
        "infinite": ([names, *rows, [4, "inf", 1, 2, "oak"]], ","),
        "a short row": ([names, *rows, rows[0][:-1]], ","),
        "no class": ([names, *rows, [*rows[0][:-1], ""]], ","),
        "a name twice": ([["row", "age", "width", "age", "kind"], *rows], ","),
        "an index": ([["", *names[1:]], *rows], ","),
        "names alone": ([names], ","),
        "a single sample": ([names, *rows, [*rows[0][:-1], "fir"]], ","),
        "other columns": ([[*names[:3], "weight", "kind"], *of_test], ","),
        "another class": ([names, *of_test, [*rows[0][:-1], "fir"]], ","),
    }
    files = {name: folder / f"{name.replace(' ', '_')}.csv" for name in found}
    for name, (lines, separator) in found.items():
        with files[name].open("w", newline="") as file:
            csv.writer(file, delimiter=separator).writerows(lines)
    files["empty"] = folder / "empty.csv"
    files["empty"].write_text("\n")
    files["no file"] = folder / "none.csv"
    return files


# ------------------------------------------------------------------------------------------------------------- pictures


def write_pictures(folder: Path, n: int, *shape: int, seed: int = SEED, dtype: Any = np.uint8) -> None:
    """Writes pictures of random pixels, PNG for it loses nothing, into a folder."""
    folder.mkdir(parents=True)
    draw = np.random.RandomState(seed)
    for i in range(n):
        pixels = draw.randint(np.iinfo(dtype).max + 1, size=shape).astype(dtype)
        Image.fromarray(pixels).save(folder / f"{i}.png")


def write_folders(root: Path) -> dict[str, Path]:
    """Writes folders of pictures, right and wrong, and returns them by what they are."""
    folders = {
        name: root / name.replace(" ", "_")
        for name in ("undivided", "colours", "sixteen bits", "of two sizes", "with colours in one", "empty class")
    }
    folders |= {name: root / name.replace(" ", "_") for name in ("parts", "test part", "one class", "lone test")}
    folders |= {name: root / name.replace(" ", "_") for name in ("single", "nothing", "beside", "twice", "none")}
    for k, name in enumerate(("cat", "dog", "eel")):
        write_pictures(folders["undivided"] / name, 8 + k, 4, 5, seed=k)
        write_pictures(folders["colours"] / name, 6, 4, 5, 3, seed=k)
        write_pictures(folders["sixteen bits"] / name, 6, 4, 5, seed=k, dtype=np.uint16)
        for part, n in (("Train", 7), ("valid", 4), ("testing", 3)):
            write_pictures(folders["parts"] / part / name, n + k, 4, 5, seed=10 * n + k)
        for part, n in (("training", 7), ("test", 3)):
            write_pictures(folders["test part"] / part / name, n + k, 4, 5, seed=10 * n + k)
        write_pictures(folders["lone test"] / "test" / name, 2, 4, 5)
    shutil.copytree(folders["undivided"], folders["of two sizes"])
    write_pictures(folders["of two sizes"] / "fox", 3, 6, 7)
    shutil.copytree(folders["undivided"], folders["with colours in one"])
    write_pictures(folders["with colours in one"] / "fox", 3, 4, 5, 3)
    shutil.copytree(folders["undivided"], folders["empty class"])
    (folders["empty class"] / "fox").mkdir()
    (folders["undivided"] / ".hidden").mkdir()
    write_pictures(folders["one class"] / "cat", 4, 4, 5)
    shutil.copytree(folders["undivided"], folders["single"])
    write_pictures(folders["single"] / "fox", 1, 4, 5)
    folders["nothing"].mkdir()
    shutil.copytree(folders["test part"], folders["beside"])
    write_pictures(folders["beside"] / "cat", 2, 4, 5)
    shutil.copytree(folders["test part"], folders["twice"])
    write_pictures(folders["twice"] / "train" / "cat", 2, 4, 5)
    folders["another class"] = root / "another_class"
    shutil.copytree(folders["test part"], folders["another class"])
    write_pictures(folders["another class"] / "test" / "fox", 2, 4, 5)
    return folders
