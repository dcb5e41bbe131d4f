"""Predictive coding with a nudged output, PC-Nudge (Millidge, Song, Salvatori, Lukasiewicz & Bogacz 2023)."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from bioplausible.network import Clamped, Sizes
from bioplausible.rules.options import require_beta
from bioplausible.rules.predictive_coding_network import PredictiveCodingNetwork
from bioplausible.training.phase import Phase, Phases
from bioplausible.training.randomness import random_sign


class NudgedPredictiveCoding(PredictiveCodingNetwork):
    r"""Predictive coding whose output is free but nudged towards the target with strength β (the paper's λ).

    From a feedforward pass, all layers, the output included, ascend (factors of 2 included)::

        F = −Σ_k ‖e_k‖² − β ‖v_L − y‖²;     v_k ← v_k + η_t ∂F/∂v_k         T times, all layers at once
        ½ ∂F/∂v_k = −e_k + f′(v_k) ⊙ W_{k+1}ᵀ e_{k+1},    at the output −e_L − β (v_L − y)
        ΔW_k ∝ (2/β) Σ_n e_k f(v_{k−1}),    Δb_k ∝ (2/β) Σ_n e_k            summed over the batch, not averaged

    As β → 0 at equilibrium the update tends to minus the gradient of Σ_n ‖v_L − y‖² (Millidge et al. 2023).

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        beta: β ≠ 0.
        random_beta_sign: whether β takes a random sign each batch.
        lr_scheduler_interval: whether the scheduler counts epochs or steps; the published one counts steps.
        options: the other arguments of
            :class:`bioplausible.rules.predictive_coding_network.PredictiveCodingNetwork`.

    Raises:
        UserError: an argument is outside its range.
    """

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        beta: float = 0.001,
        random_beta_sign: bool = False,
        lr_scheduler_interval: Literal["epoch", "step"] = "step",
        **options: Any,
    ) -> None:
        super().__init__(layer_sizes, lr_scheduler_interval=lr_scheduler_interval, **options)
        require_beta(beta)
        self.beta = beta
        self.random_beta_sign = random_beta_sign

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phases ``feedforward`` and ``inference``, with its errors e_1 … e_L as ``internal["error"]``."""
        beta = self.beta * (random_sign(self.seed, self.step) if self.random_beta_sign else 1)
        network = self.network.clamp(x)
        feedforward = self.feedforward(network)
        return {"feedforward": feedforward, "inference": self.relax(network, feedforward, target, beta)}

    @torch.no_grad()
    def relax(self, network: Clamped, start: Phase, target: Tensor, beta: float) -> Phase:
        """Lets all values ascend F and returns where they end.

        Args:
            network: with the input clamped.
            start: the values of the feedforward pass.
            target: one-hot target y (n × d_L).
            beta: strength of the nudge.
        """
        v = self.copy_of(network, start)
        L, layers = len(v) - 1, self.compared(network)
        f, m = self.f, self.momenta(v)
        f_v, slope, e, back = ([torch.empty_like(a) for a in v] for _ in range(4))
        previous: list[Tensor] = []
        for η in self.iterate(v, self.step_sizes, before_last=previous):
            for k in range(1, L):
                f.function(v[k], out=f_v[k])
                f.slope(f.kept(v[k], f_v[k]), out=slope[k])
            self.find_errors_(network, layers, e, v, f_v)
            for k in range(1, L):
                self.descend_(network, k, v, e, back, (f_v, slope), m, 2 * η)
            if m:
                self.move_(v[L], (target - v[L]).mul_(beta).sub_(e[L]), m[L], 2 * η)
            else:
                v[L].lerp_(target, 2 * η * beta)
                self.subtract_error_(network, L, v, e, 2 * η)
        for k in range(1, L):
            f.function(v[k], out=f_v[k])
        self.find_errors_(network, range(1, L + 1), e, v, f_v)
        return Phase(v, beta, previous, self.step_sizes[-1], {"error": e[1:]})

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with (2/β) Σ_n e_k f(v_{k−1}) and b_k with (2/β) Σ_n e_k."""
        inference = phases["inference"]
        scale = 2 * inference.batch_size / inference.beta
        return self.hebbian(inference, [e * scale for e in inference.internal["error"]])

    def sample_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns the loss of each sample (n): ‖v_L − y‖²."""
        return (output - target).square().sum(1)
