"""Runs on disk, read back."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from bioplausible.commands.report.configurations import (
    OWN_LOADERS,
    came_from,
    changes,
    digests,
    from_hyperparameters,
    hyperparameters_at_the_end,
)
from bioplausible.commands.report.logs import Log, read_log
from bioplausible.commands.report.runs import Run
from bioplausible.errors import UserError
from bioplausible.resume.run_files import ENVIRONMENT, HPARAMS, METRICS, environments, read_yaml
from bioplausible.training.loggers import is_file_logger

CONFIG = "config.yaml"
"""File in a run's folder with its configuration."""

ERRORS = (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, UnicodeDecodeError, OSError)
"""What reading a file raises that is damaged, or another program's."""

TRAINING_IMAGES = {
    "DigitsDataModule": 1438,
    "MNIST5000DataModule": 4000,
    "MNISTDataModule": 60_000,
    "FashionMNISTDataModule": 60_000,
    "CIFAR10DataModule": 50_000,
    "CIFAR100DataModule": 50_000,
}


def find_runs(folders: Iterable[Path]) -> list[Run]:
    """Returns the runs in and below folders, in the order of their paths.

    A run that several loggers logged in folders of their own is one, whichever of these are given. Hidden folders below
    those given are passed over.

    Raises:
        UserError: a folder does not exist, or there is no run.
    """
    found: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"There is no folder {folder}: name runs, or folders of runs such as lightning_logs.")
        for mark in (CONFIG, METRICS, ENVIRONMENT, "events.out.tfevents.*", "version_*/"):
            for path in folder.rglob(mark):
                run = path if path.is_dir() else path.parent
                hidden = any(part.startswith(".") for part in run.relative_to(folder).parts)  # as Ray's, of a sweep
                if hidden or _is_evaluation(run):
                    continue
                found.setdefault(run.resolve(), run)
    if not found:
        raise UserError(f"There are no runs in {', '.join(map(str, folders))}: train first.")
    return sorted(_each_once([read_run(path) for path in found.values()]), key=lambda run: run.path)


def read_run(path: Path) -> Run:
    """Returns what a run left in a folder; whatever is wrong with it stands in its ``status``."""
    run = Run(path)
    if not path.is_dir():
        run.status = "not started"
        return run
    try:
        run.environment = read_yaml(path / ENVIRONMENT, {})
    except ERRORS as error:
        run.status = f"broken: {ENVIRONMENT} is unreadable ({type(error.__cause__ or error).__name__})"
        return run
    unknown = _read_configuration(run)
    if unknown is not None:
        run.status = unknown
        return run
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
        run.digests = digests(run.environment)
        run.environment, *run.resumed_in = environments(path)
        run.changed = changes(path, run.config, log.resumed, _first_rate(log))
        run.came_from = came_from(path)
    except ERRORS as error:
        run.status = f"broken: what it was resumed with is unreadable ({type(error.__cause__ or error).__name__})"
        return run
    _judge(run)
    return run


# ------------------------------------------------------------------------------------------------------------ internals


def _is_evaluation(folder: Path) -> bool:
    """Returns whether a folder holds what an evaluation logged, and nothing of a run.

    A script may have logged hyperparameters of its own there; those of training name the rule.
    """
    if any((folder / name).is_file() for name in (CONFIG, ENVIRONMENT)):
        return False
    try:
        log, values = read_log(folder), read_yaml(folder / HPARAMS, {})
    except Exception:  # damaged: it is listed so
        return False
    return bool(log.curves) and not log.trained and "rule" not in values


def _each_once(found: Iterable[Run]) -> list[Run]:
    """Returns runs, of which those of one name whose logs agree are one: several loggers logged it, or it was copied.

    What has its own configuration stays a run of its own if that differs: training went on in a copy.
    """
    runs: list[Run] = []
    for run in sorted(found, key=lambda run: (not _has_configuration(run), [-n for n in _reach(run.log)], run.path)):
        whole = next((other for other in runs if _is_of(run, other)), None)
        if whole is None:
            runs.append(run)
            continue
        whole.also_in.append(run.path)
        if _reach(run.log) > _reach(whole.log):
            whole.log, whole.changed, whole.came_from = run.log, run.changed, run.came_from
            whole.environment, whole.resumed_in = run.environment, run.resumed_in
            _judge(whole)
    return runs


