"""Predictive coding with a nudged output, PC-Nudge (Millidge, Song, Salvatori, Lukasiewicz & Bogacz 2023)."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from typing_extensions import Self

from bioplausible.errors.checks import require
from bioplausible.functional import ActivationName, StepSizeRule
from bioplausible.rules.predictive_coding import PredictiveCodingNetwork
from bioplausible.training.phase import Phase, Phases
from bioplausible.training.randomness import random_sign


class NudgedPredictiveCoding(PredictiveCodingNetwork):
    r"""Predictive coding whose output is free but nudged towards the target with strength λ.

    From a feedforward pass, all layers, the output included, ascend (factors of 2 included)::

        F = −Σ_k ‖e_k‖² − λ ‖v_L − y‖²;     v_k ← v_k + η_t ∂F/∂v_k         T times, all layers at once
        ΔW_k ∝ (2/λ) Σ_n e_k f(v_{k−1}),    Δb_k ∝ (2/λ) Σ_n e_k            summed over the batch, not averaged

    As λ → 0 at equilibrium the update tends to the backpropagation gradient of ‖v_L − y‖² (Millidge et al. 2023).

    Args:
        layer_sizes: d_0 … d_L.
        nudge: λ ≠ 0.
        random_nudge_sign: whether λ takes a random sign each batch.
        activation_function: f.
        inference_steps: T.
        step_size: η.
        step_size_rule: how η falls during inference (:func:`bioplausible.functional.step_sizes`).
        step_size_floor: η_stop of the falling rules.
        step_size_decay: c of ``divide_by_slow_loop_index``.
        optimizer: any torch optimizer.
        lr_scheduler: any torch scheduler.
        lr_scheduler_interval: whether the scheduler counts epochs or steps; the published one counts steps.

    Raises:
        UserError: an argument is outside its range.
    """

    recorded_as = "pc_nudge"

    def __init__(
        self,
        layer_sizes: list[int],
        nudge: float = 0.001,
        random_nudge_sign: bool = False,
        activation_function: ActivationName = "relu",
        inference_steps: int = 50,
        step_size: float = 0.1,
        step_size_rule: StepSizeRule = "constant",
        step_size_floor: float = 0.05,
        step_size_decay: float = 0.005,
        optimizer: OptimizerCallable = torch.optim.SGD,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "step",
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
        require(nudge != 0, "nudge is 0: without a nudge nothing is learned, so give it another value, such as 0.001.")
        self.nudge = nudge
        self.random_nudge_sign = random_nudge_sign

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phases ``feedforward`` and ``inference``."""
        nudge = self.nudge * (random_sign(self.seed, self.step) if self.random_nudge_sign else 1)
        feedforward = self.feedforward(x)
        return {
            "feedforward": feedforward,
            "inference": self.relax(feedforward, gain=2, free_output=True, target=target, nudge=nudge),
        }

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with (2/λ) Σ_n e_k f(v_{k−1}) and b_k with (2/λ) Σ_n e_k."""
        inference = phases["inference"]
        n = len(inference.output)
        return self.hebbian(inference, [e * (2 * n / inference.nudge) for e in self.errors(inference)])

    def sample_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns the loss of each sample (n): ‖v_L − y‖²."""
        return (output - target).square().sum(1)

    @classmethod
    def from_recording(cls, meta: Mapping[str, Any]) -> Self:
        """Builds the rule from a recorded trajectory's hyperparameters."""
        return super().from_recording({**meta, "random_nudge_sign": False})
