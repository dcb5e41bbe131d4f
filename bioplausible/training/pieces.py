"""Large batches cut into pieces that stay in a processor's cache, and joined again."""

from collections.abc import Callable

import torch
from torch import Tensor

from bioplausible.errors import UserError
from bioplausible.training.phase import Phase, tensors_of, with_tensors

PIECE_BYTES = 512 * 1024
"""Bytes of one state of the samples that settle together on a CPU.

The states of more leave its cache, and each iteration waits for memory.
"""

FEWEST = 32
"""Samples that settle together in any case."""

WEIGHTS_A_NEURON = 4
"""Weights for each neuron and sample at most: beyond, reading the weights anew for each piece would show."""


def samples_at_once(x: Tensor, neurons: int, weights: int = 0) -> int:
    """Returns how many samples settle together.

    Args:
        x: input (n × …).
        neurons: of all layers that settle.
        weights: that an iteration reads.
    """
    if x.device.type != "cpu":
        return max(1, len(x))
    return max(FEWEST, PIECE_BYTES // (neurons * x.element_size()), weights // (WEIGHTS_A_NEURON * neurons))


def settle_in_pieces(
    settle: Callable[[Tensor, Tensor], dict[str, Phase]], x: Tensor, target: Tensor, neurons: int, weights: int = 0
) -> dict[str, Phase]:
    """Returns the phases that a batch settles into, as many samples at a time as :func:`samples_at_once` says.

    Args:
        settle: returns the phases of some samples, each of which settles by itself.
        x: input (n × …).
        target: one-hot target y (n × d_L).
        neurons: of all layers that settle.
        weights: that an iteration reads.

    Raises:
        UserError: the pieces' phases differ in more than their samples.
    """
    most = samples_at_once(x, neurons, weights)
    pieces = [settle(*piece) for piece in zip(torch.split(x, most), torch.split(target, most), strict=True)]
    if len(pieces) == 1:
        return pieces[0]
    kinds = [[(name, p.beta, p.step_size) for name, p in phases.items()] for phases in pieces]
    if any(k != kinds[0] for k in kinds) or len({len(tensors_of(phases)) for phases in pieces}) > 1:
        raise UserError(
            f"settle must return the same phases, with the same beta and tensors, for each {most} samples of a batch:"
            " let what it draws depend on the rule's seed and step alone."
        )
    tensors = zip(*(tensors_of(phases).values() for phases in pieces), strict=True)
    return with_tensors(pieces[0], dict(zip(tensors_of(pieces[0]), map(torch.cat, tensors), strict=True)))


def evaluate_in_pieces(network: Callable[[Tensor], Tensor], x: Tensor, neurons: int, weights: int = 0) -> Tensor:
    """Returns the network's output (n × d_L) for the input x (n × …), computed as by :func:`settle_in_pieces`."""
    pieces = [network(piece) for piece in torch.split(x, samples_at_once(x, neurons, weights))]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)
