"""A layer wired to itself."""

import torch
from torch import Tensor, nn

from bioplausible.functional import update_inverse_correlation_


def positive_semidefinite(size: int) -> Tensor:
    """Returns A Aᵀ (size × size) with A Xavier-uniform, where lateral weights start."""
    A = nn.init.xavier_uniform_(torch.empty(size, size))
    product = A @ A.t()
    return (product + product.t()) / 2  # a product is symmetric only up to rounding


class InverseCorrelation(nn.Module):
    """Lateral weights B (d × d) that follow the inverse (R + εI)⁻¹ of their layer's correlation R.

    B is no parameter of the optimizer: it learns by :meth:`learn_` alone.

    Args:
        size: d, the number of neurons.
        epsilon: ε ≥ 0.
    """

    weight: Tensor

    def __init__(self, size: int, epsilon: float = 0.0) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.register_buffer("weight", positive_semidefinite(size))

    def starts_bounded(self) -> bool:
        """Returns whether ε keeps the eigenvalues of B below 1/ε, which it does where none starts above."""
        return bool(torch.linalg.eigvalsh(self.weight)[-1] * self.epsilon < 1)

    def add_lateral_(self, voltage: Tensor, activity: Tensor, scale: float) -> None:
        """Adds scale · B r to the voltage (n × d), in place."""
        voltage.addmm_(activity, self.weight.t(), alpha=scale)

    def learn_(self, activity: Tensor, forgetting_factor: float) -> None:
        """Updates B ← (B − γ (⟨z z⟩ + ε B²))/λ, z = B r, from the activity r (n × d)."""
        update_inverse_correlation_(self.weight, activity, forgetting_factor, self.epsilon)


class Inhibition(nn.Module):
    """Lateral weights M (d × d) that add ½ rᵀ M r to an energy, a parameter of the optimizer.

    Args:
        size: d, the number of neurons.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(positive_semidefinite(size))

    def symmetric(self) -> Tensor:
        """Returns (M + Mᵀ)/2, whose product with r is the energy's gradient."""
        return (self.weight + self.weight.t()) / 2
