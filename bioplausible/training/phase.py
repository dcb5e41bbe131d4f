"""Where a relaxation ends."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bioplausible.errors import UserError
from bioplausible.functional import residual
from bioplausible.training.data_parallel import join, processes

SAMPLES_AT_ONCE = 256
"""Samples that settle together on a CPU: the states of more leave its cache, and each iteration waits for memory."""


@dataclass
class Phase:
    """Where a relaxation ended.

    Attributes:
        activity: r_0 = x, r_1 … r_L, each (n × d_k).
        nudge: strength with which the target pulled on the output, with its sign; 0 in a free phase.
        previous: r_1 … r_L one iteration earlier, where the rule iterates.
        step_size: η of the last iteration.
        internal: whatever else each sample carries from phase to phase, by name, each (n × …).
        constants: whatever else does not change while the network settles and belongs to no sample, by name.
    """

    activity: list[Tensor]
    nudge: float = 0.0
    previous: list[Tensor] = field(default_factory=list)
    step_size: float = 1.0
    internal: dict[str, list[Tensor]] = field(default_factory=dict)
    constants: dict[str, list[Tensor]] = field(default_factory=dict)

    @property
    def output(self) -> Tensor:
        """r_L (n × d_L)."""
        return self.activity[-1]

    def residual(self) -> Tensor:
        """How fast the last iteration still moved (:func:`bioplausible.functional.residual`)."""
        return residual(self.activity[1:], self.previous, self.step_size)


Phases = Mapping[str, Phase]


def settle_in_pieces(
    settle: Callable[[Tensor, Tensor], dict[str, Phase]], x: Tensor, target: Tensor
) -> dict[str, Phase]:
    """Returns the phases that a batch settles into; on a CPU at most :data:`SAMPLES_AT_ONCE` samples at a time.

    Args:
        settle: returns the phases of some samples, each of which settles by itself.
        x: input (n × d_0).
        target: one-hot target y (n × d_L).

    Raises:
        UserError: the pieces' phases differ in more than their samples.
    """
    pieces = [settle(*piece) for piece in zip(_split(x), _split(target), strict=True)]
    if len(pieces) == 1:
        return pieces[0]
    kinds = [[(name, p.nudge, p.step_size) for name, p in phases.items()] for phases in pieces]
    if any(k != kinds[0] for k in kinds) or len({len(_tensors(phases)) for phases in pieces}) > 1:
        raise UserError(
            f"settle must return the same phases, with the same nudge and tensors, for each {SAMPLES_AT_ONCE} samples"
            " of a batch: let what it draws depend on the rule's seed and step alone."
        )
    tensors = zip(*(_tensors(phases).values() for phases in pieces), strict=True)
    return _with_tensors(pieces[0], dict(zip(_tensors(pieces[0]), map(torch.cat, tensors), strict=True)))


def evaluate_in_pieces(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Returns the network's output (n × d_L) for the input x (n × d_0), computed as by :func:`settle_in_pieces`."""
    pieces = [network(piece) for piece in _split(x)]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def whole_batch(phases: dict[str, Phase]) -> dict[str, Phase]:
    """Returns the phases of the whole batch from those of each process's share of it; one process has the whole."""
    if processes() == 1:
        return phases
    shares = _tensors(phases)
    return _with_tensors(phases, dict(zip(shares, join(list(shares.values())), strict=True)))


def _split(samples: Tensor) -> tuple[Tensor, ...]:
    return torch.split(samples, SAMPLES_AT_ONCE) if samples.device.type == "cpu" else (samples,)


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
