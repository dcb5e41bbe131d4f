"""Curves with bands, one colour a rule."""

import base64
import io
import math
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import cycle

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure

import bioplausible.rules
from bioplausible.commands.report.tables import Group
from bioplausible.observers.figures import PALETTE, new_figure

FIRST = (
    "CorInfoMax",
    "CorInfoMaxSparse",
    "EquilibriumPropagation",
    "ContrastiveSimilarityMatching",
    "PredictiveCoding",
    "NudgedPredictiveCoding",
    "FeedbackAlignment",
    "Backpropagation",
    "DirectFeedbackAlignment",
)
"""The rules that the palette was dealt out to by hand; the package's other ones get the colours after theirs."""

MUTED = ("#882255", "#332288", "#117733", "#CC6677", "#999933", "#AA4499", "#44AA99", "#DDCC77", "#88CCEE")
"""Colours of Tol's, for Okabe & Ito have eight."""

_OTHERS = [cls.__name__ for cls in bioplausible.rules.RULES if cls.__name__ not in FIRST]
RULE_COLOURS = dict(zip((*FIRST, *_OTHERS), cycle((*PALETTE, *MUTED)), strict=False))
"""The same colour for a rule everywhere; a rule of one's own has one of them too, always the same."""


STYLES = ("-", "--", ":", "-.")
"""Of the settings of one rule, in their order."""


def colour(rule: str) -> str:
    """Returns a rule's colour."""
    return RULE_COLOURS.get(rule, PALETTE[sum(map(ord, rule)) % len(PALETTE)])


def curves(groups: Sequence[Group], names: Sequence[tuple[str, str, float]], title: str) -> Figure | None:
    """Returns a figure with a panel for each scalar: mean over the seeds and a band of one standard deviation.

    Args:
        groups: the settings, one curve each.
        names: of each panel the scalar, its label on the axis and a factor.
        title: the figure's title.

    Returns:
        None where none of the scalars was logged.
    """
    shown = [entry for entry in names if any(entry[0] in run.curves for group in groups for run in group.runs)]
    if not shown:
        return None
    columns = min(2, len(shown))
    legend = 0.17 * math.ceil(len(groups) / columns)  # inches
    height = 4.2 + legend / math.ceil(len(shown) / columns)
    figure, axes = new_figure(len(shown), columns, width=9 if len(shown) == 1 else 6, height=height)
    figure.suptitle(textwrap.fill(title, int(9 * figure.get_figwidth())))
    lines: dict[str, Artist] = {}
    for axis, (name, label, scale) in zip(axes, shown, strict=True):
        styles: defaultdict[str, Iterator[str]] = defaultdict(lambda: cycle(STYLES))
        for group in groups:
            style = next(styles[group.first.rule])
            logged = [run.curves[name] for run in group.runs if name in run.curves]
            if not logged:
                continue
            steps = sorted(set.intersection(*(set(curve) for curve in logged)))
            steps = steps[:: max(1, len(steps) // 200)]
            values = scale * np.array([[curve[step] for step in steps] for curve in logged])
            mean, line = values.mean(0), colour(group.first.rule)
            (lines[f"{group.title} (n = {len(logged)})"],) = axis.plot(steps, mean, color=line, linestyle=style)
            if len(logged) > 1:
                spread = values.std(0, ddof=1)
                axis.fill_between(steps, mean - spread, mean + spread, color=line, alpha=0.2, linewidth=0)
        axis.set(xlabel="training step", ylabel=label)
    # below the panels, where it hides no curve
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=columns, fontsize="small")
    return figure


def pdf(figure: Figure) -> bytes:
    """Returns a figure as PDF, the same for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf", metadata={"CreationDate": None})
    return buffer.getvalue()


def png(figure: Figure) -> str:
    """Returns a figure as base64 of a PNG 1200 pixels wide, for a page that needs no other file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=1200 / figure.get_figwidth(), format="png")
    return base64.b64encode(buffer.getvalue()).decode()
