"""How a rule's cost grows with batch size, width or channels, depth and iterations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bioplausible.commands.benchmark.cost import Cost, cost
from bioplausible.commands.benchmark.recipe_files import batch_size_of, recipe_rule
from bioplausible.errors import UserError

KINDS = {"conv", "local", "dense"}
"""Of layers with a number of channels or units."""


def print_growth(files: Sequence[Path]) -> None:
    """Prints each rule's cost per sample against batch size, width or channels, depth and iterations.

    A network of ``layer_sizes`` gets hidden layers of other widths, or more of them. In one that is a list of layers
    all hidden layers get as many times their channels and units, and the line names those of the first; convolutions
    are added after its last layer of images. What makes no network is left out, and the line says why.

    ``growth`` is the time's ratio to the line before, divided by that of the operations: 1 means that they grow alike.
    """
    print(f"{'recipe':40} {'what':>22} {'MFLOP/sample':>13} {'µs/sample':>10} {'of it':>6} {'MB':>8} {'growth':>7}")
    for file in files:
        config = yaml.safe_load(file.read_text())
        options: dict[str, Any] = config["model"]["init_args"]
        recipe_rule(file)  # refuses what is no network before others are made of it
        batch_size = batch_size_of(file)
        iterations = [name for name in options if name in ("free_steps", "inference_steps")]
        points: dict[str, list[tuple[int, int, dict[str, Any]]]] = {
            "batch size": [(n, n, {}) for n in (20, 80, 320, 1280, 4096)]
        }
        sizes: list[int] | None = options.get("layer_sizes")
        if sizes is not None:
            nets = {d: [sizes[0], d, sizes[-1]] for d in (256, 512, 1024, 2048, 4096)}
            points["width"] = [(d, batch_size, {"layer_sizes": net}) for d, net in nets.items()]
            nets = {L: [sizes[0], *[sizes[1]] * (L - 1), sizes[-1]] for L in (2, 4, 8, 16)}
            points["depth"] = [(L, batch_size, {"layer_sizes": net}) for L, net in nets.items()]
        else:
            wide = (wider(options["network"], times) for times in (0.5, 1, 2, 4))
            points["channels"] = [(_units(net[1]), batch_size, {"network": net}) for net in wide if net]
            points["depth"] = _of_depths(options, batch_size)
        points |= {name: [(t, batch_size, {name: t}) for t in (10, 20, 40, 80)] for name in iterations}
        for what, values in points.items():
            last: Cost | None = None
            for value, n, changes in values:
                try:
                    rule = recipe_rule(file, **one_rate_for_all(options, changes))
                except UserError as error:  # its identity skips, for example, allow no other width
                    print(f"{f'{file.parent.name}/{file.stem}':40} {f'{what} {value}':>22} left out: {error}")
                    continue
                now = cost(rule, n, rounds=3)
                growth = "" if last is None else f"{now.step / last.step / (now.operations / last.operations):7.2f}"
                print(
                    f"{f'{file.parent.name}/{file.stem}':40} {f'{what} {value}':>22} {now.operations / n / 1e6:13.2f}"
                    f" {now.step / n * 1e3:10.1f} {now.products / now.step:6.0%} {now.memory / 1e6:8.1f} {growth:>7}",
                    flush=True,
                )
                last = now


def wider(layers: Sequence[Any], times: float) -> list[Any] | None:
    """Returns a list of layers whose hidden ones have so many times the channels or units, at least one.

    None where there are none, or one is a wiring of one's own.
    """
    shape, *hidden, output = layers
    if not hidden or not all(isinstance(layer, int) or layer.keys() & KINDS for layer in hidden):
        return None
    return [shape, *(_with_units(layer, max(1, round(_units(layer) * times))) for layer in hidden), output]


def deeper(layers: Sequence[Any], more: int) -> list[Any] | None:
    """Returns a list of layers with so many more convolutions after the last layer of images, 3 × 3 and of its shape.

    Skips come from the same layers as before. None where there is no layer of images.
    """
    last = _last_on_images(layers)
    if last is None:
        return None
    added = {"conv": _units(layers[last]), "kernel": 3, "padding": 1}
    above = [_with_skips_moved(layer, last, more) for layer in layers[last + 1 :]]
    return [*layers[: last + 1], *[added] * more, *above]


def sparse_of_deeper(dual_step_sizes: Mapping[int, float], last: int, more: int) -> dict[int, float]:
    """Returns ``dual_step_sizes`` of a net with so many more layers after the layer ``last``, which are as it is."""
    found = {k if k <= last else k + more: size for k, size in dual_step_sizes.items()}
    if last in dual_step_sizes:
        found |= dict.fromkeys(range(last + 1, last + more + 1), dual_step_sizes[last])
    return dict(sorted(found.items()))


def _of_depths(options: Mapping[str, Any], batch_size: int) -> list[tuple[int, int, dict[str, Any]]]:
    found: list[tuple[int, int, dict[str, Any]]] = []
    last = _last_on_images(options["network"])
    for more in (0, 1, 3, 7):
        net = deeper(options["network"], more)
        if net is not None and last is not None:
            sparse = options.get("dual_step_sizes")
            changes = {} if sparse is None else {"dual_step_sizes": sparse_of_deeper(sparse, last, more)}
            found.append((len(net) - 1, batch_size, {"network": net, **changes}))
    return found


def _last_on_images(layers: Sequence[Any]) -> int | None:
    found = [k for k, layer in enumerate(layers) if isinstance(layer, Mapping) and layer.keys() & {"conv", "local"}]
    return found[-1] if found else None


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


def _units(layer: Mapping[str, Any] | int) -> int:
    """Returns the channels of a layer of images, or the units of a dense one."""
    return layer if isinstance(layer, int) else int(next(layer[kind] for kind in layer.keys() & KINDS))


def _with_units(layer: Mapping[str, Any] | int, units: int) -> Mapping[str, Any] | int:
    return units if isinstance(layer, int) else {**layer, **dict.fromkeys(layer.keys() & KINDS, units)}


def one_rate_for_all(options: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Returns changes with one number in the place of each list by layer, which a new depth would not fit.

    Rates become small, so that weights stay what they are; of other lists the first number counts.
    """
    small: dict[str, Any] = {}
    for name, value in options.items():
        if name not in ("layer_sizes", "network", "target_range") and isinstance(value, list):
            small[name] = 1e-6 if name.endswith("learning_rates") else value[0]
    if "dual_step_sizes" in options and "layer_sizes" in changes:
        small["dual_step_sizes"] = {len(changes["layer_sizes"]) - 1: 0.01}
    return {**small, **changes}
