"""What a configuration is made of, each with what it sets: options, environment variables, files."""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning.cli import LightningCLI

from bioplausible.commands.recipes import named_recipe
from bioplausible.errors import UserError

OF_FIT = ("checkpoint_every_n_steps", "checkpoint_keep")
"""What a saved configuration sets that the other commands have no option for."""

CONFIG = ("--config", "-c")

WITHOUT_VALUE = ("-h", "--help", "--print_config")

FILE_TYPES = (".yaml", ".yml", ".json")


class Loader(yaml.SafeLoader):
    """YAML's loader that takes 1e-3 for a number, as jsonargparse does, and refuses a key that is there twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Returns a mapping, as YAML builds it, whose keys are each there once."""
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:  # YAML's loaders take the last one
                where = "" if self.name.startswith("<") else f" of {self.name}"  # a text has no name
                raise UserError(
                    f"{key} is there twice in the settings that begin in line {node.start_mark.line + 1}{where}: leave"
                    " one of them out."
                )
        return node


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


@dataclass(frozen=True)
class Source:
    """One thing that a configuration is made of.

    Attributes:
        content: what it sets, nested; of an option ``--model.beta 0.5`` this is ``{"model": {"beta": 0.5}}``.
        words: it in words of the command line.
        is_file: whether it is a configuration file, or a configuration given as text.
        is_implied: whether nobody named it: a recipe, or a checkpoint's configuration.
        option: the option that sets it, such as ``model.beta``, or ``trainer.callbacks+`` which appends; empty for a
            file.
    """

    content: dict[str, Any]
    words: tuple[str, ...] = ()
    is_file: bool = False
    is_implied: bool = False
    option: str = ""


def sources(command: str, args: Sequence[str]) -> list[Source]:
    """Returns what a command's configuration is made of, the later ones of which count.

    Args:
        command: ``fit``, …
        args: its options.

    Raises:
        UserError: a file can't be read, a value holds a NUL byte, settings stand beside a class, or an environment
            variable names no command.
    """
    found = _environment(command)
    rest = list(args)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if re.match("-c[^=]", word):  # -cFILE
            name, equals, value = "-c", "=", word.removeprefix("-c")
        takes = not equals and word.startswith("-") and name not in WITHOUT_VALUE
        if takes and rest and not rest[0].startswith(("--", "-c", "-h")):
            value = rest.pop(0)
            # in one word where argparse would take it for an option
            words: tuple[str, ...] = (f"{word}={value}",) if value.startswith("-") else (word, value)
        else:
            words = (word,)
        if name in CONFIG:
            found.append(_file(value, words))
        elif name.startswith("--"):
            found.append(_option(name.removeprefix("--"), value, words))
        else:
            found.append(Source({}, words))
    for source in found:
        _refuse_nul(source.content)
        _refuse_beside_class(source.content)
    return found if command == "fit" else [_evaluating(source) for source in found]


def with_content(source: Source, content: dict[str, Any]) -> Source:
    """Returns a source with other content: a file as text, an option with another value, or without any words."""
    if source.is_file:
        return replace(source, content=content, words=("--config", yaml.safe_dump(content, sort_keys=False)))
    value: Any = content
    for key in source.option.removesuffix("+").split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if source.option.endswith("+") and value:
        (value,) = value  # the option appends it to a list
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf, sort_keys=False).strip()
    text = text.removesuffix("\n...")  # which ends a word that stands alone
    return replace(source, content=content, words=() if value is None else (f"--{source.option}={text}",))


def meaning(text: str) -> Any:
    """Returns what an option's text means, a YAML file's content where it names one."""
    if text.endswith(FILE_TYPES) and (path := Path(text).expanduser()).is_file():
        return _read(path)
    return _from_text(text)


