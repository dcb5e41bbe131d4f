"""How activities lie in memory."""

import torch
from torch import Tensor


def silence(x: Tensor, size: int) -> Tensor:
    """Returns activities 0 (n × size) for the input x (n × d_0), stored the way that is quickest to multiply into.

    Neuron by neuron where there are fewer neurons than samples, as at most outputs: W r_{k−1} then takes up to half the
    time. Sample by sample elsewhere, and where torch.compile, which refuses other outputs, traces this. What is cloned
    from them, or made ``empty_like`` them, lies alike.
    """
    n = len(x)
    by_neuron = size < n and not torch.compiler.is_compiling()
    return x.new_zeros(size, n).t() if by_neuron else x.new_zeros(n, size)
