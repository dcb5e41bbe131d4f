"""Data of a user's own: files as the user has them, written here, and what is wrong with some."""

import csv
import gzip
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
import torchvision.datasets
from hypothesis import given
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image
from sklearn.datasets import load_digits, load_wine
from torchvision.datasets.folder import IMG_EXTENSIONS

from bioplausible import (
    ArraysDataModule,
    ImageFolderDataModule,
    TableDataModule,
    TorchvisionDataModule,
    UserError,
)
from bioplausible.data import mnist
from bioplausible.data.arrays import ROLES
from bioplausible.data.own import PARTS
from tests.helpers import write_idx

DRAW = np.random.default_rng(0)
X, Y = DRAW.random((60, 5, 4), dtype=np.float32), np.arange(60) % 3


def split(data, name):
    """Returns a split's images and classes, train, val or test, loaded from the file."""
    data.setup("test" if name == "test" else "fit")
    found = data._splits[name]
    return found.images, found.labels


def rows(images):
    """Returns images as a set, to compare them in any order."""
    return {tuple(image.flatten().tolist()) for image in images}


def refused(call):
    """Returns the one sentence that a call is refused with."""
    with pytest.raises(UserError) as caught:
        call()
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said


def both(cls, **options):
    """Loads the parts for training and for the test."""
    data = cls(**options)
    for stage in ("fit", "test"):
        data.setup(stage)
    return data


# --------------------------------------------------------------------------------------------------------------- arrays


def names_of(role, part):
    words = sorted(ROLES[role])
    found = [f"{word}_{p}" for word in words for p in PARTS[part]] + [
        f"{p}_{word}" for word in words for p in PARTS[part]
    ]
    return found + (words if part == "train" else [])


@given(st.data(), st.sampled_from(["npz", "pt"]), st.booleans())
def test_every_name_of_an_array_says_what_it_holds(data, kind, capitals):
    parts = {"train": slice(0, 30), "val": slice(30, 45), "test": slice(45, 60)}
    arrays = {}
    for part, some in parts.items():
        for role, array in (("x", X), ("y", Y)):
            name = data.draw(st.sampled_from(names_of(role, part)))
            arrays[name.upper() if capitals else name] = array[some]
    file = f"arrays.{kind}"
    if kind == "npz":
        np.savez(file, **arrays)
    else:
        torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, file)
    module = ArraysDataModule(file)
    assert module.image_shape == (1, 5, 4)
    assert (module.num_classes, module.class_names) == (3, ("0", "1", "2"))
    for part, some in parts.items():
        images, labels = split(module, part)
        assert torch.equal(images[:, 0], torch.from_numpy(X[some]))
        assert labels.tolist() == Y[some].tolist()


@pytest.mark.parametrize("kind", ["npz", "pt"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64, np.int16, np.int32])
@pytest.mark.parametrize("one_hot", [False, True])
def test_whole_numbers_of_every_type_are_read(dtype, kind, one_hot):
    levels = (X * 200).astype(dtype)
    labels = (np.eye(3)[Y] if one_hot else Y).astype(dtype)
    if kind == "npz":
        np.savez("it.npz", x=levels, y=labels)
    else:
        torch.save({"x": torch.from_numpy(levels), "y": torch.from_numpy(labels)}, "it.pt")
    np.savez("expected.npz", x=levels.astype(np.float32) / 200, y=Y)
    for part in ("train", "test"):
        found, expected = (
            split(ArraysDataModule(file, scale=scale), part)
            for file, scale in ((f"it.{kind}", 200), ("expected.npz", None))
        )
        assert torch.allclose(found[0], expected[0])
        assert torch.equal(found[1], expected[1])


def test_whole_numbers_that_int64_does_not_hold_are_refused():
    np.savez("it.npz", x=np.full((9, 4), 2**63, dtype=np.uint64), y=np.arange(9) % 3)
    assert "2⁶³" in refused(lambda: ArraysDataModule("it.npz", scale=2.0**64))


def test_a_pair_of_tensors_is_samples_and_classes():
    torch.save((torch.from_numpy(X), torch.from_numpy(Y)), "pair.pt")
    np.savez("pair.npz", x=X, y=Y)
    for name in ("train", "test"):
        for one, other in zip(
            split(ArraysDataModule("pair.pt"), name), split(ArraysDataModule("pair.npz"), name), strict=True
        ):
            assert torch.equal(one, other)


