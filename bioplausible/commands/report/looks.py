"""How a curve looks: each rule has a colour and a marker of its own, each setting of a rule a line of its own."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import bioplausible.rules
from bioplausible.observers.figures import LINES, PALETTE

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
"""The rules that had their colours in the figures of earlier versions and keep them. A new rule needs no entry here."""

MUTED = ("#882255", "#332288", "#117733", "#CC6677", "#999933", "#AA4499", "#44AA99", "#DDCC77", "#88CCEE")
"""Colours of Tol's, for Okabe & Ito have eight."""

FURTHER = (
    *("#0000FF", "#00D200", "#FF0FFF", "#FF004B", "#693C0F", "#965AFF", "#FF0096"),
    *("#A596FF", "#0F4B3C", "#96000F", "#4B3C5A", "#FF78FF", "#96C300", "#3CD269"),
)
"""Each the colour of CIELAB, neither pale nor near black, that lies farthest from all before it."""

COLOURS = (*PALETTE, *MUTED, *FURTHER)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", ">")
"""Their number and that of the colours have no divisor in common: 279 looks pass before one comes again."""

FILLS = ("full", "none", "left", "right", "top", "bottom")
"""Of a rule's settings beyond the fourth the markers are filled in another way."""

NAMES = [cls.__name__ for cls in bioplausible.rules.RULES]
PLACES = {name: place for place, name in enumerate([*FIRST, *(name for name in NAMES if name not in FIRST)])}
"""Each rule of the package by its place among the looks: the same one in every figure."""


@dataclass(frozen=True)
class Look:
    """How a curve is drawn.

    Attributes:
        colour: of line and marker.
        marker: its shape.
        line: solid or how it is broken.
        fill: which part of the marker is filled.
    """

    colour: str
    marker: str
    line: str = "-"
    fill: str = "full"

    @property
    def options(self) -> dict[str, Any]:
        """The options of Matplotlib's ``plot`` that draw it."""
        drawn = {"color": self.colour, "marker": self.marker, "linestyle": self.line, "fillstyle": self.fill}
        return {**drawn, "markersize": 5}


def look(place: int, setting: int = 0) -> Look:
    """Returns the look at a place in their order, or of a later setting of the same rule.

    Args:
        place: from 0.
        setting: of the rule's settings, from 0.
    """
    fill = FILLS[setting // len(LINES) % len(FILLS)]
    return Look(COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)], LINES[setting % len(LINES)], fill)


def looks(rules: Sequence[str]) -> list[Look]:
    """Returns the looks of a figure's curves.

    Args:
        rules: of each curve the rule, as often as it has settings. Rules of one's own get the places after those of the
            package's, by their names.
    """
    own = sorted(set(rules) - PLACES.keys())
    places = PLACES | {name: len(PLACES) + i for i, name in enumerate(own)}
    seen: Counter[str] = Counter()
    found = []
    for rule in rules:
        found.append(look(places[rule], seen[rule]))
        seen[rule] += 1
    return found


def colour(rule: str) -> str:
    """Returns a rule's colour in a figure in which no other rule is one's own."""
    return looks([rule])[0].colour
