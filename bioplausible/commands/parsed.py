"""``fit`` as far as its classes: to know what it refuses without training."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

from jsonargparse import Namespace
from pytorch_lightning.cli import LightningArgumentParser

from bioplausible.commands.command_line import CommandLine
from bioplausible.commands.completion import complete


class _Parsed(CommandLine):
    """The command line that parses, and builds what a configuration names, but no Trainer."""

    def _set_seed(self) -> None:
        """Does nothing: the process that asks has other things to do."""

    def before_instantiate_classes(self) -> None:
        """Does nothing: threads, accelerator and the run's folder are the run's own."""

    def instantiate_classes(self) -> None:
        """Builds all but the loggers, some of which open a run as they are built."""
        config = self.config.clone()
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


def parser_of_fit() -> LightningArgumentParser:
    """Returns the parser that knows all options of ``fit``."""
    return _Parsed(complete(["fit"])).known_options["fit"]
