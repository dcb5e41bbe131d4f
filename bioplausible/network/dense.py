"""Two layers wired all to all."""

from collections.abc import Sequence
from math import prod
from typing import Any, cast

import torch
from torch import Tensor

from bioplausible.functional import mean_outer_product
from bioplausible.network.connection import Connection
from bioplausible.network.wires import Wires


class Dense(Connection):
    """All-to-all connection: W * r is the product W r, with W (units × d_pre); images are flattened channel by channel.

    Args:
        pre_shape: of the presynaptic layer.
        units: postsynaptic neurons.
        options: the options of :class:`bioplausible.network.Connection`.
    """

    weight: torch.nn.Parameter

    def __init__(self, pre_shape: Sequence[int], units: int, **options: Any) -> None:
        super().__init__(pre_shape, (units, prod(pre_shape)), **options)

    def transform(self, weight: Tensor | None, pre: Tensor) -> Tensor:
        """Returns W r (n × units)."""
        assert weight is not None
        return torch.nn.functional.linear(pre.flatten(1), weight)

    def feedforward(self, pre: Tensor) -> Tensor:
        """Returns W r + b (n × units)."""
        if pre.is_complex():
            return super().feedforward(pre)
        return torch.nn.functional.linear(pre.flatten(1), cast(Tensor, self.scaled(self.weight)), self.bias)

    def transform_adjoint(self, weight: Tensor, post: Tensor) -> Tensor:
        """Returns Wᵀ z (n × pre_shape)."""
        return (post @ weight).view(-1, *self.pre_shape)

    def correlation(self, post: Tensor, pre: Tensor) -> Tensor:
        """Returns ⟨z r⟩ (units × d_pre)."""
        return mean_outer_product(post, pre.flatten(1))

    def projection_shape(self, channels: int) -> tuple[int, ...]:
        """Returns (channels × d_pre)."""
        return channels, prod(self.pre_shape)

    def wires(self) -> Wires:
        """Returns the connection for the iterations of a relaxation."""
        return FlatWires(self) if len(self.pre_shape) == 1 else DenseWires(self)

    def describe(self) -> str:
        """Returns what kind of wiring it is."""
        return f"dense {self.post_shape[0]}"


class DenseWires(Wires):
    """A dense connection from images, whose channels lie last, for the iterations of a relaxation."""

    __slots__ = ()
    _W: Tensor
    _V: Tensor

    def __init__(self, connection: Dense) -> None:
        super().__init__(connection)
        # once a relaxation instead of flattening the images in each iteration
        self._W, self._V = (self._channels_last(w, connection.pre_shape) for w in (self._W, self._V))

    @staticmethod
    def _channels_last(weight: Tensor, shape: Sequence[int]) -> Tensor:
        return weight.view(-1, *shape).permute(0, 2, 3, 1).flatten(1)

    @staticmethod
    def _flat(images: Tensor) -> Tensor:
        return images.permute(0, 2, 3, 1).reshape(len(images), -1)

    def add_feedforward_(self, voltage: Tensor, pre: Tensor, scale: float = 1.0) -> None:
        """Adds scale · W r to the voltage (n × units), in place; the bias is left out."""
        voltage.addmm_(self._flat(pre), self._W.t(), alpha=scale)

    def set_feedback_(self, voltage: Tensor, post: Tensor, at: Tensor) -> None:
        """Sets the voltage (n × pre_shape) to Vᵀ z, in place."""
        torch.mm(post, self._V, out=voltage.permute(0, 2, 3, 1).view(len(voltage), -1))

    def add_feedback_(self, voltage: Tensor, post: Tensor, at: Tensor, scale: float = 1.0) -> None:
        """Adds scale · Vᵀ z to the voltage (n × pre_shape), in place."""
        voltage.permute(0, 2, 3, 1).view(len(voltage), -1).addmm_(post, self._V, alpha=scale)

    def find_winners(self, at: Tensor) -> None:
        """Does nothing: there is no pooling."""


class FlatWires(Wires):
    """A dense connection between flat layers, which may lie neuron by neuron (:func:`functional.silence`)."""

    __slots__ = ("_W_t",)
    _W: Tensor
    _V: Tensor

    def __init__(self, connection: Dense) -> None:
        super().__init__(connection)
        self._W_t = self._W.t()

    def add_feedforward_(self, voltage: Tensor, pre: Tensor, scale: float = 1.0) -> None:
        """Adds scale · W r to the voltage (n × units), in place; the bias is left out."""
        voltage.addmm_(pre, self._W_t, alpha=scale)

    def set_feedback_(self, voltage: Tensor, post: Tensor, at: Tensor) -> None:
        """Sets the voltage (n × d_pre) to Vᵀ z, in place."""
        torch.mm(post, self._V, out=voltage)

    def add_feedback_(self, voltage: Tensor, post: Tensor, at: Tensor, scale: float = 1.0) -> None:
        """Adds scale · Vᵀ z to the voltage (n × d_pre), in place."""
        voltage.addmm_(post, self._V, alpha=scale)

    def find_winners(self, at: Tensor) -> None:
        """Does nothing: there is no pooling."""
