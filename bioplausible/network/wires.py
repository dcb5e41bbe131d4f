"""A connection as a relaxation uses it: many iterations with weights that do not change."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from bioplausible.functional import through_both_parts

if TYPE_CHECKING:
    from bioplausible.network.connection import Connection


class Wires:
    """A connection for the iterations of a relaxation: weights at hand, additions in place, winners found once.

    :meth:`add_feedforward_` notes the winners of max pooling, and :meth:`add_feedback_` passes through them. Weights
    are plain attributes: a module looks each up for about as long as a small product takes.

    Args:
        connection: the connection.
    """

    __slots__ = ("_V", "_W", "_connection", "_winners", "post", "pre")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._W: Tensor | None = connection.scaled(connection.weight)
        self._V: Tensor | None = self._W
        if connection.weight is not None and not connection.is_tied:
            self._V = connection.scaled(connection.feedback_weight)
        self._winners: Tensor | None = None
        self.pre, self.post = connection.pre, connection.post

    def add_feedforward_(self, voltage: Tensor, pre: Tensor, scale: float = 1.0) -> None:
        """Adds scale · Q(W * r) to the voltage (n × post_shape), in place; the bias is left out."""
        connection = self._connection
        drive, self._winners = connection.pooled(through_both_parts(partial(connection.transform, self._W), pre))
        voltage.add_(drive, alpha=scale)

    def set_feedback_(self, voltage: Tensor, post: Tensor, at: Tensor) -> None:
        """Sets the voltage (n × pre_shape) to Vᵀ ⊛ Qᵀ z, in place."""
        voltage.copy_(self._feedback(post, at))

    def add_feedback_(self, voltage: Tensor, post: Tensor, at: Tensor, scale: float = 1.0) -> None:
        """Adds scale · Vᵀ ⊛ Qᵀ z to the voltage (n × pre_shape), in place, ``at`` the presynaptic activity now."""
        voltage.add_(self._feedback(post, at), alpha=scale)

    def find_winners(self, at: Tensor) -> None:
        """Notes the winners at a presynaptic activity (n × pre_shape), where a relaxation starts."""
        self._winners = self._connection.winners(at)

    def _feedback(self, post: Tensor, at: Tensor) -> Tensor:
        connection = self._connection
        if connection.winners_of == "feedback":
            self._winners = connection.winners(at, "feedback")
        return connection._back(self._V, post, self._winners)
