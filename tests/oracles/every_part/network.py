"""What each form of the network list makes: shapes, initial values, and what every connection does either way."""

from collections.abc import Iterator, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from bioplausible import UserError
from bioplausible.functional import silence
from bioplausible.network import (
    Connection,
    Feedback,
    Inhibition,
    Initialization,
    InverseCorrelation,
    Labels,
    Lateral,
    Network,
    Pooling,
    Recurrent,
    RunningCorrelation,
    Specification,
    broadcast,
    mean_product,
)
from bioplausible.network.connection import Direction
from bioplausible.network.pooling import KINDS
from bioplausible.network.specification import KEYS, OF_EVERY_LAYER
from tests.oracles.every_part.recording import Cases, Result, Value, near, number

INPUT = [2, 7, 6]
OUTPUT = 4

ENTRIES: dict[str, dict[str, Any]] = {
    "dense": {"dense": 5},
    "conv": {"conv": 3, "kernel": 3, "padding": 1},
    "local": {"local": 3, "kernel": 3, "padding": 1},
    "class_path": {"class_path": "tests.helpers.Depthwise", "init_args": {"kernel": 3}},
}
"""The second layer of the network, above a convolution of three channels."""

OTHERS: dict[str, list[Any]] = {
    "dense": [1, 0, 2.0, True, "five"],
    "conv": [1, 6, 0, None],
    "local": [1, 6, 0],
    "class_path": ["bioplausible.network.Dense", "bioplausible.network.Network", "nowhere.Wiring"],
    "init_args": [{"kernel": 2, "stride": 2}, {"kernel": 3, "padding": 0, "gain": 0.5}, {"core": 3}, 3],
    "kernel": [1, 2, 5, 9, 0, None],
    "stride": [2, 3, 0],
    "padding": [0, 2, -1],
    "pool": ["average", "max", "soft", {"max": 3}, {"average": 3}, {"soft": 1}, {"max": 9}, {"max": 0}, "median"],
    "gain": [0.5, {"weight": 2}, {"weight": 0.7, "bias": 0.5}, {"bias": 3.0}, 0, -1, {"slope": 1}],
    "skip": [0, 1, [0, 1], {"from": 0}, {"from": 1, "stride": 2}, {"from": 0, "gain": 0.3}, 2, {"to": 1}, {"from": -1}],
    "order": ["conv, relu"],
}
"""Values of an entry's keys, and of one that there is not."""

NETWORKS: dict[str, list[Any]] = {
    "dense alone": [7, 6, 5, 4],
    "of an image": [[1, 3, 2], 5, 4],
    "two pools": [
        [1, 9, 8],
        {"conv": 2, "kernel": 2, "padding": 1, "pool": "max"},
        {"conv": 3, "kernel": 2, "pool": "soft"},
        4,
    ],
    "skips around a pool": [
        [2, 6, 6],
        {"conv": 3, "kernel": 3, "padding": 1, "pool": "average", "skip": {"from": 0, "stride": 2, "gain": 0.6}},
        {"conv": 3, "kernel": 3, "padding": 1, "pool": {"max": 1}, "skip": [1, {"from": 0, "stride": 2}]},
        {"dense": 3, "gain": 0.8},
        {"dense": 4, "skip": []},
    ],
    "dense skips": [5, 5, {"dense": 5, "skip": 1}, {"dense": 5, "skip": [0, 2]}, 4],
}

REFUSED: list[Any] = [
    None,
    [],
    [7],
    "7, 4",
    [[7, 7], 4],
    [[0, 7, 7], 4],
    [7, 0],
    [7, {"conv": 3, "kernel": 3}, 4],
    [[2, 7, 6], {"conv": 3, "kernel": 3}],
    [7, {"dense": 3, "conv": 3}, 4],
    [7, {}, 4],
    [7, {"dense": 5, "pool": "max"}, 4],
    [7, {"dense": 5, "gain": {"bias": 2}}, 4],
    [[2, 7, 6], {"conv": 10_000_001, "kernel": 3}, 4],
    [[2, 7, 6], 5, {"dense": 4, "skip": {"from": 1, "stride": 1}}],
]

OPTIONS: dict[str, list[Any]] = {
    "initialization": list(get_args(Initialization)),
    "feedback": list(get_args(Feedback)),
    "bias": [True, False],
    "gain": [0.5, 0.0],
    "bias_gain": [0.5, -1.0],
}
"""Values of the options of every connection; the pool is the list's."""

KEYS_AND_OPTIONS = {*KEYS, *OF_EVERY_LAYER, *(key for keys in KEYS.values() for key in keys), *OPTIONS} - {
    "bias_gain",  # given layer by layer
    "class_path",  # there is one class
}
"""Of each of which a value must change something."""

WITH_EVERYTHING = [
    [2, 12, 10],
    {"conv": 3, "kernel": 3, "padding": 1, "skip": {"from": 0, "stride": 1}},
    {"conv": 3, "kernel": 3, "stride": 2, "padding": 1, "pool": "max"},
    {"local": 2, "kernel": 2, "padding": 2, "pool": "average"},
    {"class_path": "tests.helpers.Depthwise", "init_args": {"kernel": 3}, "pool": "soft"},
    5,
    {"dense": OUTPUT, "skip": []},
]


