"""Feedback alignment (Lillicrap, Cownden, Tweed & Akerman 2016)."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from typing_extensions import Self

from bioplausible.connections.dense import Feedback, Initialization
from bioplausible.functional import ActivationName, alignment_angle
from bioplausible.rules.backpropagation import Backpropagation, Loss


class FeedbackAlignment(Backpropagation):
    r"""Backpropagation whose errors go down through fixed random matrices V_{k+1} instead of Wᵀ_{k+1}.

    δ_k = f′(a_k) ⊙ V_{k+1} δ_{k+1};  all else as in backpropagation. V has the shape and initialisation of Wᵀ, never
    learns, and is saved in checkpoints.

    Args:
        layer_sizes: d_0 … d_L.
        loss: the cost whose error is sent down.
        activation_function: f of the hidden layers.
        output_activation: f of the output.
        optimizer: any torch optimizer.
        lr_scheduler: any torch scheduler.
        lr_scheduler_interval: whether the scheduler counts epochs or steps.

    Raises:
        UserError: an argument is outside its range.
    """

    recorded_as = "feedback_alignment"
    recorded_but_unused = frozenset({"Wfa0"})  # the first layer sends no error down
    feedback: Feedback = "fixed"
    initialization: Initialization = "xavier"

    def __init__(
        self,
        layer_sizes: list[int],
        loss: Loss = "mean_squared_error",
        activation_function: ActivationName = "relu",
        output_activation: ActivationName = "linear",
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        super().__init__(
            layer_sizes, loss, activation_function, output_activation, optimizer, lr_scheduler, lr_scheduler_interval
        )

    def alignment_angles(self) -> dict[int, Tensor]:
        """Returns the angle between W_k and V_kᵀ in degrees, k = 2 … L."""
        return {k: alignment_angle(c.weight, c.feedback_weight) for k, c in enumerate(self.connections[1:], 2)}

    @classmethod
    def from_recording(cls, meta: Mapping[str, Any]) -> Self:
        """Builds the rule from a recorded trajectory's hyperparameters, with its optimizer."""

        def optimizer(groups: Any) -> torch.optim.Optimizer:
            return torch.optim.SGD(groups, lr=meta["lr"])

        return super().from_recording(
            {**{k: v for k, v in meta.items() if k != "loss"}, "optimizer": optimizer, "loss": "mean_squared_error"}
        )

    def recorded_weights(self) -> dict[str, Tensor]:
        """Returns W, b and Vᵀ by their keys in a recorded trajectory: ``W{i}``, ``b{i}`` and ``Wfa{i}``."""
        fixed = {f"Wfa{i}": c.feedback_weight.t() for i, c in enumerate(self.connections) if i > 0}
        return {**super().recorded_weights(), **fixed}
