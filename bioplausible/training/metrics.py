"""Means over an epoch, gathered on the device."""

import torch
from torch import Tensor
from torchmetrics import Metric


class EpochMeans(Metric):
    """Sample-weighted mean accuracy and loss of an epoch.

    Sums stay on the device until they are read. With ``persistent=True`` they are part of the checkpoint, so that an
    epoch that was interrupted and resumed reports the same means.

    Args:
        persistent: whether the sums are saved with the module.
        sync_on_compute: whether the sums of several processes are added up when they are read.
    """

    full_state_update = False
    samples = 0
    """Of how many samples the means are that were computed last, of all processes."""
    totals: Tensor

    def __init__(self, *, persistent: bool, sync_on_compute: bool = True) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        dtype = torch.float32 if torch.backends.mps.is_available() else torch.float64  # Apple's GPUs have no float64
        self.add_state("totals", torch.zeros(3, dtype=dtype), dist_reduce_fx="sum", persistent=persistent)

    def update(self, correct: Tensor, loss: Tensor) -> None:
        """Adds a batch.

        Args:
            correct: (n), whether each sample was classified right.
            loss: (n), each sample's loss.
        """
        batch = torch.stack([correct.to(loss), loss, torch.ones_like(loss)])
        # not in place: Lightning may have loaded the sums in inference mode, as BatchSizeFinder does in an evaluation
        self.totals = self.totals + batch.sum(1, dtype=self.totals.dtype)

    def compute(self) -> dict[str, Tensor]:
        """Returns ``accuracy`` (a fraction) and ``loss``."""
        correct, loss, n = self.totals.unbind()
        self.samples = int(n)
        return {"accuracy": correct / n, "loss": loss / n}
