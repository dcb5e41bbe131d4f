"""``python -m bioplausible completion``: prints what lets the Tab key complete commands, options and names."""

import argparse
import re
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from bioplausible.commands.arguments import CommandArguments, path_named, recipe_name, recipe_named, study_named
from bioplausible.commands.command_list import COMMANDS, NAMES, OWN
from bioplausible.commands.fast_imports import fast_imports
from bioplausible.commands.recipes import all_recipes, all_studies
from bioplausible.commands.short_help import WHOLE
from bioplausible.errors import UserError

PROGRAM = "bioplausible"
"""What the shell completes; ``python -m bioplausible`` is Python's command line to it."""

LINE = f'eval "$({PROGRAM} completion bash)"'
"""What switches it on."""


def arguments() -> CommandArguments:
    """Returns what the command takes."""
    parser = CommandArguments(
        "completion",
        f"Prints what lets the Tab key complete {PROGRAM}'s commands, options, recipes, rules and data sets. The line"
        " below switches it on in this shell; for every shell, print it into a file once, and let ~/.bashrc or"
        " ~/.zshrc source that.",
        [],
    )
    parser.add_argument("shell", choices=("bash", "zsh"), help="the shell")
    parser.epilog = f"example:\n  {LINE}"
    return parser


def run(args: Sequence[str]) -> int:
    """Prints the script, and returns 0.

    Raises:
        UserError: shtab is missing.
    """
    shell = arguments().parse_args(args).shell
    try:
        import shtab
    except ImportError as error:
        raise UserError("completion needs shtab, which is not installed: pip install shtab.") from error
    with fast_imports():
        script = shtab.complete(everything(), shell)
    print(script)
    return 0


def everything() -> argparse.ArgumentParser:
    """Returns a parser of all commands, with their options and the names that these take."""
    parser = argparse.ArgumentParser(PROGRAM)
    commands = parser.add_subparsers()
    says = dict(re.findall(r"^  (\w+)  +(.*)$", COMMANDS, re.MULTILINE))
    for command in NAMES:
        if command in OWN:
            own = import_module(f"bioplausible.commands.{OWN[command]}").arguments()
            for action, kind in own.kinds:
                _complete(action, kind)
            commands.add_parser(command, help=says[command], parents=[own], add_help=False)
        else:
            of_lightning = commands.add_parser(command, help=says[command], add_help=False)
            for option, completed in _options(command).items():
                _complete(of_lightning.add_argument(option), completed)
    return parser


def _options(command: str) -> dict[str, Any]:
    """Returns the options of one of LightningCLI's commands, each with what completes it."""
    import torch

    from bioplausible.commands.class_help import PLACES, choices_of_class, options_of_class, own_classes
    from bioplausible.commands.parsed import known_options

    defaults = known_options(command).get_defaults(skip_validation=True)
    found: dict[str, Any] = {}
    for name, default in defaults.items(branches=False):
        found[f"--{re.split(r'[.](?:class_path|init_args)', name)[0]}"] = default  # of a class its name is completed
    for place in PLACES:
        classes = own_classes(place)
        for cls in classes:
            found |= {f"--{place}.{name}": default for name, default in options_of_class(cls).items()}
            found |= {f"--{place}.{name}": words for name, words in choices_of_class(cls)}
        found[f"--{place}"] = found[f"--{place}.help"] = [cls.__name__ for cls in classes]
    found = {option: ["true", "false"] if isinstance(value, bool) else value for option, value in found.items()}
    found["--model.optimizer"] = _public_classes(torch.optim)
    found["--model.lr_scheduler"] = [*_public_classes(torch.optim.lr_scheduler), "PiecewisePower", "WarmupCosine"]
    found["--trainer.accelerator"] = ["auto", "cpu", "gpu"]
    found["--trainer.precision"] = ["32-true", "64-true", "bf16-mixed"]
    found |= {"--config": recipe_named, "--ckpt_path": path_named, "--trainer.default_root_dir": path_named}
    return found | {"--print_config": None, "--help": [WHOLE]}


def _public_classes(module: Any) -> list[str]:
    return sorted(name for name, value in vars(module).items() if name in module.__all__ and isinstance(value, type))


def _complete(action: argparse.Action, completed: Any) -> None:
    """Notes for shtab what completes an argument.

    Args:
        action: the argument.
        completed: a list of words, a type of :mod:`bioplausible.commands.arguments`, or anything else for nothing.
    """
    files = None
    if isinstance(completed, list) and all(isinstance(word, str) for word in completed):
        action.choices = completed
    elif completed is recipe_name:
        action.choices = _recipes()
    elif completed is path_named:
        files = _words_and_files("checkpoints", ["last"]) if "--ckpt_path" in action.option_strings else "file"
    elif completed is recipe_named:
        files = _words_and_files("recipes", _recipes())
    elif completed is study_named:
        files = _words_and_files("studies", all_studies())
    if files is not None:
        vars(action)["complete"] = files


def _recipes() -> list[str]:
    return [f"{path.parent.name}/{path.stem}" for path in all_recipes()]


def _words_and_files(kind: str, words: Iterable[str]) -> dict[str, Any]:
    """Returns what shtab takes for words and files at the same place."""
    name = f"_{PROGRAM}_{kind}_file"  # by its name shtab knows that these may be files
    return {
        "bash": name,
        "zsh": name,
        "preamble": {
            "bash": f'{name}() {{\n  compgen -W "{" ".join(words)}" -- $1\n  compgen -f -- $1\n}}',
            "zsh": f"{name}() {{ _alternative '{kind}:{kind}:({' '.join(words)})' 'files:file:_files' }}",
        },
    }
