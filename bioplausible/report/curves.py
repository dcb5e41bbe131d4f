"""Curves with bands, one colour a rule."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from bioplausible.figures import PALETTE, new_figure
from bioplausible.report.tables import Group

RULE_COLOURS = dict(
    zip(
        (
            "CorInfoMax",
            "CorInfoMaxSparse",
            "EquilibriumPropagation",
            "ContrastiveSimilarityMatching",
            "PredictiveCoding",
            "NudgedPredictiveCoding",
            "FeedbackAlignment",
            "Backpropagation",
        ),
        PALETTE,
        strict=True,
    )
)
"""The same colour for a rule everywhere; a rule of one's own has one of them too, always the same."""


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
    figure, axes = new_figure(len(shown), columns=2, width=9 if len(shown) == 1 else 6)
    figure.suptitle(title)
    for axis, (name, label, scale) in zip(axes, shown, strict=True):
        for group in groups:
            logged = [run.curves[name] for run in group.runs if name in run.curves]
            if not logged:
                continue
            steps = sorted(set.intersection(*(set(curve) for curve in logged)))
            steps = steps[:: max(1, len(steps) // 200)]
            values = scale * np.array([[curve[step] for step in steps] for curve in logged])
            mean, line = values.mean(0), colour(group.first.rule)
            axis.plot(steps, mean, color=line, label=f"{group.title} (n = {len(logged)})")
            if len(logged) > 1:
                spread = values.std(0, ddof=1)
                axis.fill_between(steps, mean - spread, mean + spread, color=line, alpha=0.2, linewidth=0)
        axis.set(xlabel="training step", ylabel=label)
        axis.legend(fontsize="small")
    return figure


def png(figure: Figure) -> str:
    """Returns a figure as base64 of a PNG, for a page that needs no other file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=90, format="png")
    return base64.b64encode(buffer.getvalue()).decode()
