"""How well feedback weights align with feedforward weights."""

import torch
from torch import Tensor


def alignment_angle(W: Tensor, V: Tensor) -> Tensor:
    """Returns the angle between W and Vᵀ in degrees: acos( tr(W V) / (‖W‖_F ‖V‖_F) ).

    Args:
        W: feedforward weights (d_k × d_{k−1}).
        V: feedback weights (d_{k−1} × d_k).
    """
    cosine = (W * V.t()).sum() / (W.norm() * V.norm())
    return torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))
