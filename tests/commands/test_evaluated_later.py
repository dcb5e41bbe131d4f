"""What `test` and `validate` log of a checkpoint stands where the checkpoint does, and counts for the run it is of."""

import csv
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader, TensorDataset

from bioplausible import Backpropagation, DigitsDataModule
from bioplausible.__main__ import main
from bioplausible.commands.completion import complete
from bioplausible.commands.report.logs import read_log
from bioplausible.commands.report.reading import find_runs, read_run

QUIET = ["--trainer.enable_progress_bar", "false"]
SPLIT = ["--data.validation_split", "0.2"]
SILENT = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
FIT = ["fit", *QUIET, "--config", "digits/backpropagation", "--data.subset_size", "100", "--data.batch_size", "20"]


def run_folder() -> Path:
    (config,) = Path("lightning_logs").rglob("config.yaml")
    return config.parent


def test_a_run_trained_without_its_test_split_is_tested_once_test_has_run(capsys):
    assert main([*FIT, "--trainer.max_epochs", "2", "--trainer.limit_test_batches", "0.0", *SPLIT]) == 0
    folder = run_folder()
    assert read_run(folder).status == "not tested"
    capsys.readouterr()
    assert main(["test", *QUIET, "--ckpt_path", "last"]) == 0
    assert "not counted" not in capsys.readouterr().out
    run = read_run(folder)
    assert run.status == "finished"
    steps = max(run.log.trained) + 1
    curves = read_log(folder).curves
    assert list(curves["test/accuracy"]) == [steps]
    assert curves["epoch"][steps] == 2
    assert main(["validate", *QUIET, "--ckpt_path", "last"]) == 0
    assert read_log(folder).curves["epoch"] == curves["epoch"]  # its points are those of training's own validation
    assert main(["report", "lightning_logs", "--out", "out"]) == 0
    rows = list(csv.DictReader(Path("out/curves.csv").read_text().splitlines()))
    (row,) = [row for row in rows if row["quantity"] == "test/accuracy"]
    assert (row["step"], row["epoch"]) == (str(steps), "2")


@pytest.mark.parametrize("command", ["test", "validate"])
def test_what_is_logged_of_a_checkpoint_on_the_way_stands_at_its_step(command):
    every = ["--checkpoint_every_n_steps", "3", "--checkpoint_keep", "-1"]
    assert main([*FIT, "--trainer.max_epochs", "2", *SPLIT, *every]) == 0
    folder, name = run_folder(), {"test": "test/accuracy", "validate": "val/accuracy"}[command]
    before, known = read_run(folder).last("test/accuracy"), set(read_log(folder).curves[name])
    assert main([command, *QUIET, "--ckpt_path", str(next(folder.rglob("*step=6.ckpt")))]) == 0
    step = {"test": 6, "validate": 5}[command]  # of the last step, as training logs its validations
    curves = read_log(folder).curves
    assert set(curves[name]) == known | {step}
    assert 0 not in curves[name]
    assert curves["epoch"][step] == 1  # of four steps each
    assert read_run(folder).last("test/accuracy") == before  # that of the weights at the end
    assert main(["report", "lightning_logs", "--out", "out"]) == 0
    rows = csv.DictReader(Path("out/curves.csv").read_text().splitlines())
    assert [row["epoch"] for row in rows if (row["quantity"], row["step"]) == (name, str(step))] == ["1.5"]


def test_a_trainer_that_evaluated_a_checkpoint_trains_on_from_where_it_was(tmp_path):
    """Oracle: the same without the evaluation between."""
    ends = []
    for evaluates in (True, False):
        torch.manual_seed(0)
        rule, data = Backpropagation([64, 10]), DigitsDataModule(subset_size=100)
        trainer = Trainer(max_epochs=1, **SILENT, logger=CSVLogger(tmp_path / str(evaluates)))
        trainer.fit(rule, data)
        trainer.save_checkpoint("first.ckpt")
        trainer.fit_loop.max_epochs = 2
        trainer.fit(rule, data)
        if evaluates:
            trainer.test(rule, data, "first.ckpt", verbose=False)
        ends.append((trainer.global_step, trainer.current_epoch))
        trainer.fit_loop.max_epochs = 3
        trainer.fit(rule, data)
        ends.append((trainer.global_step, trainer.current_epoch, sorted(read_log(Path(trainer.log_dir)).trained)))
    assert ends[:2] == ends[2:]
    assert ends[0] == (10, 2)


@pytest.mark.parametrize("options", [["--trainer.limit_test_batches", "1"], ["--model.activation_function", "tanh"]])
def test_what_is_measured_in_another_way_is_not_the_run_s_and_no_run(options, capsys):
    assert main([*FIT, "--trainer.max_epochs", "1", "--trainer.limit_test_batches", "0.0"]) == 0
    folder = run_folder()
    capsys.readouterr()
    assert main(["test", *QUIET, "--ckpt_path", "last", *options]) == 0
    assert "not counted          rule, data or split are not those of its training" in capsys.readouterr().out
    assert [(run.path, run.status) for run in find_runs([Path("lightning_logs")])] == [(folder, "not tested")]


