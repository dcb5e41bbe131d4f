"""The page of the command line's options, made from its parsers when the site is built.

As a program it prints the page: what mkdocs runs in need not have torch, but this must.
"""

import argparse
import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

PAGE = "reference/options.md"
TABLE = "| option | default | meaning |\n| --- | --- | --- |"
HEAD = """# Options of the command line

Made from the parsers when this site was built. `validate`, `test` and `predict` take what `fit` takes but for what only
training needs, and `predict` also `--output`, the CSV file to write.

Options of a rule, a data set or a callback are the arguments of its class: `--model.beta 0.5` is `beta` of the
[rule](rules.md), `--data.batch_size 50` is `batch_size` of the [data set](data.md). `fit --model.help CorInfoMax`
prints those of one class.

## fit
"""


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Adds the page to the site."""
    from mkdocs.structure.files import File

    python = os.environ.get("BIOPLAUSIBLE_PYTHON", sys.executable)
    root = Path(__file__).parents[2]  # its parsers, whatever checkout is installed
    paths = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths}
    made = subprocess.run([python, __file__], capture_output=True, text=True, env=environment)
    if made.returncode:
        raise RuntimeError(f"{python} can't make {PAGE}:\n{made.stderr}")
    files.append(File.generated(config, PAGE, content=made.stdout))
    return files


def page() -> str:
    """Returns the page as Markdown."""
    from bioplausible.__main__ import OWN

    parts = [HEAD]
    for title, rows in options_of_fit().items():
        heading = re.split("[,;]", title)[0]
        said = "" if heading == title else f"{cell(title)}.\n\n"
        parts.append(f"### {cell(heading[:1].upper() + heading[1:])}\n\n{said}{TABLE}")
        parts.append("\n".join(f"| {option} | {standard} | {meaning} |" for option, standard, meaning in rows) + "\n")
    for name in OWN:
        parts.append(f"## {name}\n\n```text\n{help_of(name).strip()}\n```\n")
    return "\n".join(parts)


def options_of_fit() -> dict[str, list[tuple[str, str, str]]]:
    """Returns (option, default, meaning) of every option of ``fit``, by the title of its group."""
    from bioplausible.commands.parsed import known_options

    found: dict[str, list[tuple[str, str, str]]] = {}
    for group in known_options("fit")._action_groups:
        rows = [
            (shown(action.option_strings), default(action.default), cell(action.help))
            for action in group._group_actions
            if action.option_strings and not action.option_strings[0].endswith(".help")  # these print a class's own
        ]
        if rows:
            found[str(group.title)] = rows
    return found


def shown(names: list[str]) -> str:
    """Returns an option's names, without the form that adds to a list."""
    return ", ".join(f"`{name}`" for name in names if not name.endswith("+"))


def default(value: object) -> str:
    """Returns a default as a cell of a table: nothing where there is none."""
    if value in (None, argparse.SUPPRESS):
        return ""
    return f"`{getattr(value, 'class_path', value)}`"


def cell(text: str | None) -> str:
    """Returns reStructuredText as a cell of a table: one line, in which only code is marked."""
    plain = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", " ".join(str(text).split())).replace("``", "`").replace("|", "\\|")
    parts = plain.split("`")  # every other one is code
    return "`".join(part if i % 2 else re.sub(r"([<>*_\[\]])", r"\\\1", part) for i, part in enumerate(parts))


def help_of(command: str) -> str:
    """Returns what a command's ``--help`` prints, of those of LightningCLI ``--help all``."""
    from bioplausible.__main__ import OWN, main

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main([command, "--help", *([] if command in OWN else ["all"])])
    return said.getvalue()


if __name__ == "__main__":
    print(page())
