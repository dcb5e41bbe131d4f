"""Runs on disk, read back."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bioplausible.commands.report.nets import net_name
from bioplausible.errors import UserError

NO_RESULT = {
    *(f"data.{name}" for name in ("num_workers", "data_dir", "mirror", "evaluation_batch_size")),
    *(f"trainer.{name}" for name in ("logger", "callbacks", "plugins", "profiler", "default_root_dir", "barebones")),
    *(f"trainer.enable_{name}" for name in ("progress_bar", "model_summary", "checkpointing", "autolog_hparams")),
    *(f"trainer.{name}" for name in ("log_every_n_steps", "num_sanity_val_steps", "detect_anomaly", "accelerator")),
    *(f"trainer.{name}" for name in ("limit_val_batches", "limit_predict_batches", "check_val_every_n_epoch")),
    "trainer.val_check_interval",
}
"""Options that bear on no result of training: runs that differ in them alone are seeds of one setting."""

Curve = dict[int, float]
"""Values by training step."""


@dataclass
class Run:
    """What one run left in its folder.

    Attributes:
        path: the folder.
        status: ``finished``, or what is wrong with it in words.
        config: its whole configuration.
        environment: versions, git commit and machine, where it noted them.
        curves: every scalar that it logged, by name.
        seconds_per_epoch: median over the epochs, validation included; None before two epochs.
        ended: time of the last thing that it logged, in seconds since 1970.
        note: what else a reader should know.
    """

    path: Path
    status: str = "finished"
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    seconds_per_epoch: float | None = None
    ended: float = 0.0
    note: str = ""

    @property
    def finished(self) -> bool:
        """Whether the run went to its end, so that its accuracy counts."""
        return self.status == "finished"

    @property
    def rule(self) -> str:
        """The rule's class."""
        return str(self.config["model"]["class_path"]).rpartition(".")[2]

    @property
    def data(self) -> str:
        """The data module's class."""
        return str(self.config["data"]["class_path"]).rpartition(".")[2]

    @property
    def net(self) -> str:
        """The network in a line (:func:`bioplausible.commands.report.nets.net_name`)."""
        return net_name(self.config["model"]["init_args"])

    @property
    def loss(self) -> str | None:
        """The loss, of rules that have a choice."""
        loss = self.config["model"]["init_args"].get("loss")
        return None if loss is None else str(loss)

    @property
    def seed(self) -> int:
        """The seed."""
        return int(self.config["seed_everything"])

    @property
    def settings(self) -> str:
        """All of model, data and length that bears on results, as text: runs that agree are seeds of one setting."""
        return yaml.safe_dump(self.options)

    @property
    def options(self) -> dict[str, Any]:
        """Each option of model, data and Trainer that bears on results, by its name on the command line.

        The network stands under ``model.network`` by its name, however it is written.
        """
        found: dict[str, Any] = {}
        for part in ("model", "data"):
            found[part] = self.config[part]["class_path"]
            for name, value in (self.config[part].get("init_args") or {}).items():
                found[f"{part}.{name}"] = value
        found.pop("model.layer_sizes", None)
        found["model.network"] = self.net
        for name, value in (self.config.get("trainer") or {}).items():
            found[f"trainer.{name}"] = value
        return {name: value for name, value in found.items() if name not in NO_RESULT}

    def last(self, name: str) -> float | None:
        """Returns a scalar's last value."""
        curve = self.curves.get(name)
        return curve[max(curve)] if curve else None

    def typical(self, name: str) -> float | None:
        """Returns a scalar's median."""
        curve = self.curves.get(name)
        return median(curve.values()) if curve else None


def find_runs(folders: Iterable[Path]) -> list[Run]:
    """Returns the runs in and below folders, in the order of their paths.

    Raises:
        UserError: a folder does not exist, or there is no run.
    """
    found: set[Path] = set()
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"There is no folder {folder}: name runs, or folders of runs such as lightning_logs.")
        marks = [*folder.rglob("config.yaml"), *folder.rglob("events.out.tfevents.*"), *folder.rglob("version_*/")]
        found |= {mark if mark.is_dir() else mark.parent for mark in marks}
    if not found:
        raise UserError(f"There are no runs in {', '.join(map(str, folders))}: train first.")
    return [read_run(path) for path in sorted(found)]


def read_run(path: Path) -> Run:
    """Returns what a run left; whatever is wrong with it stands in its ``status``."""
    run = Run(path)
    if not path.is_dir():
        run.status = "not started"
        return run
    config = path / "config.yaml"
    if not config.is_file():
        run.status = "broken: no config.yaml" if any(path.iterdir()) else "empty"
        log = path / "log.txt"
        if log.is_file():  # of a sweep's trial that failed before it trained
            said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            run.status = f"failed: {said[-1].removeprefix('error: ')}" if said else "failed"
        return run
    try:
        run.config = yaml.safe_load(config.read_text())
        _ = run.rule, run.data, run.net, run.loss, run.seed, run.settings, _planned(run)
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, UnicodeDecodeError, OSError) as error:
        run.config = {}
        run.status = f"broken: config.yaml is unreadable ({type(error).__name__})"
        return run
    environment = path / "environment.yaml"
    if environment.is_file():
        try:
            run.environment = yaml.safe_load(environment.read_text()) or {}
        except (yaml.YAMLError, UnicodeDecodeError):
            run.environment = {}
    try:
        events = EventAccumulator(str(path), size_guidance={"scalars": 0})
        events.Reload()
        scalars = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        run.status = f"broken: its logs are unreadable ({type(error).__name__})"
        return run
    run.curves = {tag: {event.step: event.value for event in found} for tag, found in scalars.items()}
    run.ended = max((event.wall_time for logged in scalars.values() for event in logged), default=0.0)
    times = sorted({event.step: event.wall_time for event in scalars.get("train/accuracy", [])}.items())
    if len(times) > 1:
        run.seconds_per_epoch = median(b - a for (_, a), (_, b) in pairwise(times))
    run.status = _status(run, len(times))
    return run


def _planned(run: Run) -> tuple[int | None, int | None]:
    trainer = run.config.get("trainer") or {}
    epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps")
    return None if epochs is None else int(epochs), None if steps is None else int(steps)


def _status(run: Run, epochs: int) -> str:
    if not run.curves:
        return "empty: nothing was logged"
    trainer = run.config.get("trainer") or {}
    planned, steps = _planned(run)
    done = max((step for curve in run.curves.values() for step in curve), default=0) + 1
    reached = (planned not in (None, -1) and epochs >= planned) or (steps not in (None, -1) and done >= steps)
    stops_early = "EarlyStopping" in yaml.safe_dump(trainer.get("callbacks")) or trainer.get("max_time") is not None
    if not reached and not (stops_early and run.last("test/accuracy") is not None):
        return f"unfinished: {epochs} of {planned} epochs" if planned not in (None, -1) else f"unfinished: step {done}"
    if run.last("test/accuracy") is None:
        return "not tested"
    return "finished"
