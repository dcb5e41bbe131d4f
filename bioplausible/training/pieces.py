"""Large batches cut into pieces that stay in a processor's cache, and joined again."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from bioplausible.errors import UserError
from bioplausible.training.data_parallel import join, processes
from bioplausible.training.phase import Phase, Phases

PIECE_BYTES = 512 * 1024
"""Bytes of one state of the samples that settle together on a CPU.

The states of more leave its cache, and each iteration waits for memory.
"""

FEWEST = 32
"""Samples that settle together in any case: with fewer, reading the weights anew for each piece would show."""


def samples_at_once(x: Tensor, neurons: int) -> int:
    """Returns how many samples settle together.

    Args:
        x: input (n × …).
        neurons: of all layers.
    """
    return max(FEWEST, PIECE_BYTES // (neurons * x.element_size())) if x.device.type == "cpu" else max(1, len(x))


def settle_in_pieces(
    settle: Callable[[Tensor, Tensor], dict[str, Phase]], x: Tensor, target: Tensor, neurons: int
) -> dict[str, Phase]:
    """Returns the phases that a batch settles into, as many samples at a time as :func:`samples_at_once` says.

    Args:
        settle: returns the phases of some samples, each of which settles by itself.
        x: input (n × …).
        target: one-hot target y (n × d_L).
        neurons: of all layers.

    Raises:
        UserError: the pieces' phases differ in more than their samples.
    """
    most = samples_at_once(x, neurons)
    pieces = [settle(*piece) for piece in zip(torch.split(x, most), torch.split(target, most), strict=True)]
    if len(pieces) == 1:
        return pieces[0]
    kinds = [[(name, p.beta, p.step_size) for name, p in phases.items()] for phases in pieces]
    if any(k != kinds[0] for k in kinds) or len({len(_tensors(phases)) for phases in pieces}) > 1:
        raise UserError(
            f"settle must return the same phases, with the same beta and tensors, for each {most} samples of a batch:"
            " let what it draws depend on the rule's seed and step alone."
        )
    tensors = zip(*(_tensors(phases).values() for phases in pieces), strict=True)
    return _with_tensors(pieces[0], dict(zip(_tensors(pieces[0]), map(torch.cat, tensors), strict=True)))


def evaluate_in_pieces(network: Callable[[Tensor], Tensor], x: Tensor, neurons: int) -> Tensor:
    """Returns the network's output (n × d_L) for the input x (n × …), computed as by :func:`settle_in_pieces`."""
    pieces = [network(piece) for piece in torch.split(x, samples_at_once(x, neurons))]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def whole_batch(phases: dict[str, Phase]) -> dict[str, Phase]:
    """Returns the phases of the whole batch from those of each process's share of it; one process has the whole."""
    if processes() == 1:
        return phases
    shares = _tensors(phases)
    return _with_tensors(phases, dict(zip(shares, join(list(shares.values())), strict=True)))


def _tensors(phases: Phases) -> dict[int, Tensor]:
    """Returns the phases' tensors with a row for each sample, by their ids: phases have tensors in common."""
    fields = [[p.activity, p.previous, *p.internal.values()] for p in phases.values()]
    return {id(t): t for phase in fields for tensors in phase for t in tensors}


def _with_tensors(phases: Phases, of_all: Mapping[int, Tensor]) -> dict[str, Phase]:
    """Returns the phases with the tensors of more samples in the place of theirs, given by the ids of those."""

    def grown(tensors: list[Tensor]) -> list[Tensor]:
        return [of_all[id(t)] for t in tensors]

    return {
        name: replace(
            p,
            activity=grown(p.activity),
            previous=grown(p.previous),
            internal={key: grown(tensors) for key, tensors in p.internal.items()},
        )
        for name, p in phases.items()
    }
