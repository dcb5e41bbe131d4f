"""Wider and deeper forms of a network that is a list of layers."""

from collections.abc import Mapping, Sequence
from typing import Any

KINDS = {"conv", "local", "dense"}
"""Of layers with a number of channels or units."""


def wider(layers: Sequence[Any], times: float) -> list[Any] | None:
    """Returns a list of layers whose hidden ones have so many times the channels or units, at least one.

    None where there are none, or one is a wiring of one's own.
    """
    shape, *hidden, output = layers
    if not hidden or not all(isinstance(layer, int) or layer.keys() & KINDS for layer in hidden):
        return None
    return [shape, *(_with_units(layer, max(1, round(units_of(layer) * times))) for layer in hidden), output]


def deeper(layers: Sequence[Any], last: int, more: int) -> list[Any]:
    """Returns a list of layers with so many more convolutions after the layer ``last``, 3 × 3 and of its shape.

    Skips come from the same layers as before.
    """
    added = {"conv": units_of(layers[last]), "kernel": 3, "padding": 1}
    above = [_with_skips_moved(layer, last, more) for layer in layers[last + 1 :]]
    return [*layers[: last + 1], *[added] * more, *above]


def sparse_of_deeper(dual_step_sizes: Mapping[int, float], last: int, more: int) -> dict[int, float]:
    """Returns ``dual_step_sizes`` of a net with so many more layers after the layer ``last``, which are as it is."""
    found = {k if k <= last else k + more: size for k, size in dual_step_sizes.items()}
    if last in dual_step_sizes:
        found |= dict.fromkeys(range(last + 1, last + more + 1), dual_step_sizes[last])
    return dict(sorted(found.items()))


def last_on_images(layers: Sequence[Any]) -> int | None:
    """Returns the number of the last layer whose state is an image; None where there is none."""
    found = [k for k, layer in enumerate(layers) if isinstance(layer, Mapping) and layer.keys() & {"conv", "local"}]
    return found[-1] if found else None


def units_of(layer: Mapping[str, Any] | int) -> int:
    """Returns the channels of a layer of images, or the units of a dense one."""
    return layer if isinstance(layer, int) else int(next(layer[kind] for kind in layer.keys() & KINDS))


def _with_skips_moved(layer: Any, last: int, more: int) -> Any:
    if not isinstance(layer, Mapping) or "skip" not in layer:
        return layer

    def moved(skip: Any) -> Any:
        if isinstance(skip, list):
            return [moved(each) for each in skip]
        if isinstance(skip, Mapping):
            return {**skip, "from": moved(skip["from"])}
        return skip + more if isinstance(skip, int) and skip > last else skip

    return {**layer, "skip": moved(layer["skip"])}


def _with_units(layer: Mapping[str, Any] | int, units: int) -> Mapping[str, Any] | int:
    return units if isinstance(layer, int) else {**layer, **dict.fromkeys(layer.keys() & KINDS, units)}
