"""A correlation that follows the batches: what rules of decorrelation keep of a layer."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from bioplausible.functional import mean_outer_product
from bioplausible.network.initialization import draw


class RunningCorrelation(nn.Module):
    """R ← λ R + (1 − λ) ⟨a b⟩, a buffer that no optimizer moves.

    Args:
        start: R before the first batch.
    """

    weight: Tensor

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", start)

    @classmethod
    def with_error(cls, shape: Sequence[int], classes: int) -> "RunningCorrelation":
        """Returns one of a layer's activity (n × shape) with the output's error (n × classes): R (shape × classes).

        It starts Xavier-uniform, as the projections of direct feedback alignment do.
        """
        d = prod(shape)
        return cls(draw((*shape, classes), classes, d, "xavier"))

    def after(self, mean: Tensor, forgetting_factor: float) -> Tensor:
        """Returns what R is after a batch with the mean ⟨a b⟩, and leaves R as it is."""
        return torch.lerp(self.weight, mean, 1 - forgetting_factor)


def mean_product(activity: Tensor, error: Tensor) -> Tensor:
    """Returns ⟨a ε⟩ (shape × classes), the mean over samples, of an activity (n × shape) and an error (n × classes)."""
    return mean_outer_product(activity.flatten(1), error).view(*activity.shape[1:], -1)


def broadcast(R: Tensor, error: Tensor) -> Tensor:
    """Returns ε Rᵀ (n × shape), an error (n × classes) as a layer gets it through R (shape × classes)."""
    return (error @ R.flatten(0, -2).t()).view(-1, *R.shape[:-1])
