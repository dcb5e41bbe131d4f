"""``python -m bioplausible report``: what finished and running runs did, as one page, Markdown and CSV."""

import base64
import csv
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from jinja2 import Environment

from bioplausible.commands.arguments import CommandArguments, path_named
from bioplausible.commands.report.curves import curves, png
from bioplausible.commands.report.runs import Run, find_runs
from bioplausible.commands.report.tables import Group, group
from bioplausible.errors import UserError
from bioplausible.training.monitored import TESTED_EACH_EPOCH

COLUMNS = (
    *("run", "status", "rule", "data", "net", "loss", "seed", "epochs"),
    *("test_accuracy", "validation_accuracy", "best_validation_accuracy", "seconds_per_epoch"),
)


def run(args: Sequence[str]) -> int:
    """Writes index.html, report.md with its figures, settings.csv and runs.csv into a folder, and returns 0.

    Raises:
        UserError: there are no runs, or the folder can't be written to.
    """
    parser = CommandArguments(prog="python -m bioplausible report", description=__doc__)
    parser.add_argument(
        "runs", nargs="+", type=path_named, metavar="RUN_DIR", help="runs, or folders with runs below them"
    )
    parser.add_argument("--out", type=path_named, default=Path("report"), help="folder to write (default: report)")
    options = parser.parse_args(args)
    found = find_runs(options.runs)
    try:
        write(found, options.out)
    except OSError as error:
        raise UserError(f"The report can't be written to {options.out} ({error.strerror}): choose --out.") from error
    finished = sum(r.finished for r in found)
    print(f"{len(found)} runs, {finished} finished")
    for other in (r for r in found if not r.finished):
        print(f"  {other.path}: {other.status}")
    print(f"report  {options.out / 'index.html'}")
    return 0


def write(runs: Sequence[Run], out: Path, first: Sequence[dict[str, Any]] = ()) -> None:
    """Writes the report of some runs.

    Args:
        runs: finished or not.
        out: folder.
        first: sections that come before the others: ``title``, ``rows`` of a table, each a mapping, and ``pictures``
            with ``caption`` and ``png`` in base64.
    """
    out.mkdir(parents=True, exist_ok=True)
    groups = group(runs)
    sections = [_section(list(members)) for _, members in groupby(groups, key=lambda g: (g.first.data, g.first.net))]
    table = [_line(r) for r in runs]  # after the groups, which note what they leave out
    page = Path(__file__).with_name("page.html").read_text()
    html = (
        Environment(autoescape=True)
        .from_string(page)
        .render(runs=runs, finished=sum(r.finished for r in runs), first=first, sections=sections, table=table)
    )
    (out / "index.html").write_text(html)
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    for number, picture in enumerate((p for section in [*first, *sections] for p in section["pictures"]), start=1):
        picture["file"] = f"{number:02}.png"
        (figures / picture["file"]).write_bytes(base64.b64decode(picture["png"]))
    (out / "report.md").write_text(_markdown(runs, [*first, *sections], table))
    _write_csv(out / "settings.csv", [_numbers(one) for one in groups])
    _write_csv(out / "runs.csv", [{name: line[name] for name in COLUMNS} for line in table])


def _section(groups: list[Group]) -> dict[str, Any]:
    first = groups[0].first
    name = first.data.removesuffix("DataModule")
    title = f"{name}, {first.net}"
    pictures = []
    splits = {"train": "training", "val": "validation", TESTED_EACH_EPOCH: "test"}
    accuracy = [(f"{split}/accuracy", f"{name} accuracy (%)", 100.0) for split, name in splits.items()]
    angles = _of_layers(groups, "angle", "forward–feedback angle, layer {} (degrees)")
    cosines = _of_layers(groups, "cosine", "cosine with backpropagation, layer {}")
    for what, names in (("accuracy", accuracy), ("alignment", angles), ("updates", cosines)):
        figure = curves(groups, names, f"{title}: {what}")
        if figure is not None:
            caption = f"{title}: {what}, mean and one standard deviation over the seeds"
            pictures.append({"caption": caption, "png": png(figure)})
    for one in groups:
        for kind in ("settling", "receptive_fields"):
            files = [r.path / "figures" / f"{kind}.png" for r in one.runs]
            for file in [f for f in files if f.is_file()][:1]:
                caption = f"{one.title}: {kind.replace('_', ' ')} of {file.parents[1].name}"
                pictures.append({"caption": caption, "png": base64.b64encode(file.read_bytes()).decode()})
    return {"title": title, "data": name, "net": first.net, "rows": [_row(g) for g in groups], "pictures": pictures}


def _of_layers(groups: list[Group], what: str, label: str) -> list[tuple[str, str, float]]:
    """Returns what is logged of each layer, and of each skip connection, in the order of the layers."""
    names = {name for one in groups for r in one.runs for name in r.curves}
    found = {re.fullmatch(rf"alignment/layer_(\d+)(?:_from_(\d+))?_{what}", name) for name in names} - {None}
    layers = sorted((int(m[1]), -1 if m[2] is None else int(m[2]), m[0]) for m in found if m is not None)
    return [(name, label.format(k if pre < 0 else f"{k} from {pre}"), 1.0) for k, pre, name in layers]


