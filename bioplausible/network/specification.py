"""A network in a few readable lines: the list that users write, and the connections that it asks for."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from bioplausible.errors import UserError
from bioplausible.errors.checks import LARGEST, require
from bioplausible.network.connection import Connection
from bioplausible.network.convolution import Convolution, Local
from bioplausible.network.dense import Dense
from bioplausible.network.pooling import KINDS as POOLS
from bioplausible.network.pooling import Pooling

MOST_NEURONS = 10**7
"""Of a layer: no machine holds the weights of two such layers, yet their number does not overflow."""

Entry = dict[str, Any] | Any
"""An entry of the list, in signatures: with ``Any`` alone the command line would build what has a ``class_path``."""

Sizes = list[int] | list[int | None]
"""Sizes of dense layers; at the command line null leaves the first or the last one to the data."""

IMAGE_KEYS = ("kernel", "stride", "padding", "pool")
KEYS = {"dense": (), "conv": IMAGE_KEYS, "local": IMAGE_KEYS, "class_path": ("init_args", "pool")}
"""What an entry may say beside its kind, but for :data:`OF_EVERY_LAYER`."""
OF_EVERY_LAYER = ("skip", "gain")


@dataclass(frozen=True)
class Skip:
    """A connection from an earlier layer.

    Attributes:
        pre: its number.
        stride: of a 1 × 1 convolution; None: the identity.
        gain: of the convolution's initial weights.
    """

    pre: int
    stride: int | None = None
    gain: float = 1.0


@dataclass(frozen=True)
class Connect:
    """Makes a layer's connection once the shape before it is known; an object, for a function within can't be pickled.

    Attributes:
        wiring: the connection's class.
        arguments: those that the list gives.
    """

    wiring: Callable[..., Connection]
    arguments: Mapping[str, Any]

    def __call__(self, shape: Sequence[int], **options: Any) -> Connection:
        """Returns the connection; the options are the rule's, and none may be an argument too."""
        return self.wiring(shape, **self.arguments, **options)


