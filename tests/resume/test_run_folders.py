"""Folders of runs: none is entered by a second run, and a resumed one goes on in its own."""

import csv
import os
import time
import warnings
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning.cli
import torch
import yaml
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint, StochasticWeightAveraging
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.trainer.states import TrainerFn

from bioplausible import Backpropagation, DigitsDataModule, UserError
from bioplausible.__main__ import main
from bioplausible.commands import run_loggers
from bioplausible.commands.report.logs import read_log
from bioplausible.resume import run_folders
from bioplausible.resume.checkpoint_callbacks import LastCheckpoint
from bioplausible.resume.checkpoint_files import newest_checkpoint
from bioplausible.resume.configured_rates import ConfiguredRates
from bioplausible.resume.run_files import environments, environments_before, note_resumed, read_yaml
from bioplausible.resume.run_folders import RunFolders
from bioplausible.training.loggers import RunLogger
from tests.helpers import (
    ARGS,
    CONFIGS,
    CONTEXT,
    FEW,
    LONGEST,
    command_line,
    command_line_together,
    differences,
    scalars,
)

RECIPE = ["fit", "--config", str(CONFIGS / "digits/backpropagation.yaml"), *FEW, "--trainer.max_epochs", "1"]
ROOM = "bioplausible.training.loggers.RunLogger"
LIGHTNING = "pytorch_lightning.loggers"
CSV_AND_RUN = f"[{{class_path: {LIGHTNING}.CSVLogger, init_args: {{save_dir: c}}}}, {{class_path: {ROOM}}}]"
NAMED = {
    "version": ["--trainer.logger.init_args.version", "mine"],
    "number": ["--trainer.logger.init_args.version", "0"],
    "no name": ["--trainer.logger.init_args.name", "", "--trainer.logger.init_args.version", "mine"],
    "the folder of all runs": ["--trainer.logger.init_args.name", "", "--trainer.logger.init_args.version", ""],
    "TensorBoardLogger": [f"--trainer.logger={LIGHTNING}.TensorBoardLogger", "--trainer.logger.init_args.version=mine"],
    "CSVLogger": [f"--trainer.logger={LIGHTNING}.CSVLogger", "--trainer.logger.init_args.version=mine"],
    "the second of two": [
        f"--trainer.logger=[{{class_path: {ROOM}}}, {{class_path: {LIGHTNING}.CSVLogger, init_args: {{save_dir: csv,"
        " version: 3}}]"
    ],
    "no logger": ["--trainer.logger", "false"],
}


