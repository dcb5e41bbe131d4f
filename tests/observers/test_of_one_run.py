"""Observers in several Trainers: what they show of a run is what new ones would."""

import itertools
import time
import warnings
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import CSVLogger

from bioplausible import CorInfoMax, DigitsDataModule
from bioplausible.observers import (
    Alignment,
    Cost,
    EachEpochTest,
    Guard,
    Information,
    Representations,
    Settling,
)
from bioplausible.observers.throughput import SamplesPerSecond

BATCHES = 3


def observers() -> list[Callback]:
    guard = Guard(warn_only=True, residual_limit=1e-9)
    return [
        Settling(),
        Alignment(2),
        Representations(),
        Information(),
        Cost(),
        SamplesPerSecond(),
        EachEpochTest(),
        guard,
    ]


def data():
    return DigitsDataModule(subset_size=60, validation_split=0.2, batch_size=16)


def rule(hidden):
    torch.manual_seed(hidden)
    return CorInfoMax([64, hidden, 10], track_correlations=True)


def trainer(folder, callbacks, epochs):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    logger = CSVLogger(folder, name="", version="")
    return Trainer(max_epochs=epochs, logger=logger, callbacks=callbacks, enable_checkpointing=False, **quiet)


@pytest.fixture(autouse=True)
def _each_batch_takes_a_second(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(time, "process_time", lambda: float(next(clock)))


def shown(folder, callbacks, hidden):
    """Trains for an epoch, and returns what was logged, drawn, warned of, and is kept."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(folder, callbacks, 1).fit(rule(hidden), data())
    logged = Path(folder, "metrics.csv").read_text().splitlines()
    names = [name for name in logged[0].split(",") if name != "throughput/samples_per_second"]
    at = [logged[0].split(",").index(name) for name in names]
    rows = [[line.split(",")[i] for i in at] for line in logged[1:]]
    said = [str(warning.message) for warning in caught if "has not settled" in str(warning.message)]
    return names, rows, {file.name for file in Path(folder).rglob("figures/*")}, said


def test_a_run_that_starts_anew_is_shown_as_by_new_observers(tmp_path):
    used = observers()
    shown(tmp_path / "earlier", used, hidden=20)
    expected = shown(tmp_path / "alone", observers(), hidden=12)
    assert expected[2] >= {"settling.png", "confusion_matrix.png", "information.png", "receptive_fields.png"}
    assert expected[3]
    assert shown(tmp_path / "after", used, hidden=12) == expected


@pytest.mark.parametrize("how", ["resumes", "fits on", "fits on after a test", "resumes an older checkpoint"])
def test_a_run_that_goes_on_keeps_what_it_had(how, tmp_path):
    """Kept are the costs, the confusion matrix, and how long the network has been collapsed."""

    def kept(callbacks):
        found = {type(callback).__name__: callback.state_dict() for callback in callbacks}
        found["Representations"]["confusion"] = found["Representations"]["confusion"].tolist()
        return found

    whole = observers()
    trainer(tmp_path / "whole", whole, 2).fit(rule(12), data())
    assert whole[4].state_dict()["samples"] == 2 * 48
    assert whole[4].state_dict()["seconds"] == 2 * BATCHES
    used, first, learner = observers(), tmp_path / "first.ckpt", rule(12)
    began = trainer(tmp_path / "began", used, 1)
    began.fit(learner, data())
    began.save_checkpoint(first)
    if how.startswith("resumes"):
        other = trainer(tmp_path / "other", used, 2)  # which ends at the same step
        other.fit(rule(20), data())
        further = other if how == "resumes an older checkpoint" else trainer(tmp_path / "further", used, 2)
        # the last look is none of what a checkpoint keeps
        for picture in tmp_path.rglob("settling.png"):
            picture.unlink()
        further.fit(rule(12), data(), ckpt_path=first)
    else:
        if how == "fits on after a test":
            began.test(learner, data(), verbose=False)
        began.fit_loop.max_epochs = 2
        began.fit(learner, data())
    assert kept(used) == kept(whole)
    assert list(tmp_path.rglob("settling.png"))
