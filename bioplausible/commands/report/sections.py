"""What the report shows of each data set and network: a table, the tests between its rows, figures."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

from bioplausible.commands.report.comparisons import Pair, matrix, pairs
from bioplausible.commands.report.costs import cost_figure, cost_table
from bioplausible.commands.report.curves import curves, png
from bioplausible.commands.report.significance import no_welch, number, of_seeds
from bioplausible.commands.report.tables import Group
from bioplausible.commands.report.verdict import Verdict, verdict
from bioplausible.observers.figures import as_pdf
from bioplausible.training.monitored import TESTED_EACH_EPOCH

Row = dict[str, Any]


class Question(StrEnum):
    """What a reader asks of a data set and network, in this order; the values are headings."""

    RESULT = "Which rule is ahead?"
    TESTS = "Is that more than chance?"
    COST = "What did it cost?"
    LEARNING = "How do they learn?"


OF_RUNS = {"settling": True, "receptive_fields": False, "confusion_matrix": False, "information": True, "tsne": True}
"""The figures that runs draw and the report shows; whether they are drawn in lines and marks on white."""


@dataclass
class Picture:
    """A figure.

    Attributes:
        caption: what it shows.
        png: base64 of it.
        pdf: it too; None for one of pixels, and for one of a run that was killed, which are kept as PNG only.
        question: which one it answers, a value of :class:`Question`.
        lines: whether it is drawn in lines and marks on white, so that a dark page may show it on black; what a pixel's
            brightness says something may not be inverted.
        name: of its file, without the ending.
    """

    caption: str
    png: str
    pdf: bytes | None
    question: Question = Question.RESULT
    lines: bool = True
    name: str = ""


@dataclass
class Section:
    """All of one data set and network, or of a study.

    Attributes:
        groups: its settings; of a study none.
        title: data set and network, or the study's.
        rows: the table of the settings, in words.
        tests: the tests between them, as a table; empty where there is none.
        pictures: its figures.
        costs: what its settings cost, and what they reach at equal cost, as a table; empty where no cost was logged.
        numbers: of a study the table with each number in a column of its own; else settings.csv has them.
        anchor: its name in the page's links.
    """

    groups: list[Group]
    title: str
    rows: list[Row]
    tests: list[dict[str, str]]
    pictures: list[Picture]
    costs: list[dict[str, str]] = field(default_factory=list)
    numbers: list[Row] = field(default_factory=list)
    anchor: str = ""

    @property
    def verdict(self) -> Verdict | None:
        """What the table comes to; None of a study's, which has no settings of its own."""
        return verdict(self.groups) if self.groups else None

    @property
    def questions(self) -> list[Question]:
        """Those that it has an answer to."""
        pictured = {picture.question for picture in self.pictures}
        answered = {Question.RESULT: self.rows, Question.TESTS: self.tests, Question.COST: self.costs}
        return [question for question in Question if answered.get(question) or question in pictured]

    @property
    def pairs(self) -> list[Pair]:
        """The tests between its settings."""
        return pairs(self.groups)


def in_sections(groups: Sequence[Group]) -> list[Section]:
    """Returns the sections of settings, which are in their order."""
    found = groupby(groups, key=lambda group: (group.first.data, group.first.net))
    return [_section(list(members)) for _, members in found]


def numbers(one: Group) -> Row:
    """Returns a row of settings.csv: accuracies in percent, each number in a column of its own."""
    row: Row = {"data": one.data_name, "net": one.first.net, "rule": one.title}
    row |= {"n": one.accuracy.n, "seeds": " ".join(map(str, one.seeds))}
    estimates = {
        "test_accuracy": one.accuracy,
        "validation_accuracy": one.validation,
        "best_validation_accuracy": one.best_validation,
        "published": one.published,
    }
    for name, estimate in estimates.items():
        row[f"{name}_mean"] = "" if estimate is None else number(estimate.mean)
        row[f"{name}_std"] = "" if estimate is None else number(estimate.std)
        if name != "published":
            row[f"{name}_interval"] = "" if estimate is None else number(estimate.interval)
        if name != "test_accuracy":
            row[f"{name}_n"] = "" if estimate is None or estimate.n is None else estimate.n
    test = one.against_published
    row |= {"welch_p": number(None if test is None else test.p)}
    row |= {"deviates": {True: "yes", False: "no", None: ""}[one.deviates], "not_comparable": one.not_comparable}
    return row | {name: number(value) for name, value in _speed(one).items()}


