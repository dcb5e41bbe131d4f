"""What keeps something of a run must not take it into another one."""

from abc import ABC, abstractmethod
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class OfOneRun(Callback, ABC):
    """A callback that keeps something of a run, and starts anew with each run that does.

    A run that resumes goes on from its checkpoint, and a Trainer that fits once more from where it was.
    """

    def __init__(self) -> None:
        self.start_anew()

    @abstractmethod
    def start_anew(self) -> None:
        """Takes up what holds before the first step; what a checkpoint knows comes after it."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Starts anew where training does."""
        if stage == "fit" and trainer.global_step == 0:
            self.start_anew()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Starts anew where training resumes, right before it takes up what the checkpoint keeps."""
        if trainer.training:
            self.start_anew()
