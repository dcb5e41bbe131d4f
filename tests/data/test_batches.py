"""What is served, in which order, to whom: properties of the batches of every data module."""

import math
import warnings
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint

from bioplausible import Backpropagation, ImageDataModule
from bioplausible.data.augmentation import crop
from bioplausible.data.batches import EpochBatches, InOrder
from bioplausible.training import data_parallel
from bioplausible.training.data_parallel import share

N = 50


class Numbered(ImageDataModule):
    """Each image is told by the value of its pixels, and the test split by another range of them."""

    image_shape = (1, 4, 4)

    def load(self, train):
        count = N if train else N - 7
        numbers = torch.arange(count) + (0 if train else N)
        return (numbers / (2 * N)).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous(), numbers % 10


def numbers(batches):
    """Returns which images some batches hold, in their order."""
    return [round(value) for images, _ in batches for value in (images[:, 0, 0, 0] * 2 * N).tolist()]


def served(**options):
    data = Numbered(**options)
    for stage in ("fit", "test"):
        data.setup(stage)
    return data


def together(processes, rank):
    """Makes this process one of several."""
    patch = pytest.MonkeyPatch()
    patch.setattr(data_parallel, "processes", lambda: processes)
    patch.setattr(data_parallel, "rank", lambda: rank)
    return patch


# ----------------------------------------------------------------------------------------------------------- evaluation


@given(st.integers(1, N + 10), st.sampled_from([0.1, 0.3, 0.5]))
def test_evaluation_goes_through_every_image_once_and_in_order(size, share_of):
    data = served(evaluation_batch_size=size, validation_split=share_of)
    held_out = round(N * share_of)
    for loader, count in ((data.val_dataloader(), held_out), (data.test_dataloader(), N - 7)):
        batches = list(loader)
        seen = numbers(batches)
        assert len(seen) == count
        assert seen == sorted(set(seen))
        assert len(batches) == len(loader) == math.ceil(count / size)
        assert {len(labels) for _, labels in batches[:-1]} <= {size}
        assert [n % 10 for n in seen] == torch.cat([labels for _, labels in batches]).tolist()
    assert numbers(data.predict_dataloader()) == numbers(data.test_dataloader()) == list(range(N, 2 * N - 7))


@pytest.mark.parametrize("size", [1, 7, 10, N - 8, N - 7, 1000])
def test_the_accuracy_is_that_of_every_image_whatever_the_batch_size(size):
    """The last image of each split, alone in its batch or not, counts as much as any other."""
    torch.manual_seed(0)
    rule = Backpropagation([16, 10])
    trainer = Trainer(logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu")
    data = Numbered(evaluation_batch_size=size, validation_split=0.3)
    (validated,) = trainer.validate(rule, data, verbose=False)
    (tested,) = trainer.test(rule, data, verbose=False)
    for name, measured, images in (("val", validated, data._splits["val"]), ("test", tested, data._splits["test"])):
        output = rule(images.images)
        right = (output.argmax(1) == images.labels).double().mean()
        losses = rule.sample_losses(output, rule.one_hot(images.labels, output.dtype))
        assert measured[f"{name}/accuracy"] == pytest.approx(float(right))
        assert measured[f"{name}/loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
    predicted = trainer.predict(rule, data)
    assert sum(len(p["prediction"]) for p in predicted) == N - 7


# ---------------------------------------------------------------------------------------------------------------- split


def test_the_validation_split_and_a_subset_depend_on_no_seed():
    """Nor on the version: the images are named."""
    for seed in range(4):
        seed_everything(seed, verbose=False)
        torch.manual_seed(seed + 10)
        data = served(validation_split=0.2, subset_size=20)
        train = [1, 3, 7, 15, 17, 21, 24, 28, 30, 31, 32, 35, 39, 43, 45, 49]
        assert sorted(numbers(data.train_dataloader())) == train
        assert numbers(data.val_dataloader()) == [6, 19, 40, 46]


# ---------------------------------------------------------------------------------------------------------------- order


@pytest.mark.parametrize("command", ["fit", "validate", "test"])
def test_a_checkpoint_finds_the_same_images_again_in_every_split(command, tmp_path):
    """A subset, what is held out of it and the test images do not depend on whether training, or anything, goes on."""

    def trainer(epochs=1):
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        return Trainer(max_epochs=epochs, default_root_dir=tmp_path, **quiet)

    def data():
        return Numbered(subset_size=40, validation_split=0.25)

    checkpoint, first, second, began = tmp_path / "half.ckpt", data(), data(), trainer()
    began.fit(Backpropagation([16, 10]), first)
    began.save_checkpoint(checkpoint)
    first.setup("test")
    if command == "fit":
        trainer(2).fit(Backpropagation([16, 10]), second, ckpt_path=checkpoint)
    else:
        getattr(trainer(), command)(Backpropagation([16, 10]), second, checkpoint, verbose=False)
    assert second._splits.keys() == {"fit": {"train", "val"}, "validate": {"train", "val"}, "test": {"test"}}[command]
    for name, images in second._splits.items():
        assert torch.equal(images.images, first._splits[name].images)
        assert torch.equal(images.labels, first._splits[name].labels)


@given(st.integers(0, 2**31), st.integers(0, 2**31), st.integers(0, 5))
def test_another_seed_is_another_order(seed, other, epoch):
    def order(s):
        batches = EpochBatches(N, 7, s)
        batches.set_epoch(epoch)
        return torch.cat(list(batches)).tolist()

    assert order(seed) == order(seed)
    assert (order(seed) == order(other)) == (seed == other)


def test_seeds_that_have_much_in_common_are_other_orders():
    seeds = [
        *range(5),
        *(10**k for k in range(1, 10)),
        *(2**k for k in range(3, 34)),
        *(2**k + 1 for k in range(3, 34)),
    ]
    orders = {tuple(torch.cat(list(EpochBatches(N, N, seed))).tolist()) for seed in seeds}
    assert len(orders) == len(seeds)


def order_of(data):
    return numbers(data.train_dataloader())


def test_the_order_is_that_of_the_runs_seed(monkeypatch):
    """The seed given to seed_everything; else that of a checkpoint; else torch's."""

    def expected(seed):
        return torch.cat(list(EpochBatches(N, 20, seed))).tolist()

    orders = []
    for seed in (0, 1, 12345):
        torch.manual_seed(seed)
        orders.append(order_of(served()))
        assert orders[-1] == expected(seed)
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed + 1))
        given = served()
        assert order_of(given) == expected(seed + 1)
        given.load_state_dict({"seed": 99, "epoch": 0, "batch": 0})
        assert order_of(given) == expected(seed + 1)
        monkeypatch.delenv("PL_GLOBAL_SEED")
        resumed = served()
        resumed.load_state_dict({"seed": 99, "epoch": 0, "batch": 0})
        assert order_of(resumed) == expected(99)
    assert orders[0] != orders[1]


