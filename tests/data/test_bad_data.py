"""Bad data: each gets one sentence that names the file and the cure, and leaves nothing behind."""

import contextlib
import errno
import gzip
import os
import struct
from pathlib import Path

import pytest
import torch
import torchvision.datasets

from bioplausible import (
    CIFAR10DataModule,
    CIFAR100DataModule,
    DigitsDataModule,
    FashionMNISTDataModule,
    MNISTDataModule,
    UserError,
)
from bioplausible.__main__ import main
from bioplausible.data import mnist
from tests.helpers import CONTEXT, write_cifar, write_idx

IDX = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
SIZES = {True: 40, False: 20}
MNIST_LIKE = pytest.mark.parametrize("cls", [MNISTDataModule, FashionMNISTDataModule])
CIFAR = pytest.mark.parametrize("cls", [CIFAR10DataModule, CIFAR100DataModule])


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


DAMAGES = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "a byte short": lambda content: content[:-1],
    "something else": lambda content: b"<html>404 not found</html>" * 20,
}
"""What can happen to any file, packed or not; a packed file that is a byte too long is not damaged."""


def swapped(folder: Path) -> list[str]:
    """Images and labels of a split, each under the other's name."""
    images, labels = folder / IDX[0], folder / IDX[1]
    images.rename(folder / "aside")
    labels.rename(images)
    (folder / "aside").rename(labels)
    return [IDX[0]]


def exchanged(folder: Path) -> list[str]:
    """The test images in the place of the training images."""
    (folder / IDX[0]).write_bytes((folder / IDX[2]).read_bytes())
    return [IDX[0]]


def too_long(folder: Path) -> list[str]:
    with (folder / IDX[2]).open("ab") as file:
        file.write(b"x")
    return [IDX[2]]


def label_out_of_range(folder: Path) -> list[str]:
    content = bytearray((folder / IDX[3]).read_bytes())
    content[-1] = 10
    (folder / IDX[3]).write_bytes(content)
    return [IDX[3]]


def empty_split(folder: Path) -> list[str]:
    (folder / IDX[2]).write_bytes(struct.pack(">4I", 2051, 0, 28, 28))
    (folder / IDX[3]).write_bytes(struct.pack(">2I", 2049, 0))
    return [IDX[2]]


def fewer_labels(folder: Path) -> list[str]:
    (folder / IDX[1]).write_bytes(struct.pack(">2I", 2049, 3) + bytes(3))
    return [IDX[1]]


def smaller_images(folder: Path) -> list[str]:
    (folder / IDX[0]).write_bytes(struct.pack(">4I", 2051, 40, 14, 14) + bytes(40 * 14 * 14))
    return [IDX[0]]


def floating_point(folder: Path) -> list[str]:
    """Pixels as floating-point numbers, one of them NaN."""
    content = struct.pack(">4I", 0x0D03, 40, 28, 28) + struct.pack(">f", float("nan")) + bytes(4 * (40 * 784 - 1))
    (folder / IDX[0]).write_bytes(content)
    return [IDX[0]]


CONTENTS = [
    swapped,
    exchanged,
    too_long,
    label_out_of_range,
    empty_split,
    fewer_labels,
    smaller_images,
    floating_point,
]


def refused(call, *named) -> str:
    """Asserts that a call raises one sentence that names something, and returns it."""
    with pytest.raises(UserError) as caught:
        call()
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    for name in named:
        assert str(name) in said
    return said


def prepared(cls, mirror: str, data: str = "data"):
    module = cls(data_dir=data, mirror=mirror)
    module.prepare_data()
    return module


@MNIST_LIKE
def test_damaged_mnist_files_of_a_mirror(cls, monkeypatch):
    """Nothing of them is taken over, and once the mirror is sound, the same call succeeds."""
    monkeypatch.setattr(cls, "sizes", SIZES)
    mirror = Path("mirror")
    write_idx(mirror)

    def expect(*named):
        said = refused(lambda: prepared(cls, "mirror"), cls.title, "mirror", *named, "--data.init_args.mirror")
        assert list(Path("data").iterdir()) == [], said

    for name in IDX:
        file = mirror / f"{name}.gz"
        sound = file.read_bytes()
        for damage in [*DAMAGES.values(), flip]:
            file.write_bytes(damage(sound))
            expect(name)
        file.unlink()
        expect(file, "No such file")
        file.mkdir()
        expect(file, "Is a directory")
        file.rmdir()
        file.write_bytes(sound)
    sound = {name: gzip.decompress((mirror / f"{name}.gz").read_bytes()) for name in IDX}
    for spoil in CONTENTS:
        for name, content in sound.items():
            (mirror / name).write_bytes(content)
        wrong = spoil(mirror)
        for name in IDX:
            (mirror / f"{name}.gz").write_bytes(gzip.compress((mirror / name).read_bytes()))
        expect(*wrong)
    for name, content in sound.items():
        (mirror / f"{name}.gz").write_bytes(gzip.compress(content))
    prepared(cls, "mirror").setup("fit")


