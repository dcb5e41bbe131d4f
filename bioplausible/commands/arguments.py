"""Arguments of the commands that are not LightningCLI's."""

import argparse
from pathlib import Path
from typing import NoReturn

from bioplausible.commands.recipes import named_recipe, named_study
from bioplausible.errors import UserError


class CommandArguments(argparse.ArgumentParser):
    """An argument parser that raises a :class:`bioplausible.UserError` instead of leaving with a usage message."""

    def error(self, message: str) -> NoReturn:
        """Raises what argparse would print."""
        raise UserError(f"{message}; --help lists what there is.")


def path_named(text: str) -> Path:
    """Returns the path that an option names, ``~`` being one's home."""
    return Path(text).expanduser()


def recipe_named(text: str) -> Path:
    """Returns the file that an option names, or the recipe of this name, such as ``digits/corinfomax``."""
    return named_recipe(text) or path_named(text)


def study_named(text: str) -> Path:
    """Returns the file that an option names, or the package's study of this name, such as ``mnist``."""
    return named_study(text) or path_named(text)
