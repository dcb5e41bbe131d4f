"""A network for the iterations of a relaxation, its input held still."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from bioplausible.functional import silence
from bioplausible.network.lateral import LateralWires
from bioplausible.network.wires import Wires

if TYPE_CHECKING:
    from bioplausible.network.network import Network


class Clamped:
    """A network whose input is held still: the verbs of a relaxation's iterations, with weights at hand, in place.

    What the input drives is computed once; the winners of max pooling are found once an iteration: ``add_drive_`` notes
    them for the ``add_feedback_`` of the same moment.

    Attributes:
        x: the input r_0 (n × shape_0).
        constant: by layer, what it receives from below whatever the others do, to be broadcast over samples and
            positions: biases, and the drive of the input; 0 where there is nothing.
        driven: the layers that receive more than their constant, from layers that move.
        laterals: the lateral weights by layer.
    """

    def __init__(self, network: Network, x: Tensor, top: int, complex_states: bool = False) -> None:
        self.x = x
        self._network, self._top = network, top
        nothing = x.new_zeros(())
        self.constant = [nothing] * (top + 1)
        self._into: list[list[Wires]] = [[] for _ in range(top + 1)]
        self._out_of: list[list[Wires]] = [[] for _ in range(top + 1)]
        self._with_winners: list[Wires] = []
        for c in network.connections:
            if c.post > top:
                continue
            before = self.constant[c.post]
            if c.pre == 0:
                fixed = c.feedforward(x)
            else:
                fixed = nothing if c.bias is None else c.bias_of_positions()
                wires = Wires(c) if complex_states else c.wires()
                self._into[c.post].append(wires)
                self._out_of[c.pre].append(wires)
                if c.has_winners:
                    self._with_winners.append(wires)
            self.constant[c.post] = before if fixed is nothing else fixed if before is nothing else before + fixed
        if complex_states:
            self.constant = [constant.to(x.dtype.to_complex()) for constant in self.constant]
        self.driven = [k for k in range(1, top + 1) if self._into[k]]
        self.laterals: dict[int, LateralWires] = {k: lateral.wires() for k, lateral in network.laterals.items()}

    def rest(self) -> list[Tensor]:
        """Returns the state of layers 0 … L where the input is x and all others are silent."""
        return [self.x, *(silence(self.x, shape) for shape in self._network.shapes[1 : self._top + 1])]

    def find_winners(self, r: Sequence[Tensor]) -> None:
        """Finds the winners of max pooling in a state, for a relaxation whose feedback comes before its drive."""
        for wires in self._with_winners:
            wires.find_winners(r[wires.pre])

    def drive(self, k: int, r: Sequence[Tensor]) -> Tensor:
        """Returns what layer k receives from below (n × shape_k), biases included."""
        if not self._into[k]:
            return self.constant[k]
        voltage = self.constant[k].expand(len(self.x), *self._network.shapes[k]).clone()
        self.add_drive_(k, voltage, r)
        return voltage

    def add_drive_(self, k: int, voltage: Tensor, r: Sequence[Tensor], scale: float = 1.0) -> None:
        """Adds scale times what layer k receives from below, without its constant, to the voltage (n × shape_k)."""
        for wires in self._into[k]:
            wires.add_feedforward_(voltage, r[wires.pre], scale)

    def add_feedback_(
        self, k: int, voltage: Tensor, s: Sequence[Tensor], at: Sequence[Tensor], scale: float = 1.0
    ) -> None:
        """Adds scale times what layer k receives from above, where the layers hold s, to the voltage (n × shape_k)."""
        for wires in self._out_of[k]:
            wires.add_feedback_(voltage, s[wires.post], at[k], scale)

    def set_feedback_(self, k: int, voltage: Tensor, s: Sequence[Tensor], at: Sequence[Tensor]) -> None:
        """Sets the voltage (n × shape_k) to what layer k receives from above."""
        first, *others = self._out_of[k]
        first.set_feedback_(voltage, s[first.post], at[k])
        for wires in others:
            wires.add_feedback_(voltage, s[wires.post], at[k])
