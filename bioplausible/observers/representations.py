"""What the units respond to."""

from collections.abc import Sized
from typing import Any

import torch
from matplotlib import colormaps
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import save_image

from bioplausible.data.batches import Images
from bioplausible.data.class_names import class_names, telling_names
from bioplausible.errors import UserError
from bioplausible.functional import as_real
from bioplausible.observers.drawings import (
    CONFUSION_COLOURS,
    confusion_of,
    draw_confusion,
    draw_tsne,
    enlarged,
    receptive_fields,
)
from bioplausible.observers.figures import log_figure, log_scalars
from bioplausible.observers.observer import Observer
from bioplausible.rules import LearningRule
from bioplausible.training.batch import labelled
from bioplausible.training.data_parallel import join
from bioplausible.training.loggers import folder_of_run
from bioplausible.training.pieces import samples_at_once

SILENT = 1e-3
"""Activity below which a unit counts as silent."""


class Representations(Observer):
    """Shows activities, weights, receptive fields and errors.

    Logs, of ``samples`` training images, ``representation/layer_k_silent`` (share of activities of a magnitude below
    0.001), ``…_dead`` (share of units silent for every image) and ``…_saturated`` (share of units that are not silent
    and have the same activity for every image); histograms of activities, weights and updates; what the first 64 units
    of layer 1 see (``receptive_fields``, each scaled to its own largest weight; grey is 0); the confusion matrix of
    each validation as a plain image (``validation_confusion``: a row for each true class, a column for each predicted
    one; 0.7 ms, where the epochs of the digits take 140 ms), and of the last one as a figure with axes, which takes a
    third of a second; and, if asked for, a t-SNE map of every hidden layer at the end, an image as all of its units.

    On images a unit is a channel at a position: a channel that is silent at half of its positions for every image makes
    half of its units dead. Borders that are the same in all images make units dead or saturated of which the channels
    are neither.

    Args:
        every_n_steps: steps between two looks; one takes about a third of a second.
        samples: number of training images.
        tsne: whether to draw the maps; scikit-learn takes some seconds a layer.

    Raises:
        UserError: the interval is not positive, or there are fewer than ten images.
    """

    def __init__(
        self,
        every_n_steps: int = 20_000,
        samples: int = 500,
        tsne: bool = False,
    ) -> None:
        super().__init__(every_n_steps)
        if samples < 10:
            raise UserError(f"samples is {samples}: it must be at least 10.")
        self.samples = samples
        self.tsne = tsne

    def start_anew(self) -> None:
        """Forgets what was validated."""
        super().start_anew()
        self._validated: list[tuple[Tensor, Tensor]] = []
        self._confusion: Tensor | None = None

    def look(self, trainer: Trainer, rule: LearningRule, x: Tensor, y: Tensor) -> None:
        """Logs scalars, histograms and receptive fields."""
        images, _ = self._images(trainer, rule)
        scalars: dict[str, float] = {}
        pieces = torch.split(images, samples_at_once(images, sum(rule.network.sizes[1:])))
        activity = [as_real(torch.cat(layer)) for layer in zip(*map(rule.activity, pieces), strict=True)]
        for k, r in enumerate(activity[1:], start=1):
            silent = r.abs() < SILENT
            dead = silent.all(0)
            constant = r.amax(0) - r.amin(0) < SILENT
            scalars[f"representation/layer_{k}_silent"] = float(silent.float().mean())
            scalars[f"representation/layer_{k}_dead"] = float(dead.float().mean())
            scalars[f"representation/layer_{k}_saturated"] = float((constant & ~dead).float().mean())
        log_scalars(trainer, scalars)
        step = trainer.global_step - 1
        for board in _boards(trainer):
            for k, r in enumerate(activity[1:], start=1):
                board.add_histogram(f"activity/layer_{k}", r, step)
            for name, parameter in rule.named_parameters():
                board.add_histogram(f"weights/{name}", parameter, step)
                if parameter.grad is not None:
                    board.add_histogram(f"updates/{name}", -parameter.grad, step)
        fields = receptive_fields(rule, getattr(getattr(trainer, "datamodule", None), "image_shape", None))
        if fields is not None:
            fields = enlarged(fields)
            for board in _boards(trainer):
                board.add_image("receptive_fields", fields, step)
            folder = folder_of_run(trainer)
            if folder is not None and trainer.is_global_zero:
                path = folder / "figures" / "receptive_fields.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                save_image(fields, path)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps what was predicted."""
        if isinstance(outputs, Tensor) and isinstance(pl_module, LearningRule):
            _, labels = labelled(pl_module.read_batch(batch))
            self._validated.append((outputs, labels))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows the confusion matrix as it is."""
        validated, self._validated = self._validated, []
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING or not isinstance(pl_module, LearningRule):
            return
        if not validated:
            return
        predicted, true = map(torch.cat, zip(*(join(batch) for batch in validated), strict=True))
        classes = pl_module.network.sizes[-1]
        self._confusion = confusion_of(predicted=predicted, true=true, classes=classes)
        pixels = max(2, 100 // classes)  # a cell's height and width
        cells = self._confusion.repeat_interleave(pixels, 0).repeat_interleave(pixels, 1)
        for board in _boards(trainer):
            image = colormaps[CONFUSION_COLOURS](cells.numpy())[..., :3]
            board.add_image("validation_confusion", image, trainer.global_step - 1, dataformats="HWC")

    def state_dict(self) -> dict[str, Any]:
        """Returns the last confusion matrix: training that resumes may end without another validation."""
        return {"confusion": self._confusion}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes it up."""
        self._confusion = state_dict["confusion"]

    def look_at_end(self, trainer: Trainer, rule: LearningRule) -> None:
        """Draws the last confusion matrix, and the maps if asked for."""
        if self._confusion is not None:
            all_names = class_names(getattr(trainer, "datamodule", None))
            log_figure(trainer, "confusion_matrix", draw_confusion(self._confusion, "validation", all_names))
        if not self.tsne:
            return
        images, labels = self._images(trainer, rule)
        with torch.no_grad():
            hidden = [as_real(r) for r in rule.activity(images)[1:-1]]
        if not hidden:
            return
        names = telling_names(getattr(trainer, "datamodule", None))
        log_figure(trainer, "tsne", draw_tsne(hidden, labels, rule.network.sizes[-1], names))

    def _images(self, trainer: Trainer, rule: LearningRule) -> tuple[Tensor, Tensor]:
        """Returns the first training images and their classes; of a loader that has no first ones, the last batch."""
        loader = trainer.train_dataloader
        dataset = getattr(loader, "dataset", None)
        if isinstance(dataset, Images):
            x, y = labelled(dataset[torch.arange(min(self.samples, len(dataset)))])
        elif isinstance(dataset, Sized) and isinstance(loader, DataLoader) and loader.batch_size is not None:
            samples = [loader.dataset[i] for i in range(min(self.samples, len(dataset)))]
            x, y = labelled(rule.read_batch(loader.collate_fn(samples)))
        else:
            x, y = self.last_batch(rule)
        return rule.network.as_input(x).to(next(rule.parameters())), y


def _boards(trainer: Trainer) -> list[SummaryWriter]:
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