def results(folder: Path) -> Cases:
    """Yields each key of each kind of entry at every value, whole networks, and each option of all connections."""
    assert KEYS.keys() == ENTRIES.keys(), "say in ENTRIES what a layer of the new kind is"
    for kind, further in KEYS.items():
        entry = ENTRIES[kind]
        yield kind, "", computed(_above(entry))
        for key in (kind, *further, *OF_EVERY_LAYER, "order"):
            for value in OTHERS[key]:
                given = entry | ({key: value} if value is not None else {})
                given = given if value is not None else {name: v for name, v in entry.items() if name != key}
                yield kind, f"{key}={value}", computed(_above(given))
    for name, network in NETWORKS.items():
        yield name, "", computed(network)
        yield name, "biases drawn", computed(network, initialization="linear")
    yield "table", "", {"table": _built(WITH_EVERYTHING, {}).table()}
    for network in REFUSED:
        yield "refused", str(network), computed(network)
    yield "refused", "sizes and a list", _read([7, 4], [7, 4])
    for sizes in ([7], [7, None], [7, -1]):
        yield "refused", f"layer_sizes {sizes}", _read(sizes, None)
    unvaried = signature(Connection.__init__).parameters.keys() - {
        "self",
        "pre_shape",
        "weight_shape",
        "pool",
        *OPTIONS,
    }
    assert not unvaried, f"say in OPTIONS which values {unvaried} have"
    for base, first in {"options": {}, "kaiming": {"initialization": "kaiming", "feedback": "learned"}}.items():
        yield base, "", computed(WITH_EVERYTHING, **first)
        for name, values in OPTIONS.items():
            for value in values:
                if first.get(name) != value:
                    yield base, f"{name}={value}", computed(WITH_EVERYTHING, **first | {name: value})
    gains = [entry | {"gain": {"weight": 0.6, "bias": 3}} for entry in ENTRIES.values() if "dense" not in entry]
    yield "options", "gains of biases", computed([INPUT, *gains, 5, 4], initialization="linear")
    yield "attributes", "scale", computed(WITH_EVERYTHING, scale=0.7, feedback="learned")
    yield "attributes", "winners of the feedback", computed(WITH_EVERYTHING, winners_of="feedback", feedback="learned")
    yield from _beside()


def _above(entry: dict[str, Any]) -> list[Any]:
    return [INPUT, {"conv": 3, "kernel": 3, "padding": 1}, entry, OUTPUT]


def _read(sizes: Any, network: Any) -> Result:
    try:
        return {"layers": ", ".join(layer.name for layer in Specification.read(sizes, network).layers)}
    except UserError as error:
        return str(error)


def computed(network: Any, scale: float = 1.0, winners_of: Direction = "feedforward", **options: Any) -> Result:
    """Returns all numbers of a network, or the sentence with which it is refused.

    Args:
        network: the list.
        scale: of each connection.
        winners_of: of each connection.
        options: those of every connection.
    """
    try:
        built = _built(network, options)
    except UserError as error:
        return str(error)
    for connection in built.connections:
        connection.scale, connection.winners_of = scale, winners_of
    with torch.no_grad():
        return dict(_numbers(built))


