"""Backpropagation (Rumelhart, Hinton & Williams 1986): the baseline of every table."""

from collections.abc import Iterable
from typing import Any, Literal, get_args

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.nn import functional as F

from bioplausible.functional import Activation, ActivationName, activation
from bioplausible.network import Connection, Entry, Initialization, Sizes
from bioplausible.rules.base import LearningRule
from bioplausible.rules.options import require_choice
from bioplausible.training.phase import Phase, Phases

Loss = Literal["mean_squared_error", "cross_entropy", "binary_cross_entropy"]
LOSSES = get_args(Loss)


class FeedforwardRule(LearningRule):
    r"""What backpropagation and its relatives share: a feedforward pass, and errors δ that synapses learn from.

    With a_k = W_k r_{k−1} + b_k, r_k = f(a_k) and C of each sample::

        δ_L = f′(a_L) ⊙ ∂C/∂r_L,     δ_k = f′(a_k) ⊙ (what comes back, the rule's own affair)
        ΔW_k ∝ −⟨δ_k r_{k−1}⟩,       Δb_k ∝ −mean(δ_k)

    On images W_k r is Q(W_k * r), pooling before f, and both updates sum over positions.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        loss: C of a sample: the squared error averaged over outputs, the cross entropy, or the binary cross entropy
            summed over outputs. What is descended is its mean over the batch.
        activation_function: f of the hidden layers.
        output_activation: f of the output; cross entropy takes the softmax of it, binary cross entropy the logistic
            function.
        optimizer: any torch optimizer.
        lr_scheduler: any torch scheduler.
        lr_scheduler_interval: whether the scheduler counts epochs or steps.
        gradient_norm_limit: largest norm of all updates together before rates; None: no limit.
        network: in place of the sizes, the input's shape and one entry a layer.

    Raises:
        UserError: an argument is outside its range.
    """

    of_hidden_layers = frozenset({"activation_function"})

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        loss: Loss = "cross_entropy",
        activation_function: ActivationName = "relu",
        output_activation: ActivationName = "linear",
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
        network: list[Entry] | None = None,
        gradient_norm_limit: float | None = None,
    ) -> None:
        super().__init__(layer_sizes, network, optimizer, lr_scheduler, lr_scheduler_interval, gradient_norm_limit)
        require_choice("loss", loss, LOSSES)
        self.loss = loss
        self.f = activation(activation_function)
        self.output_f = activation(output_activation)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the output r_L (n × d_L) for the input x (n × shape_0)."""
        return self.activity(x)[-1]

    def feedforward_output(self, x: Tensor) -> Tensor:
        """Returns the output of the feedforward pass."""
        return self.forward(x)

    def activity(self, x: Tensor) -> list[Tensor]:
        """Returns the activities r_0 = x, r_1 … r_L, each (n × shape_k)."""
        return self.feedforward(x)[0]

    def feedforward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Returns r_0 … r_L and, by layer, what f′ needs of a_k and r_k, x for the input."""
        network, r, kept = self.network, [x], [x]
        for k in range(1, network.L + 1):
            f, a = self.f_of(k), network.drive(k, r)
            r.append(f.function(a))
            kept.append(f.kept(a, r[k]))
        return r, kept

    def f_of(self, k: int) -> Activation:
        """Returns the activation function of layer k = 1 … L."""
        return self.f if k < self.network.L else self.output_f

    def loss_gradient(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns the gradient of each sample's loss by the output (n × d_L)."""
        error = self.prediction(output) - target
        return error * (2 / output.shape[1]) if self.loss == "mean_squared_error" else error

    def prediction(self, output: Tensor) -> Tensor:
        """Returns ŷ (n × d_L), which the loss compares with y: the output, its softmax or logistic function."""
        if self.loss == "cross_entropy":
            return output.softmax(1)
        return output.sigmoid() if self.loss == "binary_cross_entropy" else output

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with −⟨δ_k r_{k−1}⟩ and b_k with −mean(δ_k)."""
        phase = phases["feedforward"]
        for c in self.network.connections:
            minus_δ, weight, bias = -phase.internal["delta"][c.post - 1], c.weight, c.bias
            if weight is not None:
                yield weight, self.hebbian(c, minus_δ, phase.activity[c.pre])
            if bias is not None:
                yield bias, c.bias_update(minus_δ)

    def hebbian(self, c: Connection, post: Tensor, pre: Tensor) -> Tensor:
        """Returns ⟨z r⟩, of W's shape, of a connection's z in its postsynaptic layer and r in its presynaptic one."""
        return c.correlate(post, pre)

    def sample_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns the loss of each sample (n)."""
        if self.loss == "cross_entropy":
            return F.cross_entropy(output, target, reduction="none")
        if self.loss == "binary_cross_entropy":
            return F.binary_cross_entropy_with_logits(output, target, reduction="none").sum(1)
        return (output - target).square().mean(1)

    def class_probabilities(self, output: Tensor) -> Tensor:
        """Returns the softmax of the output where the loss is the cross entropy, else each ŷ's share (n × d_L)."""
        ŷ = self.prediction(output)
        return ŷ if self.loss == "cross_entropy" else super().class_probabilities(ŷ)


class Backpropagation(FeedforwardRule):
    r"""A feedforward network that learns by backpropagation of the error.

    With a_k = W_k r_{k−1} + b_k and r_k = f(a_k), the errors go down through Wᵀ::

        δ_L = f′(a_L) ⊙ ∂C/∂r_L,     δ_k = f′(a_k) ⊙ W_{k+1}ᵀ δ_{k+1}
        ΔW_k ∝ −⟨δ_k r_{k−1}⟩,       Δb_k ∝ −mean(δ_k)

    C of a sample is the squared error averaged over outputs, or the (binary) cross entropy; its mean over the batch is
    descended.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        initialization: of W and b (:func:`bioplausible.network.initialization.draw`).
        options: the other arguments of :class:`FeedforwardRule`.

    Raises:
        UserError: an argument is outside its range.
    """

    def __init__(
        self, layer_sizes: Sizes | None = None, initialization: Initialization = "linear", **options: Any
    ) -> None:
        super().__init__(layer_sizes, **options)
        self.network = self.build_network(initialization=initialization)

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phase ``feedforward``, with each sample's errors n · δ_1 … n · δ_L as ``internal["delta"]``."""
        return {"feedforward": backward(self, x, target)}


def backward(rule: FeedforwardRule, x: Tensor, target: Tensor) -> Phase:
    """Returns the feedforward pass and the errors that come down layer by layer through the feedback weights."""
    (r, kept), network = rule.feedforward(x), rule.network
    L = network.L
    δ: list[Tensor] = [*r]
    δ[L] = rule.output_f.slope(kept[L]) * rule.loss_gradient(r[L], target)
    for k in range(L - 1, 0, -1):
        δ[k] = rule.f.slope(kept[k]) * network.feedback(k, δ, at=r)
    return Phase(r, internal={"delta": δ[1:]})
