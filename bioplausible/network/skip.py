"""A layer that passes on what it holds, for skip connections."""

from collections.abc import Sequence

from torch import Tensor

from bioplausible.network.connection import Connection


class Identity(Connection):
    """Connection without weights: the postsynaptic layer receives r itself, and sends back z itself.

    Args:
        pre_shape: of both layers.
    """

    def __init__(self, pre_shape: Sequence[int]) -> None:
        super().__init__(pre_shape, None, bias=False)

    def transform(self, weight: Tensor | None, pre: Tensor) -> Tensor:
        """Returns r."""
        return pre

    def transform_adjoint(self, weight: Tensor | None, post: Tensor) -> Tensor:
        """Returns z."""
        return post

    def describe(self) -> str:
        """Returns what kind of wiring it is."""
        return "identity"
