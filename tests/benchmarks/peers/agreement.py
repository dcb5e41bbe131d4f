"""Whether two codes learn the same."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SAME = 0.99
"""The least cosine between two updates of the same kind."""


@dataclass(frozen=True)
class Agreement:
    """How near what a code learns is to what ours learns.

    Attributes:
        cosine: the smallest between their changes of a parameter in one batch with rate 1; NaN where one is 0 or NaN.
        sizes: the smallest and the largest ratio of these changes' norms, theirs to ours.
        adam: the smallest cosine after some batches with Adam.
    """

    cosine: float
    sizes: tuple[float, float]
    adam: float

    @classmethod
    def of(cls, ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> "Agreement":
        """Compares what :func:`tests.benchmarks.peers.worker.learned` found of two codes.

        Raises:
            ValueError: they have other parameters.
        """
        if {name: a.shape for name, a in ours.items()} != {name: a.shape for name, a in theirs.items()}:
            raise ValueError("it has other parameters")
        one, several = (
            [compared(ours[name], theirs[name]) for name in ours if name.startswith(kind)] for kind in ("sgd", "adam")
        )
        ratios = [ratio for _, ratio in one]
        return cls(
            float(np.min([cosine for cosine, _ in one])),
            (float(np.min(ratios)), float(np.max(ratios))),
            float(np.min([cosine for cosine, _ in several])),
        )

    @property
    def same(self) -> bool:
        """Whether both compute the same kind of update."""
        return self.cosine > SAME and self.adam > SAME

    def __str__(self) -> str:
        low, high = (f"{size:.4f}" for size in self.sizes)
        size = low if low == high else f"{low} to {high}"
        return f"{'yes' if self.same else '**no**'}: {self.cosine:.5f}, size {size}; {self.adam:.5f}"


def compared(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """Returns the cosine between two changes, and the ratio of their norms."""
    a, b = ours.astype(np.float64).ravel(), theirs.astype(np.float64).ravel()
    with np.errstate(divide="ignore", invalid="ignore"):
        return a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), np.linalg.norm(b) / np.linalg.norm(a)
