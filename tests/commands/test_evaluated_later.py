"""What `test` and `validate` log of a checkpoint stands where the checkpoint does, and counts for the run it is of."""

import csv
from pathlib import Path

import pytest

from bioplausible.__main__ import main
from bioplausible.commands.report.logs import read_log
from bioplausible.commands.report.reading import find_runs, read_run

QUIET = ["--trainer.enable_progress_bar", "false"]
FIT = ["fit", *QUIET, "--config", "digits/backpropagation", "--data.subset_size", "100", "--data.batch_size", "20"]


def run_folder() -> Path:
    (config,) = Path("lightning_logs").rglob("config.yaml")
    return config.parent


def test_a_run_trained_without_its_test_split_is_tested_once_test_has_run(capsys):
    assert main([*FIT, "--trainer.max_epochs", "2", "--trainer.limit_test_batches", "0.0"]) == 0
    folder = run_folder()
    assert read_run(folder).status == "not tested"
    assert main(["test", *QUIET, "--ckpt_path", "last"]) == 0
    run = read_run(folder)
    assert run.status == "finished"
    steps = max(run.log.trained) + 1
    assert list(read_log(folder).curves["test/accuracy"]) == [steps]
    assert main(["report", "lightning_logs", "--out", "out"]) == 0
    rows = list(csv.DictReader(Path("out/curves.csv").read_text().splitlines()))
    (row,) = [row for row in rows if row["quantity"] == "test/accuracy"]
    assert (row["step"], row["epoch"]) == (str(steps), "2")


@pytest.mark.parametrize("command", ["test", "validate"])
def test_what_is_logged_of_a_checkpoint_on_the_way_stands_at_its_step(command):
    every = ["--checkpoint_every_n_steps", "3", "--checkpoint_keep", "-1"]
    assert main([*FIT, "--trainer.max_epochs", "2", "--data.validation_split", "0.2", *every]) == 0
    folder, name = run_folder(), {"test": "test/accuracy", "validate": "val/accuracy"}[command]
    before, known = read_run(folder).last("test/accuracy"), set(read_log(folder).curves[name])
    assert main([command, *QUIET, "--ckpt_path", str(next(folder.rglob("*step=3.ckpt")))]) == 0
    step = {"test": 3, "validate": 2}[command]  # of the last step, as training logs its validations
    assert set(read_log(folder).curves[name]) == known | {step}
    assert 0 not in read_log(folder).curves[name]
    assert read_run(folder).last("test/accuracy") == before  # that of the weights at the end


@pytest.mark.parametrize("options", [["--trainer.limit_test_batches", "1"], ["--model.activation_function", "tanh"]])
def test_what_is_measured_in_another_way_is_not_the_run_s_and_no_run(options):
    assert main([*FIT, "--trainer.max_epochs", "1", "--trainer.limit_test_batches", "0.0"]) == 0
    folder = run_folder()
    assert main(["test", *QUIET, "--ckpt_path", "last", *options]) == 0
    assert [(run.path, run.status) for run in find_runs([Path("lightning_logs")])] == [(folder, "not tested")]
