"""The report of some runs: a page, and its tables and figures to take away."""

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment

from bioplausible.commands.report import comparisons, costs
from bioplausible.commands.report.markdown import NOTES, as_markdown
from bioplausible.commands.report.runs import Run
from bioplausible.commands.report.sections import Question, Section, in_sections, numbers
from bioplausible.commands.report.tables import group
from bioplausible.commands.report.take_away import TIDY, latex, made_with, made_with_text, tidy, write_csv

COLUMNS = (
    *("run", "status", "rule", "data", "net", "loss", "seed", "epochs"),
    *("test_accuracy", "validation_accuracy", "best_validation_accuracy", "seconds_per_epoch"),
)

SHOWN = {
    "rule": "rule",
    "test_accuracy": "test accuracy (%)",
    "interval": "95 % interval",
    "validation_accuracy": "validation accuracy (%)",
    "best_validation": "best validation (%)",
    "n": "n",
    "seeds": "seeds",
    "published": "published (%)",
    "difference": "difference",
    "mark": "",
    "seconds_per_epoch": "s / epoch",
    "steps_per_second": "steps / s",
    "samples_per_second": "samples / s",
}
"""The page's columns of the settings; one that is empty in all rows is left out."""


def write(runs: Sequence[Run], out: Path, command: str, first: Sequence[Section] = ()) -> None:
    """Writes the report of some runs.

    That is index.html; report.md with figures/ as PNG and PDF; tables/ for LaTeX; settings.csv, comparisons.csv,
    costs.csv, runs.csv and of a study study.csv with the tables' numbers; curves.csv with all that was logged; and
    made_with.yaml.

    Args:
        runs: finished or not.
        out: folder.
        command: what was typed for it.
        first: sections that come before the others, a study's.
    """
    out.mkdir(parents=True, exist_ok=True)
    groups = group(runs)
    parts = in_sections(groups)
    every = [*first, *parts]
    for number, section in enumerate(every, start=1):
        section.anchor = f"part-{number}"
    for number, picture in enumerate((picture for part in every for picture in part.pictures), start=1):
        picture.name = f"{number:02}"
    table = [_line(r) for r in runs]  # after the groups, which note what they leave out
    listed = [line | {"short": short} for line, short in zip(table, short_paths([r.path for r in runs]), strict=True)]
    made = made_with(command, runs)
    by_hand = made_with_text(made["report"])
    page = Path(__file__).with_name("page.html").read_text()
    html = (
        Environment(autoescape=True)
        .from_string(page)
        .render(
            runs=runs,
            finished=sum(r.finished for r in runs),
            first=list(first),
            sections=parts,
            table_of_runs=listed,
            columns=SHOWN,
            questions=Question,
            notes=NOTES,
            made=by_hand,
        )
    )
    (out / "index.html").write_text(html)
    _write_figures(out / "figures", every)
    shown = [{name: line[name] for name in COLUMNS} for line in table]
    _write_latex(out / "tables", every, shown)
    (out / "report.md").write_text(as_markdown(len(runs), every, shown, table, by_hand))
    settings = [numbers(one) for one in groups]
    write_csv(out / "settings.csv", settings, list(settings[0]) if settings else [])
    tested = [comparisons.numbers(pair) for part in parts for pair in part.pairs]
    write_csv(out / "comparisons.csv", tested, comparisons.COLUMNS)
    write_csv(out / "costs.csv", [row for part in parts for row in costs.numbers(part.groups)], costs.COLUMNS)
    compared = [row for part in first for row in part.numbers]
    if compared:
        write_csv(out / "study.csv", compared, list(compared[0]))
    else:
        (out / "study.csv").unlink(missing_ok=True)  # of an earlier report
    write_csv(out / "runs.csv", shown, COLUMNS)
    write_csv(out / "curves.csv", tidy(runs, groups), TIDY)
    (out / "made_with.yaml").write_text(made_with_text(made))


def short_paths(paths: Sequence[Path]) -> list[str]:
    """Returns paths of runs without the folders that all of them lie in."""
    try:
        common = os.path.commonpath([path.parent for path in paths])
    except ValueError:  # there are none, or one is absolute and another is not
        return list(map(str, paths))
    return [str(path.relative_to(common)) for path in paths]


def _write_figures(folder: Path, parts: Sequence[Section]) -> None:
    folder.mkdir(exist_ok=True)
    for old in [*folder.glob("[0-9][0-9].png"), *folder.glob("[0-9][0-9].pdf")]:  # of an earlier report
        old.unlink()
    for picture in (picture for part in parts for picture in part.pictures):
        (folder / f"{picture.name}.png").write_bytes(base64.b64decode(picture.png))
        if picture.pdf is not None:
            (folder / f"{picture.name}.pdf").write_bytes(picture.pdf)


def _write_latex(folder: Path, parts: Sequence[Section], runs: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    for old in folder.glob("[0-9][0-9]-*.tex"):  # of an earlier report
        old.unlink()
    for number, part in enumerate(parts, start=1):
        if part.rows:
            (folder / f"{number:02}-accuracy.tex").write_text(latex(part.rows, part.title))
        if part.tests:
            (folder / f"{number:02}-comparisons.tex").write_text(latex(part.tests, f"{part.title}: {NOTES['tests']}"))
        if part.costs:
            (folder / f"{number:02}-costs.tex").write_text(latex(part.costs, f"{part.title}: {NOTES['costs']}"))
    if runs:
        (folder / "runs.tex").write_text(latex(runs, "runs"))


def _line(one: Run) -> dict[str, Any]:
    """Returns a row of runs.csv, and the run's configuration."""
    known = bool(one.config)
    accuracies = {
        "test_accuracy": one.last("test/accuracy"),
        "validation_accuracy": one.last("val/accuracy"),
        "best_validation_accuracy": one.best("val/accuracy"),
    }
    return {
        "run": str(one.path),
        "status": "; ".join([one.status, *one.remarks]),
        "rule": one.rule if known else "",
        "data": one.data.removesuffix("DataModule") if known else "",
        "net": one.net if known else "",
        "loss": (one.loss or "") if known else "",
        "seed": one.seed if known else "",
        "epochs": one.epochs if known else "",
        **{name: "" if value is None else f"{100 * value:.2f}" for name, value in accuracies.items()},
        "seconds_per_epoch": "" if one.seconds_per_epoch is None else f"{one.seconds_per_epoch:.2f}",
        "config": "".join(f"# {text}\n" for text in one.changed) + yaml.safe_dump(one.config, sort_keys=False) * known,
        "environment": "# resumed in\n".join(
            yaml.safe_dump(ran_in, sort_keys=False) for ran_in in (one.environment, *one.resumed_in) if ran_in
        ),
    }
