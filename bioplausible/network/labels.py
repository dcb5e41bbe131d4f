"""An output that nothing drives, for rules that read the class elsewhere."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from bioplausible.errors.checks import require
from bioplausible.network.connection import Connection
from bioplausible.network.specification import Layer


class Labels(Connection):
    """Connection without weights through which nothing comes: the output has a unit for each class, and no input.

    Args:
        pre_shape: of the presynaptic layer.
        classes: units of the output.
    """

    def __init__(self, pre_shape: Sequence[int], classes: int) -> None:
        self.classes = classes
        super().__init__(pre_shape, None, bias=False)

    @staticmethod
    def at_the_end(layers: Sequence[Layer]) -> tuple[Layer, ...]:
        """Returns layers whose last one has this wiring in place of its own.

        Raises:
            UserError: the last one is not just a number of units.
        """
        *hidden, last = layers
        classes = last.text.removeprefix("dense ")
        require(
            last.is_plain,
            f"{last.name} is the output, whose class is read from the layers below: give it as a number of classes.",
        )
        return (*hidden, replace(last, connect=partial(Labels._without_options, classes=int(classes))))

    @staticmethod
    def _without_options(pre_shape: Sequence[int], classes: int, **_: Any) -> "Labels":
        return Labels(pre_shape, classes)

    def transform(self, weight: Tensor | None, pre: Tensor) -> Tensor:
        """Returns 0 (n × classes)."""
        return pre.new_zeros(len(pre), self.classes)

    def transform_adjoint(self, weight: Tensor | None, post: Tensor) -> Tensor:
        """Returns 0 (n × pre_shape)."""
        return post.new_zeros(len(post), *self.pre_shape)

    def describe(self) -> str:
        """Returns what kind of wiring it is."""
        return "none"
