"""What real and complex activities have in common."""

import torch
from torch import Tensor


def as_real(z: Tensor) -> Tensor:
    """Returns real numbers as they are, and complex ones (…) as pairs of their real and imaginary parts (… × 2)."""
    return torch.view_as_real(z.resolve_conj()) if z.is_complex() else z


def squares(z: Tensor) -> Tensor:
    """Returns |z|² of real or complex numbers, of their shape and real."""
    return as_real(z).square().sum(-1) if z.is_complex() else z.square()
