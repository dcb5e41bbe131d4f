"""Data options that are changed against what a checkpoint was trained on: nothing wrong is said, or done, of them."""

import contextlib
import csv
import inspect
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import BatchSizeFinder
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from bioplausible import Backpropagation, ImageDataModule, TableDataModule, UserError
from bioplausible.__main__ import main
from bioplausible.resume.run_files import read_yaml
from bioplausible.resume.training_data import SPOKEN, TrainingData, require_untrained
from tests.helpers import ARGS, FEW, RUN

N = 60


class Numbered(ImageDataModule):
    """Each image is told by its one pixel."""

    image_shape = (1, 1, 1)
    count = N

    def load(self, train):
        numbers = torch.arange(self.count)
        return (numbers / self.count).view(-1, 1, 1, 1), numbers % 10


class Others(Numbered):
    """Other data, of the same shape."""


class Grown(Numbered):
    """The same data module, whose folder has more images by now."""

    count = N + 20


Grown.__qualname__ = Numbered.__qualname__

QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
}


def rule():
    return Backpropagation([1, 10])


def trained(file, data):
    """Writes a checkpoint of an epoch on some data, and returns what was trained."""
    trainer, trained_rule = Trainer(max_epochs=1, **QUIET), rule()
    trainer.fit(trained_rule, data)
    trainer.save_checkpoint(file)
    return trained_rule


class SaveWithinEpoch(Callback):
    def __init__(self, file):
        self.file = file

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 2:
            trainer.save_checkpoint(self.file)


def resumed(file, data, epochs=2):
    trainer = Trainer(max_epochs=epochs, **QUIET)
    trainer.fit(rule(), data, ckpt_path=file)
    return trainer


def evaluated(command, file, data):
    return getattr(Trainer(**QUIET), command)(rule(), data, ckpt_path=file)


