"""Predictive coding (Whittington & Bogacz 2017)."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Literal, cast

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from typing_extensions import Self

from bioplausible.errors.checks import require
from bioplausible.functional import (
    ActivationName,
    StepSizeRule,
    activation,
    prediction_error_energy,
    silence,
    step_sizes,
)
from bioplausible.network import Dense
from bioplausible.rules.base import LearningRule
from bioplausible.rules.network import weights_and_biases
from bioplausible.rules.options import require_steps
from bioplausible.training.phase import Phase, Phases


class PredictiveCodingNetwork(LearningRule):
    """What predictive coding and its nudged form share: value neurons v, error neurons e, and inference.

    Each layer's values are predicted from the layer below, μ_k = W_k f(v_{k−1}) + b_k with f(v_0) := x, and the errors
    are e_k = v_k − μ_k. The output is linear.

    Args:
        layer_sizes: d_0 … d_L.
        activation_function: f.
        inference_steps: T, iterations of inference.
        step_size: η.
        step_size_rule: how η falls during inference (:func:`bioplausible.functional.step_sizes`).
        step_size_floor: η_stop of the falling rules.
        step_size_decay: c of ``divide_by_slow_loop_index``.
        optimizer: any torch optimizer.
        lr_scheduler: any torch scheduler.
        lr_scheduler_interval: whether the scheduler counts epochs or steps.
    """

    def __init__(
        self,
        layer_sizes: list[int],
        activation_function: ActivationName,
        inference_steps: int,
        step_size: float,
        step_size_rule: StepSizeRule,
        step_size_floor: float,
        step_size_decay: float,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        lr_scheduler_interval: Literal["epoch", "step"],
    ) -> None:
        super().__init__(layer_sizes, optimizer, lr_scheduler, lr_scheduler_interval)
        require_steps("inference_steps", inference_steps)
        require(step_size > 0, f"step_size is {step_size}: it must be positive.")
        self.f = activation(activation_function)
        self.step_sizes = step_sizes(
            inference_steps, start=step_size, rule=step_size_rule, floor=step_size_floor, decay=step_size_decay
        )
        # a ModuleList registers them; for the type checker it is the list of what is in it
        self.connections = cast(
            list[Dense],
            nn.ModuleList(Dense(pre, post, initialization="kaiming") for pre, post in pairwise(layer_sizes)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns the output (n × d_L) of a feedforward pass, for the input x (n × d_0)."""
        return self.feedforward(x).output

    def activity(self, x: Tensor) -> list[Tensor]:
        """Returns x, f(v_1) … f(v_{L−1}) and v_L of a feedforward pass, for the input x (n × d_0)."""
        v = self.feedforward(x).activity
        return [x, *(self.f.function(a) for a in v[1:-1]), v[-1]]

    def feedforward_output(self, x: Tensor) -> Tensor:
        """Returns the output of the feedforward pass."""
        return self.forward(x)

    def feedforward(self, x: Tensor) -> Phase:
        """Returns the values v_1 = W_1 x + b_1, v_k = W_k f(v_{k−1}) + b_k."""
        v = [x]
        for k, connection in enumerate(self.connections, start=1):
            v.append(connection.feedforward(x if k == 1 else self.f.function(v[-1])))
        return Phase(v, internal={"W_1 x": [v[1]]})

    @torch.no_grad()
    def relax(
        self, start: Phase, *, gain: float, free_output: bool, target: Tensor, nudge: float = 0.0, fixed: bool = False
    ) -> Phase:
        """Lets the values relax, all layers at once, and returns where they end.

        v_k ← v_k + η_t · gain · ( −e_k + f′(v_k) ⊙ W_{k+1}ᵀ e_{k+1} ) in the hidden layers; at a free output
        v_L ← v_L + η_t · gain · ( −e_L − λ (v_L − y) ).

        Args:
            start: the values at the start; where the output is clamped, v_L is its value.
            gain: factor of all velocities.
            free_output: whether v_L moves too.
            target: y (n × d_L).
            nudge: λ.
            fixed: whether the predictions (and f′) stay those of the start.
        """
        W = [connection.wires() for connection in self.connections]
        L = len(W)
        x = start.activity[0]
        v = [x, *(silence(x, a.shape[1]).copy_(a) for a in start.activity[1:])]
        moving = range(1, L + 1 if free_output else L)
        f, f_prime = self.f
        f_v, slope = [[torch.empty_like(a) for a in v] for _ in range(2)]
        # e_k = v_k − μ_k, or (v_k − b_k) − W_k f(v_{k−1}) where the prediction changes
        constant = self.predictions(start) if fixed else self.lowest_prediction(start) + self.biases()[1:]
        e = [torch.empty_like(a) for a in v]
        feedback = [torch.empty_like(a) for a in v]
        lowest_error = min(2, L)  # e_1 goes nowhere but into v_1, unless that is the output
        previous: list[Tensor] = []
        if self.watch is not None:
            self.watch(0, v, 0.0)
        for t, η in enumerate(self.step_sizes):
            rate = η * gain
            if t == len(self.step_sizes) - 1:
                previous = [a.clone() for a in v[1:]]
            if t == 0 or not fixed:
                for k in range(1, L):
                    f(v[k], out=f_v[k])
                    f_prime(f_v[k], out=slope[k])
            for k in range(lowest_error, L + 1):
                torch.sub(v[k], constant[k - 1], out=e[k])
                if k > 1 and not fixed:
                    W[k - 1].add_feedforward_(e[k], f_v[k - 1], -1)
            for k in moving:
                if k < L:
                    W[k].set_feedback_(feedback[k], e[k + 1])
                else:
                    v[L].lerp_(target, rate * nudge)
                if k < lowest_error:
                    v[k].lerp_(constant[k - 1], rate)  # − rate · e_k
                else:
                    v[k].sub_(e[k], alpha=rate)
                if k < L:
                    v[k].addcmul_(slope[k], feedback[k], value=rate)
            if self.watch is not None:
                self.watch(t + 1, v, η)
        return Phase(v, nudge, previous, self.step_sizes[-1], start.internal)

    def lowest_prediction(self, phase: Phase) -> list[Tensor]:
        """Returns [μ_1], which the feedforward pass has computed for all phases that start from it."""
        return phase.internal.get("W_1 x") or [self.connections[0].feedforward(phase.activity[0])]

    def predictions(self, phase: Phase) -> list[Tensor]:
        """Returns the predictions μ_1 … μ_L, each (n × d_k), at a phase's end."""
        v = phase.activity
        upper = [c.feedforward(self.f.function(a)) for c, a in zip(list(self.connections)[1:], v[1:-1], strict=True)]
        return self.lowest_prediction(phase) + upper

    def biases(self) -> list[Tensor]:
        """Returns b_1 … b_L, each (d_k)."""
        return [cast(Tensor, c.bias) for c in self.connections]

    def errors(self, phase: Phase) -> list[Tensor]:
        """Returns the prediction errors e_1 … e_L, each (n × d_k), at a phase's end."""
        return [a - μ for a, μ in zip(phase.activity[1:], self.predictions(phase), strict=True)]

    def hebbian(self, phase: Phase, errors: list[Tensor]) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with ⟨e_k f(v_{k−1})⟩ and b_k with mean(e_k)."""
        v = phase.activity
        for k, (connection, e) in enumerate(zip(self.connections, errors, strict=True), start=1):
            yield connection.weight, connection.correlate(e, v[0] if k == 1 else self.f.function(v[k - 1]))
            yield cast(Tensor, connection.bias), e.mean(0)

    def energy(self, phase: Phase, target: Tensor) -> Tensor | None:
        """Returns Σ_k ‖e_k‖² (+ λ ‖v_L − y‖²) of each sample (n) at a phase's end."""
        return prediction_error_energy(self.errors(phase), output=phase.output, target=target, nudge=phase.nudge)

    def recorded_weights(self) -> dict[str, Tensor]:
        """Returns W and b by their keys in a recorded trajectory: ``W{i}`` and ``b{i}``."""
        return weights_and_biases(self.connections)

    def recorded_observations(self) -> dict[str, Tensor]:
        """Returns the values after inference, ``state{i}``, and the output of a feedforward pass after the step."""
        phase = self.phases["inference"]
        states = {f"state{i}": v for i, v in enumerate(phase.activity[1:])}
        return {**states, "logits_after": self(phase.activity[0])}

    @classmethod
    def from_recording(cls, meta: Mapping[str, Any]) -> Self:
        """Builds the rule from a recorded trajectory's hyperparameters."""
        return super().from_recording({**meta, "activation_function": meta["activation"]})


