"""How layers are wired: what goes forward, what comes back, what a Hebbian product of the two sides is."""

from bioplausible.network.dense import Dense
from bioplausible.network.lateral import Inhibition, InverseCorrelation

__all__ = ["Dense", "Inhibition", "InverseCorrelation"]