@MNIST_LIKE
def test_damaged_mnist_files_in_the_data_folder(cls, monkeypatch):
    monkeypatch.setattr(cls, "sizes", SIZES)
    write_idx(Path("mirror"))
    folder = Path("data") / cls.raw_folder
    prepared(cls, "mirror")
    sound = {name: (folder / name).read_bytes() for name in IDX}

    def expect(name, *named):
        module = prepared(cls, "mirror")  # finds the folder
        stage = "fit" if name.startswith("train") else "test"
        cure = f"delete the folder {Path('data', cls.folder)}"
        refused(lambda: module.setup(stage), cls.title, folder / name, cure, *named)

    for name, content in sound.items():
        file = folder / name
        for damage in DAMAGES.values():
            file.write_bytes(damage(content))
            expect(name)
        file.unlink()
        expect(name, "is missing")
        file.mkdir()
        expect(name, "Is a directory")
        file.rmdir()
        file.write_bytes(content)
    for spoil in CONTENTS:
        expect(*spoil(folder))
        for name, content in sound.items():
            (folder / name).write_bytes(content)
    prepared(cls, "mirror").setup("fit")


@CIFAR
def test_damaged_cifar_archive_of_a_mirror(cls, monkeypatch):
    write_cifar(cls, Path("mirror"), monkeypatch)
    archive = Path("mirror", cls.raw_files[0])
    sound = archive.read_bytes()

    def expect(*named):
        said = refused(lambda: prepared(cls, "mirror"), cls.title, archive, *named, "--data.init_args.mirror")
        assert list(Path("data").iterdir()) == [], said

    for damage in [*DAMAGES.values(), flip]:
        archive.write_bytes(damage(sound))
        expect("checksum")
    archive.unlink()
    expect("No such file")
    archive.mkdir()
    expect("Is a directory")
    archive.rmdir()
    archive.write_bytes(sound)
    prepared(cls, "mirror").setup("fit")


@CIFAR
def test_damaged_cifar_files_in_the_data_folder(cls, monkeypatch):
    official = cls.torchvision_class
    write_cifar(cls, Path("mirror"), monkeypatch)
    prepared(cls, "mirror")
    folder = Path("data", cls.folder)
    files = [name for name, _ in (*official.train_list, *official.test_list)]
    for name in [*files, official.meta["filename"]]:
        file = folder / name
        sound = file.read_bytes()
        other = folder / (files[0] if name == files[-1] else files[-1])
        for content in [*(damage(sound) for damage in [*DAMAGES.values(), flip]), other.read_bytes()]:
            file.write_bytes(content)
            module = prepared(cls, "mirror")
            refused(lambda m=module: m.setup("fit"), cls.title, file, "checksum", f"delete the folder {folder}")
        file.unlink()
        refused(lambda m=module: m.setup("test"), cls.title, file, "is missing", f"delete the folder {folder}")
        file.write_bytes(sound)
    prepared(cls, "mirror").setup("fit")


PIXELS = {
    "NaN": (lambda x, y: (x.index_fill(0, torch.tensor([3]), float("nan")), y), "pixels from nan"),
    "infinite": (lambda x, y: (x.index_fill(0, torch.tensor([3]), float("inf")), y), "pixels from 0 to inf"),
    "not scaled": (lambda x, y: (x * 16, y), "pixels from 0 to 16"),
    "negative": (lambda x, y: (x - 0.5, y), r"pixels from -0.5"),
    "class too high": (lambda x, y: (x, y + 1), "classes from 1 to 10"),
    "class too low": (lambda x, y: (x, y - 1), "classes from -1 to 8"),
    "empty": (lambda x, y: (x[:0], y[:0]), "0 classes"),
    "fewer classes": (lambda x, y: (x, y[:-1]), "as many of both"),
    "other shape": (lambda x, y: (x[:, :, :7], y), "(1, 8, 8)"),
    "flat": (lambda x, y: (x.flatten(1), y), "(1, 8, 8)"),
}


