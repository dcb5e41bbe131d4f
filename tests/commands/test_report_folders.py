"""What the report says of runs that lie in several folders, went on elsewhere, or were logged by others."""

import csv
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter

from bioplausible import Backpropagation, DigitsDataModule
from bioplausible.__main__ import main
from bioplausible.commands.report.logs import Log
from bioplausible.commands.report.reading import find_runs
from bioplausible.training.loggers import RunLogger
from tests.helpers import CONFIGS, FEW, make_run

RECIPE = ["fit", "--config", str(CONFIGS / "digits/backpropagation.yaml"), *FEW, "--threads", "1"]


def report(*folders):
    """Returns the rows of settings.csv and of runs.csv."""
    assert main(["report", *map(str, folders)]) == 0
    found = []
    for name in ("settings", "runs"):
        with Path(f"report/{name}.csv").open() as file:
            found.append(list(csv.DictReader(file)))
    return found


def train(loggers, epochs=1, ckpt_path=None, test=True, seed=3):
    """Trains from Python, six steps an epoch, and returns the Trainer's last checkpoint."""
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(logger=loggers, max_epochs=epochs, num_sanity_val_steps=0, **quiet)
    seed_everything(seed, verbose=False)
    rule = Backpropagation([64, 20, 10], optimizer=partial(torch.optim.Adam, lr=0.01))
    data = DigitsDataModule(subset_size=120, validation_split=0.1)
    trainer.fit(rule, data, ckpt_path=ckpt_path)
    if test:
        trainer.test(rule, data, verbose=False)
    return trainer.checkpoint_callback.best_model_path


def cut(file, step):
    """Removes what a CSV log holds from a step on, as if the run had been killed there."""
    with Path(file).open() as content:
        rows = list(csv.DictReader(content))
    with Path(file).open("w") as content:
        writer = csv.DictWriter(content, rows[0].keys())
        writer.writeheader()
        writer.writerows(row for row in rows if int(row["step"]) < step)


# ------------------------------------------------------------------------------------------------- resumed elsewhere


@pytest.mark.parametrize("cls", [RunLogger, TensorBoardLogger, CSVLogger])
def test_a_run_that_went_on_elsewhere_is_finished_when_it_reached_its_last_epoch(cls):
    for seed in (1, 2):
        checkpoint = train(cls("first", "x", seed), 2, seed=seed)
        train(cls("second", "x", seed), 3, checkpoint, seed=seed)
    (setting,), runs = report("second")
    assert setting["rule"].endswith("from step 12, what came before lies elsewhere")
    assert (setting["n"], setting["seeds"]) == ("2", "1 2")  # where the checkpoints lay tells no setting from another
    for run, seed in zip(runs, (1, 2), strict=True):
        assert run["epochs"] == "3"
        said = f"finished; from step 12, what came before lies elsewhere; resumed from first/x/version_{seed}/"
        assert run["status"].startswith(said)


def test_one_that_did_not_reach_it_is_not():
    checkpoint = train(CSVLogger("first", "x"), 2, test=False)
    train(CSVLogger("second", "x"), 4, checkpoint, test=False)
    cut("second/x/version_0/metrics.csv", 18)
    _, (run,) = report("second")
    assert run["status"].startswith("unfinished: 3 of 4 epochs; from step 12")
    assert run["epochs"] == "3"


def test_from_the_command_line_it_is_so_too():
    assert main([*RECIPE, "--trainer.max_epochs", "1"]) == 0
    last = "lightning_logs/digits/backpropagation/version_0/checkpoints/last.ckpt"
    for name, option in (("there", "save_dir"), ("named", "name"), ("mine", "version")):
        new = f"--trainer.logger.init_args.{option}"
        assert main(["fit", "--ckpt_path", last, "--trainer.max_epochs", "2", new, name]) == 0
    _, runs = report("there", "lightning_logs")
    found = {run["run"]: (run["status"].split("; resumed")[0], run["epochs"]) for run in runs}
    resumed = "finished; from step 6, what came before lies elsewhere"
    assert found == {
        "lightning_logs/digits/backpropagation/mine": (resumed, "2"),
        "lightning_logs/digits/backpropagation/version_0": ("finished", "1"),
        "lightning_logs/named/version_0": (resumed, "2"),
        "there/digits/backpropagation/version_0": (resumed, "2"),
    }


