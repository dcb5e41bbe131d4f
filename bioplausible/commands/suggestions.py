"""What a word that the command line does not know was meant to be."""

import inspect
import os
import pkgutil
import re
from collections.abc import Iterator, Sequence

import torch
from jsonargparse import ArgumentParser
from pytorch_lightning import Callback
from pytorch_lightning.loggers import Logger

from bioplausible.commands.meant import like, meant, recipe_meant
from bioplausible.data import ImageDataModule
from bioplausible.errors.sentences import NO_NUMBER
from bioplausible.rules import LearningRule

BASES = (LearningRule, ImageDataModule, Callback, Logger, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
"""Classes whose subclasses the command line takes by name."""

OF_PLACE: dict[str, tuple[type, ...]] = {"model": (LearningRule,), "data": (ImageDataModule,)}
"""Of these the only ones that an option takes."""

LIST = "; --help all lists what there is."


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
        return f"{path.rpartition('.')[2]} has no option {option}{meant(option, _arguments(path)) or LIST}"
    if unknown := re.search(r"Option '(\w+)' is not accepted\. Got value: Namespace\(class_path='([\w.]+)'", complaint):
        option, path = unknown.groups()
        return f"{path.rpartition('.')[2]} has no option {option}{meant(option, _arguments(path)) or LIST}"
    if "typing.Literal" in complaint and (
        given := re.search(r"(?:Got|Given) value: (\S+)\s*$", complaint, re.MULTILINE)
    ):
        place = ".".join(dict.fromkeys(re.findall(r'Parser key "([^"]+)"', complaint)))
        return f"{place} is {given[1]}{_value_meant(given[1], complaint)}"
    unknown = None if NO_NUMBER.search(complaint) else re.search(r"import path string: (\w+)$", complaint, re.MULTILINE)
    if unknown:
        *_, place = ["", *re.findall(r'Parser key "([^"]+)"', complaint)]
        return _asked(f"There is no class {unknown[1]}", _class_meant(unknown[1], OF_PLACE.get(place, BASES)))
    if unknown := re.search(r"File does not exist: '?([^'\n]+?)'?(?:$|\s)", complaint):
        name = os.path.relpath(unknown[1])
        return _asked(f"There is no file or recipe {name}", recipe_meant(name))
    return None


def _asked(what: str, question: str) -> str | None:
    return f"{what}{question}" if question else None


def _value_meant(value: str, complaint: str) -> str:
    """Returns what one of several words was meant, or all of them where none is like it."""
    lists = re.findall(r"typing\.Literal\[([^\]]+)\]", complaint)
    words = list(dict.fromkeys(word.strip("' ") for words in lists for word in words.split(",")))
    return meant(value, words) or f": choose {', '.join(words[:-1])} or {words[-1]}."


def _class_meant(word: str, bases: Sequence[type]) -> str:
    """Returns the class that was meant, of data modules also by the data set's name alone."""
    names = {name.removesuffix("DataModule"): name for name in _classes(bases)}
    name = like(word.removesuffix("DataModule"), names)
    return f": did you mean {names[name]}?" if name else ""


def _options(parser: ArgumentParser) -> Iterator[str]:
    for key in parser.get_defaults(skip_validation=True).keys():  # noqa: SIM118 - iterated alone, it gives whole branches
        yield f"--{key}"
        if key.endswith(".class_path"):  # of a class that has a default
            yield f"--{key.removesuffix('.class_path')}"


def _arguments(class_path: str) -> Iterator[str]:
    """Yields the names of the arguments of a class and of those that it passes on to."""
    for base in inspect.getmro(pkgutil.resolve_name(class_path)):
        parameters = inspect.signature(base).parameters
        yield from parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return


def _classes(bases: Sequence[type]) -> Iterator[str]:
    below = list(bases)
    while below:
        cls = below.pop()
        below += cls.__subclasses__()
        yield cls.__name__
