"""What a figure shows, as texts and numbers: the data of its artists, and what tells them apart.

What Matplotlib chooses by itself is left out: limits, ticks, sizes, fonts, places of legends.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import Collection, LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.patches import Rectangle, StepPatch
from matplotlib.ticker import FixedLocator, MaxNLocator, ScalarFormatter

Entries = Iterator[tuple[str, Any]]
"""Texts, numbers and arrays by their names."""


def of_figure(figure: Figure) -> Entries:
    """Yields what a figure shows."""
    if figure.get_suptitle():
        yield "title", figure.get_suptitle()
    for i, axis in enumerate(figure.axes, start=1):
        yield from ((f"panel {i}{name}", value) for name, value in _of_axes(axis))
    for legend in figure.legends:
        yield "legend", _of_legend(legend, [])


def _of_axes(axis: Axes) -> Entries:
    yield "", " | ".join([axis.get_title(), axis.get_xlabel(), axis.get_ylabel(), axis.get_xscale(), axis.get_yscale()])
    if axis.get_label() == "<colorbar>":  # its colours are those that the image says
        return
    for name, one in (("x", axis.xaxis), ("y", axis.yaxis)):
        if not getattr(axis, f"get_autoscale{name}_on")() and not axis.images:
            yield f" {name} limits", np.array(one.get_view_interval())
        locator, formatter = one.get_major_locator(), one.get_major_formatter()
        if isinstance(locator, FixedLocator):
            labels = [] if isinstance(formatter, ScalarFormatter) else formatter.format_ticks(locator.locs)
            yield f" {name} ticks{''.join(f' | {label}' for label in labels)}", np.array(locator.locs)
        elif isinstance(locator, MaxNLocator) and locator._integer:
            yield f" {name} ticks", "whole numbers"
    for kind, artists in (("line", axis.lines), ("area", axis.collections), ("patch", axis.patches)):
        for i, artist in enumerate(artists, start=1):
            yield f" {kind} {i}, {_look(artist)}", _data(artist)
    for i, image in enumerate(axis.images, start=1):
        low, high = image.get_clim()
        yield f" image {i}, {image.get_cmap().name}, {low:g} to {high:g}", np.ma.getdata(image.get_array())
        if image.origin != "upper":
            yield f" image {i} origin", image.origin
    for i, text in enumerate(axis.texts, start=1):
        yield f" text {i}", f"{text.get_text()} at {text.get_position()}"
    for i, bars in enumerate((c for c in axis.containers if isinstance(c, ErrorbarContainer)), start=1):
        yield f" errors {i}", f"{bars.get_label()}, x {bars.has_xerr}, y {bars.has_yerr}"
    if axis.get_legend() is not None:
        yield " legend", _of_legend(axis.get_legend(), [*axis.lines, *axis.patches, *axis.collections])


def _data(artist: Any) -> np.ndarray:
    if isinstance(artist, Line2D):
        return np.array([artist.get_xdata(orig=False), artist.get_ydata(orig=False)])
    if isinstance(artist, StepPatch):
        return np.concatenate([artist.get_data().values, artist.get_data().edges])
    if isinstance(artist, Rectangle):
        return np.array([artist.get_x(), artist.get_y(), artist.get_width(), artist.get_height()])
    if isinstance(artist, PathCollection):
        return np.ma.getdata(artist.get_offsets())
    if isinstance(artist, LineCollection):
        return np.array([point for segment in artist.get_segments() for point in segment])
    return np.array([point for path in artist.get_paths() for point in path.vertices])


def _of_legend(legend: Legend, artists: Sequence[Any]) -> str:
    """Returns the texts of a legend, and how each looks where it is not as the artist of that label."""
    looks = {artist.get_label(): _words(artist) for artist in artists}
    entries = zip(legend.get_texts(), legend.legend_handles, strict=True)
    found = [(text.get_text(), _words(handle)) for text, handle in entries]
    return " | ".join(text if looks.get(text) == words else f"{text}: {', '.join(words)}" for text, words in found)


def _look(artist: Any) -> str:
    """Returns colour, line and marker in words, after the label where it has one."""
    label = str(artist.get_label())
    every = artist.get_markevery() if isinstance(artist, Line2D) else None
    marked = [] if every is None else [f"a marker at {every}"]
    return ", ".join([*([] if label.startswith("_") else [label]), *_words(artist), *marked])


def _words(artist: Any) -> list[str]:
    if isinstance(artist, Line2D):
        words = [_colour(artist.get_color()), str(artist.get_linestyle())]
        if artist.get_marker() not in ("None", "none", "", None):
            words += [str(artist.get_marker()), str(artist.get_fillstyle())]
        return words + [artist.get_drawstyle()] * (artist.get_drawstyle() != "default")
    if isinstance(artist, Collection):
        words = list(dict.fromkeys(_colour(c) for c in [*artist.get_facecolor(), *artist.get_edgecolor()]))
        return [*words, _marker(artist)] if isinstance(artist, PathCollection) else words
    return [_colour(artist.get_facecolor()), _colour(artist.get_edgecolor())]


def _marker(scatter: PathCollection) -> str:
    """Returns which digit a scatter's points are drawn as; their outline depends on the font."""
    (path,) = scatter.get_paths()
    for digit in range(10):
        marker = MarkerStyle(f"${digit}$")
        known = marker.get_path().transformed(marker.get_transform()).vertices
        if known.shape == path.vertices.shape and np.allclose(known, path.vertices):
            return str(digit)
    return "no digit"


def _colour(colour: Any) -> str:
    return to_hex(colour, keep_alpha=True).removesuffix("ff")
