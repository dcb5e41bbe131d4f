"""A network in a line of a table."""

from collections.abc import Mapping, Sequence
from typing import Any


def net_name(options: Mapping[str, Any]) -> str:
    """Returns a network's name, the same for all ways to write the same network.

    A dense network is its sizes, ``784-500-10``. Of others the input's shape and the layers stand between dots, for
    example ``1×28×28 · conv32 5×5 max · conv64 3×3/2 +1 · 10``: 32 channels by a 5 × 5 convolution, 2 × 2 max pooling
    after it; 64 channels, stride 2, a skip connection from layer 1; 10 dense units. Likewise ``local32 5×5``,
    ``pad1`` (padding), ``average3`` (average pooling of 3 × 3), ``+1/2`` (a skip by a 1 × 1 convolution of stride 2),
    and the class's name, with its arguments, for a wiring of one's own.

    Args:
        options: a rule's, of which ``layer_sizes`` and ``network`` count.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: they describe no network.
    """
    sizes = options.get("layer_sizes")
    shape, *layers = options["network"] if sizes is None else sizes
    shape = [shape] if isinstance(shape, int) else shape
    if not layers:
        raise ValueError("there is no layer")
    names = ["×".join(str(int(d)) for d in shape), *map(_layer, layers)]
    return ("-" if all(name.isdigit() for name in names) else " · ").join(names)


def gains(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the gains of a network's initial weights where it names any: by layer, and as ``3+1`` of a skip from 1.

    Args:
        options: a rule's.
    """
    found: dict[str, Any] = {}
    for k, entry in enumerate((options.get("network") or [])[1:], start=1):
        if isinstance(entry, Mapping):
            found[f"{k}"] = entry.get("gain")
            skips = entry.get("skip")
            for skip in skips if isinstance(skips, Sequence) else [skips]:
                if isinstance(skip, Mapping):
                    found[f"{k}+{skip.get('from')}"] = skip.get("gain")
    return {name: gain for name, gain in found.items() if gain is not None}


def _layer(entry: Any) -> str:
    if not isinstance(entry, Mapping):
        return str(int(entry))
    skips = entry.get("skip")
    words = [_kind(entry), *map(_skip, skips if isinstance(skips, Sequence) else [] if skips is None else [skips])]
    return " ".join(words)


def _kind(entry: Mapping[str, Any]) -> str:
    if "dense" in entry:
        return str(int(entry["dense"]))
    if "class_path" in entry:
        arguments = entry.get("init_args") or {}
        texts = ", ".join(f"{name}={arguments[name]}" for name in sorted(arguments))
        words = [str(entry["class_path"]).rpartition(".")[2] + (f"({texts})" if texts else "")]
    else:
        kind = "conv" if "conv" in entry else "local"
        kernel, stride, padding = int(entry["kernel"]), int(entry.get("stride", 1)), int(entry.get("padding", 0))
        words = [f"{kind}{int(entry[kind])}", f"{kernel}×{kernel}" + (f"/{stride}" if stride != 1 else "")]
        words += [f"pad{padding}"] if padding else []
    pool = entry.get("pool")
    if pool is not None:
        ((how, size),) = pool.items() if isinstance(pool, Mapping) else [(pool, 2)]
        words.append(f"{how}{int(size) if size != 2 else ''}")
    return " ".join(words)


def _skip(skip: Any) -> str:
    if not isinstance(skip, Mapping):
        return f"+{int(skip)}"
    return f"+{int(skip['from'])}/{int(skip.get('stride', 1))}"
