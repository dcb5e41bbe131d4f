"""Where a relaxation ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bioplausible.functional import mean_square_changes
from bioplausible.training.data_parallel import average


@dataclass
class Phase:
    """Where a relaxation ended.

    Attributes:
        activity: r_0 = x, r_1 … r_L, each (n × shape_k), real or complex.
        beta: strength with which the target pulled on the output, with its sign; 0 in a free phase; complex in a
            phase of complex activities.
        previous: r_1 … r_L one iteration earlier, where the rule iterates.
        step_size: η of the last iteration.
        internal: whatever else each sample carries from phase to phase, by name, each (n × …).
        share_of: number of samples of the batch of which this process has but its share; None: these are all.
    """

    activity: list[Tensor]
    beta: complex = 0.0
    previous: list[Tensor] = field(default_factory=list)
    step_size: float = 1.0
    internal: dict[str, list[Tensor]] = field(default_factory=dict)
    share_of: int | None = None

    @property
    def output(self) -> Tensor:
        """r_L (n × d_L)."""
        return self.activity[-1]

    @property
    def batch_size(self) -> int:
        """Number of samples of the batch, those of the other processes included."""
        return len(self.output) if self.share_of is None else self.share_of

    def batch_means(self, means: Sequence[Tensor]) -> list[Tensor]:
        """Returns means over the batch from means over this phase's samples, the same bits on every process.

        Where each process has a share of the batch, all of them must ask at the same place.
        """
        return list(means) if self.share_of is None else average(means, len(self.output), self.share_of)

    def speeds(self) -> Tensor:
        """How fast the last iteration still moved each layer (L): RMS(r_k(T) − r_k(T−1)) / η_T, over the batch."""
        changes = self.batch_means(mean_square_changes(self.activity[1:], self.previous))
        return torch.stack(changes).sqrt() / self.step_size

    def residual(self) -> Tensor:
        """How fast the last iteration still moved (:func:`bioplausible.functional.residual`), over the batch."""
        return self.speeds().amax()


Phases = Mapping[str, Phase]


def tensors_of(phases: Phases) -> dict[int, Tensor]:
    """Returns the phases' tensors with a row for each sample, by their ids: phases have tensors in common."""
    fields = [[p.activity, p.previous, *p.internal.values()] for p in phases.values()]
    return {id(t): t for phase in fields for tensors in phase for t in tensors}


def with_tensors(phases: Phases, of_all: Mapping[int, Tensor]) -> dict[str, Phase]:
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
