"""``python -m bioplausible``."""

import os
import re
import signal
import sys
from collections.abc import Sequence

COMMANDS = """usage: python -m bioplausible COMMAND [options]

  fit        train; without options CorInfoMax on handwritten digits
  validate   score a checkpoint on the validation split
  test       score a checkpoint on the test split
  predict    write a checkpoint's predictions for the test split as CSV
  verify     replay recorded trajectories through a rule
  report     compare runs, seeds aggregated, with the published figures
  sweep      train with many seeds and options, several at once
  benchmark  time the rules against what the machine can do

COMMAND --help lists a command's options; recipes are in configs/.
"""

PEER_LEFT = re.compile("closed by peer|reset by peer", re.IGNORECASE)
"""What the other processes say when one of them ended with an error of its own."""


def main(args: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status.

    0; 1 where ``verify`` found a difference or a trial of ``sweep`` failed; 2 for a user's mistake; 128 + its number
    where a signal ended it.
    """
    try:
        return _run(list(sys.argv[1:] if args is None else args))
    except BaseException as error:
        if not _interrupted(error):
            raise
        print("stopped by SIGINT", file=sys.stderr)
        return 128 + signal.SIGINT


def _interrupted(error: BaseException) -> bool:
    """Returns whether Ctrl-C is behind an error: Trainer, and modules that are being imported, turn it into others."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    return any(isinstance(error, KeyboardInterrupt) for error in seen)


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(COMMANDS)
        return 0 if arguments else 2

    from bioplausible.commands import benchmark, command_line, report, sweep, verify
    from bioplausible.errors.sentences import sentence

    own = {"verify": verify.run, "benchmark": benchmark.run, "report": report.run, "sweep": sweep.run}
    if arguments[0] not in own and arguments[0] not in command_line.CommandLine.subcommands():
        print(
            f"error: There is no command {arguments[0]}: choose fit, validate, test, predict, verify, report,"
            " sweep or benchmark.",
            file=sys.stderr,
        )
        return 2
    command_line.quiet()
    try:
        if arguments[0] in own:
            return own[arguments[0]](arguments[1:])
        return command_line.run(arguments)
    except Exception as error:
        cause = sentence(error)
        first = os.environ.get("LOCAL_RANK", "0") == "0"
        if cause is None and (first or not PEER_LEFT.search(str(error))):
            raise
        if first:  # of several processes one says it
            print(f"error: {cause}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
