"""What the report reads of logs: whole epochs, other loggers, runs from Python, two runs in a folder, resumed ones."""

import csv
import itertools
import math
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter

from bioplausible import Backpropagation, DigitsDataModule
from bioplausible.__main__ import main
from bioplausible.commands.report.logs import Log
from bioplausible.commands.report.reading import _steps_per_epoch, read_run
from bioplausible.commands.report.runs import Run
from bioplausible.data.batches import EpochBatches
from bioplausible.training.loggers import RunLogger
from tests.helpers import ARGS, CONFIGS, FEW, RUN, command_line, make_run


def rows(path):
    with Path(path).open() as file:
        return list(csv.DictReader(file))


def report(*folders):
    """Returns the rows of settings.csv, and those of runs.csv by the folder's name."""
    assert main(["report", *map(str, folders or ["logs"])]) == 0
    return rows("report/settings.csv"), {Path(row["run"]).name: row for row in rows("report/runs.csv")}


# --------------------------------------------------------------------------------------------------------- whole epochs


@given(st.integers(1, 60), st.lists(st.sets(st.floats(0, 1, exclude_max=True), max_size=3), min_size=1, max_size=8))
def test_parts_of_epochs_do_not_count(length, cuts):
    """Each epoch may have been cut several times before it went to its end; one at least was not."""
    ends = [length * (k + 1) for k in range(len(cuts) + 1)]
    parts = {length * k + int(cut * length) for k, places in enumerate(cuts) for cut in places} - {0, *ends}
    log = Log({"train/accuracy": {end - 1: 0.5 for end in [*parts, *ends]}})
    assert log.whole_epochs() == [end - 1 for end in ends]


