"""``fit`` as far as its classes: to know what it refuses without training."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

from jsonargparse import Namespace
from pytorch_lightning.cli import LightningArgumentParser

from bioplausible.commands.command_line import CommandLine
from bioplausible.commands.completion import Completed, complete
from bioplausible.commands.network_ends import fill_ends


class _Parsed(CommandLine):
    """The command line that parses, and builds what a configuration names, but no Trainer."""

    def _set_seed(self) -> None:
        """Does nothing: the process that asks has other things to do."""

    def before_instantiate_classes(self) -> None:
        """Does nothing: threads, accelerator and the run's folder are the run's own."""

    def instantiate_classes(self) -> None:
        """Builds all but the loggers, some of which open a run as they are built."""
        config = self.config.clone()
        fill_ends(config[self.subcommand], lambda _: None)
        config[self.subcommand].trainer.logger = False
        self.model = self.parser.instantiate_classes(config)[self.subcommand].model
        self.refuse_rate_without_effect()

    def _run_subcommand(self, subcommand: str) -> None:
        """Does nothing."""


def parsed(arguments: Sequence[str]) -> Any:
    """Returns the configuration that ``fit`` makes of its arguments, whose classes have been built once.

    Raises:
        Exception: what ``fit`` would raise; :func:`bioplausible.errors.sentences.sentence` has the words.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # what a change of class leaves out, the run will say
        config: Namespace = _Parsed(complete(["fit", *arguments])).config["fit"]
    return config


class _Unparsed(_Parsed):
    """The command line that only gets to know a command's options."""

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Does nothing but name the command."""
        self.config = Namespace(subcommand=args[0])  # type: ignore[no-untyped-call]

    def instantiate_classes(self) -> None:
        """Does nothing."""


def known_options(command: str) -> LightningArgumentParser:
    """Returns the parser of one of LightningCLI's commands."""
    return _Unparsed(Completed([command])).known_options[command]