def load(path: Path) -> Any:
    """Returns what a YAML file holds.

    Raises:
        UserError: it can't be read.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return yaml.load(file, Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path} is no YAML: {error.problem} in line {line}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no text in UTF-8: write it anew, or name another file.") from error
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): name another file.") from error


# ------------------------------------------------------------------------------------------------------------ internals


def _environment(command: str) -> list[Source]:
    """Returns what environment variables set of a command: a file first, as it lies below the others.

    Raises:
        UserError: a variable is of no command.
    """
    found = []
    for name, value in sorted(os.environ.items(), key=lambda item: (not item[0].endswith("__CONFIG"), item[0])):
        of, separator, setting = name.removeprefix("PL_").partition("__")
        if name == "PL_CONFIG" or (
            name.startswith("PL_") and separator and of.lower() not in LightningCLI.subcommands()
        ):
            raise UserError(
                f"The environment variable {name} names no command: write PL_FIT__…, such as PL_FIT__CONFIG."
            )
        if not name.startswith("PL_") or of != command.upper() or not setting:
            continue
        if setting == "CONFIG":
            found.append(_file(value, ("--config", value)))
        else:  # names of options that have capitals are written as they are: LR_SCHEDULER__T_max
            option = ".".join(key.lower() if key.isupper() else key for key in setting.split("__"))
            found.append(_option(option, value, (f"--{option}={value}",)))
    return found


def _refuse_nul(node: Any, place: str = "") -> None:
    """Raises UserError where a text in a configuration holds a NUL byte: no path and no name can, and few say so."""
    if isinstance(node, dict):
        for key, value in node.items():
            below = f"{place}.{key}".removeprefix(".")
            _refuse_nul(key, below)
            _refuse_nul(value, below)
    elif isinstance(node, list):
        for value in node:
            _refuse_nul(value, place)
    elif isinstance(node, str) and "\0" in node:
        raise UserError(f"{place} holds a NUL byte ({node!r}): write it without.".replace("\0", "\\0"))


def _refuse_beside_class(node: Any, place: str = "") -> None:
    """Raises UserError where settings stand beside a class's path: the parser takes it all for another class's."""
    if isinstance(node, list):
        for entry in node:
            _refuse_beside_class(entry, place)
    elif isinstance(node, dict):
        for key, value in node.items():
            _refuse_beside_class(value, place if key == "init_args" else f"{place}.{key}".removeprefix("."))
        beside = [str(key) for key in node if str(key).split(".")[0] not in ("class_path", "init_args", "dict_kwargs")]
        of_a_layer = place.rpartition(".")[2] == "network"  # whose pool, skip and gain are not the class's
        if isinstance(node.get("class_path"), str) and beside and not of_a_layer:
            raise UserError(
                f"{place} has {' and '.join(beside)} beside class_path: write what the class takes below init_args, as"
                f" in {{class_path: {node['class_path']}, init_args: {{{beside[0]}: {node[beside[0]]}}}}}."
            )


def _evaluating(source: Source) -> Source:
    """Returns a source without what only training takes, where it is a file: one that a training run saved has it."""
    rest = {name: value for name, value in source.content.items() if name not in OF_FIT}
    return with_content(source, rest) if source.is_file and rest != source.content else source


def _option(name: str, value: str, words: tuple[str, ...]) -> Source:
    """Returns what an option sets; one that ends in + appends to a list."""
    content = meaning(value)
    appended = [content] if name.endswith("+") else content
    return Source(_nested(name.removesuffix("+").split("."), appended), words, option=name)


def _file(value: str, given: tuple[str, ...]) -> Source:
    """Returns a configuration file, or one given as text; what is neither, the parser says where it reads it."""
    if re.match(r"\w+://", value):
        raise UserError(f"{value} is no file of this machine: download it and name the file.")
    try:
        path = named_recipe(value) or Path(value).expanduser()
        is_path = path.is_file()
    except OSError:  # a text too long for a name
        is_path = False
    if not is_path:
        return Source(_mapping(_from_text(value)), given, is_file=True)
    content = _read(path)
    if not isinstance(content, dict):
        raise UserError(f"{value} holds no settings: write some, such as `model: CorInfoMax`, or leave it out.")
    return Source(content, ("--config", str(path)), is_file=True)


def _read(path: Path, within: tuple[Path, ...] = ()) -> Any:
    """Returns what a YAML file holds, with the contents of files in the places where it names them.

    Args:
        path: the file.
        within: the files that name it.

    Raises:
        UserError: it can't be read.
    """

    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: filled(value) for key, value in node.items()}
        if isinstance(node, list):
            return [filled(value) for value in node]
        other = path.parent / node if isinstance(node, str) and node.endswith(FILE_TYPES) else None
        return node if other is None or other in within or not other.is_file() else _read(other, (*within, other))

    return filled(load(path))


def _from_text(text: str) -> Any:
    """Returns what a text means in YAML, or itself where it is none or empty."""
    if not text.strip():
        return text
    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError) as error:  # a date that there isn't is a ValueError
        if isinstance(error, UserError):
            raise
        return text


def _mapping(content: Any) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}


def _nested(keys: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return _mapping(value)