class Seen(Callback):
    """Notes which images each training batch holds."""

    def __init__(self):
        self.batches = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append(numbers([batch]))


@pytest.mark.parametrize("seed", [None, 5])
def test_training_that_goes_on_sees_the_batches_that_were_still_to_come(seed, tmp_path):
    """From any batch on, an epoch's last and first included: none twice, and none is left out."""
    if seed is not None:
        seed_everything(seed, verbose=False)

    def seen(*callbacks, ckpt_path=None, draw=3):
        torch.manual_seed(draw)
        noted = Seen()
        options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        trainer = Trainer(max_steps=10, callbacks=[noted, *callbacks], default_root_dir=tmp_path, **options)
        trainer.fit(Backpropagation([16, 10]), Numbered(batch_size=13), ckpt_path=ckpt_path)
        return noted.batches

    whole = seen(ModelCheckpoint(tmp_path / "all", "{step}", save_top_k=-1, every_n_train_steps=1))
    assert [len(batch) for batch in whole] == [13, 13, 13, 11] * 2 + [13, 13]
    assert len({tuple(batch) for batch in whole}) == 10
    for step in range(1, 10):
        assert seen(ckpt_path=tmp_path / f"all/step={step}.ckpt", draw=4) == whole[step:]


@pytest.mark.parametrize("command", ["fit", "validate"])
def test_training_anew_goes_through_all_batches_whatever_the_data_module_resumed_before(command, tmp_path):
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}

    def seen(data):
        torch.manual_seed(3)
        noted, rule = Seen(), Backpropagation([16, 10])
        trainer = Trainer(max_epochs=2, callbacks=[noted], enable_checkpointing=False, **options)
        trainer.fit(rule, data)
        return noted.batches, rule.state_dict()

    makes = lambda: Numbered(batch_size=13, validation_split=0.2)  # noqa: E731
    data, each = makes(), ModelCheckpoint(tmp_path / "all", "{step}", save_top_k=-1, every_n_train_steps=1)
    Trainer(max_steps=3, callbacks=[each], default_root_dir=tmp_path, **options).fit(Backpropagation([16, 10]), data)
    further = Trainer(max_epochs=1, default_root_dir=tmp_path, **options)
    getattr(further, command)(Backpropagation([16, 10]), data, ckpt_path=tmp_path / "all/step=2.ckpt")
    expected, weights = seen(makes())
    assert [len(batch) for batch in expected] == [13, 13, 13, 1] * 2
    found, found_weights = seen(data)
    assert found == expected
    assert all(torch.equal(found_weights[name], value) for name, value in weights.items())


