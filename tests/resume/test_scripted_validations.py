"""Which checkpoint is the best, and when training stops, for validation accuracies that a test says beforehand."""

import csv
import errno
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from bioplausible import Backpropagation, DigitsDataModule
from bioplausible.observers import Cost, EachEpochTest
from bioplausible.observers.observer import Observer
from bioplausible.observers.throughput import SamplesPerSecond
from bioplausible.resume.checkpoint_callbacks import BestCheckpoint, EveryNSteps, LastCheckpoint
from bioplausible.training.stop_on_signal import StopOnSignal
from tests.helpers import Signals, differences

N = 6
"""Batches an epoch."""


class Scripted(Backpropagation):
    """Validates to accuracies that were said beforehand, by the step."""

    def __init__(self, accuracies: dict[int, float], sizes: list[int]) -> None:
        super().__init__(sizes)
        self.accuracies = accuracies
        self.weights: dict[int, dict] = {}

    def validation_step(self, batch, batch_idx):
        pass

    def on_validation_epoch_end(self):
        step = self.trainer.global_step
        self.log("val/accuracy", torch.tensor(self.accuracies[step]))
        self.log("val/loss", torch.tensor(1.0))
        self.weights[step] = {name: value.detach().clone() for name, value in self.named_parameters()}


def fit(folder, accuracies, checkpoint=None, further=(), data=None, logger=False, **options):
    torch.manual_seed(0)
    draw = torch.Generator().manual_seed(1)
    samples = TensorDataset(torch.rand(2 * N, 4, generator=draw), torch.randint(3, (2 * N,), generator=draw))
    rule = Scripted(accuracies, [4, 3] if data is None else [64, 10])
    trainer = Trainer(
        callbacks=[
            *further,
            BestCheckpoint(),
            *([] if checkpoint and data is None else [EveryNSteps(1, -1)]),
            LastCheckpoint(),
        ],
        default_root_dir=folder,
        logger=logger,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        accelerator="cpu",
        **options,
    )
    loaders = (data,) if data else (DataLoader(samples, batch_size=2), DataLoader(samples, batch_size=9))
    trainer.fit(rule, *loaders, ckpt_path=checkpoint)
    return trainer, rule


@settings(max_examples=3)
@given(st.lists(st.sampled_from([0.0, 0.25, 0.5]), min_size=2, max_size=6), st.sampled_from([3, N]), st.integers(1, 5))
@example([0.25, 0.5, 0.5, 0.0], N, 2)  # a tie, then worse
@example([0.5, 0.5], N, 1)  # a tie with the first, which resume has to know of
@example([0.0, 0.5, 0.25, 0.5], 3, 3)
def test_the_best_checkpoint_is_the_first_of_the_highest_accuracy(accuracies, interval, cut):
    """In one go, and where training is cut after some validations and resumes."""
    steps = [interval * (i + 1) for i in range(len(accuracies))]
    by_step = dict(zip(steps, accuracies, strict=True))
    best = steps[accuracies.index(max(accuracies))]
    options = {"val_check_interval": interval, "max_epochs": -1}
    with tempfile.TemporaryDirectory() as folder:
        checkpoints, validated = Path(folder, "checkpoints"), {}
        for end in ([steps[-1]], [steps[min(cut, len(steps) - 1) - 1], steps[-1]]):
            shutil.rmtree(checkpoints, ignore_errors=True)
            for i, last in enumerate(end):
                checkpoint = checkpoints / "last.ckpt" if i else None
                validated |= fit(folder, by_step, checkpoint, max_steps=last, **options)[1].weights
            found = torch.load(checkpoints / "best.ckpt", weights_only=True)
            assert found["global_step"] == best, end
            assert all(value.equal(found["state_dict"][name]) for name, value in validated[best].items()), end
            assert float(found["callbacks"]["BestCheckpoint"]["best_model_score"]) == max(accuracies), end
            assert [path.name for path in checkpoints.glob("best*")] == ["best.ckpt"], end


@pytest.mark.parametrize("accuracies", [{6: 0.5, 12: 0.25, 18: 0.0}, {6: 0.25, 12: 0.5, 18: 0.5}], ids=str)
def test_what_was_validated_is_the_best_where_training_resumes_from_a_users_checkpoint_of_that_validation(accuracies):
    """It is written before the epoch ends, and the best one with the end: a kill may come in between."""

    def own(folder):
        return ModelCheckpoint(f"{folder}/own", "{step}", save_top_k=-1, save_on_train_epoch_end=False)

    fit("whole", accuracies, further=[own("whole")], max_epochs=3)
    expected = torch.load("whole/checkpoints/best.ckpt", weights_only=True)
    for step in (6, 12):
        folder = f"from{step}"
        fit(folder, accuracies, f"whole/own/step={step}.ckpt", [own(folder)], max_epochs=3)
        if expected["global_step"] >= step:  # else it lies where training was before
            found = torch.load(f"{folder}/checkpoints/best.ckpt", weights_only=True)
            assert found["global_step"] == expected["global_step"]
            assert [*differences(expected["state_dict"], found["state_dict"])] == []


