"""How well feedback weights align with feedforward weights."""

import torch
from torch import Tensor


def alignment_angle(W: Tensor, V: Tensor) -> Tensor:
    """Returns the angle between W and V in degrees: acos( ⟨W, V⟩ / (‖W‖ ‖V‖) ), 0 where V is a positive multiple of W.

    Args:
        W: feedforward weights.
        V: feedback weights, in W's layout.
    """
    cosine = (W * V).sum() / (W.norm() * V.norm())
    return torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))