def said(call, *args) -> list[str]:
    """Returns what is said of data while a call succeeds."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*args)
    return [str(w.message) for w in caught if str(w.message).startswith(("The network", "Training goes on"))]


def numbers(data, split):
    return set(data._splits[split].images.flatten().mul(data.count).round().int().tolist())


sizes = st.one_of(st.none(), st.integers(2, N))
shares = st.sampled_from([0, 0.1, 0.25, 0.5, 0.9])


@given(sizes, shares, sizes, shares)
def test_a_split_is_refused_exactly_where_it_holds_images_that_were_trained_on(subset, share, new_subset, new_share):
    """Oracle: the images themselves."""
    before, now = (Numbered(subset_size=n, validation_split=s) for n, s in ((subset, share), (new_subset, new_share)))
    try:
        before.setup("fit")
        now.setup("fit")
    except UserError:  # leaves none for training, or none for validation
        assume(False)
    overlap = numbers(before, "train") & numbers(now, "val")
    expected = contextlib.nullcontext()
    if overlap:
        how_many = f"trained on {len(overlap)} of the {len(numbers(now, 'val'))} validation images"
        expected = pytest.raises(UserError, match=how_many)
    with expected:
        require_untrained(before.training_data(), now.training_data())


@pytest.mark.parametrize("now", [{"validation_split": 0.5}, {"validation_split": 0.25, "subset_size": None}])
def test_training_images_are_not_called_validation_images(now, tmp_path):
    """Neither by a resumed run, nor by an evaluation with a checkpoint, nor by one of a rule at hand."""
    before = {"validation_split": 0.25, "subset_size": 40}
    file = tmp_path / "a.ckpt"
    at_hand = trained(file, Numbered(**before))
    options = before | now
    for call in (
        lambda: resumed(file, Numbered(**options)),
        lambda: evaluated("validate", file, Numbered(**options)),
        lambda: Trainer(**QUIET).validate(at_hand, Numbered(**options)),
        lambda: Trainer(**QUIET).validate(Backpropagation.load_from_checkpoint(file), Numbered(**options)),
    ):
        with pytest.raises(
            UserError, match=r"validation images; it was trained with validation_split 0.25 and subset_si"
        ):
            call()
    assert said(evaluated, "test", file, Numbered(**options)) == []  # which the split does not touch
    assert said(evaluated, "validate", file, Numbered(**before)) == []
    assert (
        said(evaluated, "validate", file, Numbered(**before | {"validation_split": 0.1})) == []
    )  # all held out before


def test_without_held_out_images_there_is_nothing_to_validate_on(tmp_path):
    file = tmp_path / "a.ckpt"
    trained(file, Numbered())
    with pytest.raises(UserError, match="score the test split with `test`, or train anew with a split"):
        evaluated("validate", file, Numbered(validation_split=0.1))
    with pytest.raises(UserError, match="validation_split is 0, so there is nothing to validate on"):
        evaluated("validate", file, Numbered())
    data = Numbered()
    trained(file, data)
    with pytest.raises(UserError, match="validation_split is 0, so there is nothing to validate on"):
        Trainer(**QUIET).validate(rule(), data)  # set up before


def test_a_trained_network_that_is_trained_anew_on_another_split_says_so(tmp_path):
    at_hand = trained(tmp_path / "a.ckpt", Numbered(validation_split=0.1))
    heard = said(Trainer(max_epochs=1, **QUIET).fit, at_hand, Numbered(validation_split=0.5))
    assert heard == [
        "The network was trained before, also on 24 of the 30 images that are now for validation: its validation"
        " accuracy says too much."
    ]


def test_data_of_another_number_of_images_tell_not_which_ones_were_trained_on(tmp_path):
    file = tmp_path / "a.ckpt"
    trained(file, Numbered(validation_split=0.1))
    for call in (lambda d: resumed(file, d), lambda d: evaluated("validate", file, d)):
        with pytest.raises(
            UserError, match=r"There were 60 training images where the checkpoint was trained, and there are 80"
        ):
            call(Grown(validation_split=0.1))
    assert said(resumed, file, Grown()) == [
        "Training goes on with other data options than the checkpoint's: images 80 instead of 60, validation_split 0.0"
        " instead of 0.1."
    ]


def test_another_data_set_is_refused_on_resume_and_said_where_it_is_evaluated(tmp_path):
    file = tmp_path / "a.ckpt"
    trained(file, Numbered(validation_split=0.1))
    with pytest.raises(UserError, match=r"trained on Numbered, not Others.*resume with Numbered, or train anew"):
        resumed(file, Others(validation_split=0.1))
    for command, verb in (("validate", "validated"), ("test", "tested"), ("predict", "asked for predictions")):
        heard = said(evaluated, command, file, Others(validation_split=0.1))
        assert heard == [f"The network was trained on Numbered, and is {verb} on Others."]


CHANGED = {
    "subset_size": 30,
    "validation_split": 0.1,
    "batch_size": 7,
    "mean": [0.5],
    "std": [0.5],
    "crop_padding": 1,
    "horizontal_flip": True,
}
"""Each option that training and its statements depend on, with another value than :data:`BEFORE`'s."""
BEFORE = {"subset_size": 50, "validation_split": 0.2, "batch_size": 5}


def test_every_option_of_the_data_that_changes_training_is_known_to_be_one():
    changes_nothing = {"evaluation_batch_size", "num_workers"}
    assert set(inspect.signature(ImageDataModule).parameters) == {*SPOKEN, *changes_nothing} - {"images"}
    assert Numbered(border=2).training_data().changes(Numbered(border=1).training_data(), SPOKEN) == (
        "border 1 instead of 2"
    )


@pytest.mark.parametrize("option", CHANGED)
def test_every_changed_option_is_said_and_refused_where_it_moves_the_position_within_an_epoch(option, tmp_path):
    now = BEFORE | {option: CHANGED[option]}
    trained(tmp_path / "whole.ckpt", Numbered(**BEFORE))
    heard = said(resumed, tmp_path / "whole.ckpt", Numbered(**now))
    assert len(heard) == 1
    assert heard[0].startswith(
        f"Training goes on with other data options than the checkpoint's: {option} {CHANGED[option]} instead"
    )
    within = SaveWithinEpoch(tmp_path / "part.ckpt")
    Trainer(max_epochs=1, callbacks=[within], **QUIET).fit(rule(), Numbered(**BEFORE))
    if option in ("subset_size", "validation_split", "batch_size"):
        with pytest.raises(UserError, match=rf"lies within an epoch.*\({option} {CHANGED[option]} instead of"):
            resumed(tmp_path / "part.ckpt", Numbered(**now))
    else:
        assert len(said(resumed, tmp_path / "part.ckpt", Numbered(**now))) == 1
    assert said(resumed, tmp_path / "part.ckpt", Numbered(**BEFORE)) == []


