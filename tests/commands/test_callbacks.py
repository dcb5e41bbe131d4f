"""Callbacks of the user's: what can't work is refused before training, and what is built in steps aside."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint, ProgressBar, TQDMProgressBar

from bioplausible.__main__ import main
from bioplausible.commands import command_line
from bioplausible.resume.checkpoint_callbacks import BestCheckpoint, LastCheckpoint
from bioplausible.rules import LearningRule
from bioplausible.training.stop_on_signal import StopOnSignal
from tests.helpers import CONFIGS, FEW, RUN

MODEL = "--model.init_args.lr_scheduler"
PLATEAU = [MODEL, "pytorch_lightning.cli.ReduceLROnPlateau", f"{MODEL}.init_args.monitor"]
NO_SPLIT = ["--data.init_args.validation_split", "0"]
STEPS = ["--model.init_args.lr_scheduler_interval", "step"]


def callbacks(*found: str) -> list[str]:
    return ["--trainer.callbacks", f"[{', '.join(found)}]"]


def monitors(callback: str, monitor: str) -> list[str]:
    return callbacks(f"{{class_path: {callback}, init_args: {{monitor: {monitor}}}}}")


class Refuses(Callback):
    """A callback of a user's own that refuses its options."""

    def __init__(self, n: int = 1) -> None:
        if n > 0:
            raise ValueError("n must be negative.")


REFUSED = {
    "no such metric": (monitors("EarlyStopping", "val_loss"), "val_loss, which nothing logs: choose train/accuracy"),
    "of a checkpoint": (monitors("ModelCheckpoint", "accuracy"), "accuracy, which nothing logs"),
    "no split": ([*monitors("EarlyStopping", "val/loss"), *NO_SPLIT], "there is no validation, for validation_split"),
    "no batches": (
        [*monitors("EarlyStopping", "val/loss"), "--trainer.limit_val_batches", "0"],
        "there is no validation, for limit_val_batches is 0",
    ),
    "a validation that never comes": (
        [*monitors("EarlyStopping", "val/loss"), "--trainer.check_val_every_n_epoch", "5", "--trainer.max_epochs", "4"],
        "there is no validation, for check_val_every_n_epoch is 5 and max_epochs 4: lower the first.",
    ),
    "rates": (callbacks("LearningRateFinder"), "LearningRateFinder"),
    "no loss": (callbacks("SpikeDetection"), "SpikeDetection watches the loss"),
    "no backbone": (callbacks("BackboneFinetuning"), "called backbone, and CorInfoMax has none: leave it out."),
    "refused deep within": (
        callbacks("{class_path: EMAWeightAveraging, init_args: {decay: 2}}"),
        "EMAWeightAveraging can't be built (Invalid decay value 2.0",
    ),
    "refused, one of several": (
        callbacks("Timer", "{class_path: EMAWeightAveraging, init_args: {decay: 2}}"),
        "EMAWeightAveraging can't be built (Invalid decay value 2.0",
    ),
    "refused by one's own": (callbacks(f"{__name__}.Refuses"), "Refuses can't be built (n must be negative): change"),
    "statistics without a logger": (
        [*callbacks("{class_path: DeviceStatsMonitor, init_args: {cpu_stats: false}}"), "--trainer.logger", "false"],
        "DeviceStatsMonitor",
    ),
    "a class that is not there": (callbacks("my_module.MyCallback"), "my_module"),
    "two bars": (callbacks("TQDMProgressBar", "LiveProgressBar"), "progress bar"),
    "plateau of no split": ([*PLATEAU, "val/loss", *NO_SPLIT], "there is no validation, for validation_split is 0"),
    "plateau of a mean at each step": ([*PLATEAU, "train/loss", *STEPS], "set lr_scheduler_interval to epoch"),
    "plateau of every other epoch": (
        [*PLATEAU, "val/loss", "--trainer.check_val_every_n_epoch", "2"],
        "check_val_every_n_epoch is 2",
    ),
    "plateau of nothing": ([*PLATEAU, "loss"], "ReduceLROnPlateau monitors loss, which nothing logs"),
    "an average that never begins": (
        callbacks("{class_path: StochasticWeightAveraging, init_args: {swa_lrs: 0.1, swa_epoch_start: 99}}"),
        "StochasticWeightAveraging begins after 98 epochs",
    ),
    "last.ckpt": (callbacks("{class_path: ModelCheckpoint, init_args: {filename: last}}"), "another filename"),
}


