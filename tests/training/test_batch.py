"""Data of a user's own: each form that is taken trains to the same bits, each other one gets one sentence."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning import LightningDataModule, Trainer
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, default_collate

from bioplausible import Backpropagation, EquilibriumPropagation, ImageDataModule, UserError
from bioplausible.observers import Alignment, Guard, Representations, Settling
from bioplausible.observers.predictions import PredictionsCSV
from bioplausible.training.batch import LOADER, Batch, as_batch, as_classes
from bioplausible.training.data_parallel import share
from tests.helpers import command_line_together

N, CLASSES = 42, 10
G = torch.Generator().manual_seed(0)
# sixteenths, which half precision holds exactly
X = torch.randint(17, (N, 1, 8, 8), generator=G) / 16
Y = torch.cat([torch.arange(CLASSES), torch.randint(CLASSES, (N - CLASSES,), generator=G)])
QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
}


def pairs(images, labels):
    return [images, labels]


def net(**options):
    torch.manual_seed(0)
    return Backpropagation([64, CLASSES], **options)


def weights_after(*data, precision="32-true", callbacks=()):
    """Returns the weights after an epoch, and what validating and testing on the same data measures."""
    rule = net()
    trainer = Trainer(max_epochs=1, precision=precision, callbacks=list(callbacks), **QUIET)
    trainer.fit(rule, *data)
    measured = []
    for evaluate in (trainer.validate, trainer.test):
        measured += [value for results in evaluate(rule, *data, verbose=False) for value in results.values()]
    return [p.detach().clone() for p in rule.parameters()], measured


class Collated:
    """Makes of samples a batch, and of that another form."""

    def __init__(self, form):
        self.form = form

    def __call__(self, samples):
        return self.form(*default_collate(samples))


def loader(form, images=X, labels=Y, **options):
    return DataLoader(TensorDataset(images, labels), batch_size=20, collate_fn=Collated(form), **options)


TYPES = {
    "float64 images": lambda x, y: (x.double(), y),
    "half-precision images": lambda x, y: (x.half(), y),
    "bfloat16 images": lambda x, y: (x.bfloat16(), y),
    "images without channel": lambda x, y: (x[:, 0], y),
    "NumPy": lambda x, y: (x.numpy(), y.numpy()),
    "NumPy, float64 and big-endian": lambda x, y: (x.numpy().astype(">f8"), y.numpy().astype(">i4")),
    "NumPy, reversed twice": lambda x, y: (x.flip(0).numpy()[::-1], y.flip(0).numpy()[::-1]),
    "lists of tensors": lambda x, y: (list(x), list(y)),
    "lists of arrays": lambda x, y: ([a.numpy() for a in x], [a.numpy() for a in y]),
    "lists of numbers": lambda x, y: (x.tolist(), y.tolist()),
    **{
        f"labels of {dtype}": lambda x, y, dtype=dtype: (x, y.to(dtype))
        for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.float32, torch.float64, torch.half)
    },
    **{
        f"labels of {dtype.__name__}": lambda x, y, dtype=dtype: (x, y.numpy().astype(dtype))
        for dtype in (np.uint16, np.uint32, np.uint64)
    },
    "one-hot labels of uint16": lambda x, y: (x, torch.eye(CLASSES)[y].numpy().astype(np.uint16)),
    "labels (n, 1)": lambda x, y: (x, y[:, None]),
    "float labels (n, 1)": lambda x, y: (x, y[:, None].float()),
    **{
        f"one-hot labels of {dtype}": lambda x, y, dtype=dtype: (x, torch.eye(CLASSES)[y].to(dtype))
        for dtype in (torch.bool, torch.uint8, torch.int64, torch.float32)
    },
}
"""Of load() and of a loader's batches."""

FORMS = {
    "a tuple": lambda x, y: (x, y),
    "a Batch": lambda x, y: Batch(x, y),
    "flat images": lambda x, y: (x.flatten(1), y),
    "a dictionary": lambda x, y: {"image": x, "label": y},
    "a dictionary in another order": lambda x, y: {"target": y, "pixel_values": x},
}
"""Of batches alone."""