@pytest.mark.parametrize("what", PIXELS)
@pytest.mark.parametrize("stage", ["fit", "test"])
def test_images_that_break_the_promise_of_load(what, stage, monkeypatch):
    """Of a data module of one's own, here made of the digits."""
    spoil, said = PIXELS[what]

    class Spoilt(DigitsDataModule):
        def load(self, train):
            return spoil(*super().load(train))

    refused(lambda: Spoilt().setup(stage), f"Spoilt.load(train={stage == 'fit'})", said, "let it return")


@contextlib.contextmanager
def without_permission(folder: Path):
    """Takes the right to write to a folder; root, whom nothing is forbidden, becomes nobody."""
    folder.chmod(0o500)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o700)


@pytest.mark.parametrize("cls", [MNISTDataModule, FashionMNISTDataModule, CIFAR10DataModule, CIFAR100DataModule])
def test_a_data_folder_that_cannot_be_written_to(cls, tmp_path, monkeypatch):
    write_idx(tmp_path / "mirror")
    cure = "choose another with --data.init_args.data_dir"
    (tmp_path / "file").write_text("no folder")
    for data in (tmp_path / "file", tmp_path / "file/data", Path("/proc/data")):
        refused(lambda d=data: prepared(cls, "mirror", str(d)), f"data folder {data} can't be written to", cure)
    (tmp_path / "data").mkdir()
    with without_permission(tmp_path / "data"):
        for data in (tmp_path / "data", tmp_path / "data/deeper"):
            said = f"{data} can't be written to (Permission denied)"
            refused(lambda d=data: prepared(cls, "mirror", str(d)), said, cure)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_mirror_that_cannot_be_read(tmp_path, monkeypatch):
    write_idx(tmp_path / "mirror")
    file = tmp_path / "mirror/train-images-idx3-ubyte.gz"
    file.chmod(0)
    if os.geteuid() == 0:  # who may read everything

        def denied(file, folder):
            raise PermissionError(errno.EACCES, "Permission denied", file)

        monkeypatch.setattr(mnist, "extract_archive", denied)
    refused(lambda: prepared(MNISTDataModule, "mirror"), file.relative_to(tmp_path), "Permission denied")


def test_a_disk_that_is_full_leaves_nothing(monkeypatch):
    write_idx(Path("mirror"))

    def full(file, folder):
        Path(folder, "half").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mnist, "extract_archive", full)
    said = refused(lambda: prepared(MNISTDataModule, "mirror"), "data folder data can't be written to (No space left")
    assert "--data.init_args.data_dir" in said
    assert list(Path("data").iterdir()) == []


@pytest.mark.parametrize("cls", [MNISTDataModule, FashionMNISTDataModule])
def test_no_network_and_no_mirror(cls, monkeypatch, capsys):
    official = getattr(torchvision.datasets, cls.folder)
    monkeypatch.setattr(official, "mirrors", ["http://127.0.0.1:9/"])
    assert main(["fit", "--data", cls.__name__, "--trainer.enable_progress_bar", "false"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "could not be fetched" in error
    assert "train-images-idx3-ubyte.gz" in error
    assert list(Path("data").iterdir()) == []


def _prepare(cls, folder, barrier):
    os.chdir(folder)
    cls.sizes = SIZES
    module = cls(data_dir="data", mirror="mirror")
    barrier.wait()
    module.prepare_data()
    module.setup("fit")
    module.setup("test")


@MNIST_LIKE
def test_processes_that_prepare_the_same_data_at_once(cls, tmp_path):
    write_idx(tmp_path / "mirror")
    barrier = CONTEXT.Barrier(4)
    processes = [CONTEXT.Process(target=_prepare, args=(cls, tmp_path, barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert [path.name for path in (tmp_path / "data").iterdir()] == [cls.folder]
    assert sorted(path.name for path in (tmp_path / "data" / cls.raw_folder).iterdir()) == sorted(IDX)