# --------------------------------------------------------------------------------------------------------- augmentation


def augmented(step, seed=0, training=True, size=20, **options):
    """Returns random images as a training step gets them."""
    torch.manual_seed(seed)
    data = served(batch_size=size, **options)
    data.trainer = SimpleNamespace(training=training, global_step=step)
    images = torch.rand(size, 1, 4, 4, generator=torch.Generator().manual_seed(7))
    return images, data.on_after_batch_transfer((share(images), torch.arange(len(share(images)))), 0)


@pytest.mark.parametrize("options", [{"crop_padding": 2}, {"horizontal_flip": True}], ids=str)
def test_every_step_draws_an_augmentation_of_its_own(options):
    """A pure function of (seed, step), and none outside of training."""
    images, _ = augmented(0, **options)
    seen = [augmented(step, seed, **options)[1].images for seed in (0, 1) for step in range(4)]
    assert all(not torch.equal(a, images) for a in seen)
    assert all(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])
    torch.rand(3)
    assert torch.equal(augmented(2, 1, **options)[1].images, seen[6])
    assert torch.equal(augmented(0, training=False, **options)[1][0], images)


@pytest.mark.parametrize("options", [{"crop_padding": 2}, {"horizontal_flip": True}, {}], ids=str)
def test_a_loader_by_itself_whose_images_are_not_augmented_says_so(options):
    """The draws are those of a Trainer's step, which a loader doesn't know."""
    silent = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    data, trainer = Numbered(**options), Trainer(max_steps=1, enable_checkpointing=False, **silent)

    def warns(call):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        return sum("not augmented" in str(warning.message) for warning in caught)

    assert warns(served(**options).train_dataloader) == bool(options)
    assert warns(lambda: trainer.fit(Backpropagation([16, 10]), data)) == 0
    assert warns(data.train_dataloader) == bool(options)  # also where an earlier Trainer is left


@pytest.mark.parametrize("padding", [1, 2])
def test_every_shift_within_the_padding_is_as_frequent_as_any_other(padding):
    images, batch = augmented(0, crop_padding=padding, size=4000)
    side = range(2 * padding + 1)
    shifts = torch.cartesian_prod(torch.tensor(side), torch.tensor(side))
    found = torch.stack(
        [(crop(images, padding, shift.expand(len(images), 2)) == batch.images).flatten(1).all(1) for shift in shifts]
    )
    assert bool((found.sum(0) == 1).all())
    share_of_each = 1 / len(shifts)
    spread = (share_of_each * (1 - share_of_each) / len(images)) ** 0.5
    assert (found.double().mean(1) - share_of_each).abs().max() < 5 * spread


def test_every_other_image_is_mirrored():
    images, batch = augmented(0, horizontal_flip=True, size=4000)
    mirrored = (batch.images == images.flip(-1)).flatten(1).all(1)
    assert torch.equal(mirrored, (batch.images != images).flatten(1).any(1))
    assert float(mirrored.double().mean()) == pytest.approx(0.5, abs=5 * 0.5 / 4000**0.5)


def test_samples_of_a_batch_are_augmented_each_by_itself():
    images, batch = augmented(0, horizontal_flip=True)
    mirrored = (batch.images != images).flatten(1).any(1)
    assert 0 < int(mirrored.sum()) < len(images)


# ------------------------------------------------------------------------------------------------------------ processes


@given(st.integers(1, 40), st.integers(1, 15), st.integers(1, 5))
def test_each_process_gets_its_own_share_of_every_batch(size, batch, processes):
    """Together they have each sample once, those of process p being every P-th from p on."""
    for batches in (EpochBatches(size, batch, 3), InOrder(size, batch)):
        whole = list(batches)
        of_each = []
        for rank in range(processes):
            patch = together(processes, rank)
            of_each.append(list(batches))
            patch.undo()
        for b, samples in enumerate(whole):
            for rank in range(processes):
                assert of_each[rank][b].tolist() == samples.tolist()[rank::processes]


@pytest.mark.parametrize("options", [{"crop_padding": 2}, {"horizontal_flip": True}], ids=str)
def test_a_process_augments_its_share_as_one_process_would(options):
    _, whole = augmented(3, **options)
    for rank in range(3):
        patch = together(3, rank)
        _, mine = augmented(3, **options)
        patch.undo()
        assert torch.equal(mine.images, whole.images[rank::3])