def test_what_bears_on_a_result_departs_from_training_and_nothing_else():
    short = ["--trainer.max_epochs", "1", "--trainer.limit_test_batches", "0.0", "--trainer.limit_train_batches", "1"]
    assert main([*FIT, *short, *SPLIT]) == 0
    config = str(run_folder() / "config.yaml")

    def as_trained(*options):
        return complete(["test", "--ckpt_path", "last", *options]).as_trained

    for same in (
        [],
        ["--config", config],
        ["--model", "Backpropagation"],
        ["--model", "bioplausible.Backpropagation", "--data.class_path", "DigitsDataModule"],
        ["--model.optimizer", "Adam"],
        ["--model.layer_sizes", "[64, 200, 10]", "--data.batch_size", "20"],
        ["--data.evaluation_batch_size", "7"],
        ["--data.num_workers", "1"],
        ["--trainer.limit_test_batches", "1.0"],
        ["--trainer.accelerator", "cpu", "--trainer.devices", "1"],
        ["--seed_everything", "3"],
    ):
        assert as_trained(*same), same
    for other in (
        ["--trainer.limit_test_batches", "1"],
        ["--trainer.limit_test_batches", "0.5"],
        ["--trainer.precision", "bf16-mixed"],
        ["--data", "MNIST5000DataModule"],
        ["--data.subset_size", "50"],
        ["--data.mean", "[0.5]"],
        ["--data.validation_split", "0.5"],
        ["--model.activation_function", "tanh"],
    ):
        assert not as_trained(*other), other


LOGGERS = {
    "Lightning's own": lambda: True,
    "CSV": lambda: CSVLogger(".", name="lightning_logs"),
    "both": lambda: [CSVLogger("."), TensorBoardLogger(".", name="lightning_logs")],
}


@pytest.mark.parametrize("logger", LOGGERS)
def test_a_run_from_python_is_tested_once_test_has_run(logger):
    trainer = Trainer(max_epochs=1, **SILENT, logger=LOGGERS[logger]())
    trainer.fit(Backpropagation([64, 10]), DigitsDataModule(subset_size=60))
    (run,) = find_runs([Path("lightning_logs")])
    assert run.status == "not tested"
    assert main(["test", *QUIET, "--ckpt_path", str(run.path), "--trainer.limit_test_batches", "1"]) == 0
    assert [found.status for found in find_runs([Path("lightning_logs")])] == ["not tested"]
    for options in ([], ["--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "mine"]):
        assert main(["test", *QUIET, "--ckpt_path", str(run.path), *options]) == 0
        (tested,) = find_runs([Path()])
        assert (tested.path, tested.status) == (run.path, "finished")
    assert tested.last("test/accuracy") == pytest.approx(tested.curves["test/accuracy"][3])
    assert tested.curves.keys() >= {"train/accuracy", "test/accuracy"}


def test_a_run_on_data_loaders_is_tested_by_the_trainer_that_trained_it_alone(capsys):
    """Nothing says what it trained on, so no later measurement is known to be of the same data; this is said."""

    def loader():
        return DataLoader(TensorDataset(torch.rand(60, 64), torch.arange(60) % 10), batch_size=20)

    for tests in (False, True):
        trainer, rule = Trainer(max_epochs=1, **SILENT), Backpropagation([64, 10])
        trainer.fit(rule, loader())
        if tests:
            trainer.test(rule, loader(), verbose=False)
    untested, tested = find_runs([Path("lightning_logs")])
    assert tested.status == "finished"
    only = "not tested: it trained on data loaders, so later ones may be other data"
    assert untested.status.startswith(only)
    checkpoint = next(untested.path.rglob("*.ckpt"))
    Trainer(**SILENT).test(Backpropagation([64, 10]), loader(), checkpoint, verbose=False)
    capsys.readouterr()
    assert main(["test", *QUIET, "--ckpt_path", str(checkpoint), "--data", "DigitsDataModule"]) == 0
    said = (
        "not counted          its run trained on data loaders, and no checkpoint says whether these are the same data"
    )
    assert said in capsys.readouterr().out
    after = find_runs([Path("lightning_logs")])
    assert [run.path for run in after] == [untested.path, tested.path]
    assert after[0].status.startswith(only)


def test_what_a_script_s_evaluation_logs_is_no_run_whatever_hyperparameters_stand_beside(tmp_path):
    Trainer(max_epochs=1, **SILENT).fit(Backpropagation([64, 10]), DigitsDataModule(subset_size=60))
    checkpoint = next(Path("lightning_logs").rglob("*.ckpt"))
    for cls in (CSVLogger, TensorBoardLogger):
        logger = cls(".", name="lightning_logs/evaluated")
        logger.log_hyperparams({"note": 3})
        trainer = Trainer(logger=logger, **SILENT)
        trainer.test(Backpropagation([64, 10]), DigitsDataModule(), checkpoint, verbose=False)
        assert (Path(logger.log_dir) / "hparams.yaml").read_text() == "note: 3\n"
    assert [run.status for run in find_runs([Path("lightning_logs")])] == ["not tested"]
    earlier = Path("lightning_logs/earlier/version_0")  # of a version that named no run: its hyperparameters do
    earlier.mkdir(parents=True)
    (earlier / "metrics.csv").write_text("step,test/accuracy\n0,0.5\n")
    (earlier / "hparams.yaml").write_text("rule: Backpropagation\n")
    assert earlier in [run.path for run in find_runs([Path("lightning_logs")])]
