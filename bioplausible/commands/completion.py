"""What a command's options imply: the checkpoint that they name, and the configuration that they override."""

import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.utilities import rank_zero_only

from bioplausible.commands.configuration import (
    consistent,
    implied_recipe,
    last_of,
    log_folder,
    placed_loggers,
    trainer_defaults,
    words,
)
from bioplausible.commands.sources import Source, sources
from bioplausible.commands.trainer import TRAINER_DEFAULTS
from bioplausible.errors import UserError
from bioplausible.resume.checkpoint_files import (
    ReadAhead,
    newest_checkpoint,
)


@dataclass(frozen=True)
class Completed:
    """What a command's options come to.

    Attributes:
        args: the command and its options.
        below: the configuration that they override.
        trainer_defaults: what lies below that, of the Trainer.
        ahead: the checkpoint that is named, which was read for this.
    """

    args: list[str]
    below: dict[str, Any] = field(default_factory=dict)
    trainer_defaults: dict[str, Any] = field(default_factory=lambda: TRAINER_DEFAULTS)
    ahead: ReadAhead | None = None


def complete(args: list[str]) -> Completed:
    """Returns the options with the configuration that they imply.

    That is the configuration inside the checkpoint where ``ckpt_path`` names one (``last`` is the newest below the log
    folder, a folder the newest below it), and else a recipe
    (:func:`bioplausible.commands.configuration.implied_recipe`).

    Raises:
        UserError: a checkpoint is needed and not given, or it can't be read.
    """
    if not args or args[0] not in LightningCLI.subcommands() or {"-h", "--help"} & set(args):
        return Completed(args)
    command, given = args[0], sources(args[0], args[1:])
    printed = any(word.startswith("--print_config") for word in args)  # alone, to be a file
    say = partial(rank_zero_only(print), file=sys.stderr if printed else None)
    named, ahead, further = last_of(given, "ckpt_path"), None, []
    if named == "":
        raise UserError("ckpt_path is empty: name a checkpoint, last for the newest, or null for none.")
    if named is not None:
        path = Path(str(named)).expanduser()
        if named == "last" or path.is_dir():
            path = newest_checkpoint(log_folder(given) if named == "last" else path)
            say(f"checkpoint           {path}")
        ahead = ReadAhead(path)
        known = {"seed_everything", "model", "data", "trainer", "threads"}
        below = {n: v for n, v in ahead.config.items() if n != "ckpt_path" and (command == "fit" or n in known)}
        further = ["--ckpt_path", str(path)]
    elif command == "fit":
        below = implied_recipe(given)
    else:
        raise UserError(
            f"{command} needs the weights of a trained network: add --ckpt_path FILE, or --ckpt_path last for the"
            " newest."
        )
    lowest, *given = placed_loggers(consistent([Source(below, is_file=True, is_implied=True), *given], say))
    defaults = trainer_defaults([lowest, *given])
    return Completed([command, *words(given), *further], lowest.content, defaults, ahead)
