"""What another library's error comes down to, in one sentence."""

import errno
import re
import traceback
from argparse import ArgumentError
from collections.abc import Iterator

from lightning_fabric.utilities.exceptions import MisconfigurationException

from bioplausible.errors import NO_MEMORY, UserError
from bioplausible.errors.renamed import old_name

MISSING = re.compile(r"given class_path '(?:\w+\.)*(\w+)':\s*[^\n]*?pip install (?:-U )?[`'\"]?([\w.-]+)")
"""How jsonargparse passes on that a class needs a package which is not installed: the class and the package."""


def sentence(error: BaseException) -> str | None:
    """Returns the one sentence that a user's mistake comes down to, or None where the error is none of the user's.

    jsonargparse wraps what a class says of its arguments into several layers of its own words, and its own complaints
    into lists of all that it tried: the cause is at the end of the chain.
    """
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, UserError):
            return str(cause)
    if UserError.latest and UserError.latest in str(error):
        return UserError.latest
    if missing := MISSING.search(str(error)):
        return "{} needs the package {}, which is not installed: install it, or choose another class.".format(
            *missing.groups()
        )
    for cause in chain:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return "The disk is full: make room, then resume from the newest checkpoint with --ckpt_path last."
    if any(isinstance(cause, (MemoryError, RuntimeError)) and NO_MEMORY.search(str(cause)) for cause in chain):
        return "There is not enough memory for this run: make the network or batch_size smaller."
    if isinstance(error, MisconfigurationException) or (isinstance(error, ValueError) and _from_lightning(error)):
        return " ".join(str(error).split())
    if not isinstance(error, ArgumentError):
        return None
    text = str(error)
    if renamed := old_name(text):
        return "{0} is now called {1}: write {1} instead.".format(*renamed)
    if unknown := re.search(r"dot import path string: (\S+)", text):
        return f"There is no class {unknown[1]}: give a name such as CorInfoMax, or a path such as my_module.MyRule."
    for cause in chain:
        mark = getattr(cause, "problem_mark", None)
        if mark is not None:
            return f"The configuration is no YAML: {getattr(cause, 'problem', cause)} in line {mark.line + 1}."
    keys = dict.fromkeys(key for key in re.findall(r'Parser key "([^"]+)"', text))
    root = str(chain[-1]).splitlines()[0]
    root = re.sub(r'^Parser key "[^"]+":?\s*', "", root) or text.splitlines()[-1].strip()
    root = re.sub(r"<class '([\w.]+)'>", r"\1", root)
    place = ".".join(keys)
    return f"{f'{place}: ' if place else ''}{root}; --help lists what there is."


def _from_lightning(error: BaseException) -> bool:
    """Returns whether Lightning itself raised the error: some of what it refuses it calls a ValueError."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_globals.get("__name__", "").startswith("pytorch_lightning.")


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:  # one that is raised again while it is handled has itself above
        yield current
        seen.append(current)
        current = current.__cause__ or current.__context__
