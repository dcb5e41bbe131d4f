"""The loggers of a run: those of one that resumes go on where they were, and at the end one is told where to look."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.logger import DummyLogger

from bioplausible.commands.program import this_program
from bioplausible.lightning_internals import FileLogger, set_version
from bioplausible.resume.checkpoint_files import ReadAhead, run_folder
from bioplausible.training.loggers import folder_of_run
from bioplausible.training.named_runs import LOG_FOLDER

PLACE = ("save_dir", "name", "version", "id", "run_id", "project", "experiment_name", "tracking_uri", "dir")
"""Options that say where a logger's runs are, of all loggers."""

GOES_ON_BY: dict[type[Logger], str] = {WandbLogger: "version", MLFlowLogger: "run_id"}
"""Option by which a logger without a folder of its own goes on with a run."""

LIGHTNINGS_NAME = "lightning_logs"
"""Name that Lightning's loggers of files give the folder of runs below ``save_dir`` where none is given."""


def folder_of_runs(root: str | Path | None) -> str:
    """Returns the folder of all runs where a logger names none.

    Args:
        root: the Trainer's ``default_root_dir``.
    """
    return str(Path(root or "", LOG_FOLDER))


def version_name(logger: Logger) -> str | None:
    """Returns a logger's version by which it can go on; None where it has none."""
    version = logger.version
    return None if version is None else version if isinstance(version, str) else f"version_{version}"


def resumed_loggers(loggers: Sequence[Logger], configured: Sequence[Any], ahead: ReadAhead) -> list[Logger]:
    """Returns the loggers of a run that resumes or is evaluated: each goes on with its run, if it was one of that run.

    The first one does so where the run lies now, even if that is not where it was. One whose options name another place
    than before is returned as it is.

    Args:
        loggers: as the configuration makes them.
        configured: their configuration.
        ahead: the checkpoint.
    """
    logged = ahead.config.get("trainer", {}).get("logger")
    before = logged if isinstance(logged, list) else [logged]
    folder, found = run_folder(ahead.path), list(loggers)
    for i, (logger, now, then) in enumerate(zip(loggers, configured, before, strict=False)):
        version = ahead.versions[i] if i < len(ahead.versions) else None
        first = i == 0 and isinstance(logger, FileLogger)
        if first and folder is not None and _same(now, then, but="save_dir" if _below(folder, now) else ""):
            found[i] = _again(logger, now, save_dir=str(folder.parent), name="", version=folder.name)
        elif not first and version is not None and _same(now, then):
            option = next((option for kind, option in GOES_ON_BY.items() if isinstance(logger, kind)), None)
            if isinstance(logger, FileLogger):
                set_version(logger, version)
            elif option is not None:
                found[i] = _again(logger, now, **{option: version})
    return found


def _options(configured: Any) -> Mapping[str, Any]:
    """Returns a logger's options: those of the command line, or those in a checkpoint."""
    options = configured.as_dict() if isinstance(configured, Namespace) else configured
    return (options.get("init_args") or {}) if isinstance(options, Mapping) else {}


def _same(now: Any, then: Any, but: str = "") -> bool:
    """Returns whether two configurations of a logger name the same place."""
    names = [_class(configured) for configured in (now, then)]
    a, b = _options(now), _options(then)
    return names[0] == names[1] and all(a.get(name) == b.get(name) for name in PLACE if name != but)


def _class(configured: Any) -> str:
    path = configured.get("class_path", "") if isinstance(configured, (Mapping, Namespace)) else str(configured)
    return str(path).rpartition(".")[2]


def _below(folder: Path, configured: Any) -> bool:
    """Returns whether a run's folder lies below the logger's."""
    place = _options(configured).get("save_dir")
    return place is not None and Path(place).resolve() in folder.resolve().parents


def _again(logger: Logger, configured: Any, **changed: str) -> Logger:
    """Returns a logger with some options changed."""
    further = configured.get("dict_kwargs", {}) if isinstance(configured, Namespace) else {}
    return type(logger)(**{**_options(configured), **further, **changed})


def where_it_lies(trainer: Trainer) -> str:
    """Returns where a run lies, as its last words have it."""
    folder = folder_of_run(trainer)
    return "no log (there is no logger)" if folder is None else str(folder)


def how_to_look(trainer: Trainer) -> list[str]:
    """Returns lines that say how to look at a run."""
    lines = []
    for logger in trainer.loggers:
        if isinstance(logger, DummyLogger):  # of a fast_dev_run
            continue
        if isinstance(logger, TensorBoardLogger):
            look = f"tensorboard --logdir {shlex.quote(str(logger.log_dir))}"
        elif isinstance(logger, CSVLogger):
            look = f"{this_program()} report {shlex.quote(str(logger.log_dir))}"
        else:
            place = f" in {logger.save_dir}" if logger.save_dir else ""
            look = f"{type(logger).__name__}: run {logger.version}{place}"
        lines.append(f"look at it with      {look}")
    return lines
