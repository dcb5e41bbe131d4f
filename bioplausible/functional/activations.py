"""Activation functions and their derivatives."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from bioplausible.errors import UserError

ActivationName = Literal["sigmoid", "tanh", "relu", "linear"]


class Activation(NamedTuple):
    """An activation function f and its derivative as a function of a = f(v).

    Attributes:
        function: v ↦ f(v), element by element.
        derivative: f(v) ↦ f′(v), element by element; 0 at the kink of the ReLU.
    """

    function: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]


_ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": Activation(torch.sigmoid, lambda a: a * (1 - a)),
    "tanh": Activation(torch.tanh, lambda a: 1 - a * a),
    "relu": Activation(torch.relu, lambda a: (a > 0).to(a.dtype)),
    "linear": Activation(lambda v: v, torch.ones_like),
}


def activation(name: str) -> Activation:
    """Returns an activation function by its name: ``sigmoid``, ``tanh``, ``relu`` or ``linear``.

    Raises:
        UserError: there is none of this name.
    """
    if name not in _ACTIVATIONS:
        raise UserError(f"There is no activation {name!r}: choose one of {', '.join(get_args(ActivationName))}.")
    return _ACTIVATIONS[name]
