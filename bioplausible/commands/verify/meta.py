"""What a recording says of itself: every entry is understood, or the recording is refused."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar, cast

from bioplausible.errors.checks import require

T = TypeVar("T")

REMARKS = frozenset({"name", "note", "source"})
"""Entries for the reader, which may be anything or missing: the only ones that change nothing by their nature."""

REQUIRED: Any = object()
"""Stands for no default: the recording must say it."""

LIKE_CONVOLUTION_POOLING_ACTIVATION = ("f", "activation", "relu", "tanh", "sigmoid", "linear", "elu")
"""What a layer's ``order`` may call its activation function."""


def parse(text: str) -> dict[str, Any]:
    """Returns the entries of a recording's ``meta``.

    Raises:
        ValueError: it is no JSON object, says an entry twice, or holds a number that is NaN or infinite.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"meta says {', '.join(twice)} twice")
        return dict(pairs)

    def refuse(number: str) -> None:
        raise ValueError(f"meta holds the number {number}")

    found = json.loads(text, object_pairs_hook=once, parse_constant=refuse)
    if not isinstance(found, dict):
        raise ValueError("meta is no JSON object")
    return found


class Meta:
    """The entries of a recording's ``meta``, and which of them have been read.

    Args:
        entries: by name.
    """

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self._entries = dict(entries)
        self._unread = set(entries) - REMARKS

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    @property
    def names(self) -> list[str]:
        """The entries' names."""
        return list(self._entries)

    def read(self, name: str, default: Any = REQUIRED) -> Any:
        """Returns an entry.

        Raises:
            UserError: it is missing and has no default.
        """
        self._unread.discard(name)
        value = self._entries.get(name, default)
        require(value is not REQUIRED, f"its meta does not say its {name}: add it.")
        return value

    def arguments(self, names: Mapping[str, str]) -> dict[str, Any]:
        """Returns numbers that must be there by other names, those of a rule's arguments.

        Args:
            names: the argument's name by the entry's.
        """
        return {argument: self.number(name) for name, argument in names.items()}

    def number(self, name: str, default: Any = REQUIRED) -> Any:
        """Returns an entry that is a number, or a list of numbers.

        Raises:
            UserError: it is missing and has no default, or is neither.
        """
        found = self.read(name, default)
        if found is None and default is not REQUIRED:
            return default
        of_list = found if isinstance(found, list) and found else [found]
        require(
            all(
                isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number)
                for number in of_list
            ),
            f"its meta has {name} {found!r}: give a finite number, or one for each layer or step where it is a list.",
        )
        return found

    def flag(self, name: str) -> bool:
        """Returns an entry that is true or false.

        Raises:
            UserError: it is missing, or is neither.
        """
        found = self.read(name)
        require(isinstance(found, bool), f"its meta has {name} {found!r}: give true or false.")
        return cast(bool, found)

    def word(self, name: str, known: Mapping[str, T], default: Any = REQUIRED) -> T:
        """Returns what the words of an entry stand for; spaces, case and the kind of dash do not matter.

        Args:
            name: the entry's.
            known: what each wording stands for.
            default: the wording of a recording without this entry.

        Raises:
            UserError: the wording is not known.
        """
        found = self.read(name, default)
        meanings = {spell(wording): meaning for wording, meaning in known.items()}
        require(
            spell(found) in meanings,
            f"its meta says {name} {found!r}, which verify does not know: it knows {'; '.join(known)}.",
        )
        return meanings[spell(found)]

    def confirm(self, name: str, pattern: str, default: Any = REQUIRED) -> None:
        """Reads an entry in words that repeats what is known already.

        Args:
            name: the entry's.
            pattern: regular expression of what it must say, without spaces, in small letters.
            default: the wording of a recording without this entry.

        Raises:
            UserError: it says something else.
        """
        found = self.read(name, default)
        require(
            re.fullmatch(pattern, spell(found)) is not None,
            f"its meta says {name} {found!r}, which verify does not know of a recording of this rule.",
        )

    def require_all_read(self) -> None:
        """Raises a :class:`bioplausible.UserError` where an entry has not been read: it may stand for anything."""
        unread = sorted(self._unread)
        require(
            not unread,
            f"its meta has {', '.join(unread)}, which verify does not know of a recording of this rule: leave out what"
            " changes nothing.",
        )


def spell(words: Any) -> str:
    """Returns words in small letters, without spaces, with plain dashes and dots."""
    plain = str(words).lower().translate({0x2212: "-", 0x2013: "-", 0x2026: "...", 0xD7: "x", 0xBD: "1/2"})
    return re.sub(r"\s+", "", plain)


