"""How a rule's cost grows with batch size, width or channels, depth and iterations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bioplausible.commands.benchmark.cost import Cost, cost
from bioplausible.commands.benchmark.other_nets import deeper, last_on_images, sparse_of_deeper, units_of, wider
from bioplausible.commands.benchmark.recipe_files import batch_size_of, recipe_rule
from bioplausible.errors import UserError


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
            points["channels"] = [(units_of(net[1]), batch_size, {"network": net}) for net in wide if net]
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


def _of_depths(options: Mapping[str, Any], batch_size: int) -> list[tuple[int, int, dict[str, Any]]]:
    """Returns the points of a list of layers with more convolutions; none where it has no layer of images."""
    layers, sparse = options["network"], options.get("dual_step_sizes")
    last = last_on_images(layers)
    found: list[tuple[int, int, dict[str, Any]]] = []
    if last is None:
        return found
    for more in (0, 1, 3, 7):
        changes: dict[str, Any] = {"network": deeper(layers, last, more)}
        if sparse is not None:
            changes["dual_step_sizes"] = sparse_of_deeper(sparse, last, more)
        found.append((len(layers) - 1 + more, batch_size, changes))
    return found


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
