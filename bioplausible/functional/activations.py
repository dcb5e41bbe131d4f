"""Activation functions and their derivatives."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, Protocol, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from bioplausible.errors import UserError

ActivationName = Literal["sigmoid", "tanh", "relu", "linear", "gelu", "hard_tanh", "elu"]
StateActivationName = Literal["clip", "sigmoid", "relu6", "linear", "smooth_clip"]


class Function(Protocol):
    """An element-wise function that writes into ``out`` where that is given."""

    def __call__(self, values: Tensor, /, *, out: Tensor | None = None) -> Tensor:
        """Returns the function's values."""
        ...


class Activation(NamedTuple):
    """An activation function f and its derivative, as a function of a = f(v) where that tells it.

    Attributes:
        function: v ↦ f(v), element by element.
        derivative: f(v) ↦ f′(v), element by element, 0 at a kink; None where f(v) does not tell it, for f falls and
            rises.
        derivative_of_values: v ↦ f′(v), where f(v) does not tell it.
    """

    function: Function
    derivative: Function | None
    derivative_of_values: Function | None = None

    def kept(self, values: Tensor, activity: Tensor) -> Tensor:
        """Returns what :meth:`slope` needs of v and f(v)."""
        return activity if self.derivative_of_values is None else values

    def slope(self, kept: Tensor, out: Tensor | None = None) -> Tensor:
        """Returns f′(v), element by element, from what was kept of v and f(v)."""
        derivative = self.derivative or self.derivative_of_values
        assert derivative is not None
        return derivative(kept, out=out)


def _identity(values: Tensor, out: Tensor | None = None) -> Tensor:
    return values if out is None else out.copy_(values)


def _one(values: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.ones_like(values) if out is None else out.fill_(1)


def _sigmoid_derivative(a: Tensor, out: Tensor | None = None) -> Tensor:
    """Returns a (1 − a)."""
    return torch.addcmul(a, a, a, value=-1, out=out)


def _tanh_derivative(a: Tensor, out: Tensor | None = None) -> Tensor:
    """Returns 1 − a²."""
    return torch.addcmul(a.new_ones(()), a, a, value=-1, out=out)


def _gelu(values: Tensor, out: Tensor | None = None) -> Tensor:
    found = F.gelu(values)
    return found if out is None else out.copy_(found)


def _gelu_derivative(values: Tensor, out: Tensor | None = None) -> Tensor:
    """Returns Φ(v) + v φ(v), with Φ and φ the normal distribution and its density."""
    density = values.square().mul_(-0.5).exp_().mul_(1 / math.sqrt(2 * math.pi))
    return torch.addcmul(torch.special.ndtr(values), values, density, out=out)


def _is_inside(a: Tensor, out: Tensor | None = None) -> Tensor:
    inside = a.abs() < 1
    return inside.to(a.dtype) if out is None else out.copy_(inside)


def _elu(values: Tensor, out: Tensor | None = None) -> Tensor:
    found = F.elu(values)
    return found if out is None else out.copy_(found)


def _elu_derivative(a: Tensor, out: Tensor | None = None) -> Tensor:
    """Returns 1 where a is positive, else 1 + a, which is exp(v) there."""
    return torch.clamp(a + 1, max=1, out=out)


_ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": Activation(torch.sigmoid, _sigmoid_derivative),
    "tanh": Activation(torch.tanh, _tanh_derivative),
    # 1 where a > 0, and a is nowhere negative
    "relu": Activation(partial(torch.clamp, min=0), torch.sign),
    "linear": Activation(_identity, _one),
    # v Φ(v)
    "gelu": Activation(_gelu, None, _gelu_derivative),
    # 1 where −1 < a < 1
    "hard_tanh": Activation(partial(torch.clamp, min=-1, max=1), _is_inside),
    # v where v > 0, else exp(v) − 1
    "elu": Activation(_elu, _elu_derivative),
}


