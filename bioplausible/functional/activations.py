"""Activation functions and their derivatives."""

from typing import Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

from bioplausible.errors import UserError

ActivationName = Literal["sigmoid", "tanh", "relu", "linear"]


class Function(Protocol):
    """An element-wise function that writes into ``out`` where that is given."""

    def __call__(self, values: Tensor, /, *, out: Tensor | None = None) -> Tensor:
        """Returns the function's values."""
        ...


class Activation(NamedTuple):
    """An activation function f and its derivative as a function of a = f(v).

    Attributes:
        function: v ↦ f(v), element by element.
        derivative: f(v) ↦ f′(v), element by element; 0 at the kink of the ReLU.
    """

    function: Function
    derivative: Function


def _identity(values: Tensor, out: Tensor | None = None) -> Tensor:
    return values if out is None else out.copy_(values)


def _one(values: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.ones_like(values) if out is None else out.fill_(1)


_ACTIVATIONS: dict[str, Activation] = {
    # a (1 − a)
    "sigmoid": Activation(torch.sigmoid, lambda a, out=None: torch.addcmul(a, a, a, value=-1, out=out)),
    # 1 − a²
    "tanh": Activation(torch.tanh, lambda a, out=None: torch.addcmul(a.new_ones(()), a, a, value=-1, out=out)),
    # 1 where a > 0, and a is nowhere negative
    "relu": Activation(lambda v, out=None: torch.clamp(v, min=0, out=out), torch.sign),
    "linear": Activation(_identity, _one),
}


def activation(name: str) -> Activation:
    """Returns an activation function by its name: ``sigmoid``, ``tanh``, ``relu`` or ``linear``.

    Raises:
        UserError: there is none of this name.
    """
    if name not in _ACTIVATIONS:
        raise UserError(f"There is no activation {name!r}: choose one of {', '.join(get_args(ActivationName))}.")
    return _ACTIVATIONS[name]