class PredictiveCoding(PredictiveCodingNetwork):
    r"""Supervised predictive coding.

    Values start from a feedforward pass, then the output is clamped to the softened target, and the others descend
    ½ Σ_k ‖e_k‖² (equations 2.18 and 2.19 of Whittington & Bogacz 2017)::

        v_1 = W_1 x + b_1,  v_k = W_k f(v_{k−1}) + b_k;     then v_L = target
        e_k = v_k − W_k f(v_{k−1}) − b_k
        v_k ← v_k + η_t ( −e_k + f′(v_k) ⊙ W_{k+1}ᵀ e_{k+1} )         T times, all hidden layers at once
        ΔW_k ∝ ⟨e_k f(v_{k−1})⟩,    Δb_k ∝ mean(e_k)

    With ``fixed_predictions``, η = 1 and T ≥ L the errors become backpropagation's exactly (Millidge et al. 2022;
    Rosenbaum 2022).

    Args:
        layer_sizes: d_0 … d_L.
        activation_function: f.
        target_range: value of the target for the other classes and for the right one; the published 0.03 and 0.97.
        fixed_predictions: whether predictions and f′ stay those of the feedforward pass during inference and learning.
        inference_steps: T.
        step_size: η.
        step_size_rule: how η falls during inference (:func:`bioplausible.functional.step_sizes`).
        step_size_floor: η_stop of the falling rules.
        step_size_decay: c of ``divide_by_slow_loop_index``.
        optimizer: any torch optimizer.
        lr_scheduler: any torch scheduler.
        lr_scheduler_interval: whether the scheduler counts epochs or steps.

    Raises:
        UserError: an argument is outside its range.
    """

    recorded_as = "pc"

    def __init__(
        self,
        layer_sizes: list[int],
        activation_function: ActivationName = "sigmoid",
        target_range: tuple[float, float] = (0.03, 0.97),
        fixed_predictions: bool = False,
        inference_steps: int = 50,
        step_size: float = 0.1,
        step_size_rule: StepSizeRule = "constant",
        step_size_floor: float = 0.05,
        step_size_decay: float = 0.01,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        super().__init__(
            layer_sizes,
            activation_function,
            inference_steps,
            step_size,
            step_size_rule,
            step_size_floor,
            step_size_decay,
            optimizer,
            lr_scheduler,
            lr_scheduler_interval,
        )
        require(
            target_range[0] < target_range[1],
            f"target_range is {target_range}: the right class needs the larger value.",
        )
        self.target_range = target_range
        self.fixed_predictions = fixed_predictions

    def energy(self, phase: Phase, target: Tensor) -> Tensor | None:
        """Returns Σ_k ‖e_k‖² of each sample (n); None with fixed predictions, for then nothing descends it."""
        return None if self.fixed_predictions else super().energy(phase, target)

    def soften(self, target: Tensor) -> Tensor:
        """Returns 0.94 y + 0.03 (with the published range) of the one-hot target y (n × d_L)."""
        low, high = self.target_range
        return target * (high - low) + low

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phases ``feedforward`` and ``inference``."""
        feedforward = self.feedforward(x)
        clamped = self.soften(target)
        start = Phase([*feedforward.activity[:-1], clamped], internal=feedforward.internal)
        inference = self.relax(start, gain=1, free_output=False, target=clamped, fixed=self.fixed_predictions)
        return {"feedforward": feedforward, "inference": inference}

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with ⟨e_k f(v_{k−1})⟩ and b_k with mean(e_k)."""
        inference = phases["inference"]
        if not self.fixed_predictions:
            return self.hebbian(inference, self.errors(inference))
        predictions = phases["feedforward"]
        errors = [v - μ for v, μ in zip(inference.activity[1:], predictions.activity[1:], strict=True)]
        return self.hebbian(predictions, errors)

    def sample_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns the loss of each sample (n): ½ ‖v_L − target‖², the energy before inference."""
        return (output - self.soften(target)).square().sum(1) / 2
