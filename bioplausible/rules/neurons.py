"""How the neurons of CorInfoMax's layers turn a membrane potential, moved by η Δu, into activity."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Neurons(ABC):
    """The neurons of one layer during a phase."""

    carried: tuple[Tensor, ...] = ()
    """What carries over to the next phase besides r and u, each (n × …)."""

    @abstractmethod
    def fire_(self, u: Tensor, r: Tensor, η: float) -> None:
        """Sets the activity r to what the membrane potential u gives, in place.

        Args:
            u: (n × shape), moved by η Δu already; the layer's own inhibition may move it further.
            r: (n × shape).
            η: step size.
        """


class ClippedNeurons(Neurons):
    """r ← min(max(u, 0), 1): the ℓ∞ ball."""

    def fire_(self, u: Tensor, r: Tensor, η: float) -> None:
        """Sets r."""
        torch.clamp(u, 0, 1, out=r)


class SparseNeurons(Neurons):
    """The ℓ₁ ball, with one inhibitory neuron for each sample and position, q, the dual variable of Σ_c r_c ≤ 1.

    With p the dual variable before rectification::

        u ← u − η q;   r ← max(u, 0);   p ← p + η_q ( Σ_c r_c − 1 + q − p );   q ← max(p, 0)

    Args:
        q: (n × 1 × …) where the phase starts; p starts there too.
        step_size: η_q.
    """

    def __init__(self, q: Tensor, step_size: float) -> None:
        self.q, self.p = q.clone(), q.clone()
        self.step_size = step_size
        self.one = q.new_ones(())  # torch would make a tensor of the number in each iteration
        self.carried = (self.q,)

    def fire_(self, u: Tensor, r: Tensor, η: float) -> None:
        """Inhibits u, sets r, and updates p and q."""
        u.sub_(self.q, alpha=η)
        torch.clamp(u, min=0, out=r)
        self.p.lerp_(r.sum(1, keepdim=True).sub_(self.one).add_(self.q), self.step_size)
        torch.clamp(self.p, min=0, out=self.q)
