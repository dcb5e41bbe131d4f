"""The energies that equilibrium propagation, similarity matching and predictive coding descend."""

from collections.abc import Sequence

import torch
from torch import Tensor


def hopfield_energy(
    r: Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    laterals: Sequence[Tensor] = (),
    *,
    target: Tensor | None = None,
    beta: float = 0.0,
) -> Tensor:
    """Returns the Hopfield energy of each sample (n).

    Φ = ½ Σ_k ‖r_k‖² − Σ_k r_kᵀ (W_k r_{k−1} + b_k) + ½ Σ_{k<L} r_kᵀ M_k r_k + β ‖r_L − y‖².

    Args:
        r: activities r_0 … r_L, each (n × d_k).
        weights: W_1 … W_L, each (d_k × d_{k−1}).
        biases: b_1 … b_L, each (d_k).
        laterals: M_1 … M_{L−1}, each (d_k × d_k), or none.
        target: y (n × d_L).
        beta: β.
    """
    energy = torch.zeros(len(r[0]), dtype=r[0].dtype, device=r[0].device)
    for k, (W, b) in enumerate(zip(weights, biases, strict=True), start=1):
        energy = energy + r[k].square().sum(1) / 2 - (r[k] * (r[k - 1] @ W.t() + b)).sum(1)
    for k, M in enumerate(laterals, start=1):
        energy = energy + (r[k] * (r[k] @ M.t())).sum(1) / 2
    if target is not None:
        energy = energy + beta * (r[-1] - target).square().sum(1)
    return energy


def prediction_error_energy(
    errors: Sequence[Tensor], *, output: Tensor | None = None, target: Tensor | None = None, nudge: float = 0.0
) -> Tensor:
    """Returns Σ_k ‖e_k‖² + λ ‖v_L − y‖² of each sample (n).

    Without the last term it is twice predictive coding's energy, with it −F of the nudged form.

    Args:
        errors: prediction errors e_1 … e_L, each (n × d_k).
        output: v_L (n × d_L), where it is nudged.
        target: y (n × d_L).
        nudge: λ.
    """
    energy = torch.stack([e.square().sum(1) for e in errors]).sum(0)
    if output is not None and target is not None:
        energy = energy + nudge * (output - target).square().sum(1)
    return energy
