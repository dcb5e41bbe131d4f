"""CorInfoMax with sparse layers (Bozkurt, Pehlevan & Erdogan, NeurIPS 2023, appendix)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from bioplausible.errors.checks import require
from bioplausible.functional import StepSizeRule
from bioplausible.rules.corinfomax import CorInfoMax
from bioplausible.training.phase import Phase


class CorInfoMaxSparse(CorInfoMax):
    r"""CorInfoMax whose sparse layers live on the ℓ₁ ball instead of the ℓ∞ ball.

    In a sparse layer a ReLU replaces the clipping, and one inhibitory neuron per layer and sample, q_k, the dual
    variable of Σ_i r_k,i ≤ 1, holds the activities' sum. With p_k the dual variable before rectification::

        Δu_k as in CorInfoMax, minus q_k;    u_k ← u_k + η_t Δu_k;    r_k ← max(u_k, 0)
        p_k ← p_k + η_q,k ( Σ_i r_k,i − 1 + q_k − p_k );    q_k ← max(p_k, 0)

    q = 0 at the start of the free phase and is carried from phase to phase; p restarts at q. Learning is CorInfoMax's.

    Args:
        layer_sizes: d_0 … d_L.
        dual_step_sizes: η_q,k of each sparse layer, by its number 1 … L, for example ``{1: 1.0e-6, 2: 0.01}``; layers
            that are not listed are those of CorInfoMax.
        leak: g ≥ 0, weight of the Hopfield term.
        free_steps: iterations of the free phase.
        step_size: η, in units of the neural time constant.
        step_size_rule: how η falls within a phase (:func:`bioplausible.functional.step_sizes`).
        feedback_learning_rates: rate of V, one number or one per layer 2 … L; None: the optimizer's own.
        options: the other arguments of :class:`bioplausible.CorInfoMax`.

    Raises:
        UserError: an argument is outside its range.
    """

    recorded_as = "corinfomax_sparse"

    def __init__(
        self,
        layer_sizes: list[int],
        dual_step_sizes: dict[int, float],
        leak: float = 0.2,
        free_steps: int = 20,
        step_size: float = 0.045,
        step_size_rule: StepSizeRule = "divide_by_slow_loop_index",
        feedback_learning_rates: float | list[float] | None = 0.06,
        **options: Any,
    ) -> None:
        super().__init__(
            layer_sizes,
            leak=leak,
            free_steps=free_steps,
            step_size=step_size,
            step_size_rule=step_size_rule,
            feedback_learning_rates=feedback_learning_rates,
            **options,
        )
        L = len(layer_sizes) - 1
        require(
            all(1 <= k <= L for k in dual_step_sizes),
            f"dual_step_sizes names the layers {sorted(dual_step_sizes)}: they are numbered 1 … {L}.",
        )
        require(
            all(size > 0 for size in dual_step_sizes.values()),
            f"dual_step_sizes is {dual_step_sizes}: each must be positive.",
        )
        self.dual_step_sizes = dict(sorted(dual_step_sizes.items()))

    def inhibition(self, start: Phase) -> dict[int, tuple[Tensor, Tensor]]:
        """Returns (q_k, p_k) of each sparse layer, each (n × 1), where a phase starts: both the q_k reached."""
        x = start.activity[0]
        carried = start.internal.get("q") or [x.new_zeros(len(x), 1) for _ in self.dual_step_sizes]
        return {k: (q.clone(), q.clone()) for k, q in zip(self.dual_step_sizes, carried, strict=True)}

    def carried(self, inhibition: dict[int, tuple[Tensor, Tensor]]) -> dict[str, list[Tensor]]:
        """Returns the q_k that a phase reached."""
        return {"q": [q for q, _ in inhibition.values()]}

    def activation_of(self, k: int, u: Tensor) -> Tensor:
        """Returns max(u, 0) in a sparse layer."""
        return u.clamp(min=0) if k in self.dual_step_sizes else super().activation_of(k, u)

    def fire_(self, k: int, u: Tensor, r: Tensor, inhibition: dict[int, tuple[Tensor, Tensor]]) -> None:
        """Sets r_k = max(u_k, 0) and updates p_k and q_k in a sparse layer, in place."""
        if k not in inhibition:
            super().fire_(k, u, r, inhibition)
            return
        torch.clamp(u, min=0, out=r)
        q, p = inhibition[k]
        p.lerp_(r.sum(1, keepdim=True).sub_(1).add_(q), self.dual_step_sizes[k])
        torch.clamp(p, min=0, out=q)

    @classmethod
    def from_recording(cls, meta: Mapping[str, Any]) -> Self:
        """Builds the rule from a recorded trajectory's hyperparameters."""
        sizes = {k: meta["sparsity_lr"][k - 1] for k in meta["sparse_layers"]}
        return super().from_recording({**meta, "dual_step_sizes": sizes})
