"""Complex activities: weights are real, so both parts of an activity go through them side by side."""

from collections.abc import Callable

import torch
from torch import Tensor


def both_parts(z: Tensor) -> Tensor:
    """Returns the real and the imaginary parts (2n × …) of complex activities (n × …), one below the other."""
    shape = (2 * len(z), *z.shape[1:])
    layout = torch.channels_last if z.ndim == 4 else torch.contiguous_format
    parts = torch.empty(shape, dtype=z.real.dtype, device=z.device, memory_format=layout)
    parts[: len(z)], parts[len(z) :] = z.real, z.imag
    return parts


def through_both_parts(linear: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Returns the value of a real linear function of activities (n × …), which may be complex."""
    return torch.complex(*linear(both_parts(z)).chunk(2)) if z.is_complex() else linear(z)


def softmax(scores: Tensor) -> Tensor:
    """Returns e^{z_i} / Σ_j e^{z_j} of each row (n × d), holomorphic where the scores are complex."""
    if not scores.is_complex():
        return scores.softmax(1)
    powers = (scores - scores.real.amax(1, keepdim=True)).exp()
    return powers / powers.sum(1, keepdim=True)