def stops() -> EarlyStopping:
    return EarlyStopping("val/accuracy", mode="max", patience=1)


STOP = {"val_check_interval": 3, "max_epochs": 9}
LEAST = {
    "steps, between two validations": {"min_steps": 11},
    "steps, at a validation": {"min_steps": 12},
    "steps, right after one": {"min_steps": 13},
    "epochs": {"min_epochs": 3},
}


@pytest.mark.parametrize("least", LEAST.values(), ids=LEAST)
def test_a_stop_that_was_asked_for_and_must_wait_is_in_every_checkpoint(least):
    """EarlyStopping asks at step 9, and later accuracies would take that back."""
    accuracies = {step: 0.5 if step < 12 else 0.5 + step / 100 for step in range(60)}
    end = fit("whole", accuracies, further=[stops()], **least, **STOP)[0].global_step
    assert 9 < end < 9 * N
    assert end >= least.get("min_steps", 3 * N)
    for step in {8, 10, end - 1}:
        resumed, _ = fit(f"at{step}", accuracies, f"whole/checkpoints/step={step}.ckpt", [stops()], **least, **STOP)
        assert resumed.global_step == end, step


def left(folder):
    """Returns a run's checkpoints by name, and the rows of its log."""
    found = {path.name: torch.load(path, weights_only=True) for path in Path(folder, "checkpoints").iterdir()}
    with Path(folder, "metrics.csv").open(newline="") as file:
        rows = [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
    return found, rows


@pytest.mark.sampled
@pytest.mark.parametrize("step", [3, 10, 11, 17])
@pytest.mark.parametrize("least", LEAST.values(), ids=LEAST)
def test_a_signal_leaves_nothing_that_an_uninterrupted_run_has_not(least, step):
    """Also where a stop was asked for: an epoch that a signal cuts is none of ``min_epochs``."""
    options = {**least, **STOP, "log_every_n_steps": 1}

    def end_of(folder, *further, checkpoint=None):
        data = DigitsDataModule(batch_size=2, subset_size=15, validation_split=0.2)  # N batches
        options["logger"] = CSVLogger(folder, "", "")
        return fit(folder, dict.fromkeys(range(60), 0.5), checkpoint, [stops(), *further], data, **options)[
            0
        ].global_step

    end = end_of("whole")
    assert end_of("cut", Signals(step), StopOnSignal()) == min(step, end)
    assert end_of("cut", StopOnSignal(), checkpoint="cut/checkpoints/last.ckpt") == end
    (expected, log), (found, log_of_cut) = left("whole"), left("cut")
    assert log_of_cut == log
    assert found.keys() == expected.keys()
    paths = ("whole/checkpoints", "cut/checkpoints")
    assert [place for place in differences(expected, found) if not all(path in place for path in paths)] == []


@pytest.mark.parametrize("step", [11, 12, 13])  # within an epoch, at its end, after the next one's first batch
@pytest.mark.parametrize("observer", [Cost, EachEpochTest, SamplesPerSecond])
def test_what_is_logged_each_epoch_is_logged_once_whichever_step_a_signal_comes_after(observer, step):
    def logged(folder, *further, checkpoint=None):
        data = DigitsDataModule(batch_size=2, subset_size=15, validation_split=0.2)  # N batches
        options = {"logger": CSVLogger(folder, "", ""), "max_epochs": 3, "log_every_n_steps": 1}
        fit(folder, dict.fromkeys(range(60), 0.5), checkpoint, [observer(), *further], data, **options)
        with Path(folder, "metrics.csv").open(newline="") as file:
            return [(int(row["step"]), name) for row in csv.DictReader(file) for name in row if row[name]]

    whole = logged("whole")
    assert {name for at, name in whole if at % N == N - 1} > {name for at, name in whole if at % N < N - 1}
    cut = logged("cut", Signals(step), StopOnSignal())
    assert sorted(cut) == sorted((at, name) for at, name in whole if at < step)
    assert sorted(logged("cut", checkpoint="cut/checkpoints/last.ckpt")) == sorted(whole)


class Ends(Observer):
    """Notes at which steps it looks, and for the last time."""

    def __init__(self) -> None:
        super().__init__(every_n_steps=5)
        self.looks: list[int] = []
        self.ends: list[int] = []

    def look(self, trainer, rule, x, y):
        self.looks.append(trainer.global_step)

    def look_at_end(self, trainer, rule):
        self.ends.append(trainer.global_step)


LAST = {
    "epochs": {"max_epochs": 2},
    "steps within an epoch": {"max_steps": 9},
    "steps at an epoch's end": {"max_steps": 12},
    "a stop": {**STOP, "max_epochs": 3},
}


@pytest.mark.parametrize("highest", [0, 6, 60])  # EarlyStopping asks at a validation after it
@pytest.mark.parametrize("options", LAST.values(), ids=LAST)
def test_a_signal_at_the_last_step_changes_nothing_and_before_it_nothing_is_looked_at_as_the_end(options, highest):
    accuracies = {step: 0.25 + min(step, highest) / 100 for step in range(60)}

    def run(folder, *further, checkpoint=None):
        ends, data = Ends(), DigitsDataModule(batch_size=2, subset_size=15, validation_split=0.2)  # N batches
        given = {"logger": CSVLogger(folder, "", ""), "log_every_n_steps": 1, **options}
        trainer, _ = fit(folder, accuracies, checkpoint, [stops(), ends, *further], data, **given)
        return trainer.global_step, ends.looks, ends.ends

    end, looks, ends = run("whole")
    assert ends == [end]
    assert looks == sorted({*range(5, end + 1, 5), end})
    assert run("last", Signals(end), StopOnSignal()) == (end, looks, ends)
    (expected, log), (found, log_of_last) = left("whole"), left("last")
    assert log_of_last == log
    assert found.keys() == expected.keys()
    assert [found[name]["last_is_due"] for name in found] == [expected[name]["last_is_due"] for name in found]
    cut = end - 2
    assert run("cut", Signals(cut), StopOnSignal()) == (cut, [*range(5, cut + 1, 5)], [])
    resumed, later, ends = run("cut", StopOnSignal(), checkpoint="cut/checkpoints/last.ckpt")
    assert (resumed, later, ends) == (end, [step for step in looks if step > cut], [end])
    assert left("cut")[1] == log


def test_a_kill_before_the_last_checkpoint_is_written_anew_leaves_nothing():
    """The last checkpoint is kept as the previous one first: both are then one file, of which a rename does nothing."""
    accuracies = dict.fromkeys(range(60), 0.5)
    fit("run", accuracies, max_epochs=1)
    folder = Path("run/checkpoints")
    (folder / "previous.ckpt").hardlink_to(folder / "last.ckpt")
    (folder / ".step=5.ckpt.aside").touch()  # and what another kill cut
    fit("run", accuracies, "run/checkpoints/last.ckpt", max_epochs=2)
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    epochs = [torch.load(folder / name, weights_only=True)["epoch"] for name in ("previous.ckpt", "last.ckpt")]
    assert epochs == [0, 1]


def test_where_a_file_system_has_no_links_the_checkpoint_before_is_kept_too(monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    fit("run", dict.fromkeys(range(60), 0.5), max_epochs=3)
    folder = Path("run/checkpoints")
    epochs = [torch.load(folder / name, weights_only=True)["epoch"] for name in ("previous.ckpt", "last.ckpt")]
    assert epochs == [1, 2]


ENDS = {
    "epochs": ({"max_epochs": 2}, []),
    "steps within an epoch": ({"max_steps": 9}, []),
    "a stop within an epoch": (STOP, [stops]),
    "a signal": ({"max_epochs": 2}, [lambda: Signals(8), StopOnSignal]),
}


@pytest.mark.parametrize(("options", "further"), ENDS.values(), ids=ENDS)
def test_a_checkpoint_says_whether_the_last_one_is_of_its_step_too(options, further, monkeypatch):
    """For a kill between both. What a signal cuts goes on: its last checkpoint is none that another run has."""
    written = []

    def save(self, trainer, path, plain=LastCheckpoint._save_checkpoint):
        written.append(trainer.global_step)
        plain(self, trainer, path)

    monkeypatch.setattr(LastCheckpoint, "_save_checkpoint", save)
    further = [make() for make in further]
    end = fit("run", dict.fromkeys(range(60), 0.5), further=further, **options)[0].global_step
    found = {path: torch.load(path, weights_only=True) for path in Path("run/checkpoints").glob("step=*.ckpt")}
    due = sorted(checkpoint["global_step"] for checkpoint in found.values() if checkpoint["last_is_due"])
    assert end in written
    cut = [end] if any(isinstance(callback, StopOnSignal) for callback in further) else []
    assert due == sorted(set(written) - set(cut))
