"""What predictive coding and its nudged form share."""

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from bioplausible.errors.checks import require
from bioplausible.functional import ActivationName, StepSizeRule, activation, prediction_error_energy, step_sizes
from bioplausible.network import Clamped, Entry, Initialization, Network, Sizes
from bioplausible.rules.base import LearningRule
from bioplausible.rules.options import refuse_unused_of_step_sizes, require_steps
from bioplausible.training.phase import Phase

OF_SETTLING = frozenset(
    {"inference_momentum", "inference_nesterov", "step_size", "step_size_rule", "step_size_floor", "step_size_decay"}
)
"""Options of how values settle, without the number of iterations."""


class PredictiveCodingNetwork(LearningRule):
    """Value neurons v and error neurons e.

    Each layer's values are predicted from the layer below, μ_k = W_k f(v_{k−1}) + b_k with f(v_0) := x, and the errors
    are e_k = v_k − μ_k. The output is linear. On images W_k f is Q(W_k * f), the values lie after pooling and before f,
    and updates sum over positions.

    With ``residual`` each hidden layer k > 1 of the shape of the layer before also receives the values of that layer,
    not their f: μ_k = W_k f(v_{k−1}) + b_k + v_{k−1} (Innocenti et al. 2025). A network's own ``skip`` passes f(v) on.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        activation_function: f.
        inference_steps: T, iterations of inference.
        inference_momentum: μ in [0, 1) of the values' descent: with g_k the direction in which v_k moves, m_k ← μ m_k +
            g_k and v_k ← v_k + η_t m_k, from m_k = 0 in each batch (Pinchetti et al. 2025).
        inference_nesterov: whether v_k moves by η_t (g_k + μ m_k) instead, m_k the new one, as torch's SGD has it.
        step_size: η.
        step_size_rule: how η falls during inference (:func:`bioplausible.functional.step_sizes`).
        step_size_floor: η_stop of the two falling rules; refused with ``constant``.
        step_size_decay: c of ``divide_by_slow_loop_index``; refused with the others.
        residual: whether hidden layers also receive the values of the layer before.
        bias: whether there are biases b.
        initialization: of W and b (:func:`bioplausible.network.initialization.draw`).
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
        activation_function: ActivationName = "relu",
        inference_steps: int = 50,
        inference_momentum: float = 0.0,
        inference_nesterov: bool = False,
        step_size: float = 0.1,
        step_size_rule: StepSizeRule = "constant",
        step_size_floor: float = 0.05,
        step_size_decay: float = 0.005,
        residual: bool = False,
        bias: bool = True,
        initialization: Initialization = "kaiming",
        optimizer: OptimizerCallable = torch.optim.SGD,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
        network: list[Entry] | None = None,
        gradient_norm_limit: float | None = None,
    ) -> None:
        super().__init__(layer_sizes, network, optimizer, lr_scheduler, lr_scheduler_interval, gradient_norm_limit)
        require_steps("inference_steps", inference_steps)
        require(step_size > 0, f"step_size is {step_size}: it must be positive.")
        require(
            0 <= inference_momentum < 1,
            f"inference_momentum is {inference_momentum}: it must lie in [0, 1), for with 1 values never settle.",
        )
        require(
            inference_momentum > 0 or not inference_nesterov,
            "inference_nesterov has no effect without momentum: give inference_momentum a value, for example 0.5.",
        )
        self.inference_momentum = inference_momentum
        self.inference_nesterov = inference_nesterov
        self.f = activation(activation_function)
        self.step_sizes = step_sizes(
            inference_steps, start=step_size, rule=step_size_rule, floor=step_size_floor, decay=step_size_decay
        )
        refuse_unused_of_step_sizes(self, step_size_rule)
        self.network = self.build_network(initialization=initialization, bias=bias)
        shapes = self.network.shapes
        self._like_the_one_before = {k for k in range(2, self.network.L) if shapes[k] == shapes[k - 1]}
        require(
            bool(self._like_the_one_before) or not residual,
            "residual has no effect here: no hidden layer has the shape of the hidden layer before, so leave it out.",
        )
        self.residual_layers = self._like_the_one_before if residual else set[int]()
        """The layers k that also receive v_{k−1}."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns the output (n × d_L) of a feedforward pass, for the input x (n × shape_0)."""
        return self.values(x)[-1]

    def activity(self, x: Tensor) -> list[Tensor]:
        """Returns x, f(v_1) … f(v_{L−1}) and v_L of a feedforward pass, for the input x (n × shape_0)."""
        v = self.values(x)
        return [*self.rates(v[:-1]), v[-1]]

    def feedforward_output(self, x: Tensor) -> Tensor:
        """Returns the output of the feedforward pass."""
        return self.values(x)[-1]

    def values(self, x: Tensor) -> list[Tensor]:
        """Returns x and the values of a feedforward pass, v_1 = W_1 x + b_1, v_k = W_k f(v_{k−1}) + b_k."""
        return self._pass(self.network, x)

    def feedforward(self, network: Clamped) -> Phase:
        """Returns the values of a feedforward pass of a network whose input is clamped."""
        return Phase(self._pass(network, network.x))

    def _pass(self, network: Network | Clamped, x: Tensor) -> list[Tensor]:
        v, f_v = [x], [x]
        for k in range(1, self.network.L + 1):
            v.append(self.prediction(network, k, v, f_v))
            f_v.append(self.f.function(v[k]))
        return v

    def prediction(self, network: Network | Clamped, k: int, v: Sequence[Tensor], f_v: Sequence[Tensor]) -> Tensor:
        """Returns μ_k = W_k f(v_{k−1}) + b_k, in residual layers + v_{k−1} (n × shape_k)."""
        drive = network.drive(k, f_v)
        return drive + v[k - 1] if k in self.residual_layers else drive

    def copy_of(self, network: Clamped, start: Phase) -> list[Tensor]:
        """Returns the values of a phase as tensors of their own, stored as the iterations are quickest."""
        return [network.x, *(a.copy_(b) for a, b in zip(network.rest()[1:], start.activity[1:], strict=True))]

    def find_errors_(
        self, network: Clamped, layers: Iterable[int], e: list[Tensor], v: list[Tensor], f_v: list[Tensor]
    ) -> None:
        """Sets e_k = v_k − μ_k of some layers."""
        for k in layers:
            torch.sub(v[k], network.constant[k], out=e[k])
            network.add_drive_(k, e[k], f_v, -1)
            if k in self.residual_layers:
                e[k].sub_(v[k - 1])

    @staticmethod
    def compared(network: Clamped) -> list[int]:
        """Returns the layers whose errors an iteration needs: the output, and those whose prediction changes."""
        return sorted({*network.driven, len(network.constant) - 1})

    def subtract_error_(self, network: Clamped, k: int, v: list[Tensor], e: list[Tensor], rate: float) -> None:
        """Subtracts rate · e_k from v_k, in one go where the prediction never changes: this error goes nowhere else."""
        if k in network.driven or k == len(v) - 1:
            v[k].sub_(e[k], alpha=rate)
        else:
            v[k].lerp_(network.constant[k], rate)

    def descend_(
        self,
        network: Clamped,
        k: int,
        v: list[Tensor],
        e: list[Tensor],
        back: list[Tensor],
        at: tuple[list[Tensor], list[Tensor]],
        m: list[Tensor],
        rate: float,
    ) -> None:
        """Moves a hidden layer's values by −e_k + f′(v_k) ⊙ W_{k+1}ᵀ e_{k+1}, below a residual layer + e_{k+1}.

        Args:
            network: with the input clamped.
            k: the layer.
            v: values by layer.
            e: errors by layer, those that :meth:`compared` names.
            back: by layer, room for what comes back.
            at: by layer, f and f′ where the errors come back.
            m: momentum by layer; none without momentum.
            rate: step size.
        """
        f_v, slope = at
        network.set_feedback_(k, back[k], e, f_v)
        below_residual = k + 1 in self.residual_layers
        if m:
            error = e[k] if k in network.driven else v[k] - network.constant[k]
            direction = back[k].mul_(slope[k]).sub_(error)
            self.move_(v[k], direction.add_(e[k + 1]) if below_residual else direction, m[k], rate)
            return
        self.subtract_error_(network, k, v, e, rate)
        v[k].addcmul_(slope[k], back[k], value=rate)
        if below_residual:
            v[k].add_(e[k + 1], alpha=rate)

    def brought_back(self, k: int, e: Sequence[Tensor], v: Sequence[Tensor], f_v: Sequence[Tensor]) -> Tensor:
        """Returns f′(v_k) ⊙ W_{k+1}ᵀ e_{k+1}, below a residual layer + e_{k+1} (n × shape_k), of e by layer."""
        back = self.network.feedback(k, e, at=f_v).mul_(self.f.slope(self.f.kept(v[k], f_v[k])))
        return back.add_(e[k + 1]) if k + 1 in self.residual_layers else back

    def momenta(self, v: Sequence[Tensor]) -> list[Tensor]:
        """Returns m_0 … m_L where inference starts, 0; none without momentum."""
        return [torch.zeros_like(a) for a in v] if self.inference_momentum else []

    def move_(self, v: Tensor, direction: Tensor, m: Tensor, rate: float) -> None:
        """Moves a layer's values by its momentum, in place.

        Args:
            v: values (n × shape_k).
            direction: g (n × shape_k).
            m: momentum, which becomes μ m + g.
            rate: step size.
        """
        μ = self.inference_momentum
        m.mul_(μ).add_(direction)
        if self.inference_nesterov:
            v.add_(direction, alpha=rate).add_(m, alpha=rate * μ)
        else:
            v.add_(m, alpha=rate)

    def rates(self, v: Sequence[Tensor]) -> list[Tensor]:
        """Returns f(v_0) := x, f(v_1) … f(v_L)."""
        return [v[0], *(self.f.function(a) for a in v[1:])]

    def errors(self, phase: Phase) -> list[Tensor]:
        """Returns the prediction errors e_1 … e_L, each (n × shape_k), at a phase's end."""
        v, f_v = phase.activity, self.rates(phase.activity)
        return [v[k] - self.prediction(self.network, k, v, f_v) for k in range(1, self.network.L + 1)]

    def hebbian(self, phase: Phase, errors: Sequence[Tensor]) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with ⟨e_k f(v_{k−1})⟩ and b_k with mean(e_k), f(v) of a phase."""
        return self.products(self.rates(phase.activity[:-1]), errors)

    def products(self, f_v: Sequence[Tensor], errors: Sequence[Tensor]) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with ⟨e_k f(v_{k−1})⟩ and b_k with mean(e_k), of x, f(v_1) … and e_1 … e_L."""
        for c in self.network.connections:
            e = errors[c.post - 1]
            if c.weight is not None:
                yield c.weight, c.correlate(e, f_v[c.pre])
            if c.bias is not None:
                yield c.bias, c.bias_update(e)

    def energy(self, phase: Phase, target: Tensor) -> Tensor | None:
        """Returns Σ_k ‖e_k‖² (+ β ‖v_L − y‖²) of each sample (n) at a phase's end."""
        return prediction_error_energy(self.errors(phase), output=phase.output, target=target, beta=phase.beta.real)
