"""A layer wired to itself."""

import torch
from torch import Tensor, nn

from bioplausible.functional import update_inverse_correlation_


class InverseCorrelation(nn.Module):
    """Lateral weights B (d × d) that follow the inverse correlation of their layer's activity.

    B = A Aᵀ with A Xavier-uniform at the start. B is no parameter of the optimizer: it learns by :meth:`learn_` alone.

    Args:
        size: d, the number of neurons.
    """

    weight: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        A = nn.init.xavier_uniform_(torch.empty(size, size))
        self.register_buffer("weight", A @ A.t())

    def add_lateral_(self, voltage: Tensor, activity: Tensor, scale: float) -> None:
        """Adds scale · B r to the voltage (n × d), in place."""
        voltage.addmm_(activity, self.weight.t(), alpha=scale)

    def learn_(self, activity: Tensor, forgetting_factor: float) -> None:
        """Updates B ← (B − γ ⟨z z⟩)/λ, z = B r, from the activity r (n × d)."""
        update_inverse_correlation_(self.weight, activity, forgetting_factor)
