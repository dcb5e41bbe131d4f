"""Predictions as a table."""

import csv
from pathlib import Path
from typing import Any, TextIO

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter


class PredictionsCSV(BasePredictionWriter):
    """Writes the columns sample, label, prediction and confidence, a row a test sample in the data set's order.

    The confidence is the predicted class's share of the output (:meth:`bioplausible.LearningRule.class_probabilities`).

    Args:
        path: file to write.
    """

    def __init__(self, path: Path) -> None:
        super().__init__("batch")
        self.path = path
        self._file: TextIO | None = None
        self._samples = 0

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the file and writes the heading."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("w", newline="")
        self._samples = 0
        csv.writer(self._file).writerow(["sample", "label", "prediction", "confidence"])

    def write_on_batch_end(self, trainer: Trainer, pl_module: LightningModule, prediction: Any, *_: Any) -> None:
        """Writes a batch."""
        assert self._file is not None
        columns = (prediction[name].tolist() for name in ("label", "prediction", "confidence"))
        for label, predicted, confidence in zip(*columns, strict=True):
            csv.writer(self._file).writerow([self._samples, label, predicted, f"{confidence:.6f}"])
            self._samples += 1

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