WRONG_TYPES = {
    "uint8 images": (
        lambda x, y: ((x * 255).to(torch.uint8), y),
        "uint8 numbers, which don't say which value is white",
    ),
    "uint8 images of 0 and 1": (lambda x, y: ((x > 0.5).to(torch.uint8), y), "uint8 numbers"),
    "int64 images": (lambda x, y: ((x * 16).long(), y), "int64 numbers"),
    "complex images": (lambda x, y: (x + 0j, y), "no array of numbers"),
    "text in place of images": (lambda x, y: (["cat"] * len(y), y), "no array of numbers"),
    "nothing in place of images": (lambda x, y: (None, y), "no array of numbers"),
    "images of different sizes": (lambda x, y: ([a[:, : 7 + i % 2] for i, a in enumerate(x)], y), "no array"),
    "images without n": (lambda x, y: (x.flatten(), y), "images of the shape"),
    "classes from 1": (lambda x, y: (x, y + 1), "classes from 1 to 10: let it"),
    "classes from -1": (lambda x, y: (x, y - 1), "classes from -1 to"),
    "class NaN": (lambda x, y: (x, torch.where(y == 3, torch.nan, y)), "no whole numbers"),
    "class infinite": (lambda x, y: (x, torch.where(y == 3, torch.inf, y)), "no whole numbers"),
    "class 0.5": (lambda x, y: (x, y / 2), "no whole numbers"),
    "soft labels": (lambda x, y: (x, torch.eye(CLASSES)[y] * 0.9 + 0.01), "not one-hot"),
    "a 1 and another number": (
        lambda x, y: (x, torch.eye(CLASSES)[y] + 0.3 * torch.eye(CLASSES)[(y + 1) % CLASSES]),
        "not one-hot",
    ),
    "two classes a sample": (lambda x, y: (x, (torch.eye(CLASSES)[y] + torch.eye(CLASSES)[0]).clamp(max=1)), "not one"),
    "two labels a sample": (lambda x, y: (x, torch.stack([y, y], 1)), "classes of the shape"),
    "names of classes": (lambda x, y: (x, [str(int(c)) for c in y]), "classes that are no array of numbers"),
    "fewer labels": (lambda x, y: (x, y[:-1]), "as many of both"),
}

WRONG_FORMS = {
    "a third field": (lambda x, y: (x, y, y), "3 fields a batch"),
    "nothing": (lambda x, y: (), "0 fields a batch"),
    "None": (lambda x, y: None, "batches of NoneType"),
    "a dictionary of three": (lambda x, y: {"image": x, "label": y, "weight": y}, "image, label, weight"),
    "a dictionary of other names": (lambda x, y: {"a": x, "b": y}, "dictionaries of a, b"),
    "two images": (lambda x, y: {"x": x, "image": x}, "dictionaries of x, image"),
    "None in place of labels": (lambda x, y: (x, None), "images alone"),
    "images alone": (lambda x, y: x, "images alone"),
    "images alone in a tuple": (lambda x, y: (x,), "images alone"),
    "images alone in a dictionary": (lambda x, y: {"image": x}, "images alone"),
    "NaN": (lambda x, y: (x.where(x < 1, torch.nan), y), "NaN or infinite numbers in"),
    "infinity": (lambda x, y: (x.where(x < 1, -torch.inf), y), "NaN or infinite numbers in"),
    "another number of values": (lambda x, y: (x[..., 1:], y), "first layer 64"),
}


def own(form, labels=Y):
    class Own(ImageDataModule):
        image_shape = (1, 8, 8)

        def load(self, train):
            return form(X, labels)

    return Own(validation_split=0.25)


def one_sentence(error) -> str:
    said = str(error.value)
    assert "\n" not in said
    assert said.endswith(".")
    assert said.count(". ") == 0
    return said


@pytest.fixture(scope="module")
def of_a_loader():
    return weights_after(loader(pairs))


@pytest.mark.parametrize("form", [*TYPES, *FORMS])
def test_a_loader_of_another_form_trains_to_the_same_bits(form, of_a_loader):
    weights, measured = weights_after(loader((TYPES | FORMS)[form]))
    assert all(torch.equal(a, b) for a, b in zip(weights, of_a_loader[0], strict=True))
    assert measured == of_a_loader[1]


@pytest.mark.parametrize("form", TYPES)
def test_what_load_returns_in_another_form_trains_to_the_same_bits(form):
    expected, measured = weights_after(own(pairs))
    weights, also_measured = weights_after(own(TYPES[form]))
    assert all(torch.equal(a, b) for a, b in zip(weights, expected, strict=True))
    assert measured == also_measured


def test_booleans_are_0_and_1():
    expected, _ = weights_after(loader(lambda x, y: ((x > 0.5).float(), y)))
    weights, _ = weights_after(loader(lambda x, y: (x > 0.5, y)))
    assert all(torch.equal(a, b) for a, b in zip(weights, expected, strict=True))
    two = as_classes(torch.tensor([True, False]), 2, LOADER)
    assert two.tolist() == [1, 0]


