"""Progress bar."""

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar

from bioplausible.rules.base import LearningRule


class LiveProgressBar(TQDMProgressBar):
    """Progress bar with the accuracy of the running epoch so far, and the last validation accuracy.

    Args:
        refresh_rate: batches between two refreshes; each costs about as much as a small rule's batch.
    """

    def __init__(self, refresh_rate: int = 20) -> None:
        super().__init__(refresh_rate=refresh_rate)

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Returns what the bar shows."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        if isinstance(pl_module, LearningRule) and pl_module.train_means.update_called:
            metrics = {
                "train/accuracy": float(pl_module.train_means.totals[0] / pl_module.train_means.totals[2]),
                **metrics,
            }
        return {name: f"{value:.2%}" if "accuracy" in name else value for name, value in metrics.items()}
