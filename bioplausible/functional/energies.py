"""The energies that equilibrium propagation, similarity matching and predictive coding descend."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def hopfield_energy(
    r: Sequence[Tensor],
    drives: Sequence[Tensor],
    potentials: Sequence[Callable[[Tensor], Tensor]],
    laterals: Sequence[Tensor | None],
    cost: Tensor,
) -> Tensor:
    """Returns the Hopfield energy of each sample (n), with sums over units and positions.

    Φ = Σ_k ( P_k(r_k) − r_k · drive_k + ½ r_k · M_k r_k ) + cost.

    Args:
        r: activities r_1 … r_K that settle, each (n × shape_k).
        drives: what each receives from below, biases included, each (n × shape_k).
        potentials: P_k, element by element; ½ r² where the activation only cuts off.
        laterals: M_k r_k, each (n × shape_k), or None where there are no lateral weights.
        cost: β C of each sample (n).
    """
    energy = cost
    for r_k, drive, potential, lateral in zip(r, drives, potentials, laterals, strict=True):
        energy = energy + _per_sample(potential(r_k) - r_k * drive)
        if lateral is not None:
            energy = energy + _per_sample(r_k * lateral) / 2
    return energy


def prediction_error_energy(
    errors: Sequence[Tensor], *, output: Tensor | None = None, target: Tensor | None = None, beta: float = 0.0
) -> Tensor:
    """Returns Σ_k ‖e_k‖² + β ‖v_L − y‖² of each sample (n).

    Without the last term it is twice predictive coding's energy, with it −F of the nudged form.

    Args:
        errors: prediction errors e_1 … e_L, each (n × shape_k).
        output: v_L (n × d_L), where it is nudged.
        target: y (n × d_L).
        beta: β.
    """
    energy = torch.stack([_per_sample(e.square()) for e in errors]).sum(0)
    if output is not None and target is not None:
        energy = energy + beta * (output - target).square().sum(1)
    return energy


def _per_sample(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1)
