"""What the forms of predictive coding share whose output is compared with the target."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bioplausible.errors.checks import require
from bioplausible.functional import ActivationName, prediction_error_energy
from bioplausible.network import Sizes
from bioplausible.rules.options import require_choice
from bioplausible.rules.predictive_coding_network import PredictiveCodingNetwork
from bioplausible.training.phase import Phase

Loss = Literal["squared_error", "cross_entropy"]


class SupervisedPredictiveCoding(PredictiveCodingNetwork):
    """Predictive coding with a target y for its output, which is softened, or the classes' probabilities.

    With the squared error the output is held at the target, v_L = y. With ``loss: cross_entropy`` it is free, and its
    error is e_L = y − softmax(W_L f(v_{L−1}) + b_L), minus the gradient of each sample's loss.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        activation_function: f.
        target_range: value of the target for the other classes and for the right one.
        loss: whose error the output has; cross entropy needs the target range [0, 1].
        options: the other arguments of
            :class:`bioplausible.rules.predictive_coding_network.PredictiveCodingNetwork`.

    Raises:
        UserError: an argument is outside its range.
    """

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        activation_function: ActivationName = "relu",
        target_range: tuple[float, float] = (0.0, 1.0),
        loss: Loss = "squared_error",
        **options: Any,
    ) -> None:
        super().__init__(layer_sizes, activation_function, **options)
        require(
            target_range[0] < target_range[1],
            f"target_range is {target_range}: the right class needs the larger value.",
        )
        require_choice("loss", loss, ("squared_error", "cross_entropy"))
        require(
            loss == "squared_error" or tuple(target_range) == (0, 1),
            f"target_range is {target_range}: cross entropy needs [0, 1], the probabilities of the right class.",
        )
        self.target_range = target_range
        self.loss = loss

    def soften(self, target: Tensor) -> Tensor:
        """Returns low + (high − low) y of the one-hot target y (n × d_L), with the target range's two values."""
        low, high = self.target_range
        return target * (high - low) + low

    def compare_output_(self, e: list[Tensor], v: list[Tensor], target: Tensor) -> None:
        """Sets e_L = y − softmax(W_L f(v_{L−1}) + b_L) with cross entropy, and v_L to the prediction."""
        if self.loss == "cross_entropy":
            v[-1].sub_(e[-1])
            torch.sub(target, v[-1].softmax(1), out=e[-1])

    def energy(self, phase: Phase, target: Tensor) -> Tensor | None:
        """Returns Σ_k ‖e_k‖² of each sample (n), twice what is descended, 2 C in the place of its last term."""
        if self.loss == "squared_error":
            return super().energy(phase, target)
        *hidden, last = self.errors(phase)
        cost = self.sample_losses(self.compared_output(phase.output, last), target)
        return prediction_error_energy([*hidden, torch.zeros_like(last)]) + 2 * cost

    def compared_output(self, output: Tensor, error: Tensor) -> Tensor:
        """Returns the output (n × d_L) that cross entropy compares with y, μ_L, from v_L and v_L − μ_L."""
        return output - error

    def sample_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns the loss of each sample (n): ½ ‖v_L − target‖², the energy before inference, or the cross entropy."""
        if self.loss == "cross_entropy":
            return F.cross_entropy(output, target, reduction="none")
        return (output - self.soften(target)).square().sum(1) / 2

    def class_probabilities(self, output: Tensor) -> Tensor:
        """Returns the softmax of the output where the loss is the cross entropy, else as for every rule (n × d_L).

        Outputs count from the lowest target on where that is negative.
        """
        if self.loss == "cross_entropy":
            return output.softmax(1)
        return super().class_probabilities(output - min(self.target_range[0], 0.0))