def _built(network: Any, options: dict[str, Any]) -> Network:
    """Returns a network that drew its initial values in float64: in float32 their last digit depends on the CPU."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return Network(Specification.read(None, network), **options)
    finally:
        torch.set_default_dtype(before)


def _numbers(network: Network) -> Iterator[tuple[str, Value]]:
    yield "rows", "; ".join(", ".join(filter(None, row[1:])) for row in network.rows()[2:])
    yield "sizes", f"{network.settling}, {[c.fan_in for c in network.connections]}, {' '.join(network.wiring)}"
    yield "start", near(_state(network))
    draw = np.random.RandomState(5)

    def drawn(shape: Sequence[int], n: int = 3) -> Tensor:
        return torch.from_numpy(draw.randn(n, *shape))

    for connection in network.connections:  # biases start at 0
        if connection.bias is not None:
            connection.bias.add_(drawn(connection.bias.shape, 1)[0])
    found: dict[str, list[Tensor]] = {name: [] for name in ("forward", "back", "products", "projected", "wires")}
    for c in network.connections:
        r, at, z, plus = drawn(c.pre_shape), drawn(c.pre_shape), drawn(c.post_shape), drawn(c.post_shape)
        found["forward"] += [c.feedforward(r)]
        found["back"] += [c.adjoint(z, at), c.feedback(z, at)]
        found["projected"] += [c.project(drawn((d := c.draw_projection(2)).shape, 1)[0].view_as(d), drawn((2,)))]
        found["projected"] += [d]
        wires, there, back = c.wires(), silence(z, c.post_shape) + 1, silence(z, c.pre_shape) + 1
        wires.add_feedforward_(there, at, 0.3)
        wires.add_feedback_(back, z, at, 0.7)
        found["wires"] += [there, back.clone()]
        wires.find_winners(r)
        wires.set_feedback_(back, z, r)
        found["wires"] += [back]
        if c.bias is not None:
            found["products"] += [c.bias_update(z)]
        if c.weight is None:
            continue
        found["products"] += [c.correlate(z, r), c.correlate(z, r, at, "feedback"), c.contrast((plus, r), (z, at))]
        found["forward"] += [c.met(c.weight)]
        if c.pool is None or c.pool.is_holomorphic:
            found["products"] += [c.correlate(torch.complex(z, plus), torch.complex(r, at))]
            found["forward"] += [c.feedforward(torch.complex(r, at))]
    states, at = ([drawn(shape) for shape in network.shapes] for _ in range(2))
    whole = [network.drive(k, states) for k in range(1, network.L + 1)]
    whole += [network.unpooled_drive(k, states) for k in range(1, network.L + 1)]
    whole += [network.feedback(k, states, at) for k in range(network.L + 1)]
    whole += [
        network.correlate_unpooled(c, drawn(network.chain[c.post - 1].unpooled_shape), states[c.pre])
        for c in network.weighted
    ]
    whole += [network.as_input(states[0].flatten(1))]
    clamped = network.clamp(states[0])
    whole += clamped.rest()
    for k in range(1, network.L):
        whole += [clamped.drive(k, states), clamped.constant[k]]
        voltage = silence(at[k], network.shapes[k]) + 1
        clamped.add_drive_(k, voltage, states, 0.6)
        voltage.add_(clamped.constant[k], alpha=0.9)
        clamped.find_winners(at)
        clamped.add_feedback_(k, voltage, states, at, 0.4)
        whole += [voltage.clone()]
        clamped.set_feedback_(k, voltage, states, at)
        whole += [voltage]
    found["whole"] = whole
    for name, tensors in found.items():
        yield name, near(tensors)
    network.redraw_feedback(torch.Generator().manual_seed(2))
    yield "drawn anew", near(_state(network))


def _state(network: Network) -> list[Tensor]:
    """Returns all weights; of sign-sharing feedback what acts."""
    feedback = [c.feedback_weight for c in network.weighted]
    return [t.detach().clone() for t in [*network.state_dict().values(), *feedback]]


def _beside() -> Cases:
    """Yields what lateral weights, running correlations, pooling and an output without input come to."""
    draw = np.random.RandomState(6)
    flat, images, error = (torch.from_numpy(draw.randn(*shape)) for shape in ((4, 3), (4, 3, 2, 5), (4, 2)))
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(1)
        kinds = (InverseCorrelation(3), InverseCorrelation(3, epsilon=0.4), Inhibition(3), Recurrent(3))
        assert {cls.__name__ for cls in Lateral.__subclasses__()} == {type(lateral).__name__ for lateral in kinds}
        for i, lateral in enumerate(kinds):
            yield "beside", f"{type(lateral).__name__} {i}", dict(_lateral(lateral, [flat, images], draw))
        for shape, activity in (((3,), flat), ((3, 2, 5), images)):
            running = RunningCorrelation.with_error(shape, 2)
            after = running.after(mean_product(activity, error), 0.3)
            found = [running.weight, after, broadcast(after, error)]
            yield "beside", f"RunningCorrelation of {shape}", {"numbers": near(found)}
    finally:
        torch.set_default_dtype(before)
    z = torch.from_numpy(draw.randn(2, 3, 5, 7))
    for kind in KINDS:
        for size in (1, 2, 3):
            pool = Pooling(kind, size)
            small, winners = pool.forward(z)
            found = [small, pool.adjoint(small, winners, 5, 7), pool.sums(z)]
            found += [spread(small, 5, 7) for spread in (pool.spread, pool.spread_rest)]
            yield "beside", f"Pooling {kind} {size}", {"numbers": near(found)}
    labels = _built([7, 6, 4], {})
    layers = Labels.at_the_end(Specification.read(None, [7, 6, 4]).layers)
    network = Network(Specification((7,), layers))
    assert len(labels.connections) == len(network.connections)
    yield "beside", "Labels", {"rows": str(network.rows()), "drive": near(network.connections[-1].feedforward(error))}


def _lateral(lateral: Any, activities: list[Tensor], draw: np.random.RandomState) -> Iterator[tuple[str, Value]]:
    yield "start", near([lateral.weight])
    if isinstance(lateral, InverseCorrelation):
        yield "bounded", str(lateral.starts_bounded())
    lateral.weight += torch.from_numpy(0.1 * draw.randn(*lateral.weight.shape))  # off symmetry
    found = [lateral.matrix()]
    for activity in activities:
        found += [lateral(activity), lateral.correlate(activity, 0.3)]
        voltage = silence(activity, activity.shape[1:]) + 1
        lateral.wires().add_lateral_(voltage, activity, 0.7)
        found += [voltage]
        if isinstance(lateral, InverseCorrelation):
            lateral.learn_(activity, 0.9)
            found += [lateral.weight.clone()]
    yield "numbers", near(found)
    yield "size", number(*lateral.weight.shape)
