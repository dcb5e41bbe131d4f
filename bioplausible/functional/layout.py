"""How activities lie in memory."""

from collections.abc import Sequence

import torch
from torch import Tensor


def silence(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Returns activities 0 (n × shape) for the input x (n × …), stored the way that is quickest to multiply into.

    A flat layer lies neuron by neuron where it has fewer neurons than there are samples, as at most outputs:
    W r_{k−1} then takes up to half the time. All others lie sample by sample, and so do all flat ones where
    torch.compile, which refuses other outputs, traces this. What is cloned from them, or made ``empty_like`` them, lies
    alike. Images: see :func:`blank`.
    """
    n = len(x)
    by_neuron = len(shape) == 1 and shape[0] < n and not torch.compiler.is_compiling()
    return x.new_zeros(shape[0], n).t() if by_neuron else blank(x, shape)


def blank(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Returns activities 0 (n × shape) for the input x (n × …), sample by sample; images with their channels last.

    Convolutions of such images, their adjoints and max pooling take down to half the time, and a product of all
    positions' channels with a matrix needs no copy.
    """
    if len(shape) == 3:
        channels, height, width = shape
        return x.new_zeros(len(x), height, width, channels).permute(0, 3, 1, 2)
    return x.new_zeros(len(x), *shape)


def rows(r: Tensor) -> Tensor:
    """Returns activities (n × C × …) as rows (n P × C): each position of an image counts as a sample."""
    return r if r.ndim == 2 else r.movedim(1, -1).flatten(0, -2)


def placed(drawn: Tensor, like: Tensor) -> Tensor:
    """Returns what was drawn on the CPU, the same for every device, in another tensor's type and place.

    It goes there through pinned memory: copied from other memory, it would make a GPU wait.
    """
    return (drawn.pin_memory() if like.is_cuda else drawn).to(like, non_blocking=True)