@dataclass(frozen=True)
class Layer:
    """An entry of the list.

    Attributes:
        number: k.
        text: what the user wrote, for sentences.
        connect: makes the connection from the layer before, given its shape and the rule's own options.
        skips: connections from earlier layers.
    """

    number: int
    text: str
    connect: Callable[..., Connection]
    skips: tuple[Skip, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether it is a number of dense units and nothing else."""
        return self.text.removeprefix("dense ").isdecimal() and not self.skips

    @property
    def name(self) -> str:
        """The layer as a sentence names it."""
        return f"layer {self.number} of the network ({self.text})"


@dataclass(frozen=True)
class Specification:
    """What a network is made of.

    Attributes:
        input_shape: of layer 0, (channels, height, width) or (units,).
        layers: 1 … L.
    """

    input_shape: tuple[int, ...]
    layers: tuple[Layer, ...]

    @classmethod
    def read(cls, layer_sizes: Sequence[int | None] | None, network: Sequence[Any] | None) -> "Specification":
        """Reads the short form or the list.

        Args:
            layer_sizes: d_0 … d_L of a dense network.
            network: the input's shape, then one entry a layer: the units of a dense one, or a mapping with the key
                ``dense``, ``conv``, ``local`` or ``class_path``.

        Raises:
            UserError: both or neither are given, or an entry is none.
        """
        require(
            layer_sizes is not None or network is not None,
            "layer_sizes and network are both missing: give one of them, for example layer_sizes [784, 500, 10].",
        )
        require(
            layer_sizes is None or network is None,
            "layer_sizes and network are both given: set one of them to null, to leave it to the other.",
        )
        if layer_sizes is not None:
            require(
                len(layer_sizes) >= 2 and all(_is_count(d) for d in layer_sizes),
                f"layer_sizes is {layer_sizes}: give at least an input and an output size, all between 1 and"
                f" {MOST_NEURONS}, for example [784, 500, 10].",
            )
            network = layer_sizes
        assert network is not None
        require(
            isinstance(network, (list, tuple)) and len(network) >= 2,
            f"network is {network}: give a list of the input's shape and at least one layer, for example"
            " [[1, 28, 28], {conv: 32, kernel: 3, stride: 2}, 10].",
        )
        first, *rest = network
        shape = (first,) if isinstance(first, int) else tuple(first) if isinstance(first, (list, tuple)) else ()
        require(
            len(shape) in (1, 3) and all(_is_count(d) for d in shape),
            f"network starts with {first!r}: its first entry is the input's shape, [channels, height, width] or the"
            " number of values.",
        )
        return cls(shape, tuple(_layer(k, entry) for k, entry in enumerate(rest, start=1)))


def _layer(number: int, entry: Any) -> Layer:
    if inspect.isfunction(entry) or hasattr(entry, "func") or inspect.isclass(entry):  # from Python
        return Layer(number, getattr(entry, "__name__", str(getattr(entry, "func", entry))), entry)
    if isinstance(entry, int) and not isinstance(entry, bool):
        entry = {"dense": entry}
    text = _text(entry)
    name = f"layer {number} of the network ({text})"
    kinds = [kind for kind in KEYS if isinstance(entry, Mapping) and kind in entry]
    require(
        len(kinds) == 1,
        f"{name} is no layer: give the units of a dense one, or one of {', '.join(KEYS)}, for example"
        " {conv: 32, kernel: 3}.",
    )
    (kind,) = kinds
    unknown = [key for key in entry if key not in (kind, *OF_EVERY_LAYER, *KEYS[kind])]
    require(
        not unknown,
        f"{name} has the key {', '.join(map(str, unknown))}: {kind} takes {', '.join((*KEYS[kind], *OF_EVERY_LAYER))}.",
    )
    skips = tuple(_skip(name, number, given) for given in _as_list(entry.get("skip")))
    pool, gains = _pool(name, entry.get("pool")), _gains(name, entry.get("gain"))
    if kind == "class_path":
        given = entry.get("init_args") or {}
        require(isinstance(given, Mapping), f"{name} has the init_args {given!r}: give them by name, as {{kernel: 3}}.")
        pool = pool or _pool(name, given.get("pool"))
        arguments = {**given, **({"pool": pool} if pool is not None else {}), **gains}
        return Layer(number, text, _own_class(name, entry["class_path"], arguments), skips)
    count = entry[kind]
    what = "units" if kind == "dense" else "channels"
    require(_is_count(count), f"{name} has {count!r} {what}: give a whole number between 1 and {MOST_NEURONS}.")
    if kind == "dense":
        return Layer(number, text, Connect(Dense, {"units": count, **gains}), skips)
    require("kernel" in entry, f"{name} has no kernel: give its side, for example kernel: 3.")
    geometry = {key: entry[key] for key in ("kernel", "stride", "padding") if key in entry}
    for key, value in geometry.items():
        least = 0 if key == "padding" else 1
        require(
            isinstance(value, int) and not isinstance(value, bool) and value >= least,
            f"{name} has the {key} {value!r}: give a whole number of pixels, at least {least}.",
        )
    wiring = Convolution if kind == "conv" else Local
    arguments = {"pool": pool, **geometry, **gains}
    return Layer(number, text, Connect(wiring, {"channels": count, **arguments}), skips)


def _pool(name: str, given: Any) -> Pooling | None:
    if given is None:
        return None
    kind, size = (given, 2) if isinstance(given, str) else next(iter(given.items())) if _is_single(given) else (None, 0)
    require(
        kind in POOLS and _is_count(size),
        f"{name} has the pool {_text(given)}: give max, average or soft, or its size too, as {{max: 3}}.",
    )
    return Pooling(cast(Any, kind), size)


def _gains(name: str, given: Any) -> dict[str, float]:
    """Returns the gains that an entry names, as a connection's arguments."""
    if given is None:
        return {}
    both = given if isinstance(given, Mapping) else {"weight": given}
    require(
        bool(both) and both.keys() <= {"weight", "bias"} and all(_is_gain(value) for value in both.values()),
        f"{name} has the gain {_text(given)}: give a positive number, or one each as {{weight: 0.7, bias: 0.5}}.",
    )
    return {{"weight": "gain", "bias": "bias_gain"}[key]: float(value) for key, value in both.items()}


def _skip(name: str, number: int, given: Any) -> Skip:
    pre, stride = (given.get("from"), given.get("stride", 1)) if isinstance(given, Mapping) else (given, None)
    gain = given.get("gain", 1.0) if isinstance(given, Mapping) else 1.0
    require(_is_gain(gain), f"{name} has a skip with the gain {gain!r}: give a positive number.")
    require(
        not isinstance(given, Mapping) or given.keys() <= {"from", "stride", "gain"},
        f"{name} has the skip {_text(given)}: give an earlier layer's number, or {{from: 1, stride: 2}} for a 1 × 1"
        " convolution.",
    )
    require(
        isinstance(pre, int) and not isinstance(pre, bool) and 0 <= pre <= number - 1,
        f"{name} has a skip from {pre!r}: give the number of an earlier layer, 0 … {number - 1}.",
    )
    require(stride is None or _is_count(stride), f"{name} has a skip with the stride {stride!r}: give a whole number.")
    return Skip(cast(int, pre), stride, float(gain))


def _own_class(name: str, class_path: Any, arguments: Mapping[str, Any]) -> Callable[..., Connection]:
    module, _, attribute = str(class_path).rpartition(".")
    try:
        wiring = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"{name}: there is no class {class_path} ({error}): give a path such as my_module.MyWiring."
        ) from error
    require(
        inspect.isclass(wiring) and issubclass(wiring, Connection),
        f"{name}: {class_path} is no bioplausible.network.Connection: derive it from that class.",
    )
    return Connect(wiring, arguments)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_NEURONS


def _is_gain(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= LARGEST


def _is_single(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) == 1


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def _text(entry: Any) -> str:
    """Returns an entry as a user writes it."""
    if not isinstance(entry, Mapping) or not entry:
        return str(entry)
    texts = ((key, f"{{{_text(value)}}}" if isinstance(value, Mapping) else value) for key, value in entry.items())
    return ", ".join(f"{key} {text}" for key, text in texts)
