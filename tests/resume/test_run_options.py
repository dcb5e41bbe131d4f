"""Seed, precision and limits that change when training resumes are said, and noted for the report in the same words."""

import itertools
import re
import warnings
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint

from bioplausible import Backpropagation, DigitsDataModule
from bioplausible.__main__ import main
from bioplausible.commands.report.configurations import changes
from bioplausible.resume.run_files import RESUMED, read_yaml
from bioplausible.training.loggers import RunLogger
from tests.helpers import FEW, RUN

SAID = "Training goes on with other options than the checkpoint's: "
SEEDS, PRECISIONS, LIMITS = (None, 1, 2), ("32-true", "64-true"), (None, 1, 0.5)
OPTIONS = ("seed", "precision", "limit_train_batches", "limit_val_batches")


@pytest.fixture(autouse=True)
def _no_seed_of_the_process(monkeypatch):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)


def trainer(path, precision="32-true", train=None, val=None, version=None, epochs=1, callbacks=()):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    options = {"precision": precision, "limit_train_batches": train, "limit_val_batches": val, "max_epochs": epochs}
    logger, keeps = RunLogger(str(path), "x", version), bool(callbacks)
    return Trainer(logger=logger, callbacks=list(callbacks), enable_checkpointing=keeps, **options, **quiet)


def data():
    return DigitsDataModule(subset_size=100, validation_split=0.2, evaluation_batch_size=5)


def fit(run, checkpoint, seed=None, ckpt_path=None):
    """Trains, and returns what was said of other options, without the words that it begins with."""
    if seed is not None:
        seed_everything(seed, verbose=False)
    rule = Backpropagation([64, 10])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.fit(rule, data(), ckpt_path=ckpt_path)
    run.save_checkpoint(checkpoint)
    texts = [str(warning.message) for warning in caught]
    return [text.removeprefix(SAID) for text in texts if text.startswith("Training goes on with")]


@pytest.fixture
def first(tmp_path):
    """Returns a checkpoint at the end of an epoch, in the folder of its run."""
    file = tmp_path / "x/a/first.ckpt"
    assert fit(trainer(tmp_path, train=1, val=2, version="a"), file, 1) == []
    return file


@pytest.mark.parametrize(
    "options", list(itertools.product(SEEDS, PRECISIONS, LIMITS, (2, 3))), ids=lambda each: "-".join(map(str, each))
)
def test_exactly_what_differs_is_said_and_noted(options, first, tmp_path, monkeypatch):
    seed, *others = options
    monkeypatch.delenv("PL_GLOBAL_SEED")
    said = fit(trainer(tmp_path, *others, version="a", epochs=2), tmp_path / "end.ckpt", seed, first)
    before = dict(zip(OPTIONS, (1, "32-true", 1, 2), strict=True))
    now = dict(zip(OPTIONS, (1 if seed is None else seed, *others), strict=True))
    differ = [name for name in OPTIONS if before[name] != now[name]]
    text = ", ".join(f"{name} {now[name]} instead of {before[name]}" for name in differ)
    assert said == ([f"{text}."] if differ else [])
    (noted,) = read_yaml(tmp_path / "x/a" / RESUMED, [])
    assert noted["changed"] == {"max_epochs": 2, **{name: now[name] for name in differ}}
    reported = ", ".join(f"{name}={now[name]} ({before[name]} before)" for name in sorted(differ))
    assert changes(tmp_path / "x/a", {}, [1], None) == ([f"from step 1 {reported}"] if differ else [])


def test_what_is_said_is_true(first, tmp_path, monkeypatch):
    """Each option changes the weights; one that did not must not be said to."""
    ends = []
    for options in ({}, {"seed": 2}, {"precision": "64-true"}, {"train": 2}):
        monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
        given = {"train": 1, "val": 2, **options}
        seed = given.pop("seed", None)
        fit(trainer(tmp_path, **given, version="a", epochs=2), tmp_path / "end.ckpt", seed, first)
        state = torch.load(tmp_path / "end.ckpt", weights_only=True)["state_dict"]
        ends.append(torch.cat([tensor.double().flatten() for tensor in state.values()]))
    assert all(not torch.equal(one, other) for one, other in itertools.combinations(ends, 2))


