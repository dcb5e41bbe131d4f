"""Runs on disk, read back."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from bioplausible.commands.report.configurations import bearing_options, changes, from_hyperparameters
from bioplausible.commands.report.logs import Log, read_log
from bioplausible.commands.report.nets import net_name
from bioplausible.errors import UserError
from bioplausible.resume.run_folders import ENVIRONMENT, HPARAMS, METRICS

TRAINING_IMAGES = {
    "DigitsDataModule": 1438,
    "MNISTDataModule": 60_000,
    "FashionMNISTDataModule": 60_000,
    "CIFAR10DataModule": 50_000,
    "CIFAR100DataModule": 50_000,
}


@dataclass
class Run:
    """What one run left in its folder.

    Attributes:
        path: the folder.
        status: ``finished``, or what is wrong with it in words.
        config: its whole configuration, in the form of config.yaml, as it was at the end.
        environment: versions, git commit and machine, where it noted them.
        log: all that it logged.
        epochs: how many went to their end.
        changed: what was changed when it was resumed, in words.
        stopped_early: whether it ended before its time, by a callback or ``max_time``.
        note: what else a reader should know.
    """

    path: Path
    status: str = "finished"
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    log: Log = field(default_factory=Log)
    epochs: int = 0
    changed: list[str] = field(default_factory=list)
    stopped_early: bool = False
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
        return yaml.safe_dump(_numbers_alike(self.options))

    @property
    def options(self) -> dict[str, Any]:
        """Each option that bears on results (:func:`bearing_options`), and how the run departed from them."""
        found = bearing_options(self.config)
        if self.stopped_early:
            found["trainer.stopped_early"] = True
        if self.changed:
            found["run.resumed"] = "; ".join(self.changed)
        return found

    @property
    def planned(self) -> tuple[int | None, int | None]:
        """How many epochs and how many steps were to be trained; None where there is no limit."""
        trainer = self.config.get("trainer") or {}
        epochs, steps = (trainer.get(name) for name in ("max_epochs", "max_steps"))
        return _limit(epochs), _limit(steps)

    @property
    def curves(self) -> dict[str, dict[int, float]]:
        """Every scalar that it logged, by name."""
        return self.log.curves

    @property
    def ended(self) -> float:
        """Time of the last thing that it logged, in seconds since 1970."""
        return self.log.ended

    @property
    def seconds_per_epoch(self) -> float | None:
        """Median over the epochs, validation included; None before two epochs."""
        return self.log.seconds_per_epoch()

    def last(self, name: str) -> float | None:
        """Returns a scalar's last value; one of the test split, where the trained weights' was measured.

        A checkpoint may be tested later too, and what is logged then is not the run's result.
        """
        curve = self.curves.get(name, {})
        if name.startswith("test/"):
            end = max(self.log.trained, default=-1)
            curve = {step: value for step, value in curve.items() if step > end}
        return curve[max(curve)] if curve else None

    def best(self, name: str) -> float | None:
        """Returns a scalar's largest value."""
        return max(self.curves.get(name, {}).values(), default=None)

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
        for mark in ("config.yaml", METRICS, "events.out.tfevents.*", "version_*/"):
            found |= {path if path.is_dir() else path.parent for path in folder.rglob(mark)}
    if not found:
        raise UserError(f"There are no runs in {', '.join(map(str, folders))}: train first.")
    return [read_run(path) for path in sorted(found)]