@given(st.integers(2, 60), st.integers(1, 5), st.data())
def test_an_epoch_that_is_still_cut_does_not_count_either(length, epochs, data):
    ends = [length * (k + 1) for k in range(epochs)]
    cut = ends[-1] + data.draw(st.integers(1, length - 1))
    curves = {"train/accuracy": {end - 1: 0.5 for end in [*ends, cut]}}
    numbered = data.draw(st.sampled_from([[], ends, [*ends, cut]]))
    if epochs == 1:  # with one epoch alone only its number tells it
        numbered = numbered or ends
    curves["epoch"] = {end - 1: float((end - 1) // length) for end in numbered}
    assert Log(curves).steps_per_epoch() == length
    assert Log(curves).whole_epochs() == [end - 1 for end in ends]


@pytest.mark.parametrize("step", [4, 15])
def test_a_run_that_a_signal_cut_has_the_epochs_that_it_finished(step, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command_line(ARGS, tmp_path, kill_before_step=step, number=signal.SIGTERM) == 128 + signal.SIGTERM
    _, runs = report("lightning_logs")
    assert runs["version_0"]["status"] == f"unfinished: {step // 11} of 3 epochs"
    assert runs["version_0"]["epochs"] == str(step // 11)
    assert command_line(["fit", "--ckpt_path", "last"], tmp_path) == 0
    (setting,), runs = report("lightning_logs")
    assert (runs["version_0"]["status"], runs["version_0"]["epochs"]) == ("finished", "3")
    assert setting["n"] == "1"


@pytest.mark.parametrize("batches", [1, 2, 7])
def test_a_single_point_is_the_end_of_an_epoch_where_all_batches_came_before(batches):
    """Of 20 images each, the last one smaller. Where an epoch is one batch, each step is an end."""
    for step, epochs in ((batches - 1, 1), (batches, 2 if batches == 1 else 0)):
        folder = Path(f"logs/{step}")
        make_run(folder, None, 0, epochs=0)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["data"]["init_args"] |= {"subset_size": 20 * batches - 5, "batch_size": 20, "validation_split": 0}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        board = SummaryWriter(str(folder))
        board.add_scalar("train/accuracy", 0.5, step)
        board.close()
        assert read_run(folder).epochs == epochs


@given(
    st.integers(20, 1438),
    st.one_of(st.just(0.0), st.floats(0.05, 0.9)),
    st.integers(1, 200),
    st.one_of(st.none(), st.integers(1, 100), st.floats(0.01, 1)),
)
@example(1438, 0.1, 1, None)  # 143.8 images for validation are 144
def test_a_single_point_is_held_against_the_batches_that_the_data_and_trainer_give(images, split, size, limit):
    options = {"subset_size": images, "validation_split": split, "batch_size": size}
    trained, _ = DigitsDataModule(**options)._choose(1438)
    batches = len(EpochBatches(len(trained), size, seed=0))
    if limit is not None:
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    config = {"data": {"class_path": "DigitsDataModule", "init_args": options}}
    config["trainer"] = {"limit_train_batches": limit, "max_epochs": 3}
    log = Log({"train/accuracy": {5: 0.5}})
    assert _steps_per_epoch(Run(Path("run"), config=config, log=log)) == max(batches, 1)


@pytest.mark.parametrize(("resumed", "left_out"), [(9, 0), (10, 1), (15, 1), (19, 1), (20, 2), (29, 2), (30, None)])
def test_the_time_of_an_epoch_in_which_training_was_resumed_does_not_count(resumed, left_out):
    """Epochs of ten steps; the step is the first one after the pause."""
    ends, seconds = (9, 19, 29), (7.0, 8.0)
    times = dict(zip(ends, (0.0, 7.0, 15.0), strict=True))
    log = Log({"train/accuracy": dict.fromkeys(ends, 0.5)}, times, resumed=[resumed])
    counted = [s for i, s in enumerate(seconds, start=1) if i != left_out]
    assert log.seconds_per_epoch() == pytest.approx(sum(counted) / len(counted))


@pytest.mark.parametrize("no_limit", [None, -1])
def test_a_limit_that_is_none_is_never_reached(no_limit):
    make_run(Path("logs/run"), 0.9, 0, epochs=5)
    change("logs/run", {"trainer.max_steps": no_limit})
    assert read_run(Path("logs/run")).status == "unfinished: 5 of 50 epochs"


def test_steps_that_cut_the_first_epoch_are_no_epoch():
    assert main([*ARGS, "--trainer.max_epochs", "-1", "--trainer.max_steps", "7"]) == 0
    _, runs = report("lightning_logs")
    assert (runs["version_0"]["status"], runs["version_0"]["epochs"]) == ("finished", "0")


# ---------------------------------------------------------------------------------------------------- published figures

CHANGES = {
    "50 steps": ({"trainer.max_epochs": -1, "trainer.max_steps": 50}, "5 epochs, not 50"),
    "fewer epochs": ({"trainer.max_epochs": 5}, "5 epochs, not 50"),
    "a subset": ({"data.subset_size": 1000}, "subset_size=1000"),
    "a validation split": ({"data.validation_split": 0.1}, "validation_split=0.1, not 0.0"),
    "augmented": ({"data.horizontal_flip": True}, "horizontal_flip=True, not False"),
    "few training batches": ({"trainer.limit_train_batches": 0.5}, "limit_train_batches=0.5"),
    "few test batches": ({"trainer.limit_test_batches": 1}, "limit_test_batches=1"),
    "other options": ({"model.persistent_states": True}, "persistent_states=True, not False"),
    "another batch size": ({"data.batch_size": 50}, "batch_size=50, not 20"),
    "precision": ({"trainer.precision": "64-true"}, "precision=64-true"),
    "another optimizer": ({"model.optimizer": {"class_path": "torch.optim.Adam"}}, "optimizer="),
    "a schedule": (
        {"model.lr_scheduler": {"class_path": "torch.optim.lr_scheduler.ExponentialLR", "init_args": {"gamma": 0.9}}},
        "lr_scheduler=",
    ),
}
NO_CHANGES = {
    "nothing": {},
    "workers": {"data.num_workers": 4, "data.data_dir": "elsewhere"},
    "defaults": {"trainer.precision": "32-true", "trainer.limit_train_batches": 1.0, "model.persistent_states": False},
    "no limits": {"trainer.max_steps": -1, "data.subset_size": None, "model.network": None},
    "how it is computed": {"model.optimizer": {"class_path": "torch.optim.SGD", "init_args": {"fused": True}}},
}


def change(folder, options):
    path = Path(folder, "config.yaml")
    config = yaml.safe_load(path.read_text())
    for name, value in options.items():
        part, _, option = name.partition(".")
        (config[part] if part == "trainer" else config[part]["init_args"])[option] = value
    path.write_text(yaml.safe_dump(config))


@pytest.mark.parametrize(("options", "reason"), CHANGES.values(), ids=CHANGES)
def test_only_what_trained_as_the_published_setting_says_is_set_beside_its_figure(options, reason):
    make_run(Path("logs/version_0"), 0.5, 0, epochs=5 if "5 epochs" in reason else 50)
    change("logs/version_0", options)
    (setting,), runs = report()
    assert runs["version_0"]["status"] == "finished"
    assert [setting[f"published_{name}"] for name in ("mean", "std", "n")] == ["", "", ""]
    assert reason in setting["not_comparable"]
    assert ";" not in setting["not_comparable"]  # and no other
    assert f"not comparable: {reason}" in Path("report/report.md").read_text()
    assert "not comparable" in Path("report/index.html").read_text()


@pytest.mark.parametrize("options", NO_CHANGES.values(), ids=NO_CHANGES)
def test_options_that_change_nothing_leave_it_comparable(options):
    make_run(Path("logs/version_0"), 0.5, 0)
    change("logs/version_0", options)
    (setting,), _ = report()
    assert (setting["published_mean"], setting["not_comparable"]) == ("88.16", "")


def test_runs_that_stopped_early_are_not_merged_with_whole_ones():
    stopper = {"class_path": "pytorch_lightning.callbacks.EarlyStopping", "init_args": {"monitor": "val/loss"}}
    for i, (epochs, options) in enumerate(
        [
            (50, {}),
            (50, {"trainer.callbacks": [stopper]}),
            (20, {"trainer.callbacks": [stopper]}),
            (20, {"trainer.max_time": "00:01:00:00"}),
        ]
    ):
        make_run(Path(f"logs/version_{i}"), 0.5 + i / 10, 10 * i, epochs=epochs)
        change(f"logs/version_{i}", options)
    settings, runs = report()
    assert {row["status"] for row in runs.values()} == {"finished"}
    assert [row["n"] for row in settings] == ["1"] * 4
    assert len({row["rule"] for row in settings}) == 4
    compared = [row["seeds"] for row in settings if row["published_mean"]]
    assert compared == ["0"]


@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("tested", [False, True])
@pytest.mark.parametrize("epochs", [20, 50])
def test_a_run_counts_as_finished_where_it_was_tested_and_did_all_or_might_stop_before(epochs, tested, stops):
    make_run(Path("logs/version_0"), 0.5 if tested else None, 0, epochs=epochs)
    change("logs/version_0", {"trainer.max_time": "00:01:00:00"} if stops else {})
    _, (run,) = report()[0], report()[1].values()
    if epochs == 20 and not (stops and tested):
        assert run["status"] == "unfinished: 20 of 50 epochs"
    else:
        assert run["status"] == ("finished" if tested else "not tested")


ODD = [float("nan"), float("inf"), 0.0, 1.0, 1.001, -1.0, 1e-20]


@pytest.mark.parametrize(("a", "b"), [*itertools.product(ODD, ODD), (1.0, 1.000001)])
def test_logs_of_one_run_agree_on_each_number_of_training_that_both_hold_nan_and_infinity_too(a, b):
    same = a == b or (math.isnan(a) and math.isnan(b)) or {a, b} == {1.0, 1.000001}  # TensorBoard's are rounded
    for name in ("train/loss", "dynamics/residual", "val/loss", "test/accuracy"):
        for step in range(3):
            one, other = ({i: 0.5 + i for i in range(3)} | {step: value} for value in (a, b))
            agree = Log({name: one}).agrees(Log({name: other}))
            assert agree is (same or name.startswith(("val/", "test/"))), (name, step)
    assert Log({"train/loss": {0: a}}).agrees(Log({"train/loss": {1: b}}))  # nothing that both hold


# -------------------------------------------------------------------------------------------------------- what it holds


def test_validation_accuracy_stands_beside_test_accuracy_and_numbers_are_numbers():
    for seed, accuracy in ((0, 0.5), (10, 0.75)):
        make_run(Path(f"logs/version_{seed}"), accuracy, seed)
        board = SummaryWriter(f"logs/version_{seed}")
        for step, value in ((9, 0.25), (19, accuracy), (499, accuracy - 0.125)):
            board.add_scalar("val/accuracy", value, step)
        board.close()
    make_run(Path("logs/version_20"), None, 20)
    (setting,), runs = report()
    assert float(setting["test_accuracy_mean"]) == 62.5
    assert float(setting["test_accuracy_std"]) == pytest.approx(25 / 2**0.5, rel=1e-5)
    assert float(setting["validation_accuracy_mean"]) == 50
    assert float(setting["best_validation_accuracy_mean"]) == 62.5
    assert (runs["version_10"]["validation_accuracy"], runs["version_10"]["best_validation_accuracy"]) == (
        "62.50",
        "75.00",
    )
    assert runs["version_20"]["validation_accuracy"] == ""
    words = {"data", "net", "rule", "seeds", "deviates", "not_comparable", "run", "status", "loss"}
    for row in (setting, *runs.values()):
        for name, value in row.items():
            assert "%" not in value
            assert "±" not in value
            assert name in words or value == "" or float(value) >= 0
    for file in ("report.md", "index.html"):
        assert "validation accuracy" in Path("report", file).read_text()


# ----------------------------------------------------------------------------------------------- two runs in one folder


@pytest.mark.parametrize("epochs", [(50, 20), (2, 2), (1, 1)])
def test_two_runs_that_logged_in_one_folder_are_never_paired(epochs, capsys):
    """As version 0.2.0 let them: the second one's configuration lies beside the logs of both."""
    first, second = epochs
    make_run(Path("logs/mine"), 0.9, 0, epochs=first, planned=first)
    make_run(Path("second"), 0.2, 10, epochs=second, planned=second, learning_rates=[0.001, 0.001])
    for file in Path("second").iterdir():
        name = file.name.replace("tfevents.", "tfevents.9") if "tfevents" in file.name else file.name
        shutil.copy(file, Path("logs/mine") / name)
    settings, runs = report()
    assert settings == []
    assert runs["mine"]["status"].startswith("broken: 2 runs logged here")
    assert runs["mine"]["test_accuracy"] == ""
    assert "2 runs logged here" in capsys.readouterr().out


def test_a_log_that_goes_on_is_that_of_one_run():
    """Resumed by a Trainer that wrote no word of it into the log, evaluated later, with something logged beside."""
    make_run(Path("logs/mine"), None, 0, epochs=30)
    for name, values in (
        ("train/accuracy", dict.fromkeys(range(199, 500, 10), 0.25)),
        ("test/accuracy", {0: 0.1, 500: 0.875}),
        ("mine/other", {9: 1.0}),
    ):
        board = SummaryWriter("logs/mine")
        for step, value in values.items():
            board.add_scalar(name, value, step)
        board.close()
    (setting,), runs = report()
    assert runs["mine"]["status"] == "finished"
    assert runs["mine"]["epochs"] == "50"
    assert setting["test_accuracy_mean"] == "87.5"
    curve = read_run(Path("logs/mine")).curves["train/accuracy"]
    assert (curve[189], curve[199], curve[299]) == (pytest.approx(0.68), 0.25, 0.25)  # what was taken back is no more


# ----------------------------------------------------------------------------------------------------- what was resumed


def test_a_rate_that_was_changed_on_resume_is_not_shown_as_if_it_had_held_throughout():
    recipe = ["fit", "--config", str(CONFIGS / "digits/equilibrium_propagation.yaml"), *FEW]
    for seed in ("0", "1", "2"):
        assert main([*recipe, "--trainer.max_epochs", "1", "--seed_everything", seed]) == 0
    runs = Path("lightning_logs/digits/equilibrium_propagation")
    assert main([*recipe, "--trainer.max_epochs", "2", "--model.init_args.learning_rates", "[0.5, 0.25]"]) == 0
    new = ["--trainer.max_epochs", "2", "--model.init_args.learning_rates", "[0.5, 0.25]"]
    for version, options in ((1, new), (2, new[:2])):
        last = str(runs / f"version_{version}/checkpoints/last.ckpt")
        assert main(["fit", "--ckpt_path", last, *options]) == 0
    settings, found = report("lightning_logs")
    assert [row["n"] for row in settings] == ["1"] * 4
    resumed = next(row for row in settings if row["seeds"] == "1")
    said = "from step 6 learning_rates=[0.5, 0.25] ([0.1, 0.05] before)"
    assert said in resumed["rule"]
    assert said in found["version_1"]["status"]
    assert "from step" not in found["version_2"]["status"]  # more epochs are no change
    text = Path("report/report.md").read_text()
    assert f"# {said}" in text
    whole = next(row for row in settings if "learning_rates=[0.5, 0.25]" in row["rule"] and row is not resumed)
    assert "from step" not in whole["rule"]


def test_a_rate_that_an_earlier_version_changed_on_resume_is_told_by_its_log():
    """It kept the last configuration and the first hyperparameters, without optimizer and rate."""
    for name, rule_options in (("rates", {"learning_rates": [0.07, 0.03]}), ("optimizer", {})):
        make_run(Path("logs", name), 0.5, 0)
        board = SummaryWriter(str(Path("logs", name)), purge_step=500)
        board.add_scalar("test/accuracy", 0.5, 500)
        board.add_scalar("lr-SGD", 0.25, 0)
        board.add_scalar("epoch", 0.0, 0)  # as Lightning logs it beside
        board.close()
        Path("logs", name, "hparams.yaml").write_text(
            yaml.safe_dump({"_instantiator": "x", "beta": 1.0, **rule_options})
        )
    change("logs/rates", {"model.learning_rates": [0.5, 0.5]})
    change("logs/optimizer", {"model.optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.125}}})
    change("logs/optimizer", {"model.learning_rates": None})
    settings, runs = report()
    assert "since it was resumed learning_rates=[0.5, 0.5] ([0.07, 0.03] before)" in runs["rates"]["status"]
    assert "since it was resumed lr=0.125 (0.25 before)" in runs["optimizer"]["status"]
    assert all(row["published_mean"] == "" for row in settings)


# -------------------------------------------------------------------------------------------- other loggers, and Python


@pytest.mark.parametrize("cls", [RunLogger, TensorBoardLogger, CSVLogger])
def test_runs_from_python_are_reported(cls):
    for i, (seed, rate) in enumerate(((1, 0.01), (2, 0.01), (3, 0.02))):
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        trainer = Trainer(logger=cls("logs", "x"), max_epochs=3, **quiet)
        seed_everything(seed, verbose=False)
        rule = Backpropagation([64, 20, 10], optimizer=partial(torch.optim.Adam, lr=rate), loss="mean_squared_error")
        data = DigitsDataModule(subset_size=300, validation_split=0.2, batch_size=30)
        trainer.fit(rule, data)
        (tested,) = trainer.test(rule, data, verbose=False)
        assert (i, trainer.current_epoch) == (int(Path(trainer.log_dir).name[-1]), 3)
    settings, runs = report()
    assert [(row["n"], row["seeds"]) for row in settings] == [("2", "1 2"), ("1", "3")]
    assert "optimizer.lr=0.02" in settings[1]["rule"]
    run = runs["version_2"]
    assert run["status"] == "finished"
    assert [run[name] for name in ("rule", "data", "net", "loss", "seed", "epochs")] == [
        "Backpropagation",
        "Digits",
        "64-20-10",
        "mean_squared_error",
        "3",
        "3",
    ]
    assert float(run["test_accuracy"]) == pytest.approx(100 * tested["test/accuracy"], abs=0.006)
    assert run["validation_accuracy"] != ""
    config = read_run(Path("logs/x/version_2")).config
    assert config["data"]["init_args"]["batch_size"] == 30


def test_a_run_of_the_command_line_and_one_from_python_are_seeds_of_one_setting():
    recipe = CONFIGS / "digits/backpropagation.yaml"
    assert main(["fit", "--config", str(recipe), *FEW, "--trainer.max_epochs", "2", "--seed_everything", "5"]) == 0
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(logger=CSVLogger("lightning_logs", "python"), max_epochs=2, **quiet)
    seed_everything(6, verbose=False)
    options = yaml.safe_load(recipe.read_text())["model"]["init_args"]
    adam = partial(torch.optim.Adam, **options.pop("optimizer")["init_args"])
    schedule = partial(torch.optim.lr_scheduler.StepLR, **options.pop("lr_scheduler")["init_args"])
    rule = Backpropagation(**options, optimizer=adam, lr_scheduler=schedule)
    data = DigitsDataModule(batch_size=20, validation_split=0.1, subset_size=120)
    trainer.fit(rule, data)
    trainer.test(rule, data, verbose=False)
    (setting,), _ = report("lightning_logs")
    assert setting["seeds"] == "5 6"


def test_what_a_run_from_python_does_not_tell_is_named():
    make_run(Path("logs/old"), 0.5, 0)
    Path("logs/old/config.yaml").unlink()
    Path("logs/old/hparams.yaml").write_text("layer_sizes: [784, 500, 10]\nbatch_size: 20\n")
    make_run(Path("logs/untested"), None, 0)
    Path("logs/untested/config.yaml").unlink()
    values = "rule: Backpropagation\nseed: 3\nlayer_sizes: [784, 10]\ndata: MNISTDataModule\nmax_epochs: 50\n"
    Path("logs/untested/hparams.yaml").write_text(values)
    settings, runs = report()
    assert settings == []
    assert "hparams.yaml does not name the rule" in runs["old"]["status"]
    assert (runs["untested"]["status"], runs["untested"]["rule"]) == ("not tested", "Backpropagation")


def test_a_csv_log_of_the_command_line_is_reported_and_resumed_runs_too():
    logger = ["--trainer.logger", "pytorch_lightning.loggers.CSVLogger", "--trainer.logger.init_args.save_dir", "logs"]
    recipe = ["fit", "--config", str(CONFIGS / "digits/backpropagation.yaml"), *FEW, *logger]
    assert main([*recipe, "--trainer.max_epochs", "1", "--trainer.logger.init_args.name", "x"]) == 0
    last = "logs/x/version_0/checkpoints/last.ckpt"
    rate = ["--model.init_args.optimizer.init_args.lr", "0.5"]
    assert main(["fit", "--ckpt_path", last, "--trainer.max_epochs", "2", *rate]) == 0
    (setting,), runs = report()
    assert runs["version_0"]["status"] == "finished; from step 6 lr=0.5 (0.001 before)"
    assert setting["rule"].endswith("from step 6 lr=0.5 (0.001 before)")
    assert (runs["version_0"]["epochs"], runs["version_0"]["seconds_per_epoch"]) == ("2", "")
    assert RUN.parts[0] == "lightning_logs"
