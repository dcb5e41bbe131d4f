"""The report in forms that go on elsewhere: LaTeX, CSV, one file with all curves, and what made it."""

import csv
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from bioplausible.commands.program import this_program
from bioplausible.commands.report.runs import Run
from bioplausible.commands.report.tables import Group
from bioplausible.training.environment import environment

TIDY = ("run", "data", "net", "rule", "setting", "seed", "epoch", "step", "quantity", "value")
"""Columns of curves.csv."""

IN_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "−": "$-$",
    "–": "--",
    "…": r"\dots{}",
    "▲": r"$\triangle$",
    **{digit: f"$^{value}$" for value, digit in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
}
"""How LaTeX writes what it doesn't take as it is."""


def write_csv(path: Path, rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
    """Writes rows as CSV with a line of names."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def latex(rows: Sequence[dict[str, Any]], caption: str) -> str:
    """Returns rows as a table of LaTeX's package booktabs, numbers to the right."""
    names = list(rows[0])
    right = [all(re.fullmatch(r"[-+±−\d. ]*", str(row[name])) for row in rows) for name in names]
    lines = [r"% \usepackage{booktabs}", rf"\begin{{tabular}}{{{''.join('r' if r else 'l' for r in right)}}}"]
    lines += [r"\toprule", _latex_row(name.replace("_", " ") for name in names), r"\midrule"]
    lines += [_latex_row(row[name] for name in names) for row in rows]
    return "\n".join([f"% {caption}", *lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_row(cells: Iterable[Any]) -> str:
    texts = ("".join(IN_LATEX.get(character, character) for character in str(cell)) for cell in cells)
    return f"{' & '.join(texts)} \\\\"


def tidy(runs: Sequence[Run], groups: Sequence[Group]) -> Iterator[dict[str, Any]]:
    """Yields all that runs logged, a row a value.

    ``setting`` is the run's row in the report's table, empty for one that doesn't count. ``epoch`` is how many epochs
    were trained by then, with decimals within one.
    """
    settings = {run.path: group.title for group in groups for run in group.runs}
    for run in runs:
        if not run.config:
            continue
        row = {"run": str(run.path), "data": run.data.removesuffix("DataModule"), "net": run.net, "rule": run.rule}
        row |= {"setting": settings.get(run.path, ""), "seed": str(run.seed)}
        trained = max(run.log.trained, default=-1) + 1
        for name in sorted(run.curves):
            for step, value in sorted(run.curves[name].items()):
                done = step if name.startswith("test/") else step + 1  # a test stands after the steps that it knows
                epochs = min(done, trained) / run.steps_per_epoch if run.steps_per_epoch else None
                place = {"epoch": "" if epochs is None else f"{epochs:.6g}", "step": step, "quantity": name}
                yield {**row, **place, "value": f"{value:.9g}"}


def made_with(command: str, runs: Sequence[Run]) -> dict[str, Any]:
    """Returns what made the report and its runs: commands, versions, and what was changed on the way."""
    return {
        "report": {"command": command, "environment": environment()},
        "runs": [_made_run(run) for run in runs if run.config],
    }


def made_with_text(content: dict[str, Any]) -> str:
    """Returns it as YAML."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)


def _made_run(run: Run) -> dict[str, Any]:
    made: dict[str, Any] = {"run": str(run.path)}
    configuration = run.path / "config.yaml"
    if configuration.is_file():  # into a folder of its own, wherever the first one lay
        options = ["--config", str(configuration), "--trainer.logger", "RunLogger"]
        made["command"] = f"{this_program()} fit {shlex.join(options)}"
    else:
        made["command"] = "none: it was trained from Python"
    if run.remarks:
        made["remarks"] = run.remarks
    made["environment"] = run.environment
    if run.resumed_in:
        made["resumed_in"] = run.resumed_in
    return made
