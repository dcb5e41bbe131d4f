"""Where a relaxation ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from bioplausible.functional import residual


@dataclass
class Phase:
    """Where a relaxation ended.

    Attributes:
        activity: r_0 = x, r_1 … r_L, each (n × shape_k).
        beta: strength with which the target pulled on the output, with its sign; 0 in a free phase.
        previous: r_1 … r_L one iteration earlier, where the rule iterates.
        step_size: η of the last iteration.
        internal: whatever else each sample carries from phase to phase, by name, each (n × …).
    """

    activity: list[Tensor]
    beta: float = 0.0
    previous: list[Tensor] = field(default_factory=list)
    step_size: float = 1.0
    internal: dict[str, list[Tensor]] = field(default_factory=dict)

    @property
    def output(self) -> Tensor:
        """r_L (n × d_L)."""
        return self.activity[-1]

    def residual(self) -> Tensor:
        """How fast the last iteration still moved (:func:`bioplausible.functional.residual`)."""
        return residual(self.activity[1:], self.previous, self.step_size)


Phases = Mapping[str, Phase]