def test_files_of_one_second_are_read_in_their_order():
    """Their names end in a number of theirs, and ten comes after nine."""
    make_run(Path("made"), 0.9, 0)
    Path("logs").mkdir()
    shutil.copy("made/config.yaml", "logs")
    (events,) = Path("made").glob("events*")
    start = Path("logs", events.name.rpartition(".")[0])
    board = SummaryWriter("tested")
    board.add_scalar("test/accuracy", 0.5, 501)
    board.close()
    shutil.copy(events, f"{start}.10")
    shutil.copy(next(Path("tested").glob("events*")), f"{start}.9")
    board = SummaryWriter("again", purge_step=400)
    board.close()
    shutil.copy(next(Path("again").glob("events*")), f"{start}.11")
    (run,) = find_runs([Path("logs")])
    assert run.epochs == 40
    shutil.move(f"{start}.11", f"{start}.8")
    (run,) = find_runs([Path("logs")])
    assert run.epochs == 50


@pytest.mark.parametrize(("cut", "epochs"), [(15, 2), (16, 2), (21, 3), (None, 3)])
def test_the_numbers_of_epochs_tell_how_long_one_is_where_the_first_ones_lie_elsewhere(cut, epochs):
    """Eleven steps an epoch, the second one cut at some step."""
    ends = [*([] if cut is None else [cut]), 22, *([33] if epochs == 3 else [])]
    curves = {"train/accuracy": {end - 1: 0.5 for end in ends}}
    curves["epoch"] = {end - 1: float((end - 1) // 11) for end in ends}
    assert Log(curves).steps_per_epoch() == 11
    assert Log(curves).epochs() == epochs


# --------------------------------------------------------------------------------------------------- several folders


def test_a_run_with_two_loggers_is_one_whichever_folder_is_read():
    two = "[{class_path: RunLogger}, {class_path: CSVLogger, init_args: {save_dir: csv, name: x}}]"
    assert main([*RECIPE, "--trainer.max_epochs", "1", "--trainer.logger", two]) == 0
    folder = Path("lightning_logs/digits/backpropagation/version_0")
    for epochs in ("1", "3"):
        if epochs == "3":
            last = str(folder / "checkpoints/last.ckpt")
            assert main(["fit", "--ckpt_path", last, "--trainer.max_epochs", epochs]) == 0
        for folders in (("lightning_logs", "csv"), ("csv", "lightning_logs"), ("lightning_logs",), ("csv",)):
            (setting,), (run,) = report(*folders)
            assert (setting["n"], setting["rule"]) == ("1", "Backpropagation, cross entropy")
            assert (run["status"].split(";")[0], run["epochs"]) == ("finished", epochs)
            both = len(folders) == 2
            assert run["run"] == ("csv/x/version_0" if folders == ("csv",) else str(folder))
            assert ("logged in csv/x/version_0 too" in run["status"]) == both
            assert "from step" not in run["status"]
    cut("csv/x/version_0/metrics.csv", 17)
    _, (run,) = report("csv")
    assert run["status"] == "unfinished: 2 of 3 epochs"  # of those with which it was resumed
    _, (run,) = report("csv", "lightning_logs")
    assert run["status"].startswith("finished")  # by the log that reaches further


def test_from_python_two_loggers_are_one_run_too_and_another_run_is_another():
    checkpoint = train([TensorBoardLogger("a", "x"), CSVLogger("b", "x")])
    train([TensorBoardLogger("a", "x", 0), CSVLogger("b", "x", 0)], 2, checkpoint)
    train([TensorBoardLogger("a", "x"), CSVLogger("b", "x")], 2, seed=4)
    for folders in (("a", "b"), ("a",), ("b",)):
        (setting,), runs = report(*folders)
        assert (setting["n"], len(runs)) == ("2", 2)
        assert [run["epochs"] for run in runs] == ["2", "2"]


def test_where_a_logger_goes_on_elsewhere_the_other_ones_log_tells_all():
    checkpoint = train([TensorBoardLogger("a", "x"), CSVLogger("b", "x")], 2)
    train([TensorBoardLogger("a", "x", 0), CSVLogger("c", "x")], 3, checkpoint)
    (setting,), (run,) = report("a", "c")
    assert (setting["n"], run["epochs"], run["run"]) == ("1", "3", "a/x/version_0")
    assert "elsewhere" not in setting["rule"]
    _, (run,) = report("c")
    assert run["status"].startswith("finished; from step 12, what came before lies elsewhere")


def test_a_copy_of_a_run_is_no_second_one_until_training_goes_on_in_it():
    assert main([*RECIPE, "--trainer.max_epochs", "1"]) == 0
    shutil.copytree("lightning_logs", "copy")
    _, (run,) = report("lightning_logs", "copy")
    assert run["status"] == "finished; logged in lightning_logs/digits/backpropagation/version_0 too"
    last = "copy/digits/backpropagation/version_0/checkpoints/last.ckpt"
    assert main(["fit", "--ckpt_path", last, "--trainer.max_epochs", "2"]) == 0
    _, runs = report("lightning_logs", "copy")
    assert [(run["status"], run["epochs"]) for run in runs] == [("finished", "2"), ("finished", "1")]


def test_logs_of_one_name_that_disagree_are_two_runs():
    """A folder was copied, and training went on in both."""
    for i, (name, seed) in enumerate((("a", 0), ("b", 0), ("c", 7))):
        make_run(Path("logs", name), 0.9, seed, start=100 * i)
        environment = Path("logs", name, "environment.yaml")
        environment.write_text(environment.read_text() + "run: abc\n")
        if name != "a":
            Path("logs", name, "config.yaml").rename(Path("logs", name, "hparams.yaml"))
            values = "rule: EquilibriumPropagation\nlayer_sizes: [784, 500, 10]\ndata: FashionMNISTDataModule\n"
            Path("logs", name, "hparams.yaml").write_text(f"{values}seed: {seed}\nmax_epochs: 50\n")
    runs = find_runs([Path("logs")])
    assert [(run.path.name, [path.name for path in run.also_in]) for run in runs] == [("a", ["b"]), ("c", [])]


def test_hidden_folders_below_those_that_are_named_are_passed_over():
    """Ray keeps logs of its own in one while a sweep is training."""
    for folder in ("out/rule/seed=0", "out/.ray/tune/trial", ".hidden/run"):
        Path(folder).mkdir(parents=True)
        SummaryWriter(folder).close()
    assert [run.path for run in find_runs([Path("out")])] == [Path("out/rule/seed=0")]
    assert [run.path for run in find_runs([Path(".hidden")])] == [Path(".hidden/run")]


def test_a_folder_that_is_named_twice_is_read_once():
    make_run(Path("logs/version_0"), 0.9, 0)
    _, runs = report("logs", Path("logs").absolute(), "logs/version_0")
    assert [run["status"] for run in runs] == ["finished"]


# --------------------------------------------------------------------------------------------------- seconds per epoch


@pytest.mark.parametrize("text", ["oops", "{a: 1", "[1]", "\0"])
def test_a_run_whose_environment_is_unreadable_is_listed_so(text):
    """Its name, images and processor are not known."""
    make_run(Path("logs/a"), 0.9, 0)
    Path("logs/a/environment.yaml").write_text(text)
    (run,) = find_runs([Path("logs")])
    assert run.status.startswith("broken: environment.yaml is unreadable (")


def test_what_a_run_went_on_in_is_told_by_the_folder_whose_log_reaches_further():
    """Trained with two loggers, and resumed with the second alone on another processor."""
    for name, epochs in (("a", 1), ("b", 2)):
        make_run(Path("logs", name), None, 0, epochs=epochs, planned=2)
        Path("logs", name, "environment.yaml").write_text("{run: mine, processor: one}")
    Path("logs/b/config.yaml").rename("logs/b/hidden.yaml")
    Path("logs/b/hparams.yaml").write_text(
        "{rule: EquilibriumPropagation, data: FashionMNISTDataModule, seed: 0, layer_sizes: [784, 10]}"
    )
    note = {"step": 10, "changed": {}, "environment": {"processor": "another"}}
    Path("logs/b/resumed.yaml").write_text(yaml.safe_dump([note]))
    (run,) = find_runs([Path("logs")])
    assert (run.path, run.also_in, run.epochs) == (Path("logs/a"), [Path("logs/b")], 2)
    assert [ran_in["processor"] for ran_in in (run.environment, *run.resumed_in)] == ["one", "another"]


@pytest.mark.parametrize("resumed", [30, 25, 33])
def test_an_epoch_in_which_a_run_was_resumed_does_not_count_with_its_pause(resumed):
    """Ten steps an epoch, seven seconds each, a day's pause before the one that was resumed at this step."""
    make_run(Path("logs/version_0"), None, 0, epochs=resumed // 10)
    board = SummaryWriter("logs/version_0", purge_step=resumed)
    first = resumed // 10 + 1
    for epoch, time in enumerate((86_400, 86_409), start=first):
        board.add_scalar("train/accuracy", 0.5, 10 * epoch - 1, walltime=time)
    board.close()
    (run,) = find_runs([Path("logs")])
    assert sorted(run.log.times) == [10 * epoch - 1 for epoch in range(1, first + 2)]
    expected = {2: 8.0, 3: 7.0}[resumed // 10]  # of 7 and 9; of 7, 7 and 9
    assert run.seconds_per_epoch == pytest.approx(expected, abs=1e-3)


def test_without_two_ends_of_epochs_in_one_go_nothing_tells_how_long_one_takes():
    make_run(Path("logs/version_0"), None, 0, epochs=1)
    board = SummaryWriter("logs/version_0", purge_step=10)
    board.add_scalar("train/accuracy", 0.5, 19, walltime=86_400)
    board.close()
    (run,) = find_runs([Path("logs")])
    assert run.seconds_per_epoch is None


def test_what_was_taken_back_leaves_no_pause_behind():
    make_run(Path("logs/version_0"), None, 0, epochs=3)
    for resumed, times in ((30, {39: 500.0}), (10, {19: 1000.0, 29: 1008.0, 39: 1017.0})):
        board = SummaryWriter("logs/version_0", purge_step=resumed)
        for step, time in times.items():
            board.add_scalar("train/accuracy", 0.5, step, walltime=time)
        board.close()
    (run,) = find_runs([Path("logs")])
    assert run.seconds_per_epoch == pytest.approx(8.5, abs=1e-3)  # of 8 and 9


# -------------------------------------------------------------------------------------------------------- other loggers


class Remote(Logger):
    """As W&B's and MLflow's, which are not installed where this runs."""

    name = property(lambda self: "project")
    version = property(lambda self: "run")
    save_dir = property(lambda self: "remote")

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, *args, **kwargs):
        pass


def test_a_run_that_another_logger_has_is_said_to_be_there():
    assert main([*RECIPE, "--trainer.max_epochs", "1", "--trainer.logger", f"{__name__}.Remote"]) == 0
    settings, (run,) = report("remote")
    assert settings == []
    said = "not read: Remote has its log, and the report reads those of TensorBoard and CSVLogger"
    assert run["status"].startswith(said)
    assert (run["rule"], run["run"]) == ("Backpropagation", "remote/project/run")
    Path("remote/project/run/environment.yaml").unlink()  # as an earlier version left it
    assert report("remote")[1][0]["status"].startswith(said)
    Path("remote/project/run/config.yaml").unlink()
    train(Remote())
    assert report("remote")[1][0]["status"].startswith(said)


def test_with_the_cure_it_is_one_run():
    assert main([*RECIPE, "--trainer.max_epochs", "1", "--trainer.logger", f"[{__name__}.Remote, CSVLogger]"]) == 0
    for epochs in ("1", "2"):
        if epochs == "2":
            last = next(Path("remote").rglob("last.ckpt"))
            assert main(["fit", "--ckpt_path", str(last), "--trainer.max_epochs", "2"]) == 0
        (setting,), (run,) = report("remote", "lightning_logs")
        assert (setting["n"], run["run"], run["epochs"]) == ("1", "remote/project/run", epochs)
        folder = "lightning_logs/digits/backpropagation/version_0"
        told = yaml.safe_load(Path("remote/project/run/environment.yaml").read_text())
        assert (told["loggers"], told["logs"]) == (["Remote"], [folder])
        assert run["status"] == f"finished; logged in {folder} too"
        assert report("lightning_logs")[1][0]["status"] == "finished"
        (alone,) = report("remote")[1]
        assert alone["status"] == f"not read: its log lies in {folder}, so name that folder too"


def test_a_logger_of_files_that_logged_nothing_is_no_other_logger():
    make_run(Path("logs/version_0"), 0.9, 0)
    for path in Path("logs/version_0").glob("events*"):
        path.unlink()
    config = yaml.safe_load(Path("logs/version_0/config.yaml").read_text())
    config["trainer"]["logger"] = {"class_path": "pytorch_lightning.loggers.CSVLogger"}
    Path("logs/version_0/config.yaml").write_text(yaml.safe_dump(config))
    assert report("logs")[1][0]["status"] == "empty: nothing was logged"
