"""What all data modules share."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader

from bioplausible.data.augmentation import crop, mirror
from bioplausible.data.batches import EpochBatches, Images, InOrder, loader
from bioplausible.data.pictures import read_pictures
from bioplausible.errors import UserError
from bioplausible.errors.checks import require_arguments
from bioplausible.lightning_internals import progress, replaces_samplers, trainer_option
from bioplausible.resume.training_data import TrainingData
from bioplausible.training.batch import Batch, Source, as_classes, as_images
from bioplausible.training.data_parallel import share
from bioplausible.training.randomness import generator, mix, run_seed

SPLIT_SEED = 20231210
"""Fixed, so that the validation split and a subset are the same in every run, whatever its seed."""


MOST_SAMPLES = 2**31 - 1
MOST_WORKERS = 1024
MOST_BORDER = 512


class ImageDataModule(LightningDataModule, ABC):
    """A classification data set of images, held as one tensor and served a batch at a time.

    Batches are (images (n × channels × height × width) in [0, 1] before normalisation, classes (n)). The order of each
    training epoch is a pure function of (seed, epoch), and the position within it is part of a checkpoint, so training
    resumes at the very batch where it stopped. The test split serves ``test`` and ``predict`` only.

    A rule takes images in this form, whether its network is dense or not: ``rule(images)`` is its output.

    Args:
        batch_size: samples a training batch, of all processes together.
        evaluation_batch_size: samples a batch of validation, test and predict.
        validation_split: share of the training images kept for validation, in [0, 1); which ones does not depend on the
            seed. 0 trains on everything, as the paper does.
        subset_size: number of training images to use, validation included; None: all. The test split stays whole.
        mean: subtracted from each channel; None: the data set's default.
        std: divides each channel; None: the data set's default.
        border: rows and columns of black pixels that are added on each side, before normalisation, so that images of
            28 × 28 become 32 × 32 with 2.
        crop_padding: pixels by which a training image is randomly shifted; 0: none.
        horizontal_flip: whether a training image is randomly mirrored.
        num_workers: processes that gather training batches; 0 is the fastest for data held in memory.

    Raises:
        UserError: an argument is outside its range.
    """

    num_classes: int = 10
    class_names: tuple[str, ...] = ()
    """The classes' names in their order; where a class says none, their numbers from 0 on."""
    image_shape: tuple[int, int, int]
    """(channels, height, width); a vector of d values is (d, 1, 1)."""
    column_names: tuple[str, ...] = ()
    """The names of a vector's values in their order, where they have any."""
    in_unit_interval: bool = True
    """Whether values lie in [0, 1] before normalisation, as those of images do, or are any finite numbers."""
    stretches: bool = False
    """Whether pictures were brought to their size whatever their proportions, so that those of one's own are too."""
    has_digest: bool = False
    """Whether runs note a digest of the images, for they may be others another time, under the same name.

    They must not depend on the seed, or runs of several seeds would be told apart.
    """
    default_mean: ClassVar[list[float] | None] = None
    default_std: ClassVar[list[float] | None] = None

    def __init__(
        self,
        batch_size: int = 20,
        evaluation_batch_size: int = 1000,
        validation_split: float = 0.0,
        subset_size: int | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        crop_padding: int = 0,
        horizontal_flip: bool = False,
        num_workers: int = 0,
        border: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)  # the rule hands them out with its own
        require_arguments(type(self), self.hparams)
        for name, value, least, most in (
            ("batch_size", batch_size, 1, MOST_SAMPLES),
            ("evaluation_batch_size", evaluation_batch_size, 1, MOST_SAMPLES),
            ("subset_size", 1 if subset_size is None else subset_size, 1, MOST_SAMPLES),
            ("border", border, 0, MOST_BORDER),
            ("crop_padding", crop_padding, 0, min(self.image_shape[1:])),  # beyond, nothing is left of an image
            ("num_workers", num_workers, 0, MOST_WORKERS),
        ):
            if not least <= value <= most:
                raise UserError(f"{name} is {value}: it must lie between {least} and {most}.")
        if not 0 <= validation_split < 1:
            raise UserError(f"validation_split is {validation_split}: it is a share of the training images, in [0, 1).")
        channels, height, width = self.image_shape
        if border:
            self.image_shape = (channels, height + 2 * border, width + 2 * border)
        self.class_names = self.class_names or tuple(map(str, range(self.num_classes)))
        if len(self.class_names) != self.num_classes:
            raise UserError(
                f"{type(self).__name__} has {self.num_classes} classes and {len(self.class_names)} class_names: give"
                " as many of both."
            )
        for name, values in (("mean", mean), ("std", std)):
            if isinstance(values, (int, float)):
                raise UserError(f"{name} is {values}: give a list of one number per channel ({channels}).")
            if values is not None and len(values) != channels:
                raise UserError(f"{name} has {len(values)} entries: give one per channel ({channels}).")
        if std is not None and min(std) <= 0:
            raise UserError(f"std is {std}: it must be positive.")
        self.batch_size = batch_size
        self.evaluation_batch_size = evaluation_batch_size
        self.validation_split = validation_split
        self.subset_size = subset_size
        self.mean = self.default_mean if mean is None else mean
        self.std = self.default_std if std is None else std
        self.crop_padding = crop_padding
        self.horizontal_flip = horizontal_flip
        self.num_workers = num_workers
        self.border = border
        self._seed = 0
        self._start = (0, 0)
        self._splits: dict[str, Images] = {}
        self._configured_batch_size = batch_size
        self.content: str | None = None
        """A digest of the training images and classes; None before they are loaded, and without ``has_digest``."""
        self.validation_content: str | None = None
        """The same of a part for validation."""
        self.test_content: str | None = None
        """The same of the test images."""
        self._sizes = (0, 0, 0)
        """Training images, how many of them are used, and how many of these are held out; 0 before they are loaded."""

    @abstractmethod
    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Returns a split's images (N × channels × height × width), float32 in [0, 1], and classes (N), int64.

        Numbers of any size, without ``in_unit_interval``, may be float64: they are rounded when they are normalised.

        Of what a module of your own returns, these are converted: images of another floating-point type or of
        booleans, without the dimension of a single channel; classes of another type of whole numbers, (N × 1) or
        one-hot (N × classes); arrays of NumPy's and lists. The rest is refused, also images of integers: of 0 and 1,
        0 … 16 or 0 … 255 they don't say themselves which value is white.
        """

    @property
    def loaded_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the images as they are loaded, without a border."""
        channels, height, width = self.image_shape
        return channels, height - 2 * self.border, width - 2 * self.border

    @property
    def input_size(self) -> int:
        """Number of values a sample."""
        channels, height, width = self.image_shape
        return channels * height * width

    @property
    def has_validation(self) -> bool:
        """Whether training is validated, on a share of the training images or on images of its own."""
        return self.validation_split > 0

    # ----------------------------------------------------------------------------------------------------------- splits

    def setup(self, stage: str) -> None:
        """Loads the splits that the stage needs.

        Raises:
            UserError: a size does not fit the data, or an option of Trainer's would replace the order.
        """
        if self.trainer is not None and trainer_option(self.trainer, "overfit_batches"):
            raise UserError("overfit_batches would replace the training order: use the data's subset_size instead.")
        if self.trainer is not None and replaces_samplers(self.trainer):
            raise UserError(
                "use_distributed_sampler would replace the training order, of which each process takes its share"
                " already: construct the Trainer with use_distributed_sampler=False."
            )
        if stage in ("fit", "validate") and "train" not in self._splits:
            images = self._loaded(train=True)
            trained, held_out = self._choose(len(images))
            self._sizes = len(images), len(trained) + len(held_out), len(held_out)
            whole = len(trained) == len(images)
            self._splits["train"] = self._as_network_gets(images if whole else images.subset(trained))
            self._splits["val"] = self._as_network_gets(self._held_out(images, held_out))
        if stage == "validate" and not len(self._splits["val"]):
            raise UserError(
                "validation_split is 0, so there is nothing to validate on: train with a validation_split, or score the"
                " test split with `test`."
            )
        if stage in ("test", "predict") and "test" not in self._splits:
            self._splits["test"] = self._as_network_gets(self._loaded(train=False))
        if stage == "fit":
            # until a checkpoint says otherwise: an earlier Trainer may have resumed within an epoch
            self._start = (0, 0)
            given = run_seed()
            if given is not None:
                self._seed = given
            elif self.trainer is None:
                self._seed = torch.initial_seed()
            elif self.trainer.ckpt_path is None:
                self._seed = self.trainer.strategy.broadcast(torch.initial_seed())

    def _choose(self, size: int) -> tuple[Tensor, Tensor]:
        """Returns the positions of the images to train on and of those held out, in ascending order.

        Raises:
            UserError: there are fewer images than are asked for, or none is left for one of the two.
        """
        order = torch.randperm(size, generator=generator(SPLIT_SEED, 0))
        if self.subset_size is not None:
            if self.subset_size > size:
                raise UserError(f"subset_size is {self.subset_size}, but there are {size} training images.")
            order = order[: self.subset_size]
        held_out = round(len(order) * self.validation_split)
        if held_out == len(order) or (held_out == 0 and self.validation_split > 0):
            raise UserError(
                f"validation_split is {self.validation_split}, which leaves {held_out} of {len(order)} images for"
                " validation: choose another share, or 0 for none."
            )
        return order[held_out:].sort().values, order[:held_out].sort().values

    def _source(self, part: str) -> Source:
        """Returns where a part's images come from, for sentences; the part is train, val or test."""
        return Source(f"{type(self).__name__}.load(train={part == 'train'})", "return")

    def _loaded(self, train: bool) -> Images:
        """Returns a split as it is loaded, checked, without a border and not normalised."""
        images = self._as_images(self.load(train), self._source("train" if train else "test"))
        if self.has_digest:
            if train:
                self.content = images.digest
            else:
                self.test_content = images.digest
        return images

    def _held_out(self, images: Images, positions: Tensor) -> Images:
        """Returns the images for validation: those of the training images that are held out."""
        return images.subset(positions)

    def _as_images(self, given: Any, source: Source) -> Images:
        if not isinstance(given, (list, tuple)) or len(given) != 2:
            kind = f"{len(given)} fields" if isinstance(given, (list, tuple)) else type(given).__name__
            raise source.refuse(kind, "a pair (images, classes)")
        # numbers of any size keep the digits that tell them apart until they are normalised
        images = as_images(given[0], torch.float32 if self.in_unit_interval else torch.float64, source)
        if self.loaded_shape[0] == 1 and images.shape[1:] == self.loaded_shape[1:]:
            images = images[:, None]
        labels = as_classes(given[1], self.num_classes, source)
        self._check(images, labels, source)
        return Images(images, labels)

    def _as_network_gets(self, split: Images) -> Images:
        return Images(self.prepared(split.images).float(), split.labels)

    def prepared(self, images: Tensor) -> Tensor:
        """Returns images in [0, 1] of the shape in which they are loaded as the network gets them.

        That is with their border, and normalised.
        """
        images = F.pad(images, [self.border] * 4) if self.border else images
        if self.mean is not None:
            images = images - torch.tensor(self.mean, dtype=images.dtype)[:, None, None]
        if self.std is not None:
            images = images / torch.tensor(self.std, dtype=images.dtype)[:, None, None]
        return images

    def pictures(self, files: str | Path | Sequence[str | Path], invert: bool = False) -> Tensor:
        """Returns pictures of one's own as the network gets this data set's images (n × channels × height × width).

        Args:
            files: pictures of any size, grey or in colours (:func:`bioplausible.data.pictures.read_pictures`).
                Where the training pictures were brought to a size whatever their proportions, so are these.
            invert: whether black becomes white, as of dark strokes on white paper where the data's are bright on black.

        Raises:
            UserError: a file can't be read, or these data are no images.
        """
        if not self.in_unit_interval or len(self.image_shape) != 3 or self.image_shape[0] not in (1, 3):
            raise UserError(
                f"{type(self).__name__} has no images of one or three channels, as pictures are: name none."
            )
        return self.prepared(read_pictures(files, self.loaded_shape, invert, self.stretches))

    def _check(self, images: Tensor, labels: Tensor, source: Source) -> None:
        """Raises UserError where images and classes are not what :meth:`load` promises."""
        if tuple(images.shape[1:]) != self.loaded_shape or len(images) != len(labels) or len(labels) == 0:
            raise source.refuse(
                f"images {tuple(images.shape)} and {len(labels)} classes",
                f"as many of both, at least one, and images of {self.loaded_shape}",
            )
        low, high = (float(value) for value in images.float().aminmax())  # what float32 doesn't hold is infinite
        if not self.in_unit_interval and not (math.isfinite(low) and math.isfinite(high)):
            raise source.refuse("numbers that are NaN or infinite", "finite numbers")
        if self.in_unit_interval and not 0 <= low <= high <= 1:  # NaN is neither
            raise source.refuse(f"pixels from {low:g} to {high:g}", "numbers in [0, 1], without NaN")

    # ---------------------------------------------------------------------------------------------------------- loaders

    def train_dataloader(self) -> DataLoader[Batch]:
        """Returns the training batches, shuffled anew each epoch; a Trainer that has this module augments them."""
        images = self.images_of("train")
        if self._has_augmentation and not self._in_training:
            rank_zero_warn(
                "Images of a training loader by itself are not augmented by crop_padding and horizontal_flip: to train"
                " on augmented ones, give the data module to the Trainer, as trainer.fit(rule, data)."
            )
        return loader(images, EpochBatches(len(images), self.batch_size, self._seed, self._start), self.num_workers)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """Returns the validation batches in order; an empty list without a validation split."""
        return self._in_order("val") if len(self.images_of("val")) else []

    def test_dataloader(self) -> DataLoader[Batch]:
        """Returns the test batches in order."""
        return self._in_order("test")

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Returns the test batches in order."""
        return self._in_order("test")

    def scores(self, loader: Any) -> bool:
        """Returns whether a data loader yields this module's test images."""
        return "test" in self._splits and getattr(loader, "dataset", None) is self._splits["test"]

    @property
    def _has_augmentation(self) -> bool:
        return self.crop_padding > 0 or self.horizontal_flip

    @property
    def _in_training(self) -> bool:
        """Whether a Trainer has the module, and is training."""
        return self.trainer is not None and self.trainer.training

    def images_of(self, name: str) -> Images:
        """Returns a part as the network gets it: train, val or test.

        Raises:
            UserError: it is not loaded.
        """
        if name not in self._splits:
            stage = "test" if name == "test" else "fit"
            raise UserError(
                f"The images are not loaded yet: call prepare_data() and setup({stage!r}), or give the data module to a"
                " Trainer."
            )
        return self._splits[name]

    def _in_order(self, split: str) -> DataLoader[Batch]:
        images = self.images_of(split)
        return loader(images, InOrder(len(images), self.evaluation_batch_size))

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augments training images, on the device; the draws are a pure function of (seed, step)."""
        if not (self._has_augmentation and self._in_training):
            return batch
        assert self.trainer is not None
        images, labels = batch
        # the order of an epoch is drawn from (seed, epoch): a seed of their own keeps these draws apart from it
        draws = generator(mix(self._seed, 0), self.trainer.global_step, images.device)
        # for every sample of the batch, whatever this process's share of it
        offsets = torch.randint(2 * self.crop_padding + 1, (self.batch_size, 2), generator=draws, device=images.device)
        flips = torch.rand(self.batch_size, generator=draws, device=images.device) < 0.5
        if self.crop_padding:
            images = crop(images, self.crop_padding, share(offsets)[: len(images)])
        if self.horizontal_flip:
            images = mirror(images, share(flips)[: len(images)])
        return Batch(images, labels)

    # ----------------------------------------------------------------------------------------------------------- resume

    def training_data(self) -> TrainingData:
        """Returns what training draws from."""
        images, used, held_out = self._sizes
        return TrainingData(
            dataset=type(self).__qualname__,
            images=images,
            used=used,
            held_out=held_out,
            subset_size=self.subset_size,
            validation_split=self.validation_split,
            batch_size=self.batch_size,
            configured_batch_size=self._configured_batch_size,
            mean=self.mean,
            std=self.std,
            crop_padding=self.crop_padding,
            horizontal_flip=self.horizontal_flip,
            border=self.border,
            class_names=list(self.class_names),
            column_names=list(self.column_names) or None,
            content=self.content,
        )

    @property
    def starts_within_epoch(self) -> bool:
        """Whether training begins with another batch than an epoch's first."""
        return self._start[1] > 0

    def state_dict(self) -> dict[str, Any]:
        """Returns the seed and the position of the next training batch as (epoch, batch)."""
        assert self.trainer is not None
        begun, epoch, batch = progress(self.trainer)
        if begun == epoch:  # between two epochs
            batch = 0
        elif batch >= self.trainer.num_training_batches:  # Trainer resumes with the next epoch
            epoch, batch = epoch + 1, 0
        return {"seed": self._seed, "epoch": epoch, "batch": batch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the seed and the position."""
        if run_seed() is None:
            self._seed = state_dict["seed"]
        self._start = (state_dict["epoch"], state_dict["batch"])
