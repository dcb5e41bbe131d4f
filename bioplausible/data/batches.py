"""A data set held as one tensor and served a batch at a time by indexing."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from bioplausible.training.batch import Batch
from bioplausible.training.data_parallel import share
from bioplausible.training.randomness import generator


class Images(Dataset[Batch]):
    """Images and their classes; indexed by a tensor of positions, it returns a batch.

    Args:
        images: (N × channels × height × width).
        labels: (N), classes.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> Batch:
        return Batch(self.images[index], self.labels[index])

    def subset(self, index: Tensor) -> "Images":
        """Returns the images at the given positions."""
        return Images(self.images[index], self.labels[index])

    @property
    def digest(self) -> str:
        """What tells these images and classes from others of their shapes: 16 hexadecimal digits."""
        digest = hashlib.blake2b(digest_size=8)
        for tensor in (self.images.float(), self.labels):  # of float32, as those that checkpoints have
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()


class EpochBatches(Sampler[Tensor]):
    """Batches of positions in an order that is a pure function of (seed, epoch), from any batch on.

    Args:
        size: N, the number of samples.
        batch_size: samples a batch; the last batch of an epoch may be smaller.
        seed: seed of the order.
        start: (epoch, batch) at which the first pass begins, to resume within an epoch.

    Of several processes each gets its share of every batch (:func:`bioplausible.training.data_parallel.share`).
    """

    def __init__(self, size: int, batch_size: int, seed: int, start: tuple[int, int] = (0, 0)) -> None:
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.epoch, self._start_batch = start
        self._start_epoch = self.epoch

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the next pass; the Trainer calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        first = self._start_batch if self.epoch == self._start_epoch else 0
        order = torch.randperm(self.size, generator=generator(self.seed, self.epoch))
        yield from map(share, torch.split(order, self.batch_size)[first:])


class InOrder(Sampler[Tensor]):
    """Batches of positions in the data set's own order, for evaluation.

    Args:
        size: N, the number of samples.
        batch_size: samples a batch; the last batch may be smaller.
    """

    def __init__(self, size: int, batch_size: int) -> None:
        self.size = size
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        yield from map(share, torch.split(torch.arange(self.size), self.batch_size))


def loader(images: Images, batches: Sampler[Tensor], num_workers: int = 0) -> DataLoader[Batch]:
    """Returns a loader that yields the given batches.

    It has a random generator of its own, so that making an iterator draws nothing from the global one.
    """
    return DataLoader(
        images,
        batch_size=None,
        sampler=batches,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        generator=torch.Generator().manual_seed(0),
    )