@pytest.mark.parametrize(("args", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_can_not_work_gets_one_sentence_before_training(args, said, capsys, monkeypatch):
    def trains(*_):
        raise AssertionError("it trains")

    monkeypatch.setattr(LearningRule, "training_step", trains)
    assert main(["fit", *(a for a in FEW if not a.startswith("--trainer") and a != "false"), *args]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert error.startswith("error: ")
    assert error.count("\n") == 0


@pytest.mark.parametrize("package", ["rich", "psutil"])
def test_a_package_that_a_callback_needs_is_named(package, capsys):
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    callback = {"rich": "RichProgressBar", "psutil": "DeviceStatsMonitor"}[package]
    assert main(["fit", *FEW[2:], *callbacks(callback)]) == 2
    error = capsys.readouterr().err.strip()
    assert package in error
    assert error.count("\n") == 0


def test_a_metric_of_the_users_own_may_be_monitored():
    Path("own.py").write_text(
        "from pytorch_lightning import Callback\n"
        "class Own(Callback):\n"
        "    def on_train_epoch_end(self, trainer, pl_module):\n"
        "        pl_module.log('own', 1.0)\n"
    )
    sys.path.insert(0, str(Path.cwd()))
    try:
        stop = "{class_path: EarlyStopping, init_args: {monitor: own, patience: 1}}"
        assert main(["fit", *FEW, "--trainer.max_epochs", "5", *callbacks("own.Own", stop)]) == 0
    finally:
        sys.path.pop(0)
        sys.modules.pop("own", None)
    assert torch.load(RUN / "checkpoints/last.ckpt", weights_only=True)["epoch"] == 1


def used(*args: str) -> list:
    """Returns the callbacks of a run, in their order."""
    noted = []

    class Notes(StopOnSignal):
        def on_fit_start(self, trainer, pl_module):
            noted.extend(trainer.callbacks)

    recipe = ["--config", str(CONFIGS / "digits/backpropagation.yaml"), *FEW[2:], "--trainer.max_epochs", "1"]
    assert command_line.run(["fit", *recipe, *args], [Notes()]) == 0
    return noted


def of(kind, found) -> list[str]:
    return [type(callback).__name__ for callback in found if isinstance(callback, kind)]


@pytest.mark.parametrize(("at_terminal", "shows"), [(True, "LiveProgressBar"), (False, "EpochLines")])
def test_what_is_built_in_is_there(at_terminal, shows, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: at_terminal)
    found = used()
    assert of(ProgressBar, found) == [shows]
    assert of(LearningRateMonitor, found) == ["LearningRateMonitor"]
    assert of(ModelCheckpoint, found) == ["BestCheckpoint", "LastCheckpoint"]
    assert of(StopOnSignal, found) == ["Notes"]


@pytest.mark.parametrize("off", ["false", "[]"])
def test_what_needs_a_logger_is_not_built_in_without_one(off):
    assert of(LearningRateMonitor, used("--trainer.logger", off)) == []


def test_what_is_built_in_steps_aside():
    best = "{class_path: ModelCheckpoint, init_args: {filename: best, monitor: train/loss, save_last: true}}"
    monitor = "{class_path: LearningRateMonitor, init_args: {logging_interval: epoch}}"
    found = used(*callbacks("TQDMProgressBar", monitor, best))
    assert [type(bar) for bar in found if isinstance(bar, ProgressBar)] == [TQDMProgressBar]
    assert [callback.logging_interval for callback in found if isinstance(callback, LearningRateMonitor)] == ["epoch"]
    assert of(ModelCheckpoint, found) == ["ModelCheckpoint", "LastCheckpoint"]
    folder = next(Path().rglob("checkpoints"))
    assert {path.name for path in folder.iterdir()} == {"best.ckpt", "last.ckpt"}
    last = torch.load(folder / "last.ckpt", weights_only=True)
    assert last["callbacks"]["LastCheckpoint"]["best_model_path"].endswith("last.ckpt")


def test_a_checkpoint_in_a_folder_of_its_own_is_the_users_affair():
    own = "{class_path: ModelCheckpoint, init_args: {dirpath: mine, filename: last, save_last: true}}"
    found = used(*callbacks(own))
    assert of((BestCheckpoint, LastCheckpoint), found) == ["BestCheckpoint", "LastCheckpoint"]
    assert list(Path("mine").iterdir())
