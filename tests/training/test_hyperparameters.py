"""What the loggers get of a run: all that it trains with, and nothing that is internal."""

from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from bioplausible import CorInfoMax, DigitsDataModule
from bioplausible.__main__ import main
from bioplausible.training.hyperparameters import LIMITS, hyperparameters
from bioplausible.training.loggers import RunLogger
from tests.helpers import CONFIGS

SHORT = ["--data.init_args.subset_size", "60", "--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false"]


def tab(folder):
    """Returns the values in TensorBoard's HParams tab by name."""
    events = EventAccumulator(str(folder))
    events.Reload()
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    found = HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in found.items()}


@pytest.mark.sampled
@pytest.mark.parametrize("recipe", sorted(CONFIGS.glob("digits/*.yaml")), ids=lambda path: path.stem)
def test_the_tab_shows_all_that_a_recipe_trains_with_and_nothing_internal(recipe):
    config = yaml.safe_load(recipe.read_text())
    both = "[{class_path: bioplausible.training.loggers.RunLogger, init_args: {save_dir: logs, name: x}},"
    both += " {class_path: pytorch_lightning.loggers.CSVLogger, init_args: {save_dir: csv, name: x}}]"
    steps = [name for name in config["model"]["init_args"] if name.endswith("_steps")]
    shorter = [f"--model.init_args.{name}=2" for name in steps]
    args = ["--seed_everything=7", f"--trainer.logger={both}", "--data.init_args.crop_padding=1"]
    assert main(["fit", "--config", str(recipe), *SHORT, *shorter, *args]) == 0
    shown = tab("logs/x/version_0")
    assert not [name for name in shown if name.startswith("_")]
    assert "None" not in shown.values()
    assert (shown["rule"], shown["data"], shown["seed"]) == (config["model"]["class_path"], "DigitsDataModule", 7)
    assert (shown["batch_size"], shown["subset_size"], shown["crop_padding"]) == (
        config["data"]["init_args"]["batch_size"],
        60,
        1,
    )
    assert shown["validation_split"] == pytest.approx(config["data"]["init_args"]["validation_split"])
    assert (shown["max_epochs"], shown["precision"]) == (1, "32-true")
    options = {**config["model"]["init_args"], **dict.fromkeys(steps, 2)}
    optimizer, schedule = options.pop("optimizer"), options.pop("lr_scheduler", None)
    for name, value in options.items():
        if value is not None and not isinstance(value, (dict, list)):
            assert shown[name] == (pytest.approx(value) if isinstance(value, float) else value), name
    assert shown["optimizer"] == optimizer["class_path"].rpartition(".")[2]
    rates = {name: value for name, value in shown.items() if name == "lr" or name.startswith("lr.")}
    assert rates
    if "lr" in (optimizer.get("init_args") or {}) and "lr" in rates:
        assert rates["lr"] == pytest.approx(optimizer["init_args"]["lr"])
    if schedule is None:
        assert "lr_scheduler" not in shown
    else:
        assert shown["lr_scheduler"] == schedule["class_path"].rpartition(".")[2]
        for name, value in schedule["init_args"].items():
            keys = [f"{name}/{key}" for key in value] if isinstance(value, dict) else [name]
            assert all(f"lr_scheduler.{key}" in shown for key in keys)
    logged = [yaml.safe_load(Path(folder, "x/version_0/hparams.yaml").read_text()) for folder in ("logs", "csv")]
    assert logged[0] == logged[1]
    assert logged[0].keys() >= {"rule", "optimizer", *options} - {n for n, v in options.items() if v is None}


@pytest.mark.parametrize("cls", [RunLogger, TensorBoardLogger, CSVLogger])
def test_from_python_too_each_rate_as_it_is_whatever_a_schedule_starts_with(cls):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "max_steps": 2}
    trainer = Trainer(logger=cls("logs", "x"), limit_train_batches=3, **quiet)
    rule = CorInfoMax(
        [64, 20, 10],
        feedforward_learning_rates=[0.25, 0.5],
        feedback_learning_rates=0.125,
        optimizer=partial(torch.optim.SGD, momentum=0.5),
        lr_scheduler=partial(torch.optim.lr_scheduler.LinearLR, start_factor=0.1),
    )
    trainer.fit(rule, DigitsDataModule(subset_size=200, mean=[0.5]))
    values = yaml.safe_load(Path("logs/x/version_0/hparams.yaml").read_text())
    assert {name: value for name, value in values.items() if name.startswith("lr.")} == {
        "lr.feedforward_1": 0.25,
        "lr.feedforward_2": 0.5,
        "lr.feedback_2": 0.125,
    }
    assert values["optimizer.momentum"] == 0.5
    assert (values["lr_scheduler"], values["lr_scheduler.start_factor"]) == ("LinearLR", 0.1)
    assert (values["rule"], values["mean"], values["limit_train_batches"]) == ("CorInfoMax", [0.5], 3)
    assert (values["max_steps"], "max_epochs" in values) == (2, False)


def test_a_user_may_log_none():
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "max_steps": 1}
    trainer = Trainer(logger=CSVLogger("logs", "x"), enable_autolog_hparams=False, **quiet)
    trainer.fit(CorInfoMax([64, 20, 10]), DigitsDataModule(subset_size=60))
    assert not Path("logs/x/version_0/hparams.yaml").exists()


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize(("given", "logged"), [(1, 1), (0.5, 0.5), (2, 2), (1.0, None), (None, None), (0, 0)])
def test_a_limit_of_one_batch_is_no_limit_of_all(name, given, logged):
    trainer = Trainer(**{name: given}, max_epochs=1, logger=False, enable_checkpointing=False, accelerator="cpu")
    value = hyperparameters(trainer, CorInfoMax([64, 20, 10])).get(name)
    assert (value, type(value)) == (logged, type(logged))
