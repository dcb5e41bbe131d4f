"""``python -m bioplausible``."""

import os
import re
import signal
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from traceback import extract_tb

from bioplausible.commands.command_list import COMMANDS, NAMES, OWN
from bioplausible.commands.short_help import short_help
from bioplausible.commands.signals import EndingSignals

PEER_LEFT = re.compile("closed by peer|reset by peer", re.IGNORECASE)
"""What the other processes say when one of them ended with an error of its own."""


def main(args: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status.

    0; 1 where ``verify`` found a difference or a trial of ``sweep`` failed; 2 for a user's mistake; 128 + its number
    where a signal ended it.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    with EndingSignals((signal.SIGINT, signal.SIGTERM)) as ending:
        try:
            return _run(arguments, ending)
        except BaseException:
            if ending.came is None:
                raise
            ending.say()
            return 128 + ending.came


def _run(arguments: list[str], ending: EndingSignals) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(COMMANDS)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from bioplausible import __version__

        print(f"bioplausible {__version__}")
        return 0
    if nul := next((argument for argument in arguments if "\0" in argument), None):  # only from Python: no shell can
        print(f"error: The argument {nul!r} holds a NUL byte: write it without.", file=sys.stderr)
        return 2
    if arguments[0] not in NAMES:
        close = get_close_matches(arguments[0], [*NAMES, "--version", "--help"], n=1)
        cure = f"did you mean {close[0]}?" if close else f"choose {', '.join(NAMES[:-1])} or {NAMES[-1]}."
        print(f"error: There is no command {arguments[0]}: {cure}", file=sys.stderr)
        return 2

    if asked := short_help(arguments):
        print(asked)
        return 0

    ending.at_once = True
    from bioplausible.commands.fast_imports import fast_imports
    from bioplausible.commands.quiet import quiet
    from bioplausible.errors import OwnShareError
    from bioplausible.errors.sentences import sentence

    quiet()
    try:
        # this command alone: what trains needs torch and Lightning, which take seconds to import
        with fast_imports():
            command = import_module(f"bioplausible.commands.{OWN.get(arguments[0], 'command_line')}")
        ending.at_once = False
        return int(command.run(arguments[1:] if arguments[0] in OWN else arguments))
    except BrokenPipeError:  # what reads the output has ended, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains as it closes
        return 128 + signal.SIGPIPE
    except Exception as error:
        if ending.came is not None:  # whatever it was turned into
            raise
        cause = _not_installed(error) or sentence(error)
        first = os.environ.get("LOCAL_RANK", "0") == "0"
        if cause is None and PEER_LEFT.search(str(error)):
            cause = "Another process of this run has ended: it says why, unless it was killed."
        if cause is None:
            raise
        if first or isinstance(error, OwnShareError):  # of several processes one says it
            print(f"error: {cause}", file=sys.stderr)
        return 2


def _not_installed(error: Exception) -> str | None:
    """Returns a sentence where this package itself misses another one, as in a checkout that nobody installed."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    files = [frame.filename for frame in extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    # the file with the import; where a user names a class, its module is imported by importlib
    if not Path(files[-1]).is_relative_to(Path(__file__).parent):
        return None
    return f"{error.name} is not installed: pip install what bioplausible needs, as by pip install -e . in its folder."


if __name__ == "__main__":
    sys.exit(main())
