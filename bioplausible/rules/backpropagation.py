"""Backpropagation (Rumelhart, Hinton & Williams 1986): the baseline of every table."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Literal, cast

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F

from bioplausible.errors.checks import require
from bioplausible.functional import ActivationName, activation
from bioplausible.network import Dense
from bioplausible.network.dense import Feedback, Initialization
from bioplausible.rules.base import LearningRule
from bioplausible.rules.network import weights_and_biases
from bioplausible.training.phase import Phase, Phases

Loss = Literal["mean_squared_error", "cross_entropy"]


class Backpropagation(LearningRule):
    r"""A multilayer perceptron that learns by backpropagation of the error.

    With a_k = W_k r_{k−1} + b_k and r_k = f(a_k), the errors go down through Wᵀ::

        δ_L = ∂C/∂a_L,     δ_k = f′(a_k) ⊙ W_{k+1}ᵀ δ_{k+1}
        ΔW_k ∝ −⟨δ_k r_{k−1}⟩,     Δb_k ∝ −mean(δ_k)

    C is the mean over the batch of the squared error averaged over outputs, or of the cross entropy.

    Args:
        layer_sizes: d_0 … d_L.
        loss: C.
        activation_function: f of the hidden layers.
        output_activation: f of the output; cross entropy takes the softmax of it.
        optimizer: any torch optimizer.
        lr_scheduler: any torch scheduler.
        lr_scheduler_interval: whether the scheduler counts epochs or steps.

    Raises:
        UserError: an argument is outside its range.
    """

    recorded_as = "backprop"
    feedback: Feedback = "tied"
    initialization: Initialization = "linear"

    def __init__(
        self,
        layer_sizes: list[int],
        loss: Loss = "cross_entropy",
        activation_function: ActivationName = "relu",
        output_activation: ActivationName = "linear",
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        super().__init__(layer_sizes, optimizer, lr_scheduler, lr_scheduler_interval)
        require(
            loss in ("mean_squared_error", "cross_entropy"),
            f"loss is {loss!r}: choose mean_squared_error or cross_entropy.",
        )
        self.loss = loss
        self.f = activation(activation_function)
        self.output_f = activation(output_activation)
        L = len(layer_sizes) - 1
        # a ModuleList registers them; for the type checker it is the list of what is in it
        self.connections = cast(
            list[Dense],
            nn.ModuleList(
                # the first layer sends no error down
                Dense(pre, post, feedback=self.feedback if k > 1 else "tied", initialization=self.initialization)
                for k, (pre, post) in zip(range(1, L + 1), pairwise(layer_sizes), strict=True)
            ),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns the output r_L (n × d_L) for the input x (n × d_0)."""
        return self.activity(x)[-1]

    def feedforward_output(self, x: Tensor) -> Tensor:
        """Returns the output of the feedforward pass."""
        return self.forward(x)

    def activity(self, x: Tensor) -> list[Tensor]:
        """Returns the activities r_0 = x, r_1 … r_L, each (n × d_k)."""
        r = [x]
        for k, connection in enumerate(self.connections, start=1):
            f = self.f if k < len(self.connections) else self.output_f
            r.append(f.function(connection.feedforward(r[-1])))
        return r

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phase ``feedforward``, with each sample's errors n · δ_k as ``internal["delta"]``."""
        r = self.activity(x)
        δ = self.loss_gradient(r[-1], target) * self.output_f.derivative(r[-1])
        deltas = [δ]
        for k in range(len(self.connections) - 1, 0, -1):
            δ = self.connections[k].feedback(δ) * self.f.derivative(r[k])
            deltas.insert(0, δ)
        return {"feedforward": Phase(r, internal={"delta": deltas})}

    def loss_gradient(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns the gradient of each sample's loss by the output (n × d_L)."""
        if self.loss == "cross_entropy":
            return output.softmax(1) - target
        return (output - target) * (2 / output.shape[1])

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with −⟨δ_k r_{k−1}⟩ and b_k with −mean(δ_k)."""
        phase = phases["feedforward"]
        for connection, δ, pre in zip(self.connections, phase.internal["delta"], phase.activity[:-1], strict=True):
            yield connection.weight, connection.correlate(-δ, pre)
            yield cast(Tensor, connection.bias), -δ.mean(0)

    def sample_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns the loss of each sample (n)."""
        if self.loss == "cross_entropy":
            return F.cross_entropy(output, target, reduction="none")
        return (output - target).square().mean(1)

    def class_probabilities(self, output: Tensor) -> Tensor:
        """Returns the softmax of the output where the loss is the cross entropy, else as for every rule (n × d_L)."""
        return output.softmax(1) if self.loss == "cross_entropy" else super().class_probabilities(output)

    def recorded_weights(self) -> dict[str, Tensor]:
        """Returns W and b by their keys in a recorded trajectory: ``W{i}`` and ``b{i}``."""
        return weights_and_biases(self.connections)
