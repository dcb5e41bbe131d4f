"""How layers are wired: what goes forward, what comes back, what a Hebbian product of the two sides is."""

from bioplausible.network.clamped import Clamped
from bioplausible.network.connection import Connection, Feedback
from bioplausible.network.convolution import Convolution, Local
from bioplausible.network.dense import Dense
from bioplausible.network.initialization import Initialization
from bioplausible.network.labels import Labels
from bioplausible.network.lateral import Inhibition, InverseCorrelation, Lateral, Recurrent
from bioplausible.network.network import Network
from bioplausible.network.pooling import Pooling
from bioplausible.network.running_correlation import RunningCorrelation, broadcast, mean_product
from bioplausible.network.skip import Identity
from bioplausible.network.specification import Entry, Sizes, Specification
from bioplausible.network.wires import Wires

__all__ = [
    "Clamped",
    "Connection",
    "Convolution",
    "Dense",
    "Entry",
    "Feedback",
    "Identity",
    "Inhibition",
    "Initialization",
    "InverseCorrelation",
    "Labels",
    "Lateral",
    "Local",
    "Network",
    "Pooling",
    "Recurrent",
    "RunningCorrelation",
    "Sizes",
    "Specification",
    "Wires",
    "broadcast",
    "mean_product",
]
