"""Where weights start."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Initialization = Literal["xavier", "kaiming", "linear", "standard_normal"]

BIASES_START_AT_0 = ("xavier", "standard_normal")


def draw(shape: Sequence[int], fan_in: int, fan_out: int, initialization: Initialization) -> Tensor:
    """Returns random weights, uniform in ±bound, or standard normal, for rules that scale them.

    ``xavier``: bound = √(6 / (fan_in + fan_out)); ``kaiming`` (He et al. 2015): √(6 / fan_in); ``linear``, torch's
    default: 1/√fan_in; ``standard_normal``: mean 0, standard deviation 1.

    Args:
        shape: of the weights.
        fan_in: inputs of a postsynaptic neuron.
        fan_out: outputs of a presynaptic neuron.
        initialization: one of the names above.
    """
    if initialization == "standard_normal":
        return torch.randn(*shape)
    bound = {
        "xavier": math.sqrt(6 / (fan_in + fan_out)),
        "kaiming": math.sqrt(6 / fan_in),
        "linear": fan_in**-0.5,
    }[initialization]
    return torch.empty(*shape).uniform_(-bound, bound)


def draw_bias(size: int, fan_in: int, initialization: Initialization) -> Tensor:
    """Returns biases (size): 0 with ``xavier`` and ``standard_normal``, else uniform in ±1/√fan_in."""
    bound = 0.0 if initialization in BIASES_START_AT_0 else fan_in**-0.5
    return torch.empty(size).uniform_(-bound, bound)


def positive_semidefinite(size: int) -> Tensor:
    """Returns A Aᵀ (size × size) with A Xavier-uniform, where lateral weights start."""
    A = nn.init.xavier_uniform_(torch.empty(size, size))
    product = A @ A.t()
    return (product + product.t()) / 2  # a product is symmetric only up to rounding
