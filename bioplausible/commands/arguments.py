"""Arguments of the commands that are not LightningCLI's."""

import argparse
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from bioplausible.commands.recipes import named_recipe, named_study
from bioplausible.errors import UserError


class CommandArguments(argparse.ArgumentParser):
    """An argument parser that raises a :class:`bioplausible.UserError` instead of leaving with a usage message.

    Args:
        command: its name.
        description: what it does.
        examples: options and arguments to call it with.

    Attributes:
        kinds: the types of its arguments, for what completes them.
    """

    def __init__(self, command: str, description: str, examples: Sequence[str]) -> None:
        program = f"python -m bioplausible {command}"
        super().__init__(
            prog=program,
            description=textwrap.fill(description, shutil.get_terminal_size().columns - 2),
            epilog="\n".join(["examples:", *(f"  {program} {example}".rstrip() for example in examples)]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.kinds: list[tuple[argparse.Action, Any]] = []

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        """Adds an argument, and notes its type."""
        action = super().add_argument(*names, **options)
        if hasattr(self, "kinds"):  # not while it is made: --help has no type
            self.kinds.append((action, options.get("type")))
        return action

    def error(self, message: str) -> NoReturn:
        """Raises what argparse would print."""
        raise UserError(f"{message}; --help lists what there is.")


def path_named(text: str) -> Path:
    """Returns the path that an option names, ``~`` being one's home."""
    return Path(text).expanduser()


def recipe_name(text: str) -> str:
    """Returns a recipe's name such as ``digits/corinfomax``, as an option gives it."""
    return text.removesuffix(".yaml")


def recipe_named(text: str) -> Path:
    """Returns the file that an option names, or the recipe of this name, such as ``digits/corinfomax``."""
    return named_recipe(text) or path_named(text)


def study_named(text: str) -> Path:
    """Returns the file that an option names, or the package's study of this name, such as ``mnist``."""
    return named_study(text) or path_named(text)
