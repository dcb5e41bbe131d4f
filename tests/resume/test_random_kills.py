"""Runs with schedules and callbacks, killed several times: the same weights, checkpoints and log as one run.

``FAULTS=20 python -m pytest tests/resume/test_random_kills.py -m ""`` kills each kind of run in twenty ways, not two.
"""

import os
import random
import shutil
import signal
from pathlib import Path

import pytest
import torch

from tests.helpers import CONFIGS, command_line, differences, scalars

WAYS = int(os.environ.get("FAULTS", "2"))
# 120 images less 30 for validation: 9 batches of 10 an epoch
RUN = "data.subset_size=120 data.validation_split=0.25 data.batch_size=10 trainer.enable_progress_bar=false"
RUN += " trainer.log_every_n_steps=2"
PLATEAU = '{"class_path":"pytorch_lightning.cli.ReduceLROnPlateau","init_args":{"monitor":"val/loss","patience":0}}'
STOPS = "trainer.callbacks+=EarlyStopping trainer.callbacks.monitor=val/loss trainer.callbacks.patience=1"
KINDS = {
    "stops within an epoch": (
        "equilibrium_propagation",
        f"trainer.val_check_interval=2 checkpoint_every_n_steps=3 trainer.max_epochs=3 {STOPS}"
        " trainer.callbacks.min_delta=9",
    ),
    "may not stop yet": (
        "equilibrium_propagation",
        f"trainer.val_check_interval=0.4 checkpoint_every_n_steps=4 trainer.max_epochs=4 {STOPS}"
        " trainer.callbacks.min_delta=9 trainer.min_steps=20 trainer.callbacks+=Representations",
    ),
    "information": (
        "corinfomax",
        "model.init_args.track_correlations=true trainer.callbacks+=Information trainer.callbacks.every_n_steps=7"
        " trainer.check_val_every_n_epoch=2 checkpoint_every_n_steps=5 trainer.max_epochs=3",
    ),
    "cut by max_steps": (
        "backpropagation",
        "trainer.max_steps=22 trainer.val_check_interval=4 checkpoint_every_n_steps=2 checkpoint_keep=3"
        " trainer.callbacks+=Alignment trainer.callbacks.every_n_steps=2",
    ),
    "plateau": (
        "backpropagation",
        "trainer.max_epochs=3 trainer.val_check_interval=0.4 checkpoint_every_n_steps=4"
        f" model.init_args.lr_scheduler={PLATEAU} model.init_args.lr_scheduler.init_args.threshold=1",
    ),
    "average of epochs": (
        "backpropagation",
        "trainer.max_epochs=4 checkpoint_every_n_steps=4 trainer.callbacks+=StochasticWeightAveraging"
        " trainer.callbacks.swa_lrs=0.05 trainer.callbacks.swa_epoch_start=2 trainer.callbacks.device=cpu",
    ),
    "moving average": (
        "backpropagation",
        "trainer.max_steps=23 checkpoint_every_n_steps=4 trainer.val_check_interval=4"
        " trainer.callbacks+=EMAWeightAveraging trainer.callbacks.decay=0.8",
    ),
}


def left(folder: Path):
    """Returns all that a run left: its checkpoints by name, its log but for times, and the names of its other files."""
    run = next(folder.glob("lightning_logs/*/*/version_0"))
    files = sorted((run / "checkpoints").iterdir())
    checkpoints = {file.name: torch.load(file, weights_only=True) for file in files}
    logged = scalars(run)
    speeds = logged.pop("throughput/samples_per_second", [])
    # resumed.yaml among them would say that it was resumed with another setting
    others = {str(file.relative_to(run)) for file in run.rglob("*") if file.is_file() and "tfevents" not in file.name}
    return checkpoints, logged, [step for step, _ in speeds], others


SLOW = ("information", "plateau", "average of epochs", "moving average")
"""Kinds for `make test-slow`."""


@pytest.mark.sampled
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) if kind in SLOW else kind for kind in KINDS]
)
def test_a_run_killed_several_times_leaves_what_an_uninterrupted_one_leaves(kind, tmp_path):
    recipe, options = KINDS[kind]
    args = ["fit", "--config", str(CONFIGS / f"digits/{recipe}.yaml")]
    args += [f"--{option}".replace("--data.", "--data.init_args.") for option in f"{RUN} {options}".split()]
    whole = tmp_path / "whole"
    whole.mkdir()
    assert command_line(args, whole, count_in=str(tmp_path / "moments")) == 0
    moments = int((tmp_path / "moments").read_text())
    expected = left(whole)
    draws = random.Random(f"{kind} {WAYS}")
    for way in range(WAYS):
        folder = tmp_path / str(way)
        folder.mkdir()
        first, kills = draws.randrange(moments), []
        for _ in range(draws.randrange(2, 6)):
            resumes = bool(list(folder.rglob("[!.]*.ckpt")))
            if not resumes:  # killed before its first checkpoint, it starts anew
                shutil.rmtree(folder / "lightning_logs", ignore_errors=True)
            number = draws.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
            kills.append((first, signal.Signals(number).name))
            status = command_line(
                ["fit", "--ckpt_path", "last"] if resumes else args, folder, number=number, kill_at_moment=first
            )
            # before training starts and after it ended SIGTERM kills at once
            assert status in (0, -number, 128 + number), kills
            first = draws.randrange(1, 1 + moments // 2)
        if not list(folder.rglob("[!.]*.ckpt")):
            shutil.rmtree(folder / "lightning_logs", ignore_errors=True)
            assert command_line(args, folder) == 0, kills
        else:
            assert command_line(["fit", "--ckpt_path", "last"], folder) == 0, kills
        checkpoints, logged, speeds, others = left(folder)
        assert checkpoints.keys() == expected[0].keys(), kills
        assert list(differences(expected[0], checkpoints)) == [], kills
        assert logged == expected[1], kills
        assert speeds == expected[2], kills
        assert others == expected[3], kills
        print(kills)
