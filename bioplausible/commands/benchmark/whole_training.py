"""What a batch costs in whole training."""

import contextlib
import io
import json
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import Callback, LightningModule, Trainer

import bioplausible.data
from bioplausible.commands.benchmark.recipe_files import batch_size_of
from bioplausible.commands.command_line import run as run_command_line
from bioplausible.data import ImageDataModule


class Clock(Callback):
    """Milliseconds a batch of whole training: loader, Trainer, metrics, logging and progress bar included.

    Args:
        warm_up: batches to leave out at the start.
        window: batches a window; the fastest window counts, for nothing but the rest of the machine slows one down.
        now: the time in seconds; ``time.process_time`` in its place counts what the cores were busy for.
    """

    def __init__(self, warm_up: int = 20, window: int = 50, now: Callable[[], float] = time.perf_counter) -> None:
        self.warm_up, self.window, self.now = warm_up, window, now
        self.times: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Reads the clock."""
        self.times.append(self.now())

    @property
    def milliseconds(self) -> float:
        """Milliseconds a batch."""
        times = self.times[self.warm_up :: self.window]
        return min(b - a for a, b in pairwise(times)) / self.window * 1e3


def training(recipe: Path, batches: int, *callbacks: Callback) -> float:
    """Returns the milliseconds a batch of ``fit`` with a recipe, on random images in its data set's shape.

    Args:
        recipe: YAML file.
        batches: how many are learned.
        callbacks: others beside the clock.
    """
    data = yaml.safe_load(recipe.read_text())["data"]
    source: type[ImageDataModule] = getattr(bioplausible.data, data["class_path"].rpartition(".")[2])
    clock = Clock()
    images = {
        "class_path": "bioplausible.commands.benchmark.random_images.RandomImages",
        "init_args": {
            "shape": list(source.image_shape),
            "classes": source.num_classes,
            "batch_size": batch_size_of(recipe),
            "border": (data.get("init_args") or {}).get("border", 0),
        },
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        logs = Path(folder) / "logs"
        arguments = ["fit", "--config", str(recipe), "--data", json.dumps(images), "--trainer.max_steps", str(batches)]
        arguments += ["--trainer.max_epochs", "-1", "--trainer.logger.init_args.save_dir", str(logs)]
        arguments += ["--trainer.enable_checkpointing", "false", "--trainer.limit_test_batches", "0"]
        with (Path(folder) / "bar").open("w") as bar, contextlib.redirect_stderr(bar):
            run_command_line(arguments, callbacks=[clock, *callbacks])
    return clock.milliseconds
