"""Arguments of the commands that are not LightningCLI's."""

import argparse
from typing import NoReturn

from bioplausible.errors import UserError


class CommandArguments(argparse.ArgumentParser):
    """An argument parser that raises a :class:`bioplausible.UserError` instead of leaving with a usage message."""

    def error(self, message: str) -> NoReturn:
        """Raises what argparse would print."""
        raise UserError(f"{message}; --help lists what there is.")
