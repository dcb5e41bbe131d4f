"""What a command's options imply: the checkpoint that they name, and the configuration that they override."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.utilities import rank_zero_only

import bioplausible.data
import bioplausible.rules
from bioplausible.commands.class_names import same_class
from bioplausible.commands.configuration import (
    class_of,
    consistent,
    implied_recipe,
    last_of,
    options_of,
    require_class_of_schedule,
    tell_overruled,
    words,
)
from bioplausible.commands.data_files import require_data_module
from bioplausible.commands.logger_places import logger_beside, placed_loggers, run_places, trainer_defaults
from bioplausible.commands.settings import class_at, set_places, setting_at
from bioplausible.commands.sources import Source, sources, with_content
from bioplausible.commands.trainer import TRAINER_DEFAULTS
from bioplausible.errors import UserError
from bioplausible.resume.checkpoint_files import (
    ReadAhead,
    newest_checkpoint,
)

LENGTHS = ("max_epochs", "max_steps", "max_time")
"""Options of the Trainer's that say when training ends."""

ONE_PROCESS = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
"""What evaluating a checkpoint takes in the place of what training it did: one process is enough."""


SPLIT_OF = {"test": "limit_test_batches", "validate": "limit_val_batches", "predict": "limit_predict_batches"}
"""The Trainer's option that says how much of a command's split is looked at."""


NO_RESULT = ("num_workers", "data_dir", "mirror", "evaluation_batch_size")
"""Options of data modules that bear on no accuracy."""


@dataclass(frozen=True)
class Completed:
    """What a command's options come to.

    Attributes:
        args: the command and its options.
        below: the configuration that they override.
        trainer_defaults: what lies below that, of the Trainer.
        ahead: the checkpoint that is named, which was read for this.
        named: the rule's options that the user gave, by option or file.
        as_trained: whether rule and data are as the checkpoint was trained, and the whole split is looked at.
    """

    args: list[str]
    below: dict[str, Any] = field(default_factory=dict)
    trainer_defaults: dict[str, Any] = field(default_factory=lambda: TRAINER_DEFAULTS)
    ahead: ReadAhead | None = None
    named: frozenset[str] = frozenset()
    as_trained: bool = True


NOT_TAKEN = ("best", "hpc", "registry")
"""Words for checkpoints that Trainer takes from Python, after it has trained or from places of its own."""


def complete(args: list[str]) -> Completed:
    """Returns the options with the configuration that they imply.

    That is the configuration inside the checkpoint where ``ckpt_path`` names one (``last`` is the newest of all runs,
    a folder the newest below it), and else a recipe (:func:`bioplausible.commands.configuration.implied_recipe`).

    Raises:
        UserError: a checkpoint is needed and not given, or it can't be read.
    """
    if not args or args[0] not in LightningCLI.subcommands():
        return Completed(args)
    if {"-h", "--help"} & set(args):
        return Completed([args[0], "--help"])
    command, given = args[0], sources(args[0], args[1:])
    require_data_module(class_of(given, "data"))
    printed = any(word.startswith("--print_config") for word in args)  # alone, to be a file
    say = partial(rank_zero_only(print), file=sys.stderr if printed else None)
    named, ahead, further = last_of(given, "ckpt_path"), None, []
    if named == "":
        raise UserError("ckpt_path is empty: name a checkpoint, last for the newest, or null for none.")
    if named is not None:
        path = Path(str(named)).expanduser()
        if str(named).partition(":")[0] in NOT_TAKEN and not path.exists():
            raise UserError(
                f"ckpt_path is {named}: name a checkpoint's file, a run's folder, or last for the newest run's last"
                " one; the best one of a run is its checkpoints/best.ckpt."
            )
        if named == "last" or path.is_dir():
            path = newest_checkpoint(*(run_places(given) if named == "last" else [path]))
            say(f"checkpoint           {path}")
        ahead = ReadAhead(path)
        known = {"seed_everything", "model", "data", "trainer", "threads"}
        below = {n: v for n, v in ahead.config.items() if n != "ckpt_path" and (command == "fit" or n in known)}
        if command != "fit" and "trainer" in below:
            below["trainer"] = {**below["trainer"], **ONE_PROCESS}
            if below["trainer"].get(SPLIT_OF.get(command)) == 0:  # training left the split out, and now it is asked for
                del below["trainer"][SPLIT_OF[command]]
        if ahead.from_python:
            below = _with_paths(below, given)
            _require_what_python_leaves_out(command, ahead, [Source(below), *given])
        further = ["--ckpt_path", str(path)]
    elif command == "fit":
        below = implied_recipe(given)
    else:
        raise UserError(
            f"{command} needs the weights of a trained network: add --ckpt_path FILE, or --ckpt_path last for the"
            " newest."
        )
    tell_overruled(given, say)
    lowest, *given = consistent([Source(below, is_file=True, is_implied=True), *given], say)
    require_class_of_schedule([lowest, *given])
    as_trained = ahead is None or not any(_departs(source.content, ahead.config) for source in given)
    if command in ("test", "validate") and ahead is not None and not as_trained:
        say(f"not counted          {_why_not_of_run(ahead)}: the report counts it for no run")
    of_run = command != "fit" and ahead is not None and ahead.from_python and as_trained
    logger = logger_beside(path) if of_run and last_of(given, "trainer", "logger") is None else None
    if logger is not None:
        lowest = with_content(lowest, {**lowest.content, "trainer": {"logger": logger}})
    lowest, *given = placed_loggers([lowest, *given])
    defaults = trainer_defaults([lowest, *given])
    args = [command, *words(given), *further]
    return Completed(args, lowest.content, defaults, ahead, options_of("model", given), as_trained)


