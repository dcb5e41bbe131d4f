"""The pages of README and docs/, taken apart, and their blocks run in a quick form."""

import contextlib
import importlib
import io
import os
import re
import shlex
import subprocess
import sys
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path

import yaml
from tensorboard.program import TensorBoard
from torch.distributed.run import get_args_parser

from bioplausible.__main__ import main
from bioplausible.commands.parsed import parsed
from bioplausible.commands.recipes import named_study
from bioplausible.commands.sources import load
from bioplausible.rules import LearningRule
from tests.helpers import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

NOT_RUN, SLOW = "not run: ", "slow: "
"""How the comment above a block begins that no test runs, or only `make test-slow`; what follows is the reason."""

BLOCK = re.compile(
    r'^(?:<!-- (?P<marker>.+?) -->\n)?```(?P<kind>\w*)(?: title="(?P<title>[^"\n]+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)

FEW = ["--trainer.limit_train_batches", "3", "--trainer.limit_val_batches", "1", "--trainer.limit_test_batches", "1"]
FEW += ["--trainer.enable_progress_bar", "false"]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        kind: its language.
        title: the file that it is, ``printed`` where it shows what the commands before it print, or empty.
        text: its lines.
        marker: the comment above it, or empty.
    """

    kind: str
    title: str
    text: str
    marker: str


def blocks(page: Path) -> list[Block]:
    """Returns a page's fenced blocks."""
    return [
        Block(found["kind"], found["title"] or named_by_itself(found), found["text"], found["marker"] or "")
        for found in BLOCK.finditer(page.read_text())
    ]


def named_by_itself(found: re.Match[str]) -> str:
    """Returns the name of the file that a block of YAML gives in its first line."""
    name = re.match(r"# (\w+\.yaml)\n", found["text"])
    return name[1] if name else ""


def commands(text: str) -> list[list[str]]:
    """Returns the commands of a shell block as words, without comments."""
    found: list[list[str]] = []
    for line in text.replace("\\\n", " ").splitlines():
        command: list[str] = []
        for word in [*shlex.split(line, comments=True), "&&"]:
            if word == "&&":
                found += [command] if command else []
                command = []
            else:
                command.append(word)
    return found


def option(args: list[str], name: str) -> str | None:
    """Returns the value of an option, or None."""
    return args[args.index(name) + 1] if name in args else None


class Reader:
    """Someone who follows a page from top to bottom in the current folder: files stay, and so do Python's names.

    Args:
        slow: whether to run what is marked as slow too.
    """

    def __init__(self, slow: bool) -> None:
        self.slow = slow
        self.names: dict = {}
        self.printed = ""

    def follow(self, block: Block) -> None:
        """Does what a block says; what can't be done fails."""
        if block.kind == "python":
            compile(block.text, "page", "exec")
        if block.marker.startswith(NOT_RUN) or (block.marker.startswith(SLOW) and not self.slow):
            return
        if block.kind == "text":
            if block.title == "printed":
                for line in block.text.splitlines():
                    assert line.partition("  ")[0] in self.printed
        elif block.title:
            Path(block.title).write_text(block.text)
            if block.kind == "python":
                importlib.import_module(Path(block.title).stem)
        elif block.kind == "python":
            exec(compile(block.text, "page", "exec"), self.names)
        elif block.kind == "yaml":
            configure(yaml.safe_load(block.text))
        else:
            self.printed = ""
            for words in commands(block.text):
                self.run(words)

    def run(self, words: list[str]) -> None:
        """Runs a command, or as much of it as can be run here and in seconds."""
        if ">" in words:
            into = Path(words[words.index(">") + 1])
            self.run(words[: words.index(">")])
            into.write_text(self.printed)
            return
        with contextlib.ExitStack() as stack:
            while re.match(r"\w+=", words[0]):
                name, _, value = words[0].partition("=")
                os.environ[name] = value
                stack.callback(os.environ.pop, name)
                words = words[1:]
            match words:
                case ["python", "-m", "bioplausible", *args] | ["bioplausible", *args]:
                    said = io.StringIO()
                    with contextlib.redirect_stdout(said):
                        run_quickly(args)
                    self.printed += said.getvalue()
                case ["python", "-m", "pytest", *paths]:
                    assert all((ROOT / path).exists() for path in paths)
                case ["torchrun", *args]:
                    read = get_args_parser().parse_args(args)
                    assert (read.module, read.training_script) == (True, "bioplausible")
                    assert read.training_script_args[0] == "fit"
                    parsed(read.training_script_args[1:])
                case ["tensorboard", *args]:
                    board = TensorBoard()
                    board.configure(["tensorboard", *args])
                    assert board.flags.logdir, args  # an option that it does not know it passes over
                case ["make", *args]:
                    made = subprocess.run(["make", "-n", *args], cwd=ROOT, capture_output=True, text=True)
                    assert made.returncode == 0, made.stderr
                case ["python3", "-m", "venv", folder]:
                    self.names["environment"] = folder
                case [".", script]:
                    assert script == f"{self.names['environment']}/bin/activate"
                case ["pip", "install", "-e", checkout]:
                    extras = re.fullmatch(r"\.(?:\[(.+)\])?", checkout)[1]
                    setup = ConfigParser()
                    setup.read(ROOT / "setup.cfg")
                    assert set(extras.split(",") if extras else []) <= set(setup["options.extras_require"])
                case _:
                    raise AssertionError(f"no test knows how to run {shlex.join(words)}")


def run_quickly(args: list[str]) -> None:
    """Runs a command of the package with few batches; of a sweep it lists the trials, which checks them."""
    match args[0]:
        case "fit" if int(option(args, "--trainer.devices") or 1) > 1:
            parsed(args[1:])  # several processes are what tests/training/ and tests/commands/ start
            return
        case "fit":
            args = [*args, *FEW]
            if option(args, "--trainer.max_steps"):
                args += ["--trainer.max_steps", "3"]
            elif not {"--ckpt_path", "--trainer.max_epochs"} & set(args):
                args += ["--trainer.max_epochs", "1"]
        case "validate" | "test" | "predict" if "--images" not in args:
            args = [*args, "--trainer.enable_progress_bar", "false"]
        case "verify":
            files = [path if Path(path).is_file() else min(Path(path).glob("*.npz")) for path in args[1:]]
            args = ["verify", *map(str, files)]
        case "benchmark":
            args = [*args, "--batches", "0", *(["digits/backpropagation"] if len(args) == 1 else [])]
        case "sweep":
            if name := option(args, "--study"):
                args[args.index("--study") + 1] = str(few_trials(named_study(name) or Path(name)))
            args = [*args, *(["--list"] if "--list" not in args else [])]
    try:
        status = main(args)
    except SystemExit as ended:  # argparse's own, after --help all
        status = ended.code
    assert status == 0, shlex.join(args)


def few_batches(rule: LearningRule) -> None:
    """Lets a run that Python starts be no longer than one of the command line is here: three batches an epoch."""
    if rule.trainer.limit_train_batches == 1.0:
        rule.trainer.limit_train_batches = 3


def few_trials(study: Path) -> Path:
    """Returns a copy of a study with its first recipe and seed alone, and a search of two trials."""
    content = load(study)
    recipes = content["recipes"]
    content["recipes"] = recipes[:1] if isinstance(recipes, list) else dict([next(iter(recipes.items()))])
    content["seeds"] = content["seeds"][:1]
    if "search" in content:
        content["search"]["trials"] = 2
    copy = Path(f"few_{study.name}")
    copy.write_text(yaml.safe_dump(content, sort_keys=False))
    return copy


def configure(settings: dict) -> None:
    """Lets ``fit`` take a configuration, or a part of one, as far as its classes."""
    if "network" in settings:
        settings = {
            "model": {"class_path": "EquilibriumPropagation", "init_args": settings},
            "data": "DigitsDataModule",
        }
    file = Path("part.yaml")
    file.write_text(yaml.safe_dump(settings))
    parsed(["--config", str(file)])


def forget_modules_of(folder: Path) -> None:
    """Lets Python forget what it imported from a folder: another page may have a file of the same name."""
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").parent == folder:
            del sys.modules[name]
