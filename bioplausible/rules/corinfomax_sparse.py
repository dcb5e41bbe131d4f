"""CorInfoMax with sparse layers (Bozkurt, Pehlevan & Erdogan, NeurIPS 2023, appendix)."""

from typing import Any

from torch import Tensor

from bioplausible.errors.checks import require
from bioplausible.functional import StepSizeRule
from bioplausible.network import Sizes
from bioplausible.rules.corinfomax import CorInfoMax
from bioplausible.rules.neurons import Neurons, SparseNeurons
from bioplausible.training.phase import Phase


class CorInfoMaxSparse(CorInfoMax):
    r"""CorInfoMax whose sparse layers live on the ℓ₁ ball instead of the ℓ∞ ball.

    In a sparse layer a ReLU replaces the clipping, and one inhibitory neuron per layer and sample, q_k, the dual
    variable of Σ_i r_k,i ≤ 1, holds the activities' sum. With p_k the dual variable before rectification::

        Δu_k as in CorInfoMax, minus q_k;    u_k ← u_k + η_t Δu_k;    r_k ← max(u_k, 0)
        p_k ← p_k + η_q,k ( Σ_i r_k,i − 1 + q_k − p_k );    q_k ← max(p_k, 0)

    q = 0 at the start of the free phase and is carried from phase to phase; p restarts at q. Learning is CorInfoMax's.
    On images there is one q for each position, and the sum is over its channels: they compete where they see the same
    patch.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
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

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        dual_step_sizes: dict[int, float] | None = None,
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
        L = self.network.L
        require(dual_step_sizes is not None, "dual_step_sizes is missing: give η_q by layer, for example {1: 0.01}.")
        dual_step_sizes = dual_step_sizes or {}
        require(
            all(isinstance(k, int) and 1 <= k <= L for k in dual_step_sizes),
            f"dual_step_sizes names the layers {list(dual_step_sizes)}: they are numbered 1 … {L}.",
        )
        require(
            all(size > 0 for size in dual_step_sizes.values()),
            f"dual_step_sizes is {dual_step_sizes}: each must be positive.",
        )
        self.dual_step_sizes = dict(sorted(dual_step_sizes.items()))

    def neurons(self, start: Phase) -> list[Neurons]:
        """Returns clipped neurons, and in the sparse layers those whose inhibition starts at the q_k reached."""
        neurons = super().neurons(start)
        layers = [(k, start.activity[k]) for k in self.dual_step_sizes]
        reached = start.internal.get("dual") or [r.new_zeros(len(r), 1, *r.shape[2:]) for _, r in layers]
        for (k, _), q in zip(layers, reached, strict=True):
            neurons[k - 1] = SparseNeurons(q, self.dual_step_sizes[k])
        return neurons

    def activation_of(self, k: int, u: Tensor) -> Tensor:
        """Returns max(u, 0) in a sparse layer."""
        return u.clamp(min=0) if k in self.dual_step_sizes else super().activation_of(k, u)