def test_a_seed_that_changes_within_an_epoch_gives_it_another_order(tmp_path, monkeypatch):
    """Some images come twice then, which is said; not at an epoch's end, and not where it is the same seed."""
    each_step = ModelCheckpoint(tmp_path / "x/a", "{step}", every_n_train_steps=1, save_top_k=-1)
    fit(trainer(tmp_path, version="a", callbacks=[each_step]), tmp_path / "end.ckpt", 1)
    file = tmp_path / "x/a/step=2.ckpt"
    same = fit(trainer(tmp_path, version="a", epochs=2), tmp_path / "end.ckpt", 1, file)
    assert same == []
    (said,) = fit(trainer(tmp_path, version="a", epochs=2), tmp_path / "end.ckpt", 2, file)
    assert said == (
        "seed 2 instead of 1. The epoch that it goes on in has another order now: some images come twice, and others"
        " not at all."
    )


def test_nothing_is_said_where_nothing_is_left_to_train(first, tmp_path):
    assert fit(trainer(tmp_path, "64-true", version="a"), tmp_path / "end.ckpt", 2, first) == []


def test_an_evaluation_does_not_take_the_place_of_what_the_network_was_trained_with(first, tmp_path):
    """Neither where a Trainer loads the checkpoint nor where the rule does, and both save it again."""
    for path, rule in ((first, Backpropagation([64, 10])), (None, Backpropagation.load_from_checkpoint(first))):
        evaluation = trainer(tmp_path, "64-true")
        evaluation.test(rule, data(), ckpt_path=path, verbose=False)
        evaluation.save_checkpoint(first.with_name("tested.ckpt"))
        again = trainer(tmp_path, train=1, val=2, version="a", epochs=2)
        assert fit(again, tmp_path / "end.ckpt", None, first.with_name("tested.ckpt")) == []


def test_of_an_earlier_checkpoint_the_seed_alone_is_known(first, tmp_path):
    checkpoint = torch.load(first, weights_only=True)
    del checkpoint["run_options"]
    torch.save(checkpoint, first)
    said = fit(trainer(tmp_path, "64-true", version="a", epochs=2), tmp_path / "end.ckpt", 2, first)
    assert said == ["seed 2 instead of 1."]


def test_a_network_that_trains_anew_is_compared_with_nothing(first, tmp_path):
    """It starts from weights, not from a checkpoint."""
    rule = Backpropagation.load_from_checkpoint(first)
    seed_everything(2, verbose=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Training goes on with")
        trainer(tmp_path, "64-true").fit(rule, data())


def test_the_command_line_says_so_on_the_screen(recwarn):
    short = [*FEW, "--trainer.limit_train_batches", "2"]
    assert main(["fit", *short, "--trainer.max_epochs", "1"]) == 0
    assert main(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "2"]) == 0
    assert not [warning for warning in recwarn if SAID in str(warning.message)]
    changed = ["--seed_everything", "5", "--trainer.precision", "64", "--trainer.limit_train_batches", "3"]
    with pytest.warns(UserWarning, match=re.escape(SAID)) as caught:
        assert main(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "3", *changed]) == 0
    (said,) = [str(warning.message) for warning in caught if SAID in str(warning.message)]
    assert (
        said == f"{SAID}seed 5 instead of 0, precision 64-true instead of 32-true, limit_train_batches 3 instead of 2."
    )
    last = read_yaml(Path(RUN, RESUMED), [])[-1]
    assert last["changed"] == {"seed": 5, "precision": "64-true", "limit_train_batches": 3, "max_epochs": 3}
