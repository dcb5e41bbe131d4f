"""What a word that the command line does not know was meant to be."""

import inspect
import pkgutil
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

import torch
from jsonargparse import ArgumentParser
from pytorch_lightning import Callback
from pytorch_lightning.loggers import Logger

from bioplausible.commands.recipes import all_recipes
from bioplausible.data import ImageDataModule
from bioplausible.errors.sentences import NO_NUMBER
from bioplausible.rules import LearningRule

BASES = (LearningRule, ImageDataModule, Callback, Logger, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
"""Classes whose subclasses the command line takes by name."""


def meant(word: str, known: Iterable[str]) -> str:
    """Returns ``: did you mean …?`` with the known word that is most like it; nothing where none is like it."""
    names = list(known)
    begun = [name for name in names if name.startswith(word)]
    close = get_close_matches(word, begun or names, n=1, cutoff=0.75)
    return f": did you mean {close[0]}?" if close else ""


def suggestion(complaint: str, parser: ArgumentParser) -> str | None:
    """Returns the sentence that names what was meant, where jsonargparse complains about an unknown word.

    Args:
        complaint: of jsonargparse's.
        parser: the one whose options there are.
    """
    if unknown := re.search(r"unrecognized arguments: (--[\w.-]+)", complaint, re.IGNORECASE):
        return _asked(f"There is no option {unknown[1]}", meant(unknown[1], _options(parser)))
    if unknown := re.search(r"class_path '([\w.]+)':\s+(?:Option|Validation failed: Key) '(\w+)'", complaint):
        path, option = unknown.groups()
        return _asked(f"{path.rpartition('.')[2]} has no option {option}", meant(option, _arguments(path)))
    if unknown := re.search(r"Option '(\w+)' is not accepted\. Got value: Namespace\(class_path='([\w.]+)'", complaint):
        option, path = unknown.groups()
        return _asked(f"{path.rpartition('.')[2]} has no option {option}", meant(option, _arguments(path)))
    unknown = None if NO_NUMBER.search(complaint) else re.search(r"import path string: (\w+)$", complaint, re.MULTILINE)
    if unknown:
        return _asked(f"There is no class {unknown[1]}", meant(unknown[1], _classes()))
    if unknown := re.search(r"File does not exist: '?(?:.*/)?([\w-]+/[\w-]+)'?", complaint):
        names = [f"{path.parent.name}/{path.stem}" for path in all_recipes()]
        return _asked(f"There is no file or recipe {unknown[1]}", meant(unknown[1], names))
    return None


def _asked(what: str, question: str) -> str | None:
    return f"{what}{question}" if question else None


def _options(parser: ArgumentParser) -> Iterator[str]:
    for key in parser.get_defaults(skip_validation=True).keys():  # noqa: SIM118 - iterated alone, it gives whole branches
        yield f"--{key}"


def _arguments(class_path: str) -> Iterator[str]:
    """Yields the names of the arguments of a class and of those that it passes on to."""
    for base in inspect.getmro(pkgutil.resolve_name(class_path)):
        parameters = inspect.signature(base).parameters
        yield from parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return


def _classes() -> Iterator[str]:
    below = list(BASES)
    while below:
        cls = below.pop()
        below += cls.__subclasses__()
        yield cls.__name__
