"""The matrix products and convolutions of a step: counted, and built again so that they can be timed alone."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bioplausible.lightning_internals import TorchDispatchMode

COUNTED = ("mm", "addmm", "bmm", "baddbmm", "convolution", "convolution_backward")
"""torch's operators that are matrix products and convolutions; ``addmm_`` and the like are the same ones in place."""


@dataclass(frozen=True)
class Stored:
    """A tensor but for its values.

    Attributes:
        shape: its shape.
        stride: where its entries lie.
        dtype: their type.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def tensor(self, device: torch.device) -> Tensor:
        """Returns a tensor that is stored so, of random numbers."""
        last = sum((size - 1) * stride for size, stride in zip(self.shape, self.stride, strict=True))
        return torch.rand(last + 1, device=device).to(self.dtype).as_strided(self.shape, self.stride)


@dataclass(frozen=True)
class Product:
    """A matrix product or a convolution, its adjoint or its correlation, but for the numbers in it.

    Attributes:
        operator: torch's.
        arguments: its arguments, a :class:`Stored` in the place of each tensor and 1 in that of each factor.
        options: those that it takes by name, likewise.
    """

    operator: Any
    arguments: tuple[Any, ...]
    options: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, operator: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> "Product":
        """Returns the product of a call."""
        return cls(operator, _described(arguments), tuple((name, _described(v)) for name, v in options.items()))

    def work(self, device: torch.device) -> Callable[[], Any]:
        """Returns the work of it, on tensors of the same shapes that are stored alike."""
        arguments, options = _built(self.arguments, device), {name: _built(v, device) for name, v in self.options}
        return lambda: self.operator(*arguments, **options)

    @property
    def operations(self) -> int:
        """Its floating-point operations: a multiplication and an addition each, by the zeros around an image too."""
        counted = getattr(torch.ops.aten, _name(self.operator))
        meta = torch.device("meta")
        with FlopCounterMode(display=False) as counter:
            counted(*_built(self.arguments, meta), **{n: _built(v, meta) for n, v in self.options if n != "out"})
        return int(counter.get_total_flops())


def _name(operator: Any) -> str:
    """Returns an operator's name, that of ``addmm`` for ``addmm_`` too."""
    return str(operator.overloadpacket.__name__).removesuffix("_")


def _described(value: Any) -> Any:
    if isinstance(value, Tensor):
        return Stored(tuple(value.shape), value.stride(), value.dtype)
    if isinstance(value, (list, tuple)):
        return tuple(map(_described, value))
    return 1.0 if isinstance(value, float) else value  # a step size, say: it takes no time of its own


def _built(value: Any, device: torch.device) -> Any:
    if isinstance(value, tuple):
        return tuple(_built(entry, device) for entry in value)
    return value.tensor(device) if isinstance(value, Stored) else value


class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the matrix products and convolutions that are computed under it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[Product] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _name(function) in COUNTED:
            self.counts[Product.of(function, args, kwargs or {})] += 1
        return function(*args, **(kwargs or {}))

    @property
    def operations(self) -> int:
        """Floating-point operations of all of them."""
        return sum(product.operations * count for product, count in self.counts.items())