def _speed(one: Group) -> dict[str, float | None]:
    epochs = [r.seconds_per_epoch for r in one.runs if r.seconds_per_epoch is not None]
    samples = [s for s in (r.typical("throughput/samples_per_second") for r in one.runs) if s is not None]
    batch = (one.first.config["data"].get("init_args") or {}).get("batch_size")
    mean = fmean(samples) if samples else None
    return {
        "seconds_per_epoch": fmean(epochs) if epochs else None,
        "steps_per_second": mean / batch if mean is not None and batch else None,
        "samples_per_second": mean,
    }


def _numbers(one: Group) -> dict[str, Any]:
    """Returns a row of settings.csv: accuracies in percent, each number in a column of its own."""
    row: dict[str, Any] = {"data": one.first.data.removesuffix("DataModule"), "net": one.first.net, "rule": one.title}
    row |= {"n": one.accuracy.n, "seeds": " ".join(map(str, one.seeds))}
    estimates = {
        "test_accuracy": one.accuracy,
        "validation_accuracy": one.validation,
        "best_validation_accuracy": one.best_validation,
        "published": one.published,
    }
    for name, estimate in estimates.items():
        row[f"{name}_mean"] = "" if estimate is None else _number(estimate.mean)
        row[f"{name}_std"] = "" if estimate is None else _number(estimate.std)
    row["published_n"] = "" if one.published is None else one.published.n
    row |= {"deviates": {True: "yes", False: "no", None: ""}[one.deviates], "not_comparable": one.not_comparable}
    return row | {name: _number(value) for name, value in _speed(one).items()}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _row(one: Group) -> dict[str, Any]:
    """Returns a row of the page's and report.md's table, in words."""
    published = "" if one.published is None else f"{one.published} (n = {one.published.n})"
    speed = _speed(one)
    return {
        "rule": one.title,
        "test_accuracy": str(one.accuracy),
        "validation_accuracy": str(one.validation or ""),
        "best_validation": str(one.best_validation or ""),
        "n": one.accuracy.n,
        "seeds": ", ".join(map(str, one.seeds)),
        "published": f"not comparable: {one.not_comparable}" if one.not_comparable else published,
        "mark": "▲" if one.deviates else "",
        "seconds_per_epoch": "" if speed["seconds_per_epoch"] is None else f"{speed['seconds_per_epoch']:.1f}",
        "steps_per_second": "" if speed["steps_per_second"] is None else f"{speed['steps_per_second']:.0f}",
        "samples_per_second": "" if speed["samples_per_second"] is None else f"{speed['samples_per_second']:.0f}",
    }


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
        "status": "; ".join([one.status, *one.changed, *([one.note] if one.note else [])]),
        "rule": one.rule if known else "",
        "data": one.data.removesuffix("DataModule") if known else "",
        "net": one.net if known else "",
        "loss": (one.loss or "") if known else "",
        "seed": one.seed if known else "",
        "epochs": one.epochs if known else "",
        **{name: "" if value is None else f"{100 * value:.2f}" for name, value in accuracies.items()},
        "seconds_per_epoch": "" if one.seconds_per_epoch is None else f"{one.seconds_per_epoch:.2f}",
        "config": "".join(f"# {text}\n" for text in one.changed) + yaml.safe_dump(one.config, sort_keys=False) * known,
        "environment": yaml.safe_dump(one.environment, sort_keys=False) if one.environment else "",
    }


def _markdown(runs: Sequence[Run], sections: list[dict[str, Any]], table: list[dict[str, Any]]) -> str:
    lines = [f"# Report of {len(runs)} runs", ""]
    lines += [
        "Mean ± standard deviation (n − 1) over seeds; ▲ marks a mean that differs from the published one by more"
    ]
    lines += ["than two combined standard errors. Accuracies are in percent; validation accuracy chooses settings.", ""]
    for section in sections:
        lines += [f"## {section['title']}", "", *_table(section["rows"]), ""]
        for picture in section["pictures"]:
            lines += [f"![{picture['caption']}](figures/{picture['file']})", ""]
    lines += ["## Runs", "", *_table([{name: line[name] for name in COLUMNS} for line in table]), ""]
    lines += ["## Configurations", ""]
    for line in table:
        if line["config"]:
            lines += [f"### {line['run']}", "", "```yaml", line["environment"] + line["config"].rstrip(), "```", ""]
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    names = list(rows[0])
    cells = [[str(row[name]).replace("|", "\\|") for name in names] for row in rows]
    lines = [[name.replace("_", " ") for name in names], ["---"] * len(names), *cells]
    return [f"| {' | '.join(line)} |" for line in lines]


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
