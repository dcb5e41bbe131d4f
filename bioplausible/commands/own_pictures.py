"""``predict --images FILES``: pictures of one's own, read as the data's images are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from bioplausible.data import ImageDataModule
from bioplausible.data.class_names import name_of, telling_names
from bioplausible.data.pictures import look_inverted, read_pictures
from bioplausible.errors import UserError
from bioplausible.observers.predictions import PredictionsCSV
from bioplausible.resume.training_data import TrainingData


class OwnPictures(LightningDataModule):
    """Pictures in the place of a data set's test split.

    Args:
        data: the data module as whose images they are read.
        files: PNG, JPEG, PPM, BMP, TIFF or WEBP.
        invert: whether black becomes white.

    Raises:
        UserError: a file can't be read.
    """

    def __init__(self, data: ImageDataModule, files: Sequence[str], invert: bool) -> None:
        super().__init__()
        self.data, self.files, self.invert = data, files, invert
        self.images = data.pictures(files, invert)

    def predict_dataloader(self) -> DataLoader[Tensor]:
        """Returns the pictures in the order in which they were named."""
        batches = list(torch.split(self.images, self.data.evaluation_batch_size))
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]  # a list is a data set, too

    def training_data(self) -> TrainingData:
        """Returns what says how the pictures are normalised."""
        return self.data.training_data()

    def likely_inverted(self) -> list[str]:
        """Returns the pictures that look inverted beside the data; none where these are not there to compare with."""
        try:
            images, _ = self.data.load(train=False)
        except UserError:
            return []
        pictures = read_pictures(self.files, self.data.loaded_shape, self.invert, self.data.stretches)
        found = look_inverted(pictures, torch.as_tensor(images))
        return [file for file, is_likely in zip(self.files, found.tolist(), strict=True) if is_likely]


class PicturesCSV(PredictionsCSV):
    """Writes the columns file, prediction, class and confidence, a row a picture; without a name the class is empty.

    Args:
        path: file to write.
        pictures: what is predicted.

    Raises:
        UserError: the file can't be written, or several processes would write it.
    """

    columns = ("file", "prediction", "class", "confidence")

    def __init__(self, path: Path, pictures: OwnPictures) -> None:
        super().__init__(path)
        self.pictures = pictures

    def heading(self, trainer: Trainer) -> Sequence[str]:
        """Returns the names of the columns."""
        return self.columns

    def row(self, sample: int, label: Any, predicted: int, confidence: str) -> Sequence[Any]:
        """Returns a picture's row."""
        names = telling_names(self.pictures.data)
        return self.pictures.files[sample], predicted, "" if names is None else names[predicted], confidence


def as_table(pictures: OwnPictures, predicted: Sequence[Mapping[str, Tensor]]) -> str:
    """Returns a line for each picture: file, class and confidence.

    Args:
        pictures: what was predicted.
        predicted: what :meth:`bioplausible.LearningRule.predict_step` returned, batch by batch.
    """
    numbers, confidences = (torch.cat([batch[n] for batch in predicted]) for n in ("prediction", "confidence"))
    classes = [name_of(pictures.data, number) for number in numbers.tolist()]
    rows = list(zip(pictures.files, classes, (f"{c:.1%}" for c in confidences.tolist()), strict=True))
    rows.insert(0, ("file", "class", "confidence"))
    wide, narrow = (max(len(row[i]) for row in rows) for i in (0, 1))
    return "\n".join(f"{file:<{wide}}  {name:<{narrow}}  {confidence}" for file, name, confidence in rows)


def warning(pictures: OwnPictures) -> str | None:
    """Returns a sentence where pictures are likely to be inverted; None where none is."""
    likely = pictures.likely_inverted()
    if not likely:
        return None
    many = f"{len(likely)} of the {len(pictures.files)} pictures, such as {likely[0]}, are"
    return (
        f"{f'{likely[0]} is' if len(likely) == 1 else many} bright at the border where the data's images are dark, or"
        f" the other way round: if black and white are swapped, {'leave out' if pictures.invert else 'add'} --invert."
    )