def test_float64_images_keep_their_digits_in_double_precision():
    fine = X.double() + torch.rand(X.shape, dtype=torch.float64, generator=G) * 1e-9
    images = []

    class Kept(Backpropagation):
        def training_step(self, batch, batch_idx):
            images.append(batch[0])
            super().training_step(batch, batch_idx)

    data = DataLoader(TensorDataset(fine, Y), batch_size=N)
    Trainer(max_epochs=1, precision="64-true", **QUIET).fit(Kept([64, CLASSES]), data)
    assert torch.equal(images[0], fine)


@pytest.mark.parametrize("form", [*WRONG_TYPES, *WRONG_FORMS])
@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_a_loader_of_an_unclear_form_is_refused(form, stage):
    spoil, said = (WRONG_TYPES | WRONG_FORMS)[form]
    trainer = Trainer(max_epochs=1, **QUIET)
    with pytest.raises(UserError) as error:
        getattr(trainer, stage)(net(), loader(spoil))
    assert said in one_sentence(error)


@pytest.mark.parametrize("form", WRONG_TYPES)
def test_what_load_returns_in_an_unclear_form_is_refused(form):
    spoil, said = WRONG_TYPES[form]
    with pytest.raises(UserError) as error:
        own(spoil).setup("fit")
    assert said in one_sentence(error)
    assert "Own.load(train=True) returns" in one_sentence(error)


@pytest.mark.parametrize(
    "returned", [X, (X,), (X, Y, Y), {"image": X, "label": Y}, None], ids=lambda r: type(r).__name__
)
def test_load_that_returns_no_pair_is_refused(returned):
    with pytest.raises(UserError, match="let it return a pair"):
        own(lambda x, y: returned).setup("fit")


def test_classes_that_count_from_1_get_the_cure():
    with pytest.raises(UserError, match="subtract 1 if they count from 1"):
        Trainer(max_epochs=1, **QUIET).fit(net(), loader(pairs, labels=Y + 1))
    with pytest.raises(UserError, match="subtract 1 if they count from 1"):
        own(pairs, Y + 1).setup("test")


def test_a_spoilt_image_of_a_later_batch_is_named_as_the_cause():
    """Not as training that has diverged; the first batch is sound."""
    images = X.clone()
    images[33, 0, 4, 4] = torch.nan
    with pytest.raises(UserError, match="NaN or infinite numbers in 1 of its 20 images"):
        Trainer(max_epochs=1, **QUIET).fit(net(), loader(pairs, images))


def test_large_finite_images_are_no_infinite_ones():
    """Their sum is."""
    assert torch.equal(as_batch(torch.full((2, 64), 3e38), CLASSES, torch.float32).images, torch.full((2, 64), 3e38))


@pytest.mark.parametrize("form", ["tensor", "tuple", "dictionary", "NumPy", "with classes", "with classes (n, 1)"])
def test_predict_takes_images_alone(form):
    data = {
        "tensor": DataLoader(X, batch_size=20),
        "tuple": DataLoader(TensorDataset(X), batch_size=20),
        "dictionary": DataLoader([{"image": x} for x in X], batch_size=20),
        "NumPy": DataLoader(X.numpy(), batch_size=20),
        "with classes": loader(pairs),
        "with classes (n, 1)": loader(lambda x, y: (x, y[:, None])),
    }[form]
    rule = net()
    predicted = Trainer(**QUIET).predict(rule, data)
    assert [len(p["prediction"]) for p in predicted] == [20, 20, 2]
    assert torch.equal(torch.cat([p["prediction"] for p in predicted]), rule(X).argmax(1))
    if "with classes" in form:
        assert torch.equal(torch.cat([p["label"] for p in predicted]), Y)
    else:
        assert all(p.keys() == {"prediction", "confidence"} for p in predicted)


def test_the_table_of_predictions_leaves_the_label_of_images_alone_empty(tmp_path):
    for name, data in (("alone", DataLoader(X, batch_size=20)), ("labelled", loader(pairs))):
        table = tmp_path / f"{name}.csv"
        Trainer(callbacks=[PredictionsCSV(table)], **QUIET).predict(net(), data, return_predictions=False)
        heading, *rows = [line.split(",") for line in table.read_text().splitlines()]
        assert heading == ["sample", "label", "prediction", "confidence"]
        assert [row[0] for row in rows] == [str(n) for n in range(N)]
        assert [row[1] for row in rows] == [str(int(y)) if name == "labelled" else "" for y in Y]
        assert [row[2] for row in rows] == [str(int(c)) for c in net()(X).argmax(1)]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X.double(), Y.int(), strict=True))