@pytest.mark.parametrize("option", ["mean", "std"])
def test_other_normalisation_is_said_where_a_network_is_evaluated(option, tmp_path):
    file = tmp_path / "a.ckpt"
    trained(file, Numbered(**BEFORE))
    for command in ("validate", "test", "predict"):
        assert said(evaluated, command, file, Numbered(**BEFORE)) == []
        (sentence,) = said(evaluated, command, file, Numbered(**BEFORE | {option: [0.5]}))
        assert f"images that are normalised otherwise: {option} [0.5] instead of None" in sentence


def test_a_batch_size_that_was_found_is_taken_up_again(tmp_path):
    file = tmp_path / "a.ckpt"
    finder = BatchSizeFinder(max_trials=3)
    trainer = Trainer(max_epochs=1, callbacks=[finder], default_root_dir=tmp_path, **QUIET)
    trainer.fit(rule(), Numbered(batch_size=5))
    trainer.save_checkpoint(file)
    assert finder.optimal_batch_size == 8
    data = Numbered(batch_size=5)
    assert said(resumed, file, data) == []
    assert data.batch_size == 8
    assert data.hparams["batch_size"] == 8
    asked_for, set_by_hand = Numbered(batch_size=6), Numbered(batch_size=5)
    set_by_hand.batch_size = 6
    for data in (asked_for, set_by_hand):
        assert said(resumed, file, data) == [
            "Training goes on with other data options than the checkpoint's: batch_size 6 instead of 8."
        ]
        assert data.batch_size == 6


def test_a_search_for_a_batch_size_is_no_resume_and_none_comes_with_one(tmp_path):
    """Lightning returns to the start by a checkpoint, and would do so from where training resumes."""
    logger = CSVLogger(tmp_path, "x", "a")
    options = QUIET | {"logger": logger, "enable_checkpointing": True}
    trainer = Trainer(max_epochs=2, callbacks=[BatchSizeFinder(max_trials=3)], **options)
    data = Numbered(batch_size=5, validation_split=0.1)
    trainer.fit(rule(), data)
    assert trainer.global_step == 2 * len(data.train_dataloader())
    assert not (tmp_path / "x/a/resumed.yaml").exists()
    file = trainer.checkpoint_callback.best_model_path
    again = Trainer(max_epochs=4, callbacks=[BatchSizeFinder(max_trials=3)], **QUIET)
    with pytest.raises(UserError, match="BatchSizeFinder would search again"):
        again.fit(rule(), Numbered(batch_size=5, validation_split=0.1), ckpt_path=file)


def test_at_the_command_line_a_batch_size_is_searched_for_once(capsys):
    finder = ["--trainer.callbacks+=BatchSizeFinder", "--trainer.callbacks.max_trials=2"]
    fresh = ["fit", "--config", "digits/backpropagation", *FEW, "--data.validation_split=0.1", *finder]
    run = Path("lightning_logs/digits/backpropagation/version_0")
    for epochs, args in ((1, fresh), (2, ["fit", "--ckpt_path", "last"])):
        assert main([*args, "--trainer.max_epochs", str(epochs)]) == 0
        said = capsys.readouterr().out
        steps = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"]
        assert steps == epochs * 27  # 108 images, four a batch
        assert f"trained for          {epochs} epoch{'s' * (epochs > 1)}, {steps} steps;" in said
        assert ("BatchSizeFinder is left out: the batch size is the checkpoint's" in said) is (args is not fresh)
        assert not any("checkpoint" in entry for entry in read_yaml(run / "resumed.yaml", []))
    for command in ("test", "validate"):
        assert main([command, "--ckpt_path", "last"]) == 0