def _is_of(run: Run, whole: Run) -> bool:
    """Returns whether a folder holds another log of a run."""
    name = run.environment.get("run")
    if name is None or name != whole.environment.get("run") or not whole.config:
        return False
    if _has_configuration(run) and (run.settings, run.planned) != (whole.settings, whole.planned):
        return False
    return run.log.agrees(whole.log)


def _has_configuration(run: Run) -> bool:
    return bool(run.config) and (run.path / CONFIG).is_file()


def _reach(log: Log) -> tuple[int, int, int]:
    """Returns how much a log tells: how far it reaches, of how many steps, and whether with times."""
    steps = log.trained
    return max(steps, default=-1), len(steps), len(log.times)


def _judge(run: Run) -> None:
    """Says how far a run went, from its configuration and its log."""
    run.steps_per_epoch = _steps_per_epoch(run) or run.log.steps_per_epoch()
    run.epochs = run.log.epochs(run.steps_per_epoch)
    run.status = _status(run)


def _read_configuration(run: Run) -> str | None:
    """Takes up a run's configuration; returns what is wrong, where there is none."""
    config, hparams = run.path / CONFIG, run.path / HPARAMS
    if not (config.is_file() or hparams.is_file()):
        log = run.path / "log.txt"
        if log.is_file():  # of a sweep's trial that failed before it trained
            said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            return f"failed: {said[-1].removeprefix('error: ')}" if said else "failed"
        if run.environment.get("loggers"):
            return _logged_elsewhere(run)
        return f"broken: no {CONFIG}" if any(run.path.iterdir()) else "empty"
    source = config if config.is_file() else hparams
    try:
        if source == config:
            run.config = yaml.safe_load(source.read_text())
        else:
            values = hyperparameters_at_the_end(run.path)
            if "rule" not in values:
                return f"broken: no {CONFIG}, and {HPARAMS} does not name the rule (an earlier version's does not)"
            run.config = from_hyperparameters(values)
        _ = run.rule, run.data, run.net, run.loss, run.seed, run.settings, run.planned
    except ERRORS as error:
        run.config = {}
        return f"broken: {source.name} is unreadable ({type(error).__name__})"
    return None


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
        return _logged_elsewhere(run) or "empty: nothing was logged"
    epochs, steps = run.planned
    done = max(run.log.trained, default=-1) + 1
    tested = run.last("test/accuracy") is not None
    reached = (epochs is not None and run.epochs >= epochs) or (steps is not None and done >= steps)
    stoppers = ("trainer.EarlyStopping", "trainer.Timer", "trainer.stops_early", "trainer.max_time")
    run.stopped_early = not reached and tested and any(name in run.options for name in stoppers)
    if not reached and not run.stopped_early:
        return f"unfinished: {run.epochs} of {epochs} epochs" if epochs is not None else f"unfinished: step {done}"
    if tested:
        return "finished"
    if run.data == OWN_LOADERS:
        return (
            "not tested: it trained on data loaders, so later ones may be other data, and only a test by the Trainer"
            " that trained it counts"
        )
    return "not tested"


def _other_loggers(config: dict[str, Any]) -> list[str]:
    """Returns the classes of a configuration's loggers that leave no log in a run's folder; none if one does."""
    given = (config.get("trainer") or {}).get("logger")
    entries = given if isinstance(given, list) else [given]
    names = [str(entry["class_path"]) for entry in entries if isinstance(entry, dict) and "class_path" in entry]
    return [] if any(map(is_file_logger, names)) else [name.rpartition(".")[2] for name in names]


def _logged_elsewhere(run: Run) -> str:
    """Returns the status of a run whose log is not in its folder; nothing where no other logger is known."""
    logs, loggers = run.environment.get("logs"), run.environment.get("loggers") or _other_loggers(run.config)
    if logs:
        return f"not read: its log lies in {' and in '.join(logs)}, so name that folder too"
    return (
        f"not read: {' and '.join(loggers)} has its log, and the report reads those of TensorBoard and CSVLogger (add"
        " one of these next time, as with --trainer.logger+=CSVLogger)"
        if loggers
        else ""
    )