def activation(name: str) -> Activation:
    """Returns an activation function by its name.

    ``sigmoid``; ``tanh``; ``relu``; ``linear``; ``gelu``: v Φ(v), Φ the normal distribution (Hendrycks & Gimpel 2016);
    ``hard_tanh``: min(max(v, −1), 1); ``elu``: v, where it is negative exp(v) − 1 (Clevert, Unterthiner & Hochreiter
    2016).

    Raises:
        UserError: there is none of this name.
    """
    if name not in _ACTIVATIONS:
        raise UserError(f"There is no activation {name!r}: choose one of {', '.join(get_args(ActivationName))}.")
    return _ACTIVATIONS[name]


class StateActivation(NamedTuple):
    """An activation function f of states that settle, with the potential whose derivative is f⁻¹.

    States descend r ← f(r + η (u − r)), at η = 1 r ← f(u), and rest at r = f(u) where f projects onto an interval.
    Where it does not, only η = 1 leads there.

    Attributes:
        function: u ↦ f(u).
        projects: whether f is a projection.
        potential: r ↦ ∫ f⁻¹, element by element; None where f falls and rises.
        holomorphic: whether f has a derivative at complex u.
    """

    function: Function
    projects: bool
    potential: Callable[[Tensor], Tensor] | None
    holomorphic: bool = False


# partial, because a Python function around torch's would take a tenth of its time
clip: Function = partial(torch.clamp, min=0, max=1)
"""u ↦ min(max(u, 0), 1)."""


def _half_square(r: Tensor) -> Tensor:
    return r.square() / 2


def _logistic(z: Tensor, out: Tensor | None = None) -> Tensor:
    """Returns 1/(1 + e^{−z}), of complex z without the overflow of e^{−z}."""
    if not z.is_complex():
        return torch.sigmoid(z, out=out)
    return torch.add((z / 2).tanh() / 2, 0.5, out=out)


def _sigmoid_of_four(u: Tensor, out: Tensor | None = None) -> Tensor:
    return _logistic(4 * u - 2, out=out)


def _smooth_clip(u: Tensor, out: Tensor | None = None, *, a: float) -> Tensor:
    """Returns u/2 σ(a u) + (1 − u/2) σ(a (u − 2))."""
    return torch.add(u / 2 * _logistic(a * u), (1 - u / 2) * _logistic(a * (u - 2)), out=out)


def _sigmoid_potential(r: Tensor) -> Tensor:
    """Returns ∫ f⁻¹ with f⁻¹(r) = (logit r + 2)/4."""
    return (torch.xlogy(r, r) + torch.xlogy(1 - r, 1 - r)) / 4 + r / 2


_STATE_ACTIVATIONS: dict[str, StateActivation] = {
    "clip": StateActivation(clip, True, _half_square),
    "relu6": StateActivation(partial(torch.clamp, min=0, max=6), True, _half_square),
    "linear": StateActivation(_identity, True, _half_square, holomorphic=True),
    "sigmoid": StateActivation(_sigmoid_of_four, False, _sigmoid_potential, holomorphic=True),
}


def state_activation(name: str, slope: float = 4.0) -> StateActivation:
    """Returns an activation of states by its name.

    ``clip``: min(max(u, 0), 1); ``relu6``: min(max(u, 0), 6); ``linear``: u; ``sigmoid``: σ(4u − 2), a smooth clip;
    ``smooth_clip``: u/2 σ(a u) + (1 − u/2) σ(a (u − 2)), which is min(max(u/2, 0), 1) where a is large (Laborieux &
    Zenke 2022).

    Args:
        name: its name.
        slope: a of ``smooth_clip``.

    Raises:
        UserError: there is none of this name.
    """
    if name == "smooth_clip":
        return StateActivation(partial(_smooth_clip, a=slope), False, None, holomorphic=True)
    if name not in _STATE_ACTIVATIONS:
        raise UserError(f"There is no activation {name!r}: choose one of {', '.join(get_args(StateActivationName))}.")
    return _STATE_ACTIVATIONS[name]
