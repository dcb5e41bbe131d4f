"""Predictions as a table."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter

from bioplausible.data.class_names import telling_names
from bioplausible.errors import UserError


class PredictionsCSV(BasePredictionWriter):
    """Writes the columns sample, label, prediction and confidence, a row a test sample in the data set's order.

    Where the data have no labels, the column is empty. Where their classes have names that are not their numbers, the
    columns label_name and prediction_name follow.

    The file is written aside and takes its name when it is whole.

    The confidence is the predicted class's share of the output (:meth:`bioplausible.LearningRule.class_probabilities`).

    Args:
        path: file to write.

    Raises:
        UserError: the file can't be written, or several processes would write it.
    """

    columns = ("sample", "label", "prediction", "confidence")

    def __init__(self, path: Path) -> None:
        super().__init__("batch")
        if path.is_dir():
            raise UserError(f"The predictions can't be written to {path}, a folder: name a file in it with --output.")
        self.path = path
        self._aside = path.with_name(f".{path.name}.{os.getpid()}")
        self._file: TextIO | None = None
        self._samples = 0
        self._names: Sequence[str] | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the file and writes the heading."""
        if trainer.world_size > 1:
            raise UserError("predict writes one file in the data set's order: use --trainer.devices 1.")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._aside.open("w", newline="")
        except OSError as error:
            raise UserError(
                f"The predictions {self.path} can't be written ({error.strerror}): name another file with --output."
            ) from error
        self._samples = 0
        csv.writer(self._file).writerow(self.heading(trainer))

    def write_on_batch_end(self, trainer: Trainer, pl_module: LightningModule, prediction: Any, *_: Any) -> None:
        """Writes a batch."""
        assert self._file is not None
        classes, confidences = (prediction[name].tolist() for name in ("prediction", "confidence"))
        labels = prediction["label"].tolist() if "label" in prediction else [""] * len(classes)
        for label, predicted, confidence in zip(labels, classes, confidences, strict=True):
            csv.writer(self._file).writerow(self.row(self._samples, label, predicted, f"{confidence:.6f}"))
            self._samples += 1

    def heading(self, trainer: Trainer) -> Sequence[str]:
        """Returns the names of the columns."""
        self._names = telling_names(getattr(trainer, "datamodule", None))
        return self.columns if self._names is None else (*self.columns, "label_name", "prediction_name")

    def row(self, sample: int, label: Any, predicted: int, confidence: str) -> Sequence[Any]:
        """Returns a sample's row, in the order of the columns."""
        row = (sample, label, predicted, confidence)
        if self._names is None:
            return row
        return *row, "" if label == "" else self._names[label], self._names[predicted]

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gives the whole file its name."""
        assert self._file is not None
        self._file.close()
        self._file = None
        self._aside.replace(self.path)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Removes a file that did not become whole."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._aside.unlink(missing_ok=True)