def everything(folder=Path()):
    """Returns every file below a folder with its content, and every folder."""
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("options", NAMED.values(), ids=NAMED)
def test_a_second_run_is_refused_before_anything_is_written(options, capsys):
    assert main([*RECIPE, *options]) == 0
    before = everything()
    capsys.readouterr()
    assert main([*RECIPE, *options, "--model.init_args.optimizer.init_args.lr", "0.5"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "holds a" in error
    assert everything() == before


def test_without_a_version_each_run_takes_the_next_folder_and_a_try_takes_none():
    for _ in range(2):
        assert main(RECIPE) == 0
        assert main([*RECIPE, "--trainer.fast_dev_run", "true"]) == 0
    folders = sorted(path.parent.name for path in Path("lightning_logs").rglob("config.yaml"))
    assert folders == ["version_0", "version_1"]
    assert [p.name for p in sorted(Path("lightning_logs/digits/backpropagation").iterdir())] == folders


def test_a_run_that_fails_before_it_trains_leaves_nothing_so_that_it_can_be_tried_again(capsys):
    named = ["--trainer.logger.init_args.version", "mine"]
    folder = Path("lightning_logs/digits/backpropagation/mine")
    for wrong in (
        ["--model.init_args.layer_sizes", "[63, 20, 10]"],
        ["--model.init_args.optimizer", "torch.optim.LBFGS"],
        ["--trainer.callbacks", "Information"],
    ):
        assert main([*RECIPE, *named, *wrong]) == 2
        assert not folder.exists()
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    assert main([*RECIPE, *named, "--model.init_args.layer_sizes", "[63, 20, 10]"]) == 2
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert main([*RECIPE, *named]) == 0
    assert (folder / "notes.txt").read_text() == "mine"


def test_processes_that_train_together_are_refused_too(tmp_path):
    args = [*RECIPE, "--trainer.logger.init_args.version", "mine"]
    assert command_line_together(args, tmp_path) == [0, 0]
    before = everything(tmp_path)
    statuses = command_line_together(args, tmp_path)
    assert statuses[0] == 2
    assert 0 not in statuses
    assert everything(tmp_path) == before


def take(logger, checkpoint=None, stage=TrainerFn.FITTING):
    """Takes a logger's folder as a run does that starts or resumes; returns it, or what is said against it."""
    trainer, folders = Trainer(logger=logger, accelerator="cpu"), RunFolders(ConfiguredRates())
    trainer.state.fn = stage
    folders.expect(checkpoint)
    try:
        folders.take(trainer)
    except UserError as error:
        return str(error)
    return Path(logger.log_dir)


LOGGERS = [RunLogger, TensorBoardLogger, CSVLogger]


@pytest.mark.parametrize("cls", LOGGERS)
@pytest.mark.parametrize("stage", [TrainerFn.FITTING, TrainerFn.TESTING])
def test_of_runs_that_choose_the_same_folder_at_once_each_gets_one_of_its_own(cls, stage, monkeypatch):
    """Each looks for the next version before any of the others has made its folder."""
    choose, loggers = cls._get_next_version, [cls("logs", "x") for _ in range(4)]
    waiting = list(loggers)

    def next_version(self):
        if self in waiting:
            waiting.remove(self)
            return 0
        return choose(self)

    monkeypatch.setattr(cls, "_get_next_version", next_version)
    assert [take(logger, stage=stage).name for logger in loggers] == [f"version_{i}" for i in range(4)]


@pytest.mark.parametrize("cls", LOGGERS)
@pytest.mark.parametrize("there", [False, True], ids=["no folder", "an empty folder"])
def test_of_runs_that_find_the_same_folder_free_at_once_one_gets_it(cls, there, monkeypatch):
    if there:
        Path("logs/x/mine").mkdir(parents=True)
    monkeypatch.setattr(run_folders, "occupied", lambda folder: False)
    first, *others = [take(cls("logs", "x", "mine")) for _ in range(3)]
    assert first == Path("logs/x/mine")
    assert all("holds a run already" in other for other in others)


def test_processes_that_start_at_the_same_moment_have_folders_of_their_own(tmp_path):
    together = CONTEXT.Barrier(4)
    processes = [CONTEXT.Process(target=take_together, args=(str(tmp_path), together, i)) for i in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LONGEST)
    taken = [(tmp_path / f"{i}.txt").read_text().splitlines() for i in range(4)]
    assert len({folder for folders in taken for folder in folders}) == 4 * 25


def take_together(folder, together, number):
    os.chdir(folder)
    found = []
    for _ in range(25):
        together.wait(LONGEST)
        found.append(str(take(RunLogger("logs", "x"))))
    Path(f"{number}.txt").write_text("\n".join(found))


# ---------------------------------------------------------------------------------------------------------- from Python


def fit(logger, epochs=1, ckpt_path=None, callbacks=(), rate=0.001):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(logger=logger, max_epochs=epochs, num_sanity_val_steps=0, callbacks=list(callbacks), **quiet)
    seed_everything(3, verbose=False)
    rule = Backpropagation([64, 20, 10], optimizer=partial(torch.optim.Adam, lr=rate))
    trainer.fit(rule, DigitsDataModule(subset_size=120, validation_split=0.1), ckpt_path=ckpt_path)
    return trainer, rule


@pytest.mark.parametrize("cls", LOGGERS)
def test_from_python_a_run_enters_its_own_folder_alone(cls):
    trainer, rule = fit(cls("logs", "x", "mine"))
    trainer.test(rule, DigitsDataModule(), verbose=False)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(rule, DigitsDataModule(subset_size=120, validation_split=0.1))  # it goes on
    trainer.save_checkpoint("logs/x/mine/checkpoints/end.ckpt")
    fit(cls("logs", "x", "other"))
    before = everything()
    other = next(Path("logs/x/other").rglob("*.ckpt"))
    for ckpt_path in (None, other):
        logger = cls("logs", "x", "mine")
        with pytest.raises(UserError, match="holds a"):
            fit(logger, 4, ckpt_path)
        with pytest.raises(UserError, match="holds a"):
            fit(trainer.logger, 4, ckpt_path)  # an object that had the folder, in another run
        assert everything() == before
    fit(logger, 4, "logs/x/mine/checkpoints/end.ckpt")
    steps = sorted(read_log(Path("logs/x/mine")).curves["train/accuracy"])
    assert steps == [5, 11, 17, 23]


@pytest.mark.parametrize("folder", ["~/runs", "$WHERE/runs", "${WHERE}/runs"])
@pytest.mark.parametrize("cls", LOGGERS)
def test_from_python_a_folder_is_the_same_to_log_and_checkpoints_wherever_it_runs(cls, folder, monkeypatch, tmp_path):
    for variable in ("HOME", "WHERE"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    run = tmp_path / "home/runs/x/mine"
    trainer, _ = fit(cls(folder, "x", "mine"))
    assert [path.name for path in Path().iterdir()] == ["home"]
    assert (trainer.log_dir, Path(trainer.checkpoint_callback.best_model_path).parent) == (
        str(run),
        run / "checkpoints",
    )
    assert sorted(read_log(run).curves["train/accuracy"]) == [5]
    before = everything(tmp_path)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir("other")
    with pytest.raises(UserError, match="holds a run already"):
        fit(cls(folder, "x", "mine"))
    assert everything(tmp_path).keys() - before.keys() == {tmp_path / "other"}


def test_every_logger_goes_on_with_the_run_and_none_with_another():
    for name, version in (("x", 0), ("x", 1)):
        fit([RunLogger("logs", name, version), CSVLogger("csv", name, version)])
    last = next(Path("logs/x/version_0").rglob("*.ckpt"))
    with pytest.raises(UserError, match="version_1 holds another run"):
        fit([RunLogger("logs", "x", 0), CSVLogger("csv", "x", 1)], 2, last)
    fit([RunLogger("logs", "x", 0), CSVLogger("csv", "x", 0)], 2, last)
    for folder in ("logs/x/version_0", "csv/x/version_0"):
        assert sorted(read_log(Path(folder)).curves["train/accuracy"]) == [5, 11]


def test_loggers_of_one_run_share_a_folder_and_keep_their_rows():
    """Lightning's CSVLogger removes the metrics that lie in the folder which it opens, and warns of it."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit([RunLogger("logs", "x"), CSVLogger("logs", "x")])
    assert not [warning for warning in said if "will be deleted" in str(warning.message)]
    fit([CSVLogger("logs", "x"), TensorBoardLogger("logs", "x"), CSVLogger("logs", "x")])  # two CSV logs would mix
    assert sorted(path.name for path in Path("logs/x").iterdir()) == ["version_0", "version_1", "version_2"]
    names = [yaml.safe_load(Path(f"logs/x/version_{i}/environment.yaml").read_text())["run"] for i in range(3)]
    assert names[0] != names[1] == names[2]
    for pair in ([RunLogger, CSVLogger], [CSVLogger, RunLogger]):
        folder = Path("both", pair[0].__name__, "mine")
        fit([cls("both", pair[0].__name__, "mine") for cls in pair])
        last = next(folder.rglob("*.ckpt"))
        fit([cls("both", pair[0].__name__, "mine") for cls in pair], 2, last)
        with (folder / "metrics.csv").open() as file:
            assert [row["step"] for row in csv.DictReader(file) if row["train/accuracy"]] == ["5", "11"]
        assert sorted(read_log(folder).curves["train/accuracy"]) == [5, 11]
        with pytest.raises(UserError, match="holds another run"):
            fit([cls("both", pair[0].__name__, "mine") for cls in pair], 3, next(Path("logs").rglob("*.ckpt")))
        with (folder / "metrics.csv").open() as file:
            assert len([row for row in csv.DictReader(file) if row["train/accuracy"]]) == 2


def test_a_run_has_one_name_in_all_its_folders():
    """Also where one of its loggers goes on elsewhere."""
    fit([RunLogger("a", "x"), CSVLogger("b", "x")])
    last = next(Path("a").rglob("*.ckpt"))
    fit([RunLogger("a", "x", 0), CSVLogger("c", "x")], 2, last)
    found = [*Path("a").rglob("environment.yaml"), *Path("b").rglob("environment.yaml"), *Path("c").rglob("env*.yaml")]
    assert len(found) == 3
    assert len({yaml.safe_load(path.read_text())["run"] for path in found}) == 1


@pytest.mark.parametrize("cls", LOGGERS)
def test_evaluating_from_python_leaves_a_log_whole(cls):
    _, rule = fit(cls("logs", "x", "mine"), 2)
    before = read_log(Path("logs/x/mine")).curves
    again = Trainer(logger=cls("logs", "x", "mine"), enable_progress_bar=False, accelerator="cpu")
    again.test(rule, DigitsDataModule(), verbose=False)
    after = read_log(Path("logs/x/mine")).curves
    assert "test/accuracy" in after
    assert {name: after[name] for name in before if name != "epoch"} == {n: before[n] for n in before if n != "epoch"}


@pytest.mark.parametrize("cls", LOGGERS)
def test_what_was_logged_after_the_checkpoint_is_dropped_on_resume_from_python(cls):
    steps = ModelCheckpoint(every_n_train_steps=4, save_top_k=-1, filename="{step}")
    fit(cls("logs", "whole", 0), 4)
    fit(cls("logs", "parts", 0), 3, callbacks=[steps])
    fit(cls("logs", "parts", 0), 4, "logs/parts/version_0/checkpoints/step=8.ckpt")
    whole, parts = (read_log(Path("logs", name, "version_0")) for name in ("whole", "parts"))
    for name in ("train/accuracy", "train/loss", "val/accuracy", "val/loss", "epoch"):
        assert whole.curves[name] == parts.curves[name], name
    assert parts.runs == 1
    if cls is CSVLogger:
        with Path("logs/parts/version_0/metrics.csv").open() as file:
            logged = [row["step"] for row in csv.DictReader(file) if row["train/accuracy"]]
        assert logged == ["5", "11", "17", "23"]  # each once


class LogsEachStep(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trainer.logger.log_metrics({"each": float(trainer.global_step)}, step=trainer.global_step - 1)
        trainer.logger.save()


@pytest.mark.parametrize("step", [3, 6, 7])  # within an epoch, at its end, after its first batch
@pytest.mark.parametrize("cls", LOGGERS)
def test_each_step_is_logged_once_from_whichever_step_training_resumes(cls, step):
    steps = ModelCheckpoint(every_n_train_steps=1, save_top_k=-1, filename="{step}")
    fit(cls("logs", "x", 0), 2, callbacks=[steps, LogsEachStep()])
    folder = Path("logs/x/version_0")
    fit(cls("logs", "x", 0), 2, str(folder / f"checkpoints/step={step}.ckpt"), [LogsEachStep()])
    if cls is CSVLogger:
        with (folder / "metrics.csv").open() as file:
            logged = [(int(row["step"]), float(row["each"])) for row in csv.DictReader(file) if row["each"]]
    else:
        logged = scalars(folder)["each"]
    assert logged == [(i, i + 1.0) for i in range(12)]


def test_of_copied_checkpoints_the_one_before_the_last_is_not_the_newest(tmp_path):
    """A copy has times in the order in which it was copied."""
    for number, name in enumerate(("last.ckpt", "best.ckpt", "previous.ckpt")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (number, number))
    assert newest_checkpoint(tmp_path).name == "last.ckpt"
    (tmp_path / "last.ckpt").unlink()
    assert newest_checkpoint(tmp_path).name == "previous.ckpt"


def test_of_several_runs_none_is_the_newest_by_a_time_that_has_not_come(tmp_path):
    """A clock that was wrong, or a copy that keeps times; within one run and up to a minute it does no harm."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "last.ckpt").touch()
    now = time.time()
    for ahead, is_told in ((-1000, True), (30, True), (1000, False)):
        os.utime(tmp_path / "old/last.ckpt", (now + ahead, now + ahead))
        if is_told:
            assert newest_checkpoint(tmp_path).parent.name == ("new" if ahead < 0 else "old")
        else:
            with pytest.raises(
                UserError, match=r"old/last\.ckpt is dated (99|100)\d seconds ahead .* of the one that you"
            ):
                newest_checkpoint(tmp_path)
        assert newest_checkpoint(tmp_path / "old").name == "last.ckpt"


# ------------------------------------------------------------------------------------------------ from the command line


@pytest.mark.parametrize("where", ["alone", "second"])
def test_a_csv_log_of_a_killed_run_is_that_of_a_run_that_nobody_interrupted(where, tmp_path):
    logger = f"{{class_path: {LIGHTNING}.CSVLogger, init_args: {{save_dir: csv, name: x}}}}"
    logger = logger if where == "alone" else f"[{{class_path: {ROOM}}}, {logger}]"
    args = [*ARGS, "--trainer.logger", logger, "--checkpoint_every_n_steps", "4"]
    for name, kill in (("whole", None), ("parts", 17)):
        (tmp_path / name).mkdir()
        assert command_line(args, tmp_path / name, kill_before_step=kill) == (-9 if kill else 0)
    newest = newest_checkpoint(tmp_path / "parts")
    assert command_line(["fit", "--ckpt_path", str(newest)], tmp_path / "parts") == 0
    logs = {}
    for name in ("whole", "parts"):
        (file,) = (tmp_path / name).rglob("metrics.csv")
        log = read_log(file.parent)
        logs[name] = {key: curve for key, curve in log.curves.items() if not key.startswith("throughput")}
        with file.open() as content:
            rows = [row for row in csv.DictReader(content) if row["train/accuracy"]]
        assert [row["step"] for row in rows] == ["10", "21", "32"]  # each once
    assert logs["whole"] == logs["parts"]
    assert "test/accuracy" in logs["parts"]
    # and evaluating it adds a row without removing any
    last = str(newest.with_name("last.ckpt"))
    assert (
        command_line(["test", "--ckpt_path", last, "--trainer.enable_progress_bar", "false"], tmp_path / "parts") == 0
    )
    (file,) = (tmp_path / "parts").rglob("metrics.csv")
    assert logs["parts"]["train/accuracy"] == read_log(file.parent).curves["train/accuracy"]


def test_a_resumed_run_that_was_moved_goes_on_where_it_lies():
    logger = [f"--trainer.logger={LIGHTNING}.CSVLogger", "--trainer.logger.init_args.save_dir=csv"]
    assert main([*RECIPE, *logger, "--trainer.logger.init_args.name=x"]) == 0
    Path("csv").rename("moved")
    assert main(["fit", "--ckpt_path", "moved/x/version_0/checkpoints/last.ckpt", "--trainer.max_epochs", "2"]) == 0
    assert not Path("csv").exists()
    assert len(read_log(Path("moved/x/version_0")).curves["train/accuracy"]) == 2


@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_checkpoint_of_one_run_does_not_enter_the_folder_of_another(command, capsys):
    for name in ("a", "b"):
        assert main([*RECIPE, "--trainer.logger.init_args.version", name]) == 0
    before = everything()
    checkpoint = "lightning_logs/digits/backpropagation/a/checkpoints/last.ckpt"
    capsys.readouterr()
    assert main([command, "--ckpt_path", checkpoint, "--trainer.logger.init_args.version", "b"]) == 2
    assert "holds another run" in capsys.readouterr().err
    assert everything() == before


@pytest.mark.parametrize(
    ("logger", "said"),
    [
        (
            [],
            ["run                  lightning_logs/digits/backpropagation/version_0", "tensorboard --logdir lightning"],
        ),
        (
            [f"--trainer.logger={LIGHTNING}.CSVLogger", "--trainer.logger.init_args.save_dir=csv"],
            ["run                  csv/", "python -m bioplausible report csv/"],
        ),
        (
            [f"--trainer.logger={CSV_AND_RUN}"],
            ["run                  c/", "report c/", "tensorboard --logdir lightning_logs"],
        ),
        (["--trainer.logger=false"], ["run                  no log", "checkpoint           "]),
        (["--trainer.logger=false", "--trainer.enable_checkpointing=false"], ["checkpoint           none"]),
    ],
    ids=["RunLogger", "CSVLogger", "both", "none", "nothing"],
)
def test_the_last_words_fit_the_logger(logger, said, capsys):
    assert main([*RECIPE, *logger]) == 0
    out = capsys.readouterr().out
    for words in said:
        assert words in out
    assert "None" not in out
    assert ("tensorboard" in out) == (not logger or "RunLogger" in logger[0])
    (place,) = [line.split()[1] for line in out.splitlines() if line.startswith("checkpoint ")]
    assert place == "none" or Path(place).is_file()


def test_a_logger_without_a_folder_of_its_own_goes_on_by_its_version(monkeypatch, tmp_path):
    """As W&B's and MLflow's do; the latter are not installed where this runs."""
    (tmp_path / "own_logger.py").write_text(OWN_LOGGER)
    monkeypatch.syspath_prepend(tmp_path)
    import own_logger

    monkeypatch.setitem(run_loggers.GOES_ON_BY, own_logger.OwnLogger, "run_id")
    assert main([*RECIPE, "--trainer.logger", "own_logger.OwnLogger"]) == 0
    checkpoint = next(Path("own").rglob("last.ckpt"))
    folder = checkpoint.parents[1]
    assert folder.parent == Path("own/experiment")
    assert (folder / "config.yaml").is_file()
    assert not Path("own/config.yaml").exists()
    assert main(["fit", "--ckpt_path", str(checkpoint), "--trainer.max_epochs", "2"]) == 0
    assert [path.name for path in Path("own/experiment").iterdir()] == [folder.name]
    steps = [entry["step"] for entry in own_logger.LOGGED[folder.name] if "train/accuracy" in entry]
    assert steps == [5, 11]
    assert [values["max_epochs"] for values in own_logger.HPARAMS[folder.name]] == [1]  # MLflow lets none be changed


OWN_LOGGER = """
from collections import defaultdict
from uuid import uuid4
from pytorch_lightning.loggers import Logger

LOGGED, HPARAMS = defaultdict(list), defaultdict(list)

class OwnLogger(Logger):
    def __init__(self, run_id: str | None = None):
        super().__init__()
        self.run = run_id or uuid4().hex
    name = property(lambda self: "experiment")
    version = property(lambda self: self.run)
    save_dir = property(lambda self: "own")
    def log_metrics(self, metrics, step=None):
        LOGGED[self.run].append({**metrics, "step": step})
    def log_hyperparams(self, params, *args, **kwargs):
        HPARAMS[self.run].append(params)
"""


# ----------------------------------------------------------------------------------------------------- what was changed


def test_what_a_run_goes_on_in_is_noted_where_it_is_something_else():
    folder = Path()
    (folder / "hparams.yaml").write_text(yaml.safe_dump({"rule": "A", "lr": 1.0}))
    (folder / "environment.yaml").write_text(yaml.safe_dump({"torch": "2.11.0", "processor": "one", "run": "abc"}))
    here, there = {"torch": "2.11.0", "processor": "one", "new": 1}, {"torch": "2.14.1", "processor": "one"}
    values = {"rule": "A", "lr": 1.0}
    note_resumed(folder, 5, values, None, ran_in=here)
    assert not (folder / "resumed.yaml").exists()
    note_resumed(folder, 10, values, None, ran_in=there)
    note_resumed(folder, 20, values, None, ran_in=there)
    note_resumed(folder, 30, {**values, "lr": 0.5}, None, ran_in=here)
    first = {"step": 10, "changed": {}, "environment": {"torch": "2.14.1"}}
    second = {"step": 30, "changed": {"lr": 0.5}, "environment": {"torch": "2.11.0"}}
    assert read_yaml(folder / "resumed.yaml", None) == [first, second]
    note_resumed(folder, 10, values, None, ran_in=here)  # taken back
    assert not (folder / "resumed.yaml").exists()


def test_a_run_that_goes_on_with_another_torch_says_so():
    options = ["--trainer.max_epochs", "2", "--trainer.limit_train_batches", "5"]
    assert main(["fit", *options]) == 0
    (noted,) = Path("lightning_logs").rglob("environment.yaml")
    assert main(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "3"]) == 0
    assert "environment" not in str(read_yaml(noted.with_name("resumed.yaml"), []))
    found = read_yaml(noted, {})
    noted.write_text(yaml.safe_dump({**found, "torch": "1.0", "processor": "another"}))
    assert main(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "4"]) == 0
    entry = read_yaml(noted.with_name("resumed.yaml"), [])[-1]
    assert entry["environment"] == {"torch": found["torch"], "processor": found["processor"]}
    assert read_yaml(noted, {})["torch"] == "1.0"


def test_a_run_that_goes_on_in_another_folder_notes_in_what_its_first_part_was_trained():
    """Else seconds of two processors would be added up and compared, and the report would tell of one of them."""
    assert main(["fit", "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "5"]) == 0
    (noted,) = Path("lightning_logs").rglob("environment.yaml")
    here, there = read_yaml(noted, {}), {"torch": "1.0", "processor": "another"}
    noted.write_text(yaml.safe_dump({**here, **there}))
    checkpoint = noted.parent / "checkpoints/last.ckpt"
    for epochs, folder in ((2, "b"), (3, "c")):
        options = ["--trainer.max_epochs", str(epochs), "--trainer.logger.init_args.save_dir", folder]
        assert main(["fit", "--ckpt_path", str(checkpoint), *options]) == 0
        (path,) = Path(folder).rglob("resumed.yaml")
        (entry,) = read_yaml(path, [])
        assert entry == {"step": entry["step"], "checkpoint": str(checkpoint), "changed": {}, "before": [there]}
        checkpoint = path.parent / "checkpoints/last.ckpt"
        ran_in = environments(path.parent)
        assert [(each["torch"], each["processor"]) for each in ran_in] == [
            ("1.0", "another"),
            (here["torch"], here["processor"]),
        ]
    assert main(["fit", "--ckpt_path", str(checkpoint), "--trainer.max_epochs", "4"]) == 0
    assert environments(path.parent) == ran_in


def test_what_came_before_in_another_folder_ends_at_the_checkpoint():
    first, second = Path("first"), Path("second")
    for folder, processor in ((first, "one"), (second, "four")):
        folder.mkdir()
        (folder / "environment.yaml").write_text(yaml.safe_dump({"processor": processor, "threads": 1, "run": "x"}))
    for step, processor in ((10, "two"), (20, "three")):
        note_resumed(first, step, {}, None, ran_in={"processor": processor})
    for step, expected in ((10, ["one"]), (15, ["one", "two"]), (25, ["one", "two", "three"])):
        before = environments_before(first / "checkpoints/last.ckpt", step)
        note_resumed(second, step, {}, "last.ckpt", before=before)
        assert [ran_in["processor"] for ran_in in environments(second)] == [*expected, "four"]
        (second / "resumed.yaml").unlink()
    assert environments_before(Path("moved/last.ckpt"), 5) == []
    same = environments_before(second / "checkpoints/last.ckpt", 5)
    note_resumed(second, 5, {}, "last.ckpt", before=same)
    entries = [{"step": 5, "checkpoint": "last.ckpt", "changed": {}}]
    assert read_yaml(second / "resumed.yaml", []) == entries
    note_resumed(second, 5, {}, None, ran_in={"processor": "four"})  # resumed before it had trained anything
    assert read_yaml(second / "resumed.yaml", []) == entries


def test_where_nothing_was_left_to_train_nothing_was_trained_in_another_environment():
    assert main(["fit", "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "5"]) == 0
    (noted,) = Path("lightning_logs").rglob("environment.yaml")
    noted.write_text(yaml.safe_dump({**read_yaml(noted, {}), "torch": "1.0", "processor": "another"}))
    assert main(["fit", "--ckpt_path", "last"]) == 0
    assert not noted.with_name("resumed.yaml").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("resumed.yaml", "- {step: 5, changed: {}, environment: }"),
        ("resumed.yaml", "- {step: 5, changed: {}, environment: [torch]}"),
        ("resumed.yaml", "- {step: 5}"),
        ("resumed.yaml", "- {changed: {}}"),
        ("resumed.yaml", "- {step: x, changed: {}}"),
        ("resumed.yaml", "- 5"),
        ("resumed.yaml", "{step: 5}"),
        ("resumed.yaml", "oops"),
        ("resumed.yaml", "[1,"),
        ("environment.yaml", "oops"),
        ("environment.yaml", "[1]"),
        ("environment.yaml", "{a: 1"),
        ("hparams.yaml", "oops"),
        ("hparams.yaml", "{a: 1"),
    ],
)
def test_a_damaged_note_is_named_before_anything_of_the_log_is_dropped(name, text, capsys):
    options = ["--trainer.logger+=CSVLogger", "--trainer.logger.init_args.save_dir=c", "--threads=1"]
    assert main([*RECIPE, *options]) == 0
    folders = [path.parent for path in Path().rglob("environment.yaml")]
    for folder in folders:
        (folder / name).write_text(text)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.suffix in (".csv", ".yaml", ".ckpt")}
    scored = [read_log(folder).curves["test/accuracy"] for folder in folders]
    capsys.readouterr()
    assert main(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "2"]) == 2
    error = capsys.readouterr().err
    assert f"{name} is damaged: restore it, or delete it" in error
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in before} == before
    assert [read_log(folder).curves["test/accuracy"] for folder in folders] == scored


