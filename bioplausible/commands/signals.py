"""Signals that end a command."""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM.

    A class of its own, because Python may end the process by the signal itself where a bare KeyboardInterrupt crossed
    a call of ``exec``, however it was handled.
    """


class EndingSignals:
    """Lets signals end a command as Ctrl-C ends a Python program, and notes which one came.

    What a signal raises may be turned into another error on its way: modules that are being imported do, and Trainer.
    Trainer's own handler of SIGTERM would swallow it at an evaluation's last batch; it calls the one that it finds.

    A signal that the caller ignores, as ``nohup`` and shells do, is ignored here too.

    Args:
        numbers: the signals.

    Attributes:
        came: the first that came; None where none did.
        at_once: whether one ends the process on the spot: while modules are imported there is nothing to put in order,
            and extensions that are half initialised would answer with errors of their own.
    """

    def __init__(self, numbers: Sequence[signal.Signals]) -> None:
        self.came: signal.Signals | None = None
        self.at_once = False
        self._numbers = numbers
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "EndingSignals":
        if threading.current_thread() is threading.main_thread():  # Python lets no other
            for number in self._numbers:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.came = self.came or signal.Signals(number)
        if self.at_once:
            self.say()
            os._exit(128 + number)
        raise Stopped

    def say(self) -> None:
        """Says which one came; of several processes that train together one says it."""
        if self.came is not None and os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"stopped by {self.came.name}", file=sys.stderr, flush=True)
