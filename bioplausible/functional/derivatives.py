"""Derivatives that automatic differentiation takes, in every mode that a rule's step may run in."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor


def vector_jacobian(
    function: Callable[[Any, Any], Tensor], at: Tensor, held: Tensor | None, cotangent: Tensor
) -> Tensor:
    """Returns a function's vector–Jacobian product by its first argument, also within ``torch.inference_mode``.

    Args:
        function: of two arguments.
        at: the first.
        held: the second.
        cotangent: the vector, of the shape of what the function returns.
    """
    if not torch.is_inference_mode_enabled():
        pullback: Any = torch.func.vjp(lambda at: function(at, held), at)[1]
        return cast(Tensor, pullback(cotangent)[0])
    with torch.inference_mode(False), torch.enable_grad():
        at, held = at.clone().requires_grad_(), None if held is None else held.clone()
        return torch.autograd.grad(function(at, held), at, cotangent.clone())[0]