def drawn_by_a_run(file: Path, caption: str, question: Question, lines: bool) -> Picture:
    """Returns a figure from the file in which a run has left it, and the PDF beside it where there is one.

    Args:
        file: PNG.
        caption: what it shows.
        question: which one it answers.
        lines: as that of :class:`Picture`.
    """
    beside = file.with_suffix(".pdf")
    content = beside.read_bytes() if beside.is_file() else None
    return Picture(caption, base64.b64encode(file.read_bytes()).decode(), content, question, lines)


# ------------------------------------------------------------------------------------------------------------ internals


def _section(groups: list[Group]) -> Section:
    title = f"{groups[0].data_name}, {groups[0].first.net}"
    pictures = []
    splits = {"train": "training", "val": "validation", TESTED_EACH_EPOCH: "test"}
    accuracy = [(f"{split}/accuracy", f"{name} accuracy (%)", 100.0) for split, name in splits.items()]
    angles = _of_layers(groups, "angle", "forward–feedback angle, layer {} (degrees)")
    cosines = _of_layers(groups, "cosine", "cosine with backpropagation, layer {}")
    of_learning = Question.LEARNING
    for what, names, question in (
        ("accuracy", accuracy, Question.RESULT),
        ("alignment", angles, of_learning),
        ("updates", cosines, of_learning),
    ):
        figure = curves(groups, names, f"{title}: {what}")
        if figure is not None:
            caption = f"{title}: {what}, mean and one standard deviation over the seeds"
            pictures.append(Picture(caption, png(figure), as_pdf(figure), question))
    figure = cost_figure(groups, f"{title}: accuracy against cost")
    if figure is not None:
        caption = f"{title}: accuracy against cost, mean and one standard deviation over the seeds"
        pictures.append(Picture(caption, png(figure), as_pdf(figure), Question.COST))
    for one in groups:
        for kind, lines in OF_RUNS.items():
            files = [folder / "figures" / f"{kind}.png" for r in one.runs for folder in r.folders]
            for file in [f for f in files if f.is_file()][:1]:
                caption = f"{one.title}: {kind.replace('_', ' ')} of {file.parents[1].name}"
                pictures.append(drawn_by_a_run(file, caption, of_learning, lines))
    return Section(groups, title, [_row(g) for g in groups], matrix(groups), pictures, cost_table(groups))


def _of_layers(groups: list[Group], what: str, label: str) -> list[tuple[str, str, float]]:
    """Returns what is logged of each layer, and of each skip connection, in the order of the layers."""
    names = {name for one in groups for r in one.runs for name in r.curves}
    found = {re.fullmatch(rf"alignment/layer_(\d+)(?:_from_(\d+))?_{what}", name) for name in names} - {None}
    layers = sorted((int(m[1]), -1 if m[2] is None else int(m[2]), m[0]) for m in found if m is not None)
    return [(name, label.format(k if pre < 0 else f"{k} from {pre}"), 1.0) for k, pre, name in layers]


def _row(one: Group) -> Row:
    """Returns a row of the table, in words."""
    interval, published, test = one.accuracy.interval, one.published, one.against_published
    against = "" if published is None else str(published) + ("" if published.n is None else f" (n = {published.n})")
    against_test = "" if published is None else no_welch(one.accuracy, published) if test is None else str(test)
    speed = _speed(one)
    return {
        "rule": one.title,
        "test_accuracy": str(one.accuracy),
        "interval": "" if interval is None else f"± {interval:.2f}",
        "validation_accuracy": of_seeds(one.validation, one.accuracy.n),
        "best_validation": of_seeds(one.best_validation, one.accuracy.n),
        "n": one.accuracy.n,
        "seeds": ", ".join(map(str, one.seeds)),
        "published": f"not comparable: {one.not_comparable}" if one.not_comparable else against,
        "difference": against_test,
        "mark": "▲" if one.deviates else "",
        "seconds_per_epoch": "" if speed["seconds_per_epoch"] is None else f"{speed['seconds_per_epoch']:.1f}",
        "steps_per_second": "" if speed["steps_per_second"] is None else f"{speed['steps_per_second']:.0f}",
        "samples_per_second": "" if speed["samples_per_second"] is None else f"{speed['samples_per_second']:.0f}",
    }


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