@pytest.mark.parametrize("cls", LOGGERS)
def test_from_python_a_damaged_note_is_named_before_anything_of_the_log_is_dropped(cls):
    fit(cls("logs", "x", "mine"), 2)
    folder = Path("logs/x/mine")
    (folder / "resumed.yaml").write_text("- {step: 5}")
    before = {name: curve for name, curve in read_log(folder).curves.items() if name != "epoch"}
    with pytest.raises(UserError, match=r"resumed.yaml is damaged: restore it"):
        fit(cls("logs", "x", "mine"), 3, next(folder.rglob("*.ckpt")))
    assert {name: curve for name, curve in read_log(folder).curves.items() if name != "epoch"} == before


def test_changes_are_noted_where_they_began_and_forgotten_where_they_are_taken_back():
    folder = Path()
    (folder / "hparams.yaml").write_text(yaml.safe_dump({"rule": "A", "lr": 1.0, "max_epochs": 2, "old": 3}))
    values = {"rule": "A", "lr": 1.0, "max_epochs": 2, "old": 3}
    note_resumed(folder, 5, values, None)
    assert not (folder / "resumed.yaml").exists()
    note_resumed(folder, 10, {**values, "lr": 0.5}, None)
    note_resumed(folder, 20, {**values, "lr": 0.5, "new": 1}, None)
    note_resumed(folder, 30, {"rule": "A", "lr": 0.5, "max_epochs": 2}, None)
    first, second = {"step": 10, "changed": {"lr": 0.5}}, {"step": 20, "changed": {"new": 1}}
    third = {"step": 30, "changed": {"new": None, "old": None}}
    assert read_yaml(folder / "resumed.yaml", None) == [first, second, third]
    note_resumed(folder, 20, {**values, "lr": 0.25}, None)
    assert read_yaml(folder / "resumed.yaml", None) == [first, {"step": 20, "changed": {"lr": 0.25}}]
    note_resumed(folder, 10, values, None)
    assert not (folder / "resumed.yaml").exists()
    (folder / "hparams.yaml").write_text(yaml.safe_dump({"lr": 1.0}))  # an earlier version's
    note_resumed(folder, 40, {**values, "lr": 0.5}, None)
    assert read_yaml(folder / "resumed.yaml", None) == [{"step": 40, "changed": {"lr": 0.5}}]


