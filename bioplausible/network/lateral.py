"""A layer wired to itself: channel to channel at every position, the same at all of them."""

import torch
from torch import Tensor, nn

from bioplausible.functional import mean_outer_product, rows, update_inverse_correlation_
from bioplausible.network.initialization import positive_semidefinite


class Lateral(nn.Module):
    """Lateral weights (channels × channels) of a layer; on a flat layer every neuron is a channel."""

    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.product_dtype: torch.dtype | None = None
        """Lower precision of the factors of :meth:`correlate`; None: that of the activity."""

    def matrix(self) -> Tensor:
        """Returns what multiplies the activity (C × C)."""
        return self.weight

    def correlate(self, activity: Tensor, scale: float = 1.0) -> Tensor:
        """Returns scale · ⟨r r⟩ (C × C), the mean over samples and positions, of the activity (n × C × …)."""
        r = rows(activity)
        if self.product_dtype is None:
            return mean_outer_product(r * scale, r)
        return mean_outer_product((r * scale).to(self.product_dtype), r.to(self.product_dtype)).to(r.dtype)

    def wires(self) -> "LateralWires":
        """Returns the lateral weights for the iterations of a relaxation, during which they do not change."""
        return LateralWires(self.matrix())

    def forward(self, activity: Tensor) -> Tensor:
        """Returns the matrix times the activity (n × C × …) of every position."""
        n, channels, *positions = activity.shape
        return (rows(activity) @ self.matrix().t()).view(n, *positions, channels).movedim(-1, 1)


class LateralWires:
    """Lateral weights for the iterations of a relaxation.

    Args:
        matrix: what multiplies the activity (C × C).
    """

    __slots__ = ("_matrix_t",)

    def __init__(self, matrix: Tensor) -> None:
        self._matrix_t = matrix.t()

    def add_lateral_(self, voltage: Tensor, activity: Tensor, scale: float) -> None:
        """Adds scale · matrix · r to the voltage (n × C × …) of every position, in place."""
        if activity.ndim == 2:
            voltage.addmm_(activity, self._matrix_t, alpha=scale)
        else:  # a view, where channels lie last
            of_positions = voltage.permute(0, 2, 3, 1).view(-1, len(self._matrix_t))
            of_positions.addmm_(rows(activity), self._matrix_t, alpha=scale)


class InverseCorrelation(Lateral):
    """Lateral weights B that follow the inverse (R + εI)⁻¹ of their layer's correlation R, the mean over positions.

    B is no parameter of the optimizer: it learns by :meth:`learn_` alone.

    Args:
        channels: C.
        epsilon: ε ≥ 0.
    """

    def __init__(self, channels: int, epsilon: float = 0.0) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.register_buffer("weight", positive_semidefinite(channels))

    def starts_bounded(self) -> bool:
        """Returns whether ε keeps the eigenvalues of B below 1/ε, which it does where none starts above."""
        return bool(torch.linalg.eigvalsh(self.weight)[-1] * self.epsilon < 1)

    def learn_(self, activity: Tensor, forgetting_factor: float) -> None:
        """Updates B ← (B − γ (⟨z z⟩ + ε B²))/λ, z = B r at every position, from the activity r (n × C × …)."""
        update_inverse_correlation_(self.weight, rows(activity), forgetting_factor, self.epsilon)


class Inhibition(Lateral):
    """Lateral weights M that add ½ Σ_p rᵀ M r to an energy; their rule moves them, no optimizer.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", positive_semidefinite(channels))

    def matrix(self) -> Tensor:
        """Returns (M + Mᵀ)/2, whose product with r is the energy's gradient."""
        return (self.weight + self.weight.t()) / 2


class Recurrent(Lateral):
    """Recurrent weights R from every channel to every other, 0 at the start; their rule moves them, no optimizer.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(channels, channels))
