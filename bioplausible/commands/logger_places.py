"""Where a configuration's loggers log, and below which folders its runs lie."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from pytorch_lightning.cli import LightningArgumentParser

from bioplausible.commands.class_names import bare_name, resolved
from bioplausible.commands.configuration import class_of, consistent, last_of
from bioplausible.commands.run_loggers import LIGHTNINGS_NAME, folder_of_runs
from bioplausible.commands.settings import class_at, lists, setting_at, without
from bioplausible.commands.sources import Source, with_content
from bioplausible.commands.trainer import TRAINER_DEFAULTS, RunTrainer
from bioplausible.resume.run_files import ENVIRONMENT, METRICS
from bioplausible.training.loggers import is_file_logger
from bioplausible.training.named_runs import in_full

LOGGERS = "trainer.logger"
NO_LOGGER: tuple[Any, ...] = (False, [])
"""Values of that option by which nothing is logged."""


def trainer_defaults(given: Sequence[Source]) -> dict[str, Any]:
    """Returns the defaults of the Trainer's options: where another logger is named, nothing of RunLogger's."""
    named = class_of(given, LOGGERS) or "RunLogger"
    listed = any(LOGGERS in lists(source.content) for source in given if not source.option.endswith("+"))
    if bare_name(named) == "RunLogger" and not listed:
        return TRAINER_DEFAULTS
    others = {name: value for name, value in TRAINER_DEFAULTS.items() if name != "logger"}
    place = {} if listed else _place(named, given)
    return {**others, "logger": {"class_path": named, "init_args": place}} if place else others


def placed_loggers(given: Sequence[Source]) -> list[Source]:
    """Returns the sources with the place where the runs lie, in lists of loggers, for each logger that has none."""

    def placed(entry: Any) -> Any:
        named = class_at({"logger": entry}, "logger")
        place = {} if named is None else _place(named, given)
        if not place:
            return entry
        further = entry if isinstance(entry, dict) else {}
        return {**further, "class_path": named, "init_args": {**place, **(further.get("init_args") or {})}}

    found = list(given)
    for i, source in enumerate(given):
        if LOGGERS in lists(source.content):
            entries = [placed(entry) for entry in source.content["trainer"]["logger"]]
            if entries != source.content["trainer"]["logger"]:
                trainer = {**source.content["trainer"], "logger": entries}
                found[i] = with_content(source, {**source.content, "trainer": trainer})
    return found


def logger_beside(checkpoint: Path) -> dict[str, Any] | None:
    """Returns the logger that goes on in the folder of a run whose checkpoint names none: it was made from Python.

    None where no log of such a run lies there.
    """
    folder = checkpoint.parent.parent
    if checkpoint.parent.name != "checkpoints" or not (folder / ENVIRONMENT).is_file():
        return None
    place = {"save_dir": str(folder.parent), "name": "", "version": folder.name}
    for name, log in (("RunLogger", "events.out.tfevents.*"), ("CSVLogger", METRICS)):  # in the report's order
        if next(folder.glob(log), None) is not None:
            return {"class_path": name, "init_args": place}
    return None


def _place(named: str, given: Sequence[Source]) -> dict[str, Any]:
    """Returns what says where a logger of files logs, where nobody says it; nothing for other loggers.

    Its folder is that of all runs, and its name None, which becomes that of data set and rule.
    """
    cls = resolved(named)
    if cls is None or not is_file_logger(cls):
        return {}
    parameters = inspect.signature(cls).parameters
    save_dir, name = (parameters.get(option) for option in ("save_dir", "name"))
    place: dict[str, Any] = {}
    if save_dir is not None and save_dir.default is inspect.Parameter.empty:
        place["save_dir"] = folder_of_runs(last_of(given, "trainer", "default_root_dir"))
    if name is not None and name.default == LIGHTNINGS_NAME:
        place["name"] = None
    return place


def run_places(given: Sequence[Source]) -> list[Path]:
    """Returns the folders below which the runs of a configuration lie, for ``last``.

    Where no folder is named that is the loggers', and the one for checkpoints of runs without any. To log nothing moves
    no run: where the loggers are switched off, they lie where these would log, or have no logger either.

    Args:
        given: what the configuration is made of; of all this only the Trainer's part is parsed.
    """
    off = last_of(given, "trainer", "logger") in NO_LOGGER
    given = placed_loggers(consistent([_without_no_logger(source) for source in given] if off else given, _say_nothing))
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_lightning_class_args(RunTrainer, "trainer")
    parser.set_defaults({f"trainer.{name}": value for name, value in trainer_defaults(given).items()})
    parts: list[str] = []
    for source in given:
        if source.is_file and "trainer" in source.content:
            parts += ["--config", yaml.safe_dump({"trainer": source.content["trainer"]}, sort_keys=False)]
        elif "trainer" in source.content:
            parts += source.words
    trainer = parser.parse_args(parts).trainer
    first = trainer.logger[0] if isinstance(trainer.logger, list) and trainer.logger else trainer.logger
    options = first.get("init_args") if isinstance(first, Namespace) else None
    named = options.get("save_dir") if options else None
    root = Path(trainer.default_root_dir or ".").expanduser()
    without_logger = root / "checkpoints"
    if named:
        return [Path(in_full(named)), *([without_logger] if off else [])]
    if isinstance(first, Namespace) and not is_file_logger(first.class_path):
        return [root]  # in a folder that is named as the logger says
    return [Path(in_full(folder_of_runs(trainer.default_root_dir))), without_logger]


def _without_no_logger(source: Source) -> Source:
    """Returns a source without what it says of loggers, where that is that there are none."""
    if setting_at(source.content, LOGGERS) not in NO_LOGGER:
        return source
    return with_content(source, without(source.content, LOGGERS))


def _say_nothing(_: str) -> None:
    pass
