"""``--model.help`` and ``--data.help``: what there is, and one of them in its own words with its options."""

import inspect
import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin, get_type_hints

import docstring_parser
from pytorch_lightning.cli import LightningArgumentParser

import bioplausible
from bioplausible import data, rules
from bioplausible.commands.class_names import resolved
from bioplausible.data import ImageDataModule
from bioplausible.errors import UserError
from bioplausible.rules import LearningRule

PLACES: dict[str, tuple[str, type, tuple[str, ...]]] = {
    "model": ("rule", LearningRule, tuple(rules.__all__)),
    "data": ("data set", ImageDataModule, tuple(data.__all__)),
}
"""By option: what its classes are called, their base, and the names under which the package has its own."""

LIST_COLUMN, OPTION_COLUMN = 37, 35
"""Where the second column begins."""


def class_help(arguments: Sequence[str]) -> str | None:
    """Returns the help of a class that a command line asks for, or the list of classes; None where it asks for none.

    Raises:
        UserError: there is no such class.
    """
    for i, argument in enumerate(arguments):
        option, equals, name = argument.partition("=")
        place = option.removeprefix("--").removesuffix(".help")
        if option != f"--{place}.help" or place not in PLACES:
            continue
        if not equals:
            name = next((word for word in arguments[i + 1 : i + 2] if not word.startswith("-")), "")
        return _of(place, _named(place, name)) if name else _list(place)
    return None


def own_classes(place: str) -> list[type]:
    """Returns the package's classes for ``model`` or ``data`` that can be trained with."""
    _, base, names = PLACES[place]
    found = (getattr(bioplausible, name) for name in sorted(names, key=str.lower))
    return [cls for cls in found if isinstance(cls, type) and issubclass(cls, base) and not inspect.isabstract(cls)]


def options_of_class(cls: type) -> dict[str, Any]:
    """Returns the names of the options that a class takes, with its defaults."""
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, "of", fail_untyped=False)
    defaults: dict[str, Any] = vars(parser.get_defaults(skip_validation=True).of)
    return defaults


def choices_of_class(cls: type) -> Iterator[tuple[str, list[str]]]:
    """Yields the words that an argument is one of, for those that take nothing else."""
    for base in reversed(inspect.getmro(cls)):
        try:
            hints = get_type_hints(base.__init__)  # type: ignore[misc]
        except Exception:  # of a user's class, whose annotations may name what they don't import
            continue
        for name, hint in hints.items():
            for kind in (hint, *get_args(hint)):
                if get_origin(kind) is Literal:
                    yield name, [str(value) for value in get_args(kind)]


# ------------------------------------------------------------------------------------------------------------ internals


def _named(place: str, name: str) -> type:
    kind, base, _ = PLACES[place]
    cls = resolved(name)
    if isinstance(cls, type) and issubclass(cls, base):
        return cls
    names = {cls.__name__.lower(): cls.__name__ for cls in own_classes(place)}
    begun = [own for own in names if own.startswith(name.lower())]
    like = begun[:1] or get_close_matches(name.lower(), names, n=1)
    cure = f"did you mean {names[like[0]]}?" if like else f"--{place}.help lists them, and my_module.Mine is yours."
    raise UserError(f"There is no {kind} {name}: {cure}")


def _list(place: str) -> str:
    lines = [f"{PLACES[place][0]}s: --{place} NAME takes one, --{place}.help NAME tells of it", ""]
    for cls in own_classes(place):
        lines += _two_columns(cls.__name__, _title(place, cls), LIST_COLUMN)
    return "\n".join(lines)


def _of(place: str, cls: type) -> str:
    body = _plain(re.split(r"\n(?:Args|Attributes|Raises):\n", inspect.cleandoc(cls.__doc__ or ""))[0])
    title = _title(place, cls)
    named = title if title.startswith(f"{cls.__name__}:") else f"{cls.__name__}: {title}"
    lines = [] if body.startswith(title) else [*_wrapped(named), ""]
    lines += [*_wrapped(body), "", "options, with their defaults where no recipe sets them"]
    said, choices = dict(_said(cls)), dict(choices_of_class(cls))
    for name, default in options_of_class(cls).items():
        text = re.sub(r"\bNone\b", "null", said.get(name, ""))  # as it is written at the command line
        text += f" ({', '.join(choices[name])})" if name in choices else ""
        lines += _two_columns(f"--{place}.{name} {_short(default)}", text, OPTION_COLUMN)
    return "\n".join(lines)


def _title(place: str, cls: type) -> str:
    """Returns a class in one line: a rule of the package's with its paper, which its module names."""
    of_module = place == "model" and cls.__module__.startswith("bioplausible.")
    text = inspect.getdoc(inspect.getmodule(cls) if of_module else cls) or ""
    return _plain(text.partition("\n")[0])


def _said(cls: type) -> Iterator[tuple[str, str]]:
    """Yields what the docstrings of a class and its bases say of each argument, the class's own last."""
    for base in reversed(inspect.getmro(cls)):
        for parameter in docstring_parser.parse(base.__doc__ or "").params:
            yield parameter.arg_name, _plain(" ".join((parameter.description or "").split()))


def _short(default: Any) -> str:
    if default is None:
        return "null"
    if isinstance(default, bool):
        return str(default).lower()
    named = default.get("class_path") if hasattr(default, "get") else None
    return str(named).rpartition(".")[2] if named else str(default).replace(" ", "")


def _plain(text: str) -> str:
    """Returns a docstring's text without its markup."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"\1", text)
    text = re.sub(r"(?<!\w)\*(\w+)\*(?!\w)", r"\1", text)  # emphasis
    return re.sub(r"``(.+?)``", r"\1", text).replace("::", ":")


def _wrapped(text: str) -> Iterator[str]:
    """Yields a text's lines: paragraphs as wide as the terminal, and what is indented as it is."""
    for i, block in enumerate(re.split(r"\n\s*\n", text)):
        yield from [""] * bool(i)
        # an item of a list is a paragraph of its own
        parts = [block] if block.startswith(" ") else re.split(r"\n(?=[*-] )", block)
        for part in parts:
            yield from [part] if part.startswith(" ") else textwrap.wrap(part, _width(), break_on_hyphens=False)


def _two_columns(left: str, right: str, column: int) -> list[str]:
    indent = " " * column
    wrapped = textwrap.wrap(right, _width() - column, break_on_hyphens=False) or [""]
    if len(left) + 4 > column:
        return [f"  {left}", *(indent + line for line in wrapped if line)]
    return [f"  {left}".ljust(column) + wrapped[0], *(indent + line for line in wrapped[1:])]


def _width() -> int:
    return max(shutil.get_terminal_size().columns, 60) - 1