@given(st.lists(st.integers(2, 23), min_size=2, max_size=5), st.integers(0, 99))
def test_without_a_test_part_a_fifth_of_each_class_is_the_same_whatever_the_seed(counts, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    vectors = np.arange(len(labels), dtype=np.float64)[:, None] * np.ones(3)
    np.savez("split.npz", x=vectors, y=labels)
    torch.manual_seed(seed)
    data = ArraysDataModule("split.npz")
    (train, _), (test, of_test) = split(data, "train"), split(data, "test")
    for label, count in enumerate(counts):
        assert int((of_test == label).sum()) == max(1, count // 5)
    assert rows(train) | rows(test) == rows(torch.from_numpy(vectors))
    assert not rows(train) & rows(test)
    assert [labels[int(v)] for v in test[:, 0, 0, 0]] == of_test.tolist()
    torch.manual_seed(seed + 1)
    assert torch.equal(split(ArraysDataModule("split.npz"), "test")[0], test)


def test_vectors_are_any_numbers_and_images_lie_between_black_and_white():
    np.savez("vectors.npz", x=X.reshape(60, 20) * 100 - 7, y=Y)
    data = ArraysDataModule("vectors.npz")
    assert (data.image_shape, data.input_size) == ((20, 1, 1), 20)
    assert rows(split(data, "train")[0]) <= rows(torch.from_numpy(X.reshape(60, 20) * 100 - 7))
    np.savez("images.npz", x=X * 255, y=Y)
    assert "pixels from 0" in refused(lambda: ArraysDataModule("images.npz").setup("fit"))
    assert split(ArraysDataModule("images.npz", scale=255), "train")[0].amax() <= 1
    np.savez("below.npz", x=X - 0.5, y=Y)
    np.savez("barely.npz", x=X * 1.02, y=Y)
    cures = {
        "images": "as by scale, such as scale: 255.",
        "below": "black being 0.",
        "barely": "as by clip(0, 1) where they lie barely beyond it.",
    }
    for name, cure in cures.items():
        said = refused(lambda name=name: ArraysDataModule(f"{name}.npz").setup("fit"))
        assert f"{name}.npz" in said
        assert said.endswith(f"bring them to [0, 1], {cure}")


@pytest.mark.parametrize("shape", [(3, 5, 4), (5, 4, 3), (1, 5, 4), (5, 4, 1), (3, 4, 3), (7, 5, 4)])
def test_channels_are_found_where_they_can_be_and_asked_for_where_not(shape):
    images = DRAW.random((60, *shape), dtype=np.float32)
    np.savez("channels.npz", x_train=images, y_train=Y, x_test=images, y_test=Y)
    known = (shape[0] in (1, 3)) != (shape[2] in (1, 3))
    if not known:
        assert "channels: first, or channels: last" in refused(lambda: ArraysDataModule("channels.npz"))
    for where in ("first", "last", *([None] if known else [])):
        last = where == "last" or (where is None and shape[2] in (1, 3))
        found, _ = split(ArraysDataModule("channels.npz", channels=where), "train")
        assert torch.equal(found, torch.from_numpy(images.transpose(0, 3, 1, 2) if last else images))


def test_whole_numbers_are_scaled_by_what_stands_for_white():
    eight_bits = (X * 255).round().astype(np.uint8)
    np.savez("bits.npz", x_train=eight_bits, y_train=Y, x_test=eight_bits // 4, y_test=Y)  # a darker test part
    data = ArraysDataModule("bits.npz")
    for name, expected in (("train", eight_bits), ("test", eight_bits // 4)):
        assert torch.allclose(split(data, name)[0][:, 0], torch.from_numpy(expected).float() / 255)
    for numbers, white in ((eight_bits // 16, 16), (eight_bits.astype(np.int64), 255)):
        np.savez("whole.npz", x=numbers, y=Y)
        assert f"such as scale: {white}." in refused(lambda: ArraysDataModule("whole.npz"))
        assert split(ArraysDataModule("whole.npz", scale=255), "train")[0].amax() <= 1
    np.savez("whole.npz", x=eight_bits.reshape(60, 20), y=Y)
    assert "scale" in refused(lambda: ArraysDataModule("whole.npz"))
    assert ArraysDataModule("whole.npz", standardise=True).input_size == 20


def test_classes_are_numbers_one_hot_rows_or_texts():
    for labels, names in (
        (Y.astype(float), ("0", "1", "2")),
        (Y[:, None], ("0", "1", "2")),
        (np.eye(3)[Y], ("0", "1", "2")),
        (np.array(["ant", "bee", "cow"])[Y], ("ant", "bee", "cow")),
        (np.array(["9", "10", "11"])[Y], ("9", "10", "11")),  # in the order of the numbers
    ):
        np.savez("classes.npz", x=X, y=labels)
        data = ArraysDataModule("classes.npz")
        assert data.class_names == names
        images, classes = split(data, "train")
        where = [int((torch.from_numpy(X) == image[0]).flatten(1).all(1).nonzero()) for image in images]
        assert classes.tolist() == Y[where].tolist()
    np.savez("classes.npz", x=X, y=Y, class_names=np.array(["c", "b", "a"]))
    assert ArraysDataModule("classes.npz").class_names == ("c", "b", "a")


def test_a_part_for_validation_is_validated_on_and_takes_nothing_from_training():
    np.savez("parts.npz", x=X[:40], y=Y[:40], x_val=X[40:], y_val=Y[40:], class_names=["a", "b", "c"])
    data = ArraysDataModule("parts.npz")
    assert data.has_validation
    (train, _), (val, labels), (test, _) = (split(data, name) for name in ("train", "val", "test"))
    assert rows(val) == rows(torch.from_numpy(X[40:]))
    assert labels.tolist() == Y[40:].tolist()
    assert rows(train) | rows(test) == rows(torch.from_numpy(X[:40]))
    assert len(list(data.val_dataloader())) == 1
    assert "validation_split is 0.1" in refused(lambda: ArraysDataModule("parts.npz", validation_split=0.1))
    both(ArraysDataModule, file="parts.npz").setup("validate")


WRONG_ARRAYS = {
    "no classes": ({"x": X}, "has no y_train, but x_train: add it."),
    "no samples": ({"y_test": Y, "x": X, "y": Y}, "has no x_test"),
    "nothing known": ({"pictures": X, "y": Y}, "has the array pictures, and it is not known what that is"),
    "a typing mistake": ({"x": X, "y": Y, "x_tset": X}, "the array x_tset"),
    "twice": ({"x": X, "x_train": X, "y": Y}, "has x and x_train, which both say the same"),
    "lengths": ({"x": X, "y": Y[:-1]}, "60 samples and 59 classes for training"),
    "lengths of the test": ({"x": X, "y": Y, "x_test": X, "y_test": Y[:9]}, "60 samples and 9 classes for the test"),
    "objects": ({"x": X, "y": np.array([1, "a", None] * 20, dtype=object)}, "y of wrong.npz holds Python objects"),
    "NaN": ({"x": np.where(X > 0.99, np.nan, X), "y": Y}, "x of wrong.npz has NaN or infinite numbers"),
    "infinite": ({"x": X.reshape(60, 20) / (X.reshape(60, 20) > 0.01), "y": Y}, "has NaN or infinite numbers"),
    "too large for float32": ({"x": X.reshape(60, 20).astype(float) * 1e300, "y": Y}, "has NaN or infinite numbers"),
    "complex": ({"x": X.astype(complex), "y": Y}, "holds complex numbers"),
    "texts": ({"x": X.astype(str), "y": Y}, "x of wrong.npz holds no real numbers"),
    "one number each": ({"x": X[:, 0, 0], "y": Y}, "x of wrong.npz has the shape (60,)"),
    "empty": ({"x": X[:0], "y": Y[:0]}, "has the shape (0, 5, 4)"),
    "classes from one": (
        {"x": X, "y": Y + 1},
        "the classes 1, 2, 3, and no sample for training of class 0: subtract 1",
    ),
    "a gap": ({"x": X, "y": Y * 2}, "no sample for training of class 1, 3: number them without a gap"),
    "fractions": ({"x": X, "y": Y / 2}, "y of wrong.npz holds classes that are no whole numbers"),
    "NaN as a class": ({"x": X, "y": np.where(Y == 1, np.nan, Y)}, "classes that are no whole numbers"),
    "negative": ({"x": X, "y": Y - 1}, "classes from -1 to 1: let it hold numbers from 0 to 1."),
    "no text": ({"x": X, "y": np.array(["a", "b", ""])[Y]}, "y of wrong.npz has an empty text as a class"),
    "no one-hot": ({"x": X, "y": np.ones((60, 3))}, "not one-hot"),
    "one class": ({"x": X, "y": Y * 0}, "has one class alone (0)"),
    "other classes": ({"x": X, "y": Y, "x_test": X, "y_test": Y + 1}, "y_test of wrong.npz holds classes from 1 to 3"),
    "other texts": (
        {"x": X, "y": np.array(list("abc"))[Y], "x_test": X, "y_test": np.array(list("abd"))[Y]},
        "y_test of wrong.npz has the class d, which is none of a, b, c",
    ),
    "other shape": ({"x": X, "y": Y, "x_test": X[:, :4], "y_test": Y}, "x_test of wrong.npz has samples of (4, 4)"),
    "other kind": (
        {"x": X, "y": Y, "x_test": (X * 255).astype(np.uint8), "y_test": Y},
        "x_test of wrong.npz has uint8 numbers and the part for training float32 ones",
    ),
    "one sample": ({"x": X[:4], "y": [0, 0, 1, 2]}, "has a single sample of the class 1"),
    "names twice": ({"x": X, "y": Y, "class_names": ["a", "a", "b"]}, "a name twice in class_names"),
    "too few names": (
        {"x": X, "y": Y, "class_names": ["a", "b"]},
        "classes from 0 to 2: let it hold numbers from 0 to 1, or name all classes in class_names.",
    ),
}


@pytest.mark.parametrize("what", WRONG_ARRAYS)
def test_what_is_wrong_with_arrays_is_one_sentence(what):
    arrays, said = WRONG_ARRAYS[what]
    np.savez("wrong.npz", **arrays)
    assert said in refused(lambda: both(ArraysDataModule, file="wrong.npz"))


class Code:
    """Would run as it is read."""

    def __reduce__(self):
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize("kind", ["npz", "pt"])
def test_nothing_in_a_file_is_run(kind):
    if kind == "npz":
        np.savez("code.npz", x=X, y=np.array([Code()] * 60, dtype=object))
    else:
        torch.save({"x": torch.from_numpy(X), "y": Code()}, "code.pt")
    assert "would run code" in refused(lambda: ArraysDataModule(f"code.{kind}"))
    assert not Path("ran").exists()


@pytest.mark.parametrize("kind", ["npz", "pt"])
def test_a_file_that_cannot_be_read_is_named(kind):
    file = Path(f"arrays.{kind}")
    assert "No such file" in refused(lambda: ArraysDataModule(str(file)))
    torch.save({"x": torch.from_numpy(X), "y": torch.from_numpy(Y)}, "whole.pt")
    np.savez("whole.npz", x=X, y=Y)
    whole = Path(f"whole.{kind}").read_bytes()
    middle = whole[: len(whole) // 2]
    for content in (b"", b"no arrays", middle, middle + b"x" + whole[len(middle) + 1 :]):
        file.write_bytes(content)
        assert str(file) in refused(lambda: ArraysDataModule(str(file)))
    assert "neither .npz nor .pt" in refused(lambda: ArraysDataModule("arrays.csv"))
    torch.save(torch.zeros(3), "other.pt")
    assert "holds a Tensor" in refused(lambda: ArraysDataModule("other.pt"))


def test_options_that_contradict_the_data_are_refused():
    np.savez("vectors.npz", x=X.reshape(60, 20), y=Y)
    for option in ({"border": 2}, {"crop_padding": 1}, {"horizontal_flip": True}):
        said = refused(lambda o=option: ArraysDataModule("vectors.npz", **o))
        assert f"The data are vectors, not images: leave out {next(iter(option))}." in said
    assert "standardise and mean" in refused(lambda: ArraysDataModule("vectors.npz", standardise=True, mean=[0.0] * 20))
    assert "scale is 0" in refused(lambda: ArraysDataModule("vectors.npz", scale=0))
    assert "leave it out" in refused(lambda: ArraysDataModule("vectors.npz", channels="last"))


# -------------------------------------------------------------------------------------------------------- standardising


@pytest.mark.parametrize("kind", ["table", "arrays", "images"])
@pytest.mark.parametrize("options", [{}, {"validation_split": 0.25}, {"validation_split": 0.25, "subset_size": 30}])
def test_standardising_is_by_what_is_trained_on_alone(kind, options):
    """The oracle takes the rows that are served for training; those held out and those for the test lie elsewhere."""
    vectors = DRAW.normal(3, 2, (60, 4))
    vectors[:, 3] = 0.1  # constant
    elsewhere = vectors * 5 + 100
    elsewhere[:, 3] = 0.1
    if kind == "table":
        for name, some in (("train.csv", vectors), ("test.csv", elsewhere)):
            np.savetxt(name, np.column_stack([some, Y]), delimiter=",", header="a,b,c,d,class", comments="")
        make = lambda s: TableDataModule("train.csv", test_file="test.csv", standardise=s, **options)  # noqa: E731
    else:
        scaled, other = (vectors, elsewhere) if kind == "arrays" else (vectors / 1000 + 0.2, elsewhere / 1000 + 0.2)
        if kind == "images":
            scaled, other = (a[:, :, None, None] * np.ones((1, 1, 3, 2)) for a in (scaled[:, :3], other[:, :3]))
        np.savez("a.npz", x=scaled, y=Y, x_test=other, y_test=Y)
        make = lambda s: ArraysDataModule("a.npz", standardise=s, **options)  # noqa: E731
    plain, _ = split(make(False), "train")
    values = plain.double().transpose(0, 1).flatten(1)
    mean, std = values.mean(1), values.std(1, correction=0)
    std[values.amax(1) == values.amin(1)] = 1
    for name in ("train", "val", "test"):
        expected = (split(make(False), name)[0].double() - mean[:, None, None]) / std[:, None, None]
        found, _ = split(make(True), name)  # each by a module that has loaded nothing else
        assert torch.allclose(found.double(), expected, atol=2e-4)


def of_digits(recwarn):
    """Returns what was warned of digits: other tests' files may be found open meanwhile."""
    return [said for warning in recwarn if "different numbers" in (said := str(warning.message))]


@pytest.mark.parametrize("kind", ["table", "arrays", "whole numbers", "mean and std"])
@pytest.mark.parametrize("first", [1_700_000_000, 1_700_000_000_000], ids=["seconds", "milliseconds"])
def test_large_numbers_keep_their_digits_where_they_are_standardised(kind, first, recwarn):
    """float32, in which the network computes, is spaced 128 at 1.7e9 and 131,072 at 1.7e12."""
    times = first + DRAW.permutation(60) * 2
    options = {"mean": [float(times.mean())], "std": [10.0]} if kind == "mean and std" else {"standardise": True}
    if kind == "table":
        write_table([["time", "kind"], *zip(times.tolist(), Y.tolist(), strict=True)])
        make = lambda: TableDataModule("table.csv")  # noqa: E731
    else:
        given = times if kind == "whole numbers" else times.astype(float)
        np.savez("a.npz", x=given[:, None], y=Y)
        make = lambda: ArraysDataModule("a.npz", **options)  # noqa: E731
    data = make()
    seen = split(data, "train")[0].flatten()
    test = split(make(), "test")[0].flatten()  # by a module that has loaded nothing else
    assert seen.dtype == test.dtype == torch.float32
    assert len(torch.cat([seen, test]).unique()) == 60
    expected = (times - data.mean[0]) / data.std[0]
    assert np.sort(torch.cat([seen, test])) == pytest.approx(np.sort(expected), rel=1e-6, abs=1e-6)
    assert not of_digits(recwarn)


@pytest.mark.parametrize("kind", ["table", "arrays"])
def test_a_column_whose_digits_are_lost_where_it_is_not_standardised_is_warned_of(kind, recwarn):
    numbers = np.stack([DRAW.normal(size=60), 1_700_000_000 + np.arange(60) * 2.0], 1)
    if kind == "table":
        write_table([["size", "time", "kind"], *([*row, y] for row, y in zip(numbers.tolist(), Y, strict=True))])
        data = TableDataModule("table.csv", standardise=False)
    else:
        np.savez("a.npz", x=numbers, y=Y)
        data = ArraysDataModule("a.npz")
    split(data, "train")
    (said,) = of_digits(recwarn)
    assert {"table": "table.csv has different numbers in column time ", "arrays": " in column 2 "}[kind] in said
    assert said.endswith("say standardise: true.")
    recwarn.clear()
    # of many numbers some differ beyond float32 alone
    np.savez("a.npz", x=DRAW.normal(size=(1250, 200)), y=np.arange(1250) % 2)
    split(ArraysDataModule("a.npz"), "train")
    assert not of_digits(recwarn)


# -------------------------------------------------------------------------------------------------------------- folders


def write_pictures(folder, counts, mode="L", size=(4, 5), suffix="png"):
    """Writes pictures of random pixels, and returns them by their paths."""
    pictures = {}
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = DRAW.integers(0, 256, (*size[::-1], *([3] if mode == "RGB" else [])), dtype=np.uint8)
            path = folder / name / f"{i}.{suffix}"
            Image.fromarray(pixels).save(path)
            pictures[path] = pixels
    return pictures


@pytest.mark.parametrize("further", [(), ("val",), ("test",), ("val", "test")], ids="_and_".join)
@pytest.mark.parametrize("kind", ["arrays", "pictures"])
def test_a_class_of_one_sample_is_refused_where_no_part_for_the_test_is_given(kind, further):
    if kind == "arrays":
        y = np.array([0] * 10 + [1])
        np.savez("few.npz", **{f"{n}_{part}": v for part in ("train", *further) for n, v in (("x", X[:11]), ("y", y))})
    else:
        for part in ("train", *further):
            write_pictures(Path("few", part), {"cat": 10, "dog": 1})
    make = {"arrays": lambda: ArraysDataModule("few.npz"), "pictures": lambda: ImageFolderDataModule("few")}[kind]
    if "test" in further:
        assert len(split(make(), "train")[0]) == 11
    else:
        assert "a single sample of the class" in refused(make)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_folder_of_pictures_is_split_by_the_names_of_its_files(mode):
    pictures = write_pictures(Path("pets"), {"cat": 11, "dog": 5, "emu": 2}, mode)
    Path("pets/.cache").mkdir()
    data = ImageFolderDataModule("pets")
    assert data.class_names == ("cat", "dog", "emu")
    assert data.image_shape == (3 if mode == "RGB" else 1, 5, 4)
    (train, of_train), (test, of_test) = split(data, "train"), split(data, "test")
    assert torch.bincount(of_test).tolist() == [2, 1, 1]
    assert torch.bincount(of_train).tolist() == [9, 4, 1]
    known = {
        tuple((torch.from_numpy(p).float() / 255).view(5, 4, -1).permute(2, 0, 1).flatten().tolist()): path.parent.name
        for path, p in pictures.items()
    }
    assert rows(train) | rows(test) == known.keys()
    for images, labels in ((train, of_train), (test, of_test)):
        assert [known[tuple(i.flatten().tolist())] for i in images] == [data.class_names[k] for k in labels]
    # the same elsewhere, and one more picture of a class changes nothing of the others
    shutil.copytree("pets", "elsewhere/pets")
    assert torch.equal(split(ImageFolderDataModule("elsewhere/pets"), "test")[0], test)
    write_pictures(Path("elsewhere/pets"), {"fox": 3}, mode)
    again, labels = split(ImageFolderDataModule("elsewhere/pets"), "test")
    assert torch.equal(again[labels < 3], test)


def test_which_pictures_are_for_the_test_is_told_by_the_hashes_of_their_names():
    """Pictures that were taken one after the other are alike: the first ones are no fair test."""
    pictures = write_pictures(Path("pets"), {"cat": 20, "dog": 15})
    paths = {
        name: sorted(
            (path for path in pictures if path.parent.name == name),
            key=lambda path: hashlib.sha256(f"{name}/{path.name}".encode()).digest(),
        )[:count]
        for name, count in (("cat", 4), ("dog", 3))
    }
    expected = rows(torch.from_numpy(pictures[path]).float() / 255 for of_class in paths.values() for path in of_class)
    assert rows(split(ImageFolderDataModule("pets"), "test")[0]) == expected


def test_what_programs_hide_beside_pictures_is_no_sample():
    """Jupyter's copies would be in both parts; a Mac's notes on each file are no pictures."""
    write_pictures(Path("pets"), {"cat": 3, "dog": 3})
    plain = [split(ImageFolderDataModule("pets"), name)[0] for name in ("train", "test")]
    Path("pets/cat/.ipynb_checkpoints").mkdir()
    shutil.copy("pets/cat/0.png", "pets/cat/.ipynb_checkpoints/0-checkpoint.png")
    Path("pets/cat/._1.png").write_text("Mac OS X")
    again = [split(ImageFolderDataModule("pets"), name)[0] for name in ("train", "test")]
    assert all(torch.equal(now, before) for now, before in zip(again, plain, strict=True))
    # a folder may lie below a hidden one
    shutil.copytree("pets", ".mine/pets")
    assert torch.equal(split(ImageFolderDataModule(".mine/pets"), "train")[0], plain[0])


def test_files_of_a_folder_that_are_not_read_are_told_of(recwarn):
    write_pictures(Path("pets"), {"cat": 3, "dog": 3})
    for name in ("cat/Thumbs.db", "cat/desktop.ini", "dog/.DS_Store", ".hidden.png"):
        Path("pets", name).touch()
    both(ImageFolderDataModule, folder="pets")
    assert not recwarn
    for name in ("cat/7.heic", "cat/8.gif", "loose.png"):
        Path("pets", name).touch()
    both(ImageFolderDataModule, folder="pets")
    (said,) = (str(warning.message) for warning in recwarn)
    assert said == (
        "pets has 3 files that are not read, such as cat/7.heic: a picture lies in a class's folder, and its name ends"
        " in .bmp, .jpeg, .jpg, .pgm, .png, .ppm, .tif, .tiff or .webp."
    )


def test_folders_of_parts_are_parts_whose_classes_are_those_for_training():
    write_pictures(Path("pets/train"), {"cat": 3, "dog": 4, "emu": 2})
    of_test = write_pictures(Path("pets/test"), {"cat": 1, "emu": 2})  # none of dogs
    of_val = write_pictures(Path("pets/valid"), {"dog": 2})
    data = ImageFolderDataModule("pets")
    assert data.has_validation
    assert len(split(data, "train")[0]) == 9
    assert split(data, "test")[1].tolist() == [0, 2, 2]
    assert split(data, "val")[1].tolist() == [1, 1]
    for name, pictures in (("test", of_test), ("val", of_val)):
        assert rows(split(data, name)[0]) == rows(torch.from_numpy(p).float() / 255 for p in pictures.values())
    write_pictures(Path("pets/test"), {"fox": 1})
    assert "has the class fox" in refused(lambda: both(ImageFolderDataModule, folder="pets"))


def test_pictures_are_brought_to_one_size_and_number_of_channels():
    write_pictures(Path("pets"), {"cat": 3})
    write_pictures(Path("pets"), {"dog": 3}, "RGB", (7, 6), "jpg")
    assert "give a size" in refused(lambda: both(ImageFolderDataModule, folder="pets"))
    assert "channels: 3, or channels: 1" in refused(lambda: both(ImageFolderDataModule, folder="pets", size=[5, 4]))
    for wrong in (0, 4097, [5, 0], [0, 5], [4097, 5], [5, 4097], [5], [5, 5, 5]):
        assert f"size is {wrong}" in refused(lambda wrong=wrong: ImageFolderDataModule("pets", size=wrong))
    for size, shape in ((6, (6, 6)), ([3, 8], (3, 8))):
        for channels in (1, 3):
            data = both(ImageFolderDataModule, folder="pets", size=size, channels=channels)
            assert data.image_shape == (channels, *shape)
            images, _ = split(data, "train")
            assert images.shape[1:] == (channels, *shape)
            if channels == 3:
                assert torch.equal(images[0, 0], images[0, 2])  # a grey cat
    for options in ({"size": 0}, {"size": [3, 4, 5]}, {"channels": 2}):
        refused(lambda o=options: ImageFolderDataModule("pets", **o))


def test_a_picture_means_what_its_file_says():
    """Sixteen bits go to 65,535; a turned camera is turned back; a palette's numbers are colours."""
    deep = np.array([[0, 65535], [32768, 257]], dtype=np.uint16)
    palette = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    turned = Image.fromarray(np.array([[0, 255, 0], [255, 255, 255]], dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    expected = {
        "deep": torch.from_numpy(deep.astype(np.float32) / 65535)[None],
        "palette": torch.tensor([[[1.0, 0], [0, 1]], [[0, 0], [0, 0]], [[0, 1], [1, 0]]]),
        "turned": torch.tensor([[[1.0, 0], [1, 1], [1, 0]]]),
    }
    for name, picture in (("deep", Image.fromarray(deep)), ("palette", palette), ("turned", turned)):
        for k in "ab":
            Path(name, k).mkdir(parents=True)
            for i in range(2):
                picture.save(Path(name, k, f"{i}.png"), **({"exif": exif} if name == "turned" else {}))
        images, _ = split(ImageFolderDataModule(name), "train")
        assert torch.allclose(images[0], expected[name], atol=1e-6), name


@pytest.mark.parametrize(
    "options", [{}, {"size": [6, 6]}, {"size": 6, "channels": 1}, {"size": 3, "standardise": True}]
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_picture_of_the_folder_is_read_alike_for_training_and_as_one_s_own(mode, options):
    """Where pictures of 4 × 9 were stretched to a square, so is the same file for ``predict --images``."""
    write_pictures(Path("pets"), {"cat": 7, "dog": 5}, mode, (9, 4))
    data = both(ImageFolderDataModule, folder="pets", **options)
    images, _ = split(data, "train")
    for read in (data, ImageFolderDataModule("pets", **options)):  # the other has not loaded its data yet
        mine = read.pictures(sorted(Path("pets").rglob("*.png")))
        assert rows(images) <= rows(mine)


def test_sixteen_bits_are_kept_where_a_size_is_given():
    levels = np.arange(4096, dtype=np.uint16).reshape(64, 64) + 1000  # within 20 of 256 levels
    for k in "ab":
        Path("deep", k).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(levels).save(f"deep/{k}/{i}.png")
    images, _ = split(both(ImageFolderDataModule, folder="deep", size=32), "train")
    expected = levels.reshape(32, 2, 32, 2).astype(np.float64).mean((1, 3)) / 65535
    assert np.abs(images[0, 0].numpy() - expected)[2:-2, 2:-2].max() < 1e-5


@pytest.mark.parametrize("suffix", IMG_EXTENSIONS)
def test_every_kind_of_file_that_is_found_is_read(suffix):
    pictures = write_pictures(Path("pets"), {"cat": 3, "dog": 3}, suffix=suffix[1:])
    images, _ = split(both(ImageFolderDataModule, folder="pets"), "train")
    means = torch.tensor([pixels.mean() / 255 for pixels in pictures.values()])
    lossy = suffix in (".jpg", ".jpeg", ".webp")
    for image in images:
        assert float((means - image.mean()).abs().min()) < (0.05 if lossy else 1e-6)


def test_a_program_that_calls_itself_a_picture_is_not_run(monkeypatch):
    """Pillow would hand PostScript to Ghostscript, whatever the file is called."""
    run = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given: run.append(given))
    write_pictures(Path("pets"), {"cat": 3, "dog": 3})
    Image.new("L", (4, 5)).save("cat.eps")
    Path("cat.eps").rename("pets/cat/0.png")
    said = refused(lambda: both(ImageFolderDataModule, folder="pets"))
    assert "The picture pets/cat/0.png can't be read (it is damaged, or none of PNG, JPEG" in said
    assert run == []


def transparent():
    picture = Image.new("RGBA", (4, 5), (255, 0, 0, 255))
    picture.putpixel((1, 1), (9, 9, 9, 0))
    picture.save("pets/cat/0.png")


WRONG_FOLDERS = {
    "missing": (lambda: shutil.rmtree("pets"), "The folder pets can't be read (No such file or directory)"),
    "empty": (lambda: [shutil.rmtree(p) for p in Path("pets").iterdir()], "has no folder of a class"),
    "no pictures": (lambda: Path("pets/emu").mkdir(), "has no pictures in emu"),
    "one class": (lambda: shutil.rmtree("pets/dog"), "has one class alone (cat)"),
    "one picture": (lambda: [Path(f"pets/dog/{i}.png").unlink() for i in (0, 1)], "a single sample of the class dog"),
    "no picture": (lambda: Path("pets/cat/0.png").write_text("no picture"), "The picture pets/cat/0.png can't be read"),
    "half a picture": (
        lambda: Path("pets/cat/1.png").write_bytes(Path("pets/cat/1.png").read_bytes()[:60]),
        "The picture pets/cat/1.png can't be read",
    ),
    "transparent": (transparent, "pets/cat/0.png is transparent in parts"),
    "a test part alone": (lambda: write_pictures(Path("pets/test"), {"cat": 1}), "has pets/test, but no folder train"),
    "classes beside parts": (
        lambda: write_pictures(Path("pets/train"), {"cat": 1}),
        "has the folders cat, dog beside pets/train",
    ),
}


@pytest.mark.parametrize("what", WRONG_FOLDERS)
def test_what_is_wrong_with_a_folder_is_one_sentence(what):
    write_pictures(Path("pets"), {"cat": 3, "dog": 3})
    spoil, said = WRONG_FOLDERS[what]
    spoil()
    assert said in refused(lambda: both(ImageFolderDataModule, folder="pets"))


# --------------------------------------------------------------------------------------------------------------- tables


def write_table(content, file="table.csv", **options):
    with Path(file).open("w", newline="", **options) as text:
        csv.writer(text).writerows(content)


HEAD = ["length", "width", "kind"]
ROWS = [[i / 2, -i, "ab"[i % 2]] for i in range(20)]


def test_a_table_is_read_as_the_user_wrote_it():
    write_table([HEAD, *ROWS])
    plain = TableDataModule("table.csv", standardise=False)
    assert (plain.image_shape, plain.class_names) == ((2, 1, 1), ("a", "b"))
    parts = [split(plain, name) for name in ("train", "test")]
    assert rows(torch.cat([images for images, _ in parts])) == {(i / 2, float(-i)) for i in range(20)}
    for images, labels in parts:
        assert [-int(v) % 2 for v in images[:, 1, 0, 0]] == labels.tolist()
    assert torch.bincount(parts[1][1]).tolist() == [2, 2]
    # the class's column anywhere, columns left out, no names, other separators and marks: the same numbers
    write_table([["kind", "name", *HEAD[:2]], *([k, f"x{i}", a, b] for i, (a, b, k) in enumerate(ROWS))], "first.csv")
    write_table(ROWS, "bare.csv")
    write_table([HEAD, [], *ROWS], "marked.csv", encoding="utf-8-sig")
    Path("other.csv").write_text("\n".join("; ".join(map(str, row)) for row in [HEAD, *ROWS]))
    blanks = [[*row[:2], f"{row[2]}{' ' * (i % 3)}"] for i, row in enumerate(ROWS)]  # as of columns of one width
    write_table([HEAD, *blanks], "blanks.csv")
    for data in (
        TableDataModule("first.csv", class_column="kind", leave_out=["name"], standardise=False),
        TableDataModule("bare.csv", standardise=False),
        TableDataModule("marked.csv", standardise=False),
        TableDataModule("other.csv", separator=";", standardise=False),
        TableDataModule("blanks.csv", standardise=False),
    ):
        for (images, labels), name in zip(parts, ("train", "test"), strict=True):
            found = split(data, name)
            assert torch.equal(found[0], images)
            assert torch.equal(found[1], labels)


@pytest.mark.parametrize("class_column", [None, "kind"])
@pytest.mark.parametrize("at", range(4))
def test_a_column_that_is_left_out_might_as_well_not_be_there(at, class_column):
    """Without a name the class is the last column of those that are left."""
    write_table([HEAD, *ROWS])
    head = ["row", *HEAD[:at], "id", *HEAD[at:]]
    write_table([head, *([i, *row[:at], -i, *row[at:]] for i, row in enumerate(ROWS))], "more.csv")
    plain = TableDataModule("table.csv", class_column=class_column)
    more = TableDataModule("more.csv", class_column=class_column, leave_out=["id", "row"])
    assert (more.image_shape, more.class_names) == (plain.image_shape, plain.class_names)
    for name in ("train", "test"):
        for found, expected in zip(split(more, name), split(plain, name), strict=True):
            assert torch.equal(found, expected)


def test_columns_of_any_size_are_standardised_and_those_that_never_change_are_0():
    draws = np.random.default_rng(0).normal(size=(40, 3)) * [1e-9, 1, 1e9] + [1e-8, 0, 0]
    # a sum that comes to 0.3 but for the rounding of float64 says nothing either
    rounded = [0.1 + 0.2, 0.3]
    write_table([[*row, 123.456, 1e9, rounded[i % 2], "ab"[i % 2]] for i, row in enumerate(draws)])
    data = TableDataModule("table.csv")
    images = split(data, "train")[0].flatten(1).double()
    assert images[:, :3].mean(0).numpy() == pytest.approx([0, 0, 0], abs=1e-4)
    assert images[:, :3].std(0, correction=0).numpy() == pytest.approx([1, 1, 1], rel=1e-4)
    assert not images[:, 3:5].any()
    assert images[:, 5].abs().max() < 1e-12


@pytest.mark.parametrize(
    ("numbers", "counts"),
    [((0, 1, 2, 3, 4, 5), True), ((1, 2, 3, 4, 5, 6), True), ((7, 6, 5, 4, 3, 2), False), ((0, 1, 2, 3, 4, 6), False)],
)
def test_a_column_that_counts_the_rows_is_warned_of(numbers, counts, recwarn):
    """Rows that are sorted by class would be told apart by it alone."""
    write_table([["id", "size", "kind"], *([n, 0.5 * n, "ab"[n > 3]] for n in numbers)])
    TableDataModule("table.csv")
    assert ["counts the rows, id: " in str(warning.message) for warning in recwarn] == [True] * counts
    recwarn.clear()
    TableDataModule("table.csv", leave_out=["id"])
    assert not recwarn


def test_numbers_as_classes_are_in_their_order():
    write_table([[i / 2, (9, 10, 100)[i % 3]] for i in range(30)])
    assert TableDataModule("table.csv").class_names == ("9", "10", "100")


WRONG_TABLES = {
    "missing": (None, {}, "No such file"),
    "empty": ([], {}, "is empty"),
    "names alone": ([HEAD], {}, "has no rows"),
    "no number": (
        [HEAD, *ROWS, ["3", "red", "a"]],
        {},
        "has 'red' in column width of line 22, which is no finite number: mend the row or leave it out, leave the"
        " column out with leave_out, or name it as class_column in place of kind.",
    ),
    "nothing": (
        [HEAD, *ROWS, ["3", "", "a"]],
        {},
        "has '' in column width of line 22, which is no finite number: mend the row or leave it out, leave the column"
        " out with leave_out.",
    ),
    "NaN": ([HEAD, *ROWS, ["3", "nan", "a"]], {}, "has 'nan' in column width of line 22"),
    "a code of digits": ([HEAD, *ROWS, ["3", "1_2", "a"]], {}, "has '1_2' in column width of line 22"),
    "a comma in a number": (
        [HEAD, *ROWS, ["3", "1,5", "a"]],
        {},
        "has '1,5' in column width of line 22: write numbers with a decimal point, and without commas.",
    ),
    "semicolons and commas in numbers": (
        [["length;width;kind"], *(["0", "5;1", "5;a"] for _ in range(9))],
        {},
        "has 3 columns in line 2 and one in the first one (length;width;kind): mend the first row, or name the"
        " separator between columns, as separator: ';'.",
    ),
    "one name for several": ([HEAD, *ROWS], {"leave_out": "width"}, "leave_out is 'width': give a list of names"),
    "one place": (ROWS, {"leave_out": 1}, "leave_out is 1: give a list of names"),
    "spaces": ([[" ".join(map(str, row))] for row in [HEAD, *ROWS]], {}, "as separator: ' '."),
    "no class": ([HEAD, *ROWS, [3, 4, ""]], {}, "has no class in line 22"),
    "a short row": ([HEAD, *ROWS, [3, 4]], {}, "has 2 columns in line 22 and 3 in the first one"),
    "no such column": ([HEAD, *ROWS], {"class_column": "species"}, "has no column species, but length, width, kind"),
    "no such column to leave": ([HEAD, *ROWS], {"leave_out": ["id"]}, "has no column id"),
    "names twice": ([["a", "a", "kind"], *ROWS], {}, "several columns of the name a"),
    "an index of pandas'": ([["", "a", "kind"], *ROWS], {}, "a column without a name"),
    "numbers as names": ([[0, 1, 2], *ROWS], {}, "may be numbers or the columns' names"),
    "numbers and a name": ([[7, 5, "kind"], *ROWS], {}, "may be numbers or the columns' names"),
    "another separator": ([HEAD, *ROWS], {"separator": ";"}, "name the separator"),
    "no separator": ([HEAD, *ROWS], {"separator": ""}, "separator is ''"),
    "a name of no column": (
        ROWS,
        {"class_column": "kind"},
        "does not name its columns in the first row, and has no column kind, but 1, 2, 3",
    ),
    "tabs": ([["\t".join(map(str, row))] for row in [HEAD, *ROWS]], {}, 'as separator: "\\t".'),
    "a class of one": ([HEAD, *ROWS, [1, 2, "c"]], {}, "a single sample of the class c"),
    "one class": ([HEAD, *ROWS[::2]], {}, "has one class alone (a)"),
    "the class left out": ([HEAD, *ROWS], {"leave_out": ["kind"], "class_column": "kind"}, "choose one"),
    "other columns": ([HEAD, *ROWS], {"test_file": "b.csv"}, "b.csv has the columns wide, long, and table.csv"),
    "other classes": ([HEAD, *ROWS], {"test_file": "c.csv"}, "c.csv has the class z, which table.csv has not"),
}


@pytest.mark.parametrize("what", WRONG_TABLES)
def test_what_is_wrong_with_a_table_is_one_sentence(what):
    content, options, said = WRONG_TABLES[what]
    write_table([["wide", "long", "kind"], *ROWS], "b.csv")
    write_table([HEAD, *ROWS, [1, 2, "z"]], "c.csv")
    if content is not None:
        write_table(content)
    assert said in refused(lambda: both(TableDataModule, file="table.csv", **options))


def test_a_column_whose_name_is_a_number_is_found_by_its_text():
    write_table([["x", "y", "01"], *([i / 2, -i, "ab"[i % 2]] for i in range(20))])
    assert TableDataModule("table.csv", class_column="01").class_names == ("a", "b")
    write_table([["a", 0], ["b", 1], *(["ab"[i % 2], i / 3] for i in range(20))])
    assert "say header: false" in refused(lambda: TableDataModule("table.csv", class_column="1"))
    assert TableDataModule("table.csv", class_column="1", header=False).class_names == ("a", "b")


@pytest.mark.parametrize("place", [1, "1"])
def test_columns_without_names_are_named_by_their_places(place):
    """As in the tables of the UCI repository, which have the class first."""
    write_table([[row[2], row[0], 7, row[1]] for row in ROWS])
    found = TableDataModule("table.csv", class_column=place, leave_out=[3])
    write_table(ROWS, "last.csv")
    for name in ("train", "test"):
        for one, other in zip(split(found, name), split(TableDataModule("last.csv"), name), strict=True):
            assert torch.equal(one, other)


def test_a_first_row_that_could_be_both_is_what_the_user_says():
    """pandas names columns by their numbers where they have no names, and such a row may be numbers too."""
    content = [[0, 1, 2], *([i, -i, i % 2 + 2] for i in range(20))]
    write_table(content)
    assert "header: true, or header: false" in refused(lambda: TableDataModule("table.csv"))
    for header, count in ((True, 20), (False, 21)):
        data = TableDataModule("table.csv", header=header, standardise=False)
        found = torch.cat([split(data, name)[0] for name in ("train", "test")])
        assert rows(found) == rows(torch.tensor(content[-count:])[:, :2].float())


# ---------------------------------------------------------------------------------------------------------- torchvision


def unpack(folder, raw, prefix=""):
    """Writes idx files as torchvision has unpacked them."""
    content = write_idx(Path(folder))
    Path(raw).mkdir(parents=True)
    for file in Path(folder).iterdir():
        part = (
            file.stem if not prefix else file.stem.replace("train", f"{prefix}-train").replace("t10k", f"{prefix}-test")
        )
        Path(raw, part).write_bytes(gzip.decompress(file.read_bytes()))
    return content


def test_kuzushiji_in_its_true_format():
    content = unpack("packed", "data/KMNIST/raw")
    data = TorchvisionDataModule("KMNIST")
    assert (data.image_shape, data.class_names[:3]) == ((1, 28, 28), ("o", "ki", "su"))
    for name, part in (("train", "train"), ("test", "t10k")):
        images, labels = split(data, name)
        assert torch.equal(images[:, 0], torch.from_numpy(content[part][0]).float() / 255)
        assert labels.tolist() == content[part][1].tolist()
    assert TorchvisionDataModule("torchvision.datasets.KMNIST", size=14).image_shape == (1, 14, 14)


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_files_of_another_data_set_do_not_pass_for_one_whose_files_have_the_same_names(name, monkeypatch):
    """Each of the four; torchvision reads whatever lies there."""
    unpack("packed", f"data/{name}/raw")
    monkeypatch.setattr(mnist, "PUBLISHED", {})
    mine = {"MNIST": "MNIST", "FashionMNIST": "Fashion-MNIST", "KMNIST": "Kuzushiji-MNIST"}[name]
    files = sorted(Path(f"data/{name}/raw").iterdir())
    assert len(files) == 4
    for file in files:
        for owner in ("MNIST", "Fashion-MNIST", "Kuzushiji-MNIST"):
            monkeypatch.setattr(mnist, "PUBLISHED", {hashlib.md5(file.read_bytes()).hexdigest(): owner})
            if owner == mine:
                assert TorchvisionDataModule(name).num_classes == 10
            else:
                said = refused(lambda: TorchvisionDataModule(name))
                assert f"the file {file}, which is {owner}'s: move the folder data/{name}/raw away" in said


def test_a_class_without_samples_is_left_out_and_the_names_stay_with_theirs():
    """EMNIST's letters count from 1, and torchvision calls class 0 N/A."""
    content = unpack("packed", "data/EMNIST/raw", "emnist-letters")
    for part, name in (("train", "train"), ("t10k", "test")):
        labels = content[part][1] + 1
        head = Path(f"data/EMNIST/raw/emnist-letters-{name}-labels-idx1-ubyte")
        head.write_bytes(head.read_bytes()[:8] + labels.tobytes())
    data = TorchvisionDataModule("EMNIST", dataset_options={"split": "letters"})
    assert data.class_names == tuple("abcdefghij")
    images, labels = split(data, "test")
    assert labels.tolist() == content["t10k"][1].tolist()
    # its files hold columns where those of MNIST hold rows; of a user's own picture a network expects it upright
    upright = torch.from_numpy(content["t10k"][0]).float().transpose(1, 2) / 255
    assert torch.equal(images[:, 0], upright)


def test_street_numbers_in_their_true_format(monkeypatch):
    draw, splits = np.random.default_rng(1), {}
    pixels = {}
    for part, n in (("train", 30), ("test", 20)):
        pixels[part] = draw.integers(0, 256, (32, 32, 3, n), dtype=np.uint8), np.arange(n)[:, None] % 10 + 1
        Path("data").mkdir(exist_ok=True)
        scipy.io.savemat(f"data/{part}_32x32.mat", dict(zip("Xy", pixels[part], strict=True)))
        checksum = torchvision.datasets.utils.calculate_md5(f"data/{part}_32x32.mat")
        splits[part] = ["", f"{part}_32x32.mat", checksum]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", splits)
    data = TorchvisionDataModule("SVHN")
    assert (data.image_shape, data.num_classes) == ((3, 32, 32), 10)
    for part, (x, y) in pixels.items():
        images, labels = split(data, part)
        assert torch.equal(images, torch.from_numpy(x).permute(3, 2, 0, 1).float() / 255)
        assert labels.tolist() == (y[:, 0] % 10).tolist()  # 10 stands for the digit 0
    assert "splits" in refused(lambda: TorchvisionDataModule("SVHN", splits=["train"]))
    same = TorchvisionDataModule("SVHN", splits=["train", "train"])
    assert torch.equal(split(same, "test")[0], split(data, "train")[0])


class Fetched(torchvision.datasets.VisionDataset):
    """A data set of a user's own in torchvision's form, told no part, which writes its files when asked to."""

    broken = False

    def __init__(self, root, count=12, download=False):
        super().__init__(root)
        file = Path(root, "fetched", "numbers.txt")
        if download:
            file.parent.mkdir(parents=True)
            file.write_text(str(count))
            if self.broken:
                raise RuntimeError("no network")
        if not file.is_file():
            raise RuntimeError("Dataset not found.")
        self.count = int(file.read_text())

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return Image.new("L", (3, 2), i), i % 2


def test_what_is_missing_is_fetched_whole_or_not_at_all(monkeypatch):
    path = f"{__name__}.Fetched"
    monkeypatch.setattr(Fetched, "broken", True)
    assert "could not be fetched (no network)" in refused(lambda: TorchvisionDataModule(path))
    assert list(Path("data").iterdir()) == []
    monkeypatch.setattr(Fetched, "broken", False)
    data = TorchvisionDataModule(path, dataset_options={"count": 20})
    assert [str(p) for p in Path("data").rglob("*") if p.is_file()] == ["data/fetched/numbers.txt"]
    monkeypatch.setattr(Fetched, "broken", True)  # and is not fetched again
    parts = [split(TorchvisionDataModule(path), name)[0] for name in ("train", "test")]
    assert rows(torch.cat(parts)) == rows(torch.full((1, 2, 3), i / 255) for i in range(20))
    assert [len(part) for part in parts] == [16, 4]
    assert data.num_classes == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dataset": "MNITS"}, "There is no data set torchvision.datasets.MNITS"),
        ({"dataset": "nowhere.Data"}, "There is no data set nowhere.Data"),
        ({"dataset": "wrap_dataset_for_transforms_v2"}, "is no data set in torchvision's form"),
        ({"dataset": "KMNIST", "dataset_options": {"train": True}}, "dataset_options has train"),
        ({"dataset": "KMNIST", "splits": ["a", "b"]}, "is not told a split"),
        ({"dataset": "EMNIST"}, "can't be read"),
        ({"dataset": "EMNIST", "dataset_options": {"split": "nonsense"}}, "can't be read (Unknown value 'nonsense'"),
    ],
)
def test_a_data_set_that_there_is_not_gets_one_sentence(options, said):
    assert said in refused(lambda: TorchvisionDataModule(**options))
    assert not Path("data").exists()


# ------------------------------------------------------------------------------------------------------------ real data


def test_real_tables_and_images_are_those_of_their_files():
    """scikit-learn's own, written to files and read back."""
    wine, digits = load_wine(), load_digits()
    write_table(
        [
            [*wine.feature_names, "wine"],
            *([*x, wine.target_names[y]] for x, y in zip(wine.data, wine.target, strict=True)),
        ]
    )
    data = TableDataModule("table.csv", standardise=False)
    assert data.class_names == tuple(wine.target_names)
    found = torch.cat([split(data, name)[0] for name in ("train", "test")])
    assert rows(found) == rows(torch.from_numpy(wine.data).float())
    np.savez("digits.npz", images=digits.images, target=digits.target)
    data = ArraysDataModule("digits.npz", scale=16)
    found = torch.cat([split(data, name)[0] for name in ("train", "test")])
    assert rows(found) == rows(torch.from_numpy(digits.images).float() / 16)
