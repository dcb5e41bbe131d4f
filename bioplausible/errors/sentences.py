"""What another library's error comes down to, in one sentence."""

import errno
import re
import traceback
from argparse import ArgumentError
from collections.abc import Iterator

from bioplausible.errors import NO_MEMORY, UserError
from bioplausible.errors.renamed import old_name

MISSING = re.compile(r"given class_path '(?:\w+\.)*(\w+)':\s*[^\n]*?pip install (?:-U )?[`'\"]?([\w.-]+)")
"""How jsonargparse passes on that a class needs a package which is not installed: the class and the package."""

UNBUILT = re.compile(
    r"Errors:\s+- ([^\n]+?)\.?\n.*Given value: Namespace\(class_path='pytorch_lightning\.(?:\w+\.)*(\w+)'", re.DOTALL
)
"""How jsonargparse passes on what a class of Lightning's raises while it is built: what it says, and the class."""

NO_NUMBER = re.compile(r"Expected a <class '(int|float)'>\s+- Expected a dot import path string: (\S+)")
"""How jsonargparse complains about an optimizer's rate, for which it takes a path to a tensor too."""

NO_FILE = "File does not exist"

REQUIRED = re.compile(r"class_path '(?:[\w.]+\.)?(\w+)':\s+the following arguments are required: (\w+)")


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
    if (missing := MISSING.search(str(error))) and not old_name(str(error)):
        return "{} needs the package {}, which is not installed: install it, or choose another class.".format(
            *missing.groups()
        )
    for cause in chain:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return "The disk is full: make room, then resume from the newest checkpoint with --ckpt_path last."
    if any(isinstance(cause, RuntimeError) and "home directory" in str(cause) for cause in chain):
        return "A path begins with ~ and a name that no user of this machine has: write it in full, or ./~… for a file."
    if any(isinstance(cause, (MemoryError, RuntimeError)) and NO_MEMORY.search(str(cause)) for cause in chain):
        return "There is not enough memory for this run: make the network or batch_size smaller."
    # only now: Lightning takes seconds to import, and most errors were told above
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    for cause in chain:
        refusal = isinstance(cause, (ImportError, NotImplementedError, RuntimeError, ValueError))
        if isinstance(cause, MisconfigurationException) or (refusal and _from_lightning(cause)):
            return " ".join(str(cause).split())
    complaint = isinstance(error, ArgumentError)
    unbuilt = UNBUILT.search(str(error))
    said, name = ("", "") if complaint else unbuilt.groups() if unbuilt else _refusal(chain) or ("", "")
    if name:
        return f"{name} can't be built ({said}): change its options."
    unsuitable = next((callback for callback in map(_callback_of_lightning, chain) if callback), None)
    if unsuitable is not None:
        said = " ".join(str(error).split()) or type(error).__name__
        return f"{unsuitable} can't work on this run ({type(error).__name__}: {said.rstrip('.')}): leave it out."
    if not complaint:
        return None
    text = str(error)
    if renamed := old_name(text):
        return "{0} is now called {1}: write {1} instead.".format(*renamed)
    place = ".".join(dict.fromkeys(re.findall(r'Parser key "([^"]+)"', text)))
    if no_number := NO_NUMBER.search(text):
        return f"{place}: Expected a {no_number[1]}. Got value: {no_number[2]}; --help all lists what there is."
    if required := REQUIRED.search(text):
        return f"{place}: {required[1]} needs {required[2]}, which has no default: give it a value."
    if unknown := re.search(r"dot import path string: (\S+)", text):
        name, path = ("DigitsDataModule", "MyData") if place == "data" else ("CorInfoMax", "MyRule")
        return f"There is no class {unknown[1]}: give a name such as {name}, or a path such as my_module.{path}."
    for cause in chain:
        mark = getattr(cause, "problem_mark", None)
        if mark is not None:
            return f"The configuration is no YAML: {getattr(cause, 'problem', cause)} in line {mark.line + 1}."
    # a configuration given as text is tried as a file's name too, and that there is none says nothing
    as_file = len(chain) > 1 and str(chain[-1]).startswith(NO_FILE) and NO_FILE not in str(chain[-2])
    root = str(chain[-2 if as_file else -1]).splitlines()[0]
    root = re.sub(r'^Parser key "[^"]+":?\s*', "", root) or text.splitlines()[-1].strip()
    root = re.sub(r"<class '([\w.]+)'>", r"\1", root)
    return f"{f'{place}: ' if place else ''}{root}; --help all lists what there is."


def _refusal(chain: list[BaseException]) -> tuple[str, str] | None:
    """Returns what a class says against its options, and the class: one of several in a list, or a user's own.

    That is a ValueError that its ``__init__`` raises, or, of a class of Lightning's, what that calls. It counts only
    where jsonargparse builds the class: what is built while a run goes on has no options that a user could change.
    """
    for cause in chain:
        if not isinstance(cause, ValueError):
            continue
        frames = [frame for frame, _ in traceback.walk_tb(cause.__traceback__)]
        if not any(frame.f_globals.get("__name__", "").startswith("jsonargparse.") for frame in frames):
            continue
        for depth, frame in enumerate(frames, start=1):
            built = frame.f_locals.get("self")
            place = type(built).__module__
            if frame.f_code.co_name != "__init__" or place.startswith(("jsonargparse.", "bioplausible.")):
                continue
            if depth == len(frames) or place.startswith("pytorch_lightning."):
                return " ".join(str(cause).split()).rstrip("."), type(built).__name__
            break
    return None


def _from_lightning(error: BaseException) -> bool:
    """Returns whether Lightning itself raised the error: not all that it refuses has a class of its own."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_globals.get("__name__", "").startswith(("pytorch_lightning.", "lightning_"))


def _callback_of_lightning(error: BaseException) -> str | None:
    """Returns the class of Lightning's callback that an error comes from, itself or the libraries that it calls.

    They take what they need of a module and of its step for granted. None where code of this package or of the user's
    raised it, nor where a loader did, for what it loads is the user's.
    """
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = frame.f_globals.get("__name__", "")
        if module.startswith("pytorch_lightning.callbacks."):
            cls = type(frame.f_locals.get("self"))
            found = cls.__name__ if cls.__module__.startswith("pytorch_lightning.callbacks.") else None
        elif module.startswith("torch.utils.data.") or not module.startswith(
            ("pytorch_lightning.", "lightning_", "torch.")
        ):
            found = None
    return found


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:  # one that is raised again while it is handled has itself above
        yield current
        seen.append(current)
        current = current.__cause__ or current.__context__
