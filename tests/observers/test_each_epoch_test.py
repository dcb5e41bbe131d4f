"""Test accuracy after each epoch: the one that the weights have, seen by figures alone."""

from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, Trainer

from bioplausible import Backpropagation, DigitsDataModule, UserError
from bioplausible.__main__ import main
from bioplausible.commands import command_line
from bioplausible.observers import EachEpochTest
from tests.helpers import CONFIGS, scalars

FEW = ["--trainer.enable_progress_bar", "false", "--trainer.max_epochs", "2", "--data.subset_size", "120"]
OBSERVED = ["--trainer.callbacks+", "EachEpochTest"]


def trained(name, *args):
    """Trains into a folder and returns what lies in it, and its last checkpoint."""
    place = ["--trainer.logger.init_args.save_dir", name]
    assert command_line.run(["fit", *args, *FEW, *place]) == 0
    (checkpoint,) = Path(name).rglob("last.ckpt")
    return checkpoint.parents[1], torch.load(checkpoint, weights_only=False)


@pytest.mark.parametrize("rule", ["backpropagation", "corinfomax", "predictive_coding", "corinfomax_sparse"])
def test_it_logs_what_the_weights_score_and_changes_nothing(rule):
    recipe = ["--config", str(CONFIGS / f"digits/{rule}.yaml")]
    limits = ["--data.evaluation_batch_size", "50", "--trainer.limit_test_batches", "3"]
    _, plain = trained("plain", *recipe)
    folder, observed = trained("observed", *recipe, *OBSERVED)
    assert plain["state_dict"].keys() == observed["state_dict"].keys()
    assert all(torch.equal(value, observed["state_dict"][name]) for name, value in plain["state_dict"].items())
    logged = scalars(folder)
    for name in ("accuracy", "loss"):
        (_, first), (step, last) = logged[f"test_each_epoch/{name}"]
        assert step == logged["train/accuracy"][-1][0]
        assert last == pytest.approx(logged[f"test/{name}"][-1][1], rel=1e-6)
        assert first != last
    logged = scalars(trained("limited", *recipe, *OBSERVED, *limits)[0])
    assert logged["test_each_epoch/accuracy"][-1][1] == pytest.approx(logged["test/accuracy"][-1][1], rel=1e-6)
    correct = 150 * logged["test_each_epoch/accuracy"][-1][1]
    assert correct == pytest.approx(round(correct), abs=1e-3)  # of three batches


@pytest.mark.parametrize("batch", [50, 400])
def test_what_augments_training_images_leaves_those_of_the_test_split_alone(batch):
    """Batches smaller than the training ones, and larger."""
    augmented = ["--data.horizontal_flip", "true", "--data.crop_padding", "1", "--data.batch_size", "60"]
    recipe = ["--config", str(CONFIGS / "digits/backpropagation.yaml"), "--data.evaluation_batch_size", str(batch)]
    logged = scalars(trained("augmented", *recipe, *augmented, *OBSERVED)[0])
    for name in ("accuracy", "loss"):
        assert logged[f"test_each_epoch/{name}"][-1][1] == pytest.approx(logged[f"test/{name}"][-1][1], rel=1e-6)


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_it_scores_in_the_precision_that_is_trained_in(precision):
    recipe = ["--config", str(CONFIGS / "digits/backpropagation.yaml"), "--trainer.precision", precision]
    logged = scalars(trained("made", *recipe, *OBSERVED)[0])
    for name in ("accuracy", "loss"):
        assert logged[f"test_each_epoch/{name}"][-1][1] == pytest.approx(logged[f"test/{name}"][-1][1], rel=1e-6)


class Watching(Callback):
    """A callback of a user's own, which may log anything, and sees what can be monitored."""

    def on_train_epoch_end(self, trainer, pl_module):
        assert "train/accuracy" in trainer.callback_metrics or trainer.current_epoch == 0
        assert not [name for name in trainer.callback_metrics if name.startswith("test")]