def _departs(content: dict[str, Any], trained: Mapping[str, Any]) -> bool:
    """Returns whether an evaluation's settings give another result than those of training would."""
    for place in set_places(content):
        part, _, name = place.partition(".")
        value, before = setting_at(content, place), setting_at(trained, place)
        limits = part == "trainer" and name in ("precision", *SPLIT_OF.values())
        if isinstance(value, dict) or not (limits or part in ("model", "data")) or name in NO_RESULT:
            continue
        whole = name in SPLIT_OF.values() and isinstance(value, float) and value == 1
        same_name = isinstance(value, str) and same_class(value, class_at(trained, place) or "")
        if not whole and not same_name and value != before:
            return True
    return False


def _why_not_of_run(ahead: ReadAhead) -> str:
    if "data" not in ahead.config:
        return "its run trained on data loaders, and no checkpoint says whether these are the same data"
    return "rule, data or split are not those of its training"


def _with_paths(config: dict[str, Any], given: list[Source]) -> dict[str, Any]:
    """Returns the configuration of a run from Python without those classes whose paths nobody says.

    A class of a user's own may lie anywhere: it has to be named again.
    """
    found = dict(config)
    for part, module in (("model", bioplausible.rules), ("data", bioplausible.data)):
        name = found.get(part, {}).get("class_path", "")
        if name and not hasattr(module, name):
            del found[part]
            named = class_of(given, part)
            if named is not None and named.rpartition(".")[2] == name:
                found[part] = {**config[part], "class_path": named}
    return found


def _require_what_python_leaves_out(command: str, ahead: ReadAhead, given: list[Source]) -> None:
    """Checks that all is given which the checkpoint of a run from Python does not say.

    Raises:
        UserError: something is missing.
    """
    missing = [
        f"--{part} {example}"
        for part, example in (("model", "my_module.MyRule"), ("data", "my_module.MyData"))
        if class_of(given, part) is None
    ]
    if command == "fit" and all(last_of(given, "trainer", length) is None for length in LENGTHS):
        missing.append("--trainer.max_epochs N")
    if command == "fit":
        untold = {name: cls for name, cls in ahead.untold.items() if class_of(given, f"model.{name}") is None}
        missing += [f"--model.{name} {cls} with the options that it had" for name, cls in untold.items()]
    if missing:
        raise UserError(
            f"{ahead.path} is of a run that was made from Python and doesn't say all that {command} needs: add"
            f" {' and '.join(missing)}."
        )
