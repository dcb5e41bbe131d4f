"""What is shown while training: where output is no terminal, one line an epoch."""

import re
import sys
import time
from types import SimpleNamespace

import pytest
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Timer

from bioplausible import Backpropagation, DigitsDataModule
from bioplausible.__main__ import main
from bioplausible.observers import progress
from bioplausible.observers.progress import EpochLines, RunClock
from bioplausible.training.stop_on_signal import StopOnSignal
from tests.helpers import FEW, RUN, Signals, scalars

NO_BAR = "--trainer.enable_progress_bar"
SHOWN = FEW[: FEW.index(NO_BAR)] + FEW[FEW.index(NO_BAR) + 2 :]
LINE = re.compile(
    r"^epoch +(\d+)(?:/(\d+))?(?:   train +([\d.]+)%)?(?:   validation +([\d.]+)%)?   ([\d.]+) s(?:   (\S+) left)?$",
    re.MULTILINE,
)


def lines(capsys):
    out = capsys.readouterr().out
    assert "\r" not in out
    assert "it/s" not in out
    found = LINE.findall(out)
    assert len(found) == sum(line.startswith("epoch ") for line in out.splitlines())
    return found


def percent(values):
    return [f"{100 * value:.2f}" for _, value in values]


def test_one_line_an_epoch_says_what_is_logged(capsys):
    assert main(["fit", *SHOWN, "--trainer.max_epochs", "3"]) == 0
    found, logged = lines(capsys), scalars(RUN)
    assert [line[:2] for line in found] == [("1", "3"), ("2", "3"), ("3", "3")]
    assert [line[2] for line in found] == percent(logged["train/accuracy"])
    assert [line[3] for line in found] == percent(logged["val/accuracy"][:3])
    assert found[-1][5] == "0:00:00"


def test_without_validation_none_is_shown_and_no_earlier_one(capsys):
    assert main(["fit", *SHOWN, "--trainer.max_epochs", "2", "--data.validation_split", "0"]) == 0
    assert [line[3] for line in lines(capsys)] == ["", ""]
    assert main(["fit", *SHOWN, "--trainer.max_epochs", "3", "--trainer.check_val_every_n_epoch", "2"]) == 0
    assert [bool(line[3]) for line in lines(capsys)] == [False, True, False]


def test_a_resumed_run_counts_on(capsys):
    assert main(["fit", *SHOWN, "--trainer.max_steps", "8", "--trainer.max_epochs", "4"]) == 0
    first = lines(capsys)
    assert [line[:2] for line in first] == [("1", "4"), ("2", "4")]
    assert first[-1][5] == "0:00:00"  # the steps end it before the epochs
    assert main(["fit", "--ckpt_path", "last", "--trainer.max_steps", "-1"]) == 0
    assert [line[0] for line in lines(capsys)] == ["2", "3", "4"]


@pytest.mark.parametrize(("step", "shown"), [(5, ["1"]), (6, ["1", "2"]), (7, ["1", "2"])])
def test_an_epoch_is_shown_though_a_signal_comes_at_its_end_and_not_where_one_cuts_it(step, shown, capsys):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=4, callbacks=[EpochLines(), Signals(step), StopOnSignal()], **quiet)
    trainer.fit(Backpropagation([64, 10]), DigitsDataModule(batch_size=20, subset_size=60))  # 3 batches
    assert trainer.global_step == step
    assert [line[0] for line in lines(capsys)] == shown


def test_a_bar_of_ones_own_and_none_at_all_silence_it(capsys):
    assert main(["fit", *SHOWN, "--trainer.max_epochs", "1", "--trainer.callbacks", "[TQDMProgressBar]"]) == 0
    assert not LINE.search(capsys.readouterr().out)
    assert main(["fit", *FEW, "--trainer.max_epochs", "1"]) == 0
    assert lines(capsys) == []


def test_evaluation_shows_no_epoch(capsys):
    assert main(["fit", *SHOWN, "--trainer.max_epochs", "1"]) == 0
    assert len(lines(capsys)) == 1
    for command in ("validate", "test", "predict"):
        assert main([command, "--ckpt_path", "last"]) == 0
        assert lines(capsys) == []


def test_the_bar_at_a_terminal_has_the_time_left_too(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["fit", *SHOWN, "--trainer.max_epochs", "2"]) == 0
    shown = "".join(capsys.readouterr())
    assert not LINE.search(shown)
    assert re.search(r"Epoch 1: .*train/accuracy=[\d.]+%.*left=0:00:00", shown)


def trainer(**changed):
    made = SimpleNamespace(max_epochs=10, max_steps=-1, num_training_batches=100, global_step=0, callbacks=[])
    vars(made).update(changed)
    return made


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, "0:25:00"),  # 50 batches took 100 s; 250 + 500 are left
        ({"max_epochs": -1}, ""),
        ({"max_epochs": None}, ""),
        ({"max_epochs": -1, "max_steps": 350}, "0:05:00"),  # two steps a batch: 150 batches are left
        ({"max_steps": 350}, "0:05:00"),
        ({"max_steps": 10**9}, "0:25:00"),
        ({"callbacks": [Timer("00:00:07:00")]}, "0:07:00"),
        ({"callbacks": [Timer("01:00:00:00")]}, "0:25:00"),
        ({"max_epochs": -1, "callbacks": [Timer("00:30:00:00")]}, "1 day, 6:00:00"),
        ({"num_training_batches": float("inf")}, ""),
    ],
)
def test_the_time_left_is_that_to_the_first_end(options, left, monkeypatch):
    clock, now = RunClock(), [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "progress", lambda _: SimpleNamespace(epochs_begun=3, batches_begun=50))
    clock.start(trainer(global_step=-50))
    for _ in range(50):
        clock.count()
    now[0] += 100.0
    options = {"global_step": 50, **options}
    assert clock.left(trainer(**options)) == left


def test_nothing_is_known_before_a_batch():
    clock = RunClock()
    clock.start(trainer())
    assert clock.left(trainer()) == ""


def test_other_processes_show_nothing():
    lines = EpochLines()
    lines.setup(SimpleNamespace(is_global_zero=False), None, "fit")
    lines.on_train_epoch_end(None, None)  # reads nothing