def test_a_checkpoint_that_does_not_say_what_it_was_trained_on_is_used_as_before(tmp_path):
    file = tmp_path / "a.ckpt"
    trained(file, Numbered(validation_split=0.1))
    content = torch.load(file, weights_only=True)
    del content["training_data"]
    torch.save(content, file)
    assert said(resumed, file, Numbered(validation_split=0.5)) == []
    assert said(evaluated, "validate", file, Numbered(validation_split=0.5)) == []


@pytest.mark.parametrize("within_epoch", [False, True])
def test_a_table_with_its_columns_in_another_order_is_refused(within_epoch, tmp_path, monkeypatch):
    """They would be taken for one another, without a word; as in a test_file."""
    monkeypatch.chdir(tmp_path)
    table = [{"length": i % 7, "width": i % 5 - 9, "kind": "ab"[i % 2]} for i in range(60)]
    for file, names in (("table.csv", ["length", "width"]), ("turned.csv", ["width", "length"])):
        with Path(file).open("w", newline="") as text:
            writer = csv.DictWriter(text, [*names, "kind"])
            writer.writeheader()
            writer.writerows(table)

    def data(file):
        return TableDataModule(file, batch_size=10, validation_split=0.2)

    checkpoint, save = tmp_path / "a.ckpt", SaveWithinEpoch(tmp_path / "a.ckpt")
    trainer = Trainer(max_epochs=1, callbacks=[save] * within_epoch, **QUIET)
    trainer.fit(Backpropagation([2, 2]), data("table.csv"))
    if not within_epoch:
        trainer.save_checkpoint(checkpoint)

    def used(command, file):
        further = Trainer(max_epochs=2, **QUIET)
        getattr(further, command)(Backpropagation([2, 2]), datamodule=data(file), ckpt_path=checkpoint)

    commands = ("fit", "validate", "test", "predict")
    for command in commands:
        used(command, "table.csv")
        with pytest.raises(
            UserError, match=r"^The network was trained on the columns length, width, and the data have width, length: "
        ):
            used(command, "turned.csv")
    # one of an earlier version doesn't know them
    content = torch.load(checkpoint, weights_only=True)
    del content["training_data"]["column_names"], content["training_data"]["content"]
    torch.save(content, checkpoint)
    for command in commands:
        used(command, "turned.csv")


def test_data_loaders_say_nothing_of_themselves(tmp_path):
    loader = DataLoader(TensorDataset(torch.rand(10, 1), torch.arange(10)), batch_size=5)
    file = tmp_path / "a.ckpt"
    trained(file, Numbered())
    assert said(evaluated, "validate", file, loader) == []
    at_hand = trained(file, loader)
    assert said(Trainer(**QUIET).validate, at_hand, Numbered(validation_split=0.5)) == []


def test_the_command_line_ends_with_one_sentence(capsys):
    assert main([*ARGS, "--data.init_args.validation_split", "0.1", "--trainer.max_epochs", "1"]) == 0
    last = str(RUN / "checkpoints/last.ckpt")
    before = capsys.readouterr().out
    assert "validation accuracy" in before
    for command in ("fit", "validate"):
        for more, word in (
            (["--data.init_args.validation_split", "0.3"], "validation images"),
            (["--data.init_args.subset_size", "500"], "validation images"),
        ):
            assert main([command, "--ckpt_path", last, *more]) == 2
            error = capsys.readouterr().err
            assert word in error
            assert error.count("\n") == 1
    assert main(["validate", "--ckpt_path", last, "--data.init_args.validation_split", "0"]) == 2
    assert "nothing to validate on" in capsys.readouterr().err
    assert main(["validate", "--ckpt_path", last]) == 0


def test_means_are_the_same_but_for_what_an_earlier_version_rounded():
    """It took them in float32."""
    options = {"crop_padding": 0, "horizontal_flip": False}
    now = TrainingData("T", 90, 90, 9, None, 0.1, 20, 20, [1.1065277777777778, 0.1], [0.5, 1.0], **options)
    before = replace(now, mean=[1.1065277749913986, 0.10000000149011612])
    assert before.changes(now, ("mean", "std")) == ""
    for other in ([1.10653, 0.1], [1.1065277777777778], None):
        said = f"mean [1.1065277777777778, 0.1] instead of {other}"
        assert replace(now, mean=other).changes(now, ("mean", "std")) == said
