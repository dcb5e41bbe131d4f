"""Curves with bands, one colour and marker a rule."""

import base64
import io
import math
import textwrap
from collections.abc import Sequence
from statistics import fmean
from typing import TypeVar

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from bioplausible.commands.report.looks import looks
from bioplausible.commands.report.tables import Group
from bioplausible.observers.figures import new_figure

Place = TypeVar("Place", int, float)
"""A training step or an epoch."""

MARKS = 8
"""Markers along a curve, about."""

POINTS = 50
"""Points of a curve of single batches, at least, where so many were logged."""

OF_EPOCHS = frozenset({"train", "val", "test", "test_each_epoch", "cost", "throughput"})
"""Scalars, by the first part of their names, that are of a whole epoch."""


def curves(groups: Sequence[Group], names: Sequence[tuple[str, str, float]], title: str) -> Figure | None:
    """Returns a figure with a panel for each scalar against the training step (:func:`curves_along`).

    Args:
        groups: the settings, one curve each.
        names: of each panel the scalar, its label on the axis and a factor.
        title: the figure's title.

    Returns:
        None where none of the scalars was logged.
    """
    shown = [entry for entry in names if any(entry[0] in run.curves for group in groups for run in group.runs)]
    return curves_along(groups, [(*entry, None, "training step") for entry in shown], title) if shown else None


def curves_along(
    groups: Sequence[Group], panels: Sequence[tuple[str, str, float, str | None, str]], title: str
) -> Figure:
    """Returns a figure with a panel for each scalar: mean over the seeds and a band of one standard deviation.

    Where single batches log many values, several are first averaged in each run (:func:`in_parts`), and drawn where the
    last of them was logged.

    Args:
        groups: the settings, one curve each.
        panels: of each the scalar, its label and a factor; then what it is drawn against: another scalar's mean over
            the seeds, on a logarithmic axis (None: the training step), and its label.
        title: the figure's title.
    """
    columns = min(2, len(panels))
    legend = 0.17 * math.ceil(len(groups) / columns)  # inches
    height = 4.2 + legend / math.ceil(len(panels) / columns)
    figure, axes = new_figure(len(panels), columns, width=9 if len(panels) == 1 else 6, height=height)
    figure.suptitle(textwrap.fill(title, int(9 * figure.get_figwidth())))
    lines: dict[str, Artist] = {}
    drawn = looks([group.first.rule for group in groups])
    for axis, (name, label, scale, along, along_label) in zip(axes, panels, strict=True):
        for number, (group, look) in enumerate(zip(groups, drawn, strict=True)):
            needed = [name, *([] if along is None else [along])]
            logged = [[run.curves[each] for each in needed] for run in group.runs if run.curves.keys() >= set(needed)]
            if not logged:
                continue
            steps = sorted(set.intersection(*(set(curve) for run in logged for curve in run)))
            if not steps:
                continue
            parts = in_parts(name, steps)
            values = scale * np.array([[fmean(run[0][step] for step in part) for part in parts] for run in logged])
            at = [part[-1] for part in parts]
            places = at if along is None else np.mean([[run[1][step] for step in at] for run in logged], axis=0)
            mean = values.mean(0)
            apart = max(1, len(parts) // MARKS)  # each curve's markers begin elsewhere, so that they hide no others
            marks = (number % apart, apart)
            (lines[f"{group.title} (n = {len(logged)})"],) = axis.plot(places, mean, markevery=marks, **look.options)
            if len(logged) > 1:
                spread = values.std(0, ddof=1)
                axis.fill_between(places, mean - spread, mean + spread, color=look.colour, alpha=0.2, linewidth=0)
        axis.set(xlabel=along_label, ylabel=label)
        if along is not None:
            axis.set_xscale("log")
    # below the panels, where it hides no curve
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=columns, fontsize="small")
    return figure


def in_parts(name: str, places: Sequence[Place]) -> list[Sequence[Place]]:
    """Returns what is averaged to one point of a curve: single batches are noisy, so several where there are many.

    Args:
        name: of the scalar; what is of a whole epoch (:data:`OF_EPOCHS`) is not averaged.
        places: where it was logged, in their order; the first part may be a shorter one.
    """
    several = 1 if name.partition("/")[0] in OF_EPOCHS else max(1, len(places) // POINTS)
    rest = len(places) % several
    parts: list[Sequence[Place]] = [places[:rest]] if rest else []
    parts.extend(places[first : first + several] for first in range(rest, len(places), several))
    return parts


def png(figure: Figure) -> str:
    """Returns a figure as base64 of a PNG 1200 pixels wide, for a page that needs no other file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=1200 / figure.get_figwidth(), format="png")
    return base64.b64encode(buffer.getvalue()).decode()
