"""Where a relaxation ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from bioplausible.data_parallel import join, processes
from bioplausible.functional import residual


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


def whole_batch(phases: dict[str, Phase]) -> dict[str, Phase]:
    """Returns the phases of the whole batch from those of each process's share of it; one process has the whole."""
    if processes() == 1:
        return phases
    fields = [[p.activity, p.previous, *p.internal.values()] for p in phases.values()]
    shares = {id(t): t for phase in fields for tensors in phase for t in tensors}  # phases have tensors in common
    joined = dict(zip(shares, join(list(shares.values())), strict=True))

    def of_all(tensors: list[Tensor]) -> list[Tensor]:
        return [joined[id(t)] for t in tensors]

    return {
        name: replace(
            p,
            activity=of_all(p.activity),
            previous=of_all(p.previous),
            internal={key: of_all(tensors) for key, tensors in p.internal.items()},
        )
        for name, p in phases.items()
    }
