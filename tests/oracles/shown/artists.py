"""What a figure shows, as texts and numbers: the data of its artists, and what tells them apart.

What Matplotlib chooses by itself is left out: limits, ticks, sizes, fonts, places of legends.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection, LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle, StepPatch
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator

Entries = Iterator[tuple[str, Any]]
"""Texts, numbers and arrays by their names."""


def of_figure(figure: Figure) -> Entries:
    """Yields what a figure shows."""
    yield "title", figure.get_suptitle()
    for i, axis in enumerate(figure.axes, start=1):
        yield from ((f"panel {i} {name}", value) for name, value in _of_axes(axis))
    for legend in figure.legends:
        yield from _of_legend(legend)


def _of_axes(axis: Axes) -> Entries:
    yield "", " | ".join([axis.get_title(), axis.get_xlabel(), axis.get_ylabel(), axis.get_xscale(), axis.get_yscale()])
    for name, one in (("x", axis.xaxis), ("y", axis.yaxis)):
        if not getattr(axis, f"get_autoscale{name}_on")() and not axis.images:
            yield f"{name} limits", np.array(one.get_view_interval())
        locator, formatter = one.get_major_locator(), one.get_major_formatter()
        if isinstance(locator, FixedLocator):
            yield f"{name} ticks", np.array(locator.locs)
        if isinstance(formatter, FixedFormatter):
            yield f"{name} tick labels", " | ".join(formatter.seq)
        if isinstance(locator, MaxNLocator) and locator._integer:
            yield f"{name} ticks", "whole numbers"
    for kind, artists in (("line", axis.lines), ("area", axis.collections), ("patch", axis.patches)):
        for i, artist in enumerate(artists, start=1):
            yield from ((f"{kind} {i} {name}", value) for name, value in _of_artist(artist))
    for i, image in enumerate(axis.images, start=1):
        low, high = image.get_clim()
        yield f"image {i} look", f"{image.get_cmap().name}, {low:g} to {high:g}, origin {image.origin}"
        yield f"image {i}", np.ma.getdata(image.get_array())
    for i, text in enumerate(axis.texts, start=1):
        yield f"text {i}", f"{text.get_text()} at {text.get_position()}"
    for i, bars in enumerate((c for c in axis.containers if isinstance(c, ErrorbarContainer)), start=1):
        yield f"errors {i}", f"{bars.get_label()}, x {bars.has_xerr}, y {bars.has_yerr}"
    if axis.get_legend() is not None:
        yield from _of_legend(axis.get_legend())


def _of_artist(artist: Any) -> Entries:
    yield "look", _look(artist)
    if isinstance(artist, Line2D):
        yield "x", np.asarray(artist.get_xdata(orig=False))
        yield "y", np.asarray(artist.get_ydata(orig=False))
    elif isinstance(artist, StepPatch):
        yield "counts", np.asarray(artist.get_data().values)
        yield "edges", np.asarray(artist.get_data().edges)
    elif isinstance(artist, Rectangle):
        yield "bar", np.array([artist.get_x(), artist.get_y(), artist.get_width(), artist.get_height()])
    elif isinstance(artist, PathCollection):
        yield "places", np.ma.getdata(artist.get_offsets())
    elif isinstance(artist, LineCollection):
        yield "segments", np.concatenate(artist.get_segments())
    else:
        yield "corners", np.concatenate([path.vertices for path in artist.get_paths()])


def _of_legend(legend: Legend) -> Entries:
    entries = zip(legend.get_texts(), legend.legend_handles, strict=True)
    for i, (text, handle) in enumerate(entries, start=1):
        yield f"legend {i}", f"{text.get_text()}: {_look(handle)}"


def _look(artist: Artist | None) -> str:
    """Returns colour, line and marker in words; of what has a label of its own, that too."""
    label = str(artist.get_label()) if artist is not None else ""
    words = [label] if label and not label.startswith("_") else []
    if isinstance(artist, Line2D):
        words += [_colour(artist.get_color()), str(artist.get_linestyle()), str(artist.get_marker())]
        if artist.get_marker() not in ("None", "none", "", None):
            words.append(str(artist.get_fillstyle()))
        if artist.get_markevery() is not None:
            words.append(f"a marker at {artist.get_markevery()}")
        words += [artist.get_drawstyle()] * (artist.get_drawstyle() != "default")
    elif isinstance(artist, Collection):
        colours = dict.fromkeys(_colour(colour) for colour in [*artist.get_facecolor(), *artist.get_edgecolor()])
        words += colours
        if isinstance(artist, PathCollection):
            words.append(f"{len(artist.get_paths()[0].vertices)} corners of a marker")
    elif artist is not None:
        words += [_colour(artist.get_facecolor()), _colour(artist.get_edgecolor())]
    return ", ".join(words)


def _colour(colour: Any) -> str:
    return to_hex(colour, keep_alpha=True)
