"""``python -m bioplausible benchmark``: what a training batch costs, against what the machine can do."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bioplausible.data import ImageDataModule

RULES = (
    "backpropagation",
    "feedback_alignment",
    "equilibrium_propagation",
    "contrastive_similarity_matching",
    "predictive_coding",
    "nudged_predictive_coding",
    "corinfomax_sparse",
    "corinfomax",
)
Product = tuple[int, int, int]
"""A matrix product's sizes (m, k, n): (m × k) (k × n)."""


class RandomImages(ImageDataModule):
    """Random images and classes in the shape of a data set, so that a benchmark needs no files.

    Args:
        shape: (channels, height, width).
        classes: number of classes.
        size: number of images.
        options: those of :class:`bioplausible.data.ImageDataModule`.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int = 10, size: int = 6000, **options: Any) -> None:
        self.image_shape, self.num_classes, self.size = shape, classes, size  # type: ignore[misc]  # of this instance
        super().__init__(**options)

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Returns uniform random images and classes."""
        draws = torch.Generator().manual_seed(0)
        return torch.rand(self.size, *self.image_shape, generator=draws), torch.randint(
            self.num_classes, (self.size,), generator=draws
        )


class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the matrix products that are computed under it, by their sizes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[Product] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name in ("mm", "addmm", "addmm_"):
            a, b = args[-2:] if name != "mm" else args[:2]
            self.counts[a.shape[0], a.shape[1], b.shape[1]] += 1
        return function(*args, **(kwargs or {}))

    @property
    def operations(self) -> int:
        """Floating-point operations of all products: 2 m k n each."""
        return sum(2 * m * k * n * count for (m, k, n), count in self.counts.items())


@dataclass(frozen=True)
class Cost:
    """What one training batch of a rule costs.

    Attributes:
        name: rule and net.
        operations: floating-point operations in matrix products.
        products: milliseconds that these products take alone.
        step: milliseconds of the bare rule: settling, updates, optimizer.
        training: milliseconds of whole training through the Trainer; None where it was not measured.
        memory: bytes that the step needs beyond weights, optimizer state and the batch, where they can be counted.
    """

    name: str
    operations: int
    products: float
    step: float
    training: float | None

    def row(self) -> str:
        """Returns a line of the table."""
        rate = self.operations / self.products / 1e6
        framework = f"{self.training:10.2f} {self.training - self.step:10.2f}" if self.training is not None else ""
        return (
            f"{self.name:46} {self.operations / 1e6:9.1f} {rate:9.1f} {self.step:9.2f}"
            f" {self.products / self.step:8.0%} {framework}"
        )


HEADING = (
    f"{'rule and net':46} {'MFLOP':>9} {'GFLOP/s':>9} {'step ms':>9} {'of peak':>8} {'fit ms':>10} {'framework':>10}"
)


def timed(work: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """Returns the milliseconds of one call, the mean over some repeats."""
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats * 1e3


def milliseconds_of(products: Counter[Product], device: torch.device) -> float:
    """Returns how long these matrix products take, one after the other, with their operands at hand."""
    total = 0.0
    for (m, k, n), count in products.items():
        a, b, out = torch.rand(m, k, device=device), torch.rand(k, n, device=device), torch.empty(m, n, device=device)
        total += count * min(timed(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), 20, device) for _ in range(5))  # type: ignore[misc]
    return total