@pytest.mark.parametrize("monitor", ["test_each_epoch/accuracy", "test_each_epoch/loss", "test/accuracy"])
@pytest.mark.parametrize(
    "callback",
    [
        "{{class_path: ModelCheckpoint, init_args: {{monitor: {}, filename: other}}}}",
        "{{class_path: EarlyStopping, init_args: {{monitor: {}}}}}",
        "{{class_path: EarlyStopping, init_args: {{monitor: {}, strict: false}}}}",
    ],
)
@pytest.mark.parametrize("others", [[], ["tests.observers.test_each_epoch_test.Watching"]], ids=["alone", "own"])
def test_nothing_may_be_chosen_by_it(callback, monitor, others, capsys):
    observers = ", ".join([callback.format(monitor), "EachEpochTest", *others])
    args = ["fit", "--config", str(CONFIGS / "digits/backpropagation.yaml"), *FEW]
    assert main([*args, "--trainer.callbacks", f"[{observers}]"]) == 2
    error = capsys.readouterr().err
    assert f"monitors {monitor}, but the test split chooses nothing" in error
    assert error.count("\n") == 1
    assert not list(Path().rglob("*.ckpt"))


def test_nor_a_schedule(capsys):
    schedule = "{class_path: pytorch_lightning.cli.ReduceLROnPlateau, init_args: {monitor: test_each_epoch/loss}}"
    args = ["fit", "--config", str(CONFIGS / "digits/backpropagation.yaml"), *FEW, *OBSERVED]
    assert main([*args, "--model.lr_scheduler", schedule, "--model.lr_scheduler_interval", "epoch"]) == 2
    assert "ReduceLROnPlateau monitors test_each_epoch/loss, but the test split chooses" in capsys.readouterr().err


def test_it_is_seen_by_loggers_alone():
    trained(
        "seen", "--config", str(CONFIGS / "digits/backpropagation.yaml"), *OBSERVED, "--trainer.callbacks+", WATCHING
    )


WATCHING = "tests.observers.test_each_epoch_test.Watching"


def test_it_needs_the_test_split_of_a_data_module():
    trainer = Trainer(max_epochs=1, logger=False, enable_checkpointing=False, callbacks=[EachEpochTest()])
    data = DigitsDataModule()
    data.setup("fit")
    with pytest.raises(UserError, match="by the test split of a data module"):
        trainer.fit(Backpropagation([64, 10]), data.train_dataloader())
    trainer = Trainer(max_epochs=1, logger=False, callbacks=[EachEpochTest()], limit_test_batches=0)
    with pytest.raises(UserError, match="limit_test_batches is 0"):
        trainer.fit(Backpropagation([64, 10]), datamodule=DigitsDataModule())


def test_it_is_refused_where_nothing_would_show_it(capsys):
    """Before training: by the command line, and from Python."""
    args = ["fit", "--config", str(CONFIGS / "digits/backpropagation.yaml"), *FEW, *OBSERVED]
    assert main([*args, "--trainer.logger", "false"]) == 2
    error = capsys.readouterr().err
    assert "EachEpochTest writes to the loggers alone, and logger is false" in error
    assert error.count("\n") == 1
    assert not list(Path().rglob("*.ckpt"))
    trainer = Trainer(max_epochs=1, logger=False, enable_checkpointing=False, callbacks=[EachEpochTest()])
    with pytest.raises(UserError, match="logger is false"):
        trainer.fit(Backpropagation([64, 10]), datamodule=DigitsDataModule())
    assert main([*args, "--trainer.fast_dev_run", "true"]) == 0  # whose own logger writes nothing, and on purpose


def test_a_share_that_is_no_whole_batch_is_refused_before_training(capsys):
    """It would log NaN, and the test at the end be refused after all that was trained."""
    recipe = ["--config", str(CONFIGS / "digits/backpropagation.yaml")]
    assert main(["fit", *recipe, *FEW, *OBSERVED, "--trainer.limit_test_batches", "0.3"]) == 2
    assert "limit_test_batches 0.3 of it is no whole batch: raise it" in capsys.readouterr().err
    assert not list(Path().rglob("*.ckpt"))