class Loss(NamedTuple):
    """What a recording minimizes.

    Attributes:
        kind: squared error, as ½ ‖r − y‖², or cross entropy.
        weight: what multiplies it; 0: 2/d, of the mean over d outputs.
        samples: how those of a batch are brought together; None: each is a loss of its own.
    """

    kind: str
    weight: float = 1.0
    samples: str | None = None

    def of_sample(self, outputs: int) -> float:
        """Returns the weight of one sample's loss, of as many outputs."""
        return self.weight or 2 / outputs


LOSSES = {
    "cross entropy": Loss("cross_entropy"),
    "cross entropy, mean over samples": Loss("cross_entropy", samples="mean"),
    "cross entropy, summed over samples": Loss("cross_entropy", samples="sum"),
    "half squared error summed over outputs": Loss("squared_error"),
    "half squared error summed over outputs, mean over samples": Loss("squared_error", samples="mean"),
    "half squared error summed over outputs and samples": Loss("squared_error", samples="sum"),
    "squared error summed over outputs, no 1/2": Loss("squared_error", weight=2),
    "mean squared error over all outputs and samples": Loss("squared_error", weight=0, samples="mean"),
}


def network_of(meta: Meta, activation: str | None = None) -> dict[str, Any]:
    """Returns a recorded network as a rule's argument ``layer_sizes`` or ``network``.

    Args:
        meta: the recording's.
        activation: f's name where a layer's ``order`` may give it.

    Raises:
        UserError: it says neither or both, or a layer is none that the package has.
    """
    dense, layers = meta.read("layer_sizes", None), meta.read("architecture", None)
    require(
        (dense is None) != (layers is None),
        f"its meta says {'neither' if dense is None else 'both'} layer_sizes and architecture: give one of them.",
    )
    return layers_of(meta, activation) if dense is None else {"layer_sizes": list(dense)}


def layers_of(meta: Meta, activation: str | None = None) -> dict[str, Any]:
    """Returns a recorded network that is said layer by layer as a rule's argument ``network``.

    Args:
        meta: the recording's.
        activation: f's name where a layer's ``order`` may give it.

    Raises:
        UserError: a layer is none that the package has.
    """
    layers = meta.read("architecture")
    require(
        isinstance(layers, list) and all(isinstance(layer, dict) for layer in layers),
        f"its meta has the architecture {layers!r}: give a list of layers.",
    )
    return {"network": [list(meta.read("input_shape")), *(_layer(layer, activation) for layer in layers)]}


def _layer(layer: Mapping[str, Any], activation: str | None) -> Any:
    kinds = {
        "dense": ("kind", "out_features"),
        "conv": ("kind", "out_channels", "kernel", "stride", "padding", "pool", "pool_size", "order"),
    }
    kind = layer.get("kind")
    require(kind in kinds, f"its architecture has a layer of kind {kind!r}: verify knows {', '.join(kinds)}.")
    unknown = [key for key in layer if key not in kinds[str(kind)]]
    require(not unknown, f"its architecture has a {kind} layer with {', '.join(unknown)}, which verify does not know.")
    if kind == "dense":
        return layer["out_features"]
    pools = {"avg": "average", "max": "max", None: None}
    missing = [key for key in kinds["conv"] if key != "order" and key not in layer]
    require(not missing, f"its architecture has a conv layer without {', '.join(missing)}: add what the layer had.")
    pool = layer["pool"]
    require(pool in pools, f"its architecture has the pool {pool!r}: verify knows max, avg and null.")
    _require_order(layer.get("order"), pool, activation)
    return {
        "conv": layer["out_channels"],
        **{key: layer[key] for key in ("kernel", "stride", "padding")},
        **({} if pool is None else {"pool": {pools[pool]: layer["pool_size"]}}),
    }


def _require_order(order: str | None, pool: str | None, activation: str | None) -> None:
    """Checks that a layer pools before its activation function, or as if: the largest stays the largest."""
    if order is None:
        return
    said, _, same = spell(order).partition("(=")
    require(
        (not same or same.endswith(")")) and "(" not in said,
        f"its architecture has a layer in the order {order!r}: give it as in conv, relu, pool, or with the order that"
        " does the same: conv, relu, pool (= conv, pool, relu).",
    )
    for steps in (said, *([same[:-1]] if same else [])):
        _require_steps(steps.split(","), order, pool, activation)


def _require_steps(steps: list[str], order: str, pool: str | None, activation: str | None) -> None:
    known = steps[0] == "conv" and all(step in ("pool", *LIKE_CONVOLUTION_POOLING_ACTIVATION) for step in steps[1:])
    named = [step for step in steps[1:] if step != "pool"]
    require(
        known
        and len(named) == 1
        and steps.count("pool") == (pool is not None)
        and (named[0] in ("f", "activation") or activation is None or named[0] == activation),
        f"its architecture has a layer in the order {order!r}, which verify does not know of this rule.",
    )
    require(
        pool != "avg" or steps[-1] != "pool",
        f"its architecture has a layer in the order {order!r}: here average pooling comes before the activation"
        " function, which is not the same.",
    )