def read_run(path: Path) -> Run:
    """Returns what a run left; whatever is wrong with it stands in its ``status``."""
    run = Run(path)
    if not path.is_dir():
        run.status = "not started"
        return run
    unknown = _read_configuration(run)
    if unknown is not None:
        run.status = unknown
        return run
    try:
        run.environment = yaml.safe_load((path / ENVIRONMENT).read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError, OSError):
        run.environment = {}
    try:
        log = read_log(path)
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        run.status = f"broken: its logs are unreadable ({type(error).__name__})"
        return run
    if log.runs > 1:
        run.status = f"broken: {log.runs} runs logged here, and which of them had this configuration is not known"
        return run
    run.log = log
    try:
        run.changed = changes(path, run.config, log.resumed, _first_rate(log))
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, UnicodeDecodeError) as error:
        run.status = f"broken: what it was resumed with is unreadable ({type(error).__name__})"
        return run
    run.epochs = len(log.whole_epochs(_steps_per_epoch(run)))
    run.status = _status(run)
    return run


def _read_configuration(run: Run) -> str | None:
    """Takes up a run's configuration; returns what is wrong, where there is none."""
    config, hparams = run.path / "config.yaml", run.path / HPARAMS
    if not (config.is_file() or hparams.is_file()):
        log = run.path / "log.txt"
        if log.is_file():  # of a sweep's trial that failed before it trained
            said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            return f"failed: {said[-1].removeprefix('error: ')}" if said else "failed"
        return "broken: no config.yaml" if any(run.path.iterdir()) else "empty"
    source = config if config.is_file() else hparams
    try:
        content = yaml.safe_load(source.read_text())
        if source == hparams and "rule" not in (content or {}):
            return f"broken: no config.yaml, and {HPARAMS} does not name the rule (an earlier version's does not)"
        run.config = content if source == config else from_hyperparameters(content)
        _ = run.rule, run.data, run.net, run.loss, run.seed, run.settings, run.planned
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, UnicodeDecodeError, OSError) as error:
        run.config = {}
        return f"broken: {source.name} is unreadable ({type(error).__name__})"
    return None


def _numbers_alike(value: Any) -> Any:
    """Returns a value in which 0 and 0.0 are the same number."""
    if isinstance(value, dict):
        return {name: _numbers_alike(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_numbers_alike(entry) for entry in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _limit(value: Any) -> int | None:
    return None if value in (None, -1) else int(value)


def _first_rate(log: Log) -> float | None:
    """Returns the learning rate at the first step, where one is logged for all layers."""
    rates = [curve for name, curve in log.curves.items() if name.startswith("lr-") and "/" not in name and curve]
    return rates[0][min(rates[0])] if len(rates) == 1 else None


def _steps_per_epoch(run: Run) -> int | None:
    """Returns the number of steps of an epoch by the size of the data set; None where the log has to tell it.

    The log can't where it holds a single point, which may be an epoch's end or where it was cut.
    """
    ends = run.curves.get("train/accuracy", {})
    options, images = run.config["data"].get("init_args") or {}, TRAINING_IMAGES.get(run.data)
    cut = run.last("test/accuracy") is None or run.planned[1] is not None
    if len(ends) != 1 or images is None or not cut:
        return None
    images = int(options.get("subset_size") or images)
    images -= round(images * float(options.get("validation_split") or 0))
    steps = math.ceil(images / int(options.get("batch_size") or 20))
    limit = (run.config.get("trainer") or {}).get("limit_train_batches")
    if limit is not None:
        steps = min(steps, limit) if isinstance(limit, int) else int(steps * limit)
    return max(steps, 1)


def _status(run: Run) -> str:
    if not run.curves:
        return "empty: nothing was logged"
    epochs, steps = run.planned
    done = max(run.log.trained, default=-1) + 1
    tested = run.last("test/accuracy") is not None
    reached = (epochs is not None and run.epochs >= epochs) or (steps is not None and done >= steps)
    stoppers = ("trainer.EarlyStopping", "trainer.Timer", "trainer.stops_early", "trainer.max_time")
    run.stopped_early = not reached and tested and any(name in run.options for name in stoppers)
    if not reached and not run.stopped_early:
        return f"unfinished: {run.epochs} of {epochs} epochs" if epochs is not None else f"unfinished: step {done}"
    return "finished" if tested else "not tested"