def test_a_stream_trains_as_a_data_set_does(of_a_loader):
    weights, measured = weights_after(DataLoader(Stream(), batch_size=20))
    assert all(torch.equal(a, b) for a, b in zip(weights, of_a_loader[0], strict=True))
    assert measured == of_a_loader[1]
    assert len(Trainer(**QUIET).predict(net(), DataLoader(Stream(), batch_size=20))) == 3


class Hooked(LightningDataModule):
    """A data module of Lightning's kind with a hook of its own where a rule reads its batches."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def on_before_batch_transfer(self, batch, dataloader_idx):
        return batch

    def train_dataloader(self):
        return loader(self.form)

    val_dataloader = test_dataloader = train_dataloader


@pytest.mark.parametrize("form", ["a dictionary", "one-hot labels of torch.int64"])
def test_a_data_module_of_lightnings_kind(form, of_a_loader):
    looks = [cls(every_n_steps=1) for cls in (Alignment, Representations, Guard)]
    weights, measured = weights_after(Hooked((TYPES | FORMS)[form]), callbacks=looks)
    assert all(torch.equal(a, b) for a, b in zip(weights, of_a_loader[0], strict=True))
    assert measured == of_a_loader[1]
    with pytest.raises(UserError, match="3 fields a batch"):
        weights_after(Hooked(WRONG_FORMS["a third field"][0]))


@pytest.mark.parametrize("kind", ["dictionaries", "one-hot", "stream", "whole batches"])
def test_observers_look_at_data_of_every_form(kind):
    data = {
        "dictionaries": DataLoader([{"image": x, "label": y} for x, y in zip(X, Y, strict=True)], batch_size=20),
        "one-hot": loader(lambda x, y: (x, torch.eye(CLASSES)[y])),
        "stream": DataLoader(Stream(), batch_size=20),
        "whole batches": DataLoader([(X[:20], Y[:20]), (X[20:], Y[20:])], batch_size=None),
    }[kind]
    looks = [cls(every_n_steps=1) for cls in (Settling, Alignment, Representations, Guard)]
    Trainer(max_epochs=1, callbacks=looks, **QUIET).fit(EquilibriumPropagation([64, 12, CLASSES]), data, data)


def test_trainer_does_not_warn_of_the_hook(recwarn):
    Trainer(max_epochs=1, **QUIET).fit(net(), own(pairs))
    assert not [w for w in recwarn if "on_before_batch_transfer" in str(w.message)]


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=8),
    dtype=st.sampled_from([torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.half, torch.double]),
    form=st.sampled_from(["(n)", "(n, 1)", "one-hot", "list", "NumPy"]),
)
def test_classes_of_every_type_and_form_are_the_same_classes(labels, dtype, form):
    y = torch.tensor(labels).to(dtype)
    given = {
        "(n)": y,
        "(n, 1)": y[:, None],
        "one-hot": torch.eye(5)[torch.tensor(labels)].to(dtype),
        "list": y.tolist(),
        "NumPy": y.numpy(),
    }[form]
    classes = as_classes(given, 5, LOADER)
    assert classes.dtype == torch.int64
    assert classes.tolist() == labels


class BadInOneProcess(ImageDataModule):
    """Images of which only the second process's share of the second batch holds NaN, unknown to load()."""

    image_shape = (1, 8, 8)

    def load(self, train):
        return X, Y

    def train_dataloader(self):
        images = X.clone()
        images[21] = torch.nan
        batches = [(share(x), share(y)) for x, y in zip(images.split(20), Y.split(20), strict=True)]
        return DataLoader(batches, batch_size=None)


def test_a_process_that_alone_refuses_its_batch_ends_all_of_them(tmp_path):
    data = ["--data", "tests.training.test_batch.BadInOneProcess", "--trainer.enable_progress_bar", "false"]
    model = ["--model", "Backpropagation", "--model.layer_sizes", "[64, 10]"]
    assert command_line_together(["fit", *model, *data], tmp_path, errors_in="errors.txt") == [2, 2]
    error = (tmp_path / "errors.txt").read_text()
    assert error.count("error: The data loader yields a batch with NaN or infinite numbers in 1 of its 10 images") == 1
    assert error.count("error: Another process of this run has ended") == 1
    assert "Traceback" not in error