MOVED = {
    "one cycle": (
        "Adam",
        {"class_path": "OneCycleLR", "init_args": {"max_lr": 0.05, "total_steps": 40}},
        "step",
    ),
    "cycles with momentum": (
        "SGD",
        {"class_path": "CyclicLR", "init_args": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3}},
        "step",
    ),
    "warm restarts": (
        "SGD",
        {"class_path": "CosineAnnealingWarmRestarts", "init_args": {"T_0": 4, "T_mult": 2}},
        "step",
    ),
    "steps": ("SGD", {"class_path": "MultiStepLR", "init_args": {"milestones": [1, 1, 2]}}, "epoch"),
    "plateau": ("SGD", {"class_path": "ReduceLROnPlateau", "init_args": {"patience": 0, "threshold": 9}}, "epoch"),
    "average": ("SGD", {"class_path": "CosineAnnealingLR", "init_args": {"T_max": 5}}, "epoch"),
}
"""Optimizer, schedule and when it steps; schedules change rates and momenta, and an average has its own."""


def fit_moved(kind, lr, epochs, checkpoint, named=True, version="mine"):
    """Trains as :data:`MOVED` says, with 5 batches an epoch, and returns the run's folder."""
    name, schedule, interval = MOVED[kind]
    options = {"momentum": 0.9} if name == "SGD" else {}
    make = partial(getattr(torch.optim.lr_scheduler, schedule["class_path"]), **schedule["init_args"])
    if kind == "plateau":
        make = partial(pytorch_lightning.cli.ReduceLROnPlateau, monitor="train/loss", **schedule["init_args"])
    given = {"optimizer": partial(getattr(torch.optim, name), lr=lr, **options)} if named or lr != 0.1 else {}
    given |= {"lr_scheduler": make, "lr_scheduler_interval": interval} if named else {}
    average = StochasticWeightAveraging(swa_lrs=0.02, swa_epoch_start=2)
    trainer = Trainer(
        max_epochs=epochs,
        limit_train_batches=5,
        logger=RunLogger(version=version),
        callbacks=[LastCheckpoint(), *([average] if kind == "average" else [])],
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    seed_everything(0, verbose=False)
    trainer.fit(Backpropagation([64, 10], **given), DigitsDataModule(subset_size=100), ckpt_path=checkpoint)
    return Path(trainer.logger.log_dir)


@pytest.mark.parametrize("rate", [None, 0.5], ids=["nothing else", "another rate"])
@pytest.mark.parametrize("named", [True, False], ids=["named", "not named"])
@pytest.mark.parametrize("kind", MOVED)
def test_what_a_schedule_has_moved_was_not_changed_when_training_was_resumed(kind, named, rate):
    """Else the report would tell of another setting than the run had."""
    folder = fit_moved(kind, 0.1, 3, None)
    checkpoint = folder / "checkpoints/last.ckpt"
    fit_moved(kind, rate or 0.1, 4, checkpoint, named)
    fit_moved(kind, rate or 0.1, 4, checkpoint, named)  # nothing is left to train
    notes = [note["changed"] for note in read_yaml(folder / "resumed.yaml", [])]
    assert [note.pop("max_epochs") for note in notes] == [4]
    sets_rates = named and kind in ("one cycle", "cycles with momentum")  # where they are built
    assert notes == [{"lr": rate} if rate is not None and not sets_rates else {}]


@pytest.mark.parametrize("named", [True, False], ids=["named", "not named"])
@pytest.mark.parametrize("kind", MOVED)
def test_what_a_schedule_moves_goes_on_where_it_was(kind, named):
    whole = fit_moved(kind, 0.1, 5, None, version="whole")
    folder = fit_moved(kind, 0.1, 3, None)
    fit_moved(kind, 0.1, 5, folder / "checkpoints/last.ckpt", named)
    expected, found = (torch.load(run / "checkpoints/last.ckpt", weights_only=True) for run in (whole, folder))
    if kind == "average":  # whose schedule counts from max_epochs on, which was another, and looks at other counts
        del expected["lr_schedulers"][0]["last_epoch"], found["lr_schedulers"][0]["last_epoch"]
    parts = ("state_dict", "optimizer_states", "lr_schedulers", "loops")
    assert [place for part in parts for place in differences(expected[part], found[part], part)] == []
    rates = [[point for tag, point in scalars(run).items() if tag.startswith("train/")] for run in (whole, folder)]
    assert rates[0] == rates[1]
