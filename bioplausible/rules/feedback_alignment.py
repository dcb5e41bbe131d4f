"""Feedback alignment (Lillicrap, Cownden, Tweed & Akerman 2016)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from typing_extensions import Self

from bioplausible.functional import alignment_angle
from bioplausible.network.dense import Feedback, Initialization
from bioplausible.rules.backpropagation import Backpropagation, Loss


class FeedbackAlignment(Backpropagation):
    r"""Backpropagation whose errors go down through fixed random matrices V_{k+1} instead of Wᵀ_{k+1}.

    δ_k = f′(a_k) ⊙ V_{k+1} δ_{k+1};  all else as in backpropagation. V has the shape and initialisation of Wᵀ, never
    learns, and is saved in checkpoints.

    Args:
        layer_sizes: d_0 … d_L.
        loss: the cost whose error is sent down.
        options: the other arguments of :class:`bioplausible.Backpropagation`.

    Raises:
        UserError: an argument is outside its range.
    """

    recorded_as = "feedback_alignment"
    recorded_but_unused = frozenset({"Wfa0"})  # the first layer sends no error down
    feedback: Feedback = "fixed"
    initialization: Initialization = "xavier"

    def __init__(self, layer_sizes: list[int], loss: Loss = "mean_squared_error", **options: Any) -> None:
        super().__init__(layer_sizes, loss, **options)

    def alignment_angles(self) -> dict[int, Tensor]:
        """Returns the angle between W_k and V_kᵀ in degrees, k = 2 … L."""
        return {k: alignment_angle(c.weight, c.feedback_weight) for k, c in enumerate(self.connections[1:], 2)}

    @classmethod
    def from_recording(cls, meta: Mapping[str, Any]) -> Self:
        """Builds the rule from a recorded trajectory's hyperparameters; its loss is described in words there."""
        return super().from_recording({**meta, "loss": "mean_squared_error"})

    def recorded_weights(self) -> dict[str, Tensor]:
        """Returns W, b and Vᵀ by their keys in a recorded trajectory: ``W{i}``, ``b{i}`` and ``Wfa{i}``."""
        fixed = {f"Wfa{i}": c.feedback_weight.t() for i, c in enumerate(self.connections) if i > 0}
        return {**super().recorded_weights(), **fixed}
