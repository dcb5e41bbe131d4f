"""What ours and every peer are given: a network, batches, rates. It needs numpy alone, which every environment has."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Problem:
    """A dense network of two layers of weights, and how it learns; float32.

    Attributes:
        weights: by name, W_1 (d_1 × d_0), b_1 (d_1), W_2 (d_2 × d_1), b_2 (d_2), and feedback alignment's V_2, as W_2.
        images: x (batches × n × d_0).
        targets: one-hot y (batches × n × d_2).
        recipe: name of the file in configs/fashion_mnist, which tells the rule.
        rate: Adam's.
        iterations: of inference; 0 where nothing settles.
        step_size: of inference.
        target_range: value of the target for the other classes and for the right one.
    """

    weights: Arrays
    images: np.ndarray
    targets: np.ndarray
    recipe: str
    rate: float
    iterations: int = 0
    step_size: float = 0.0
    target_range: tuple[float, float] = (0.0, 1.0)

    def save(self, file: Path) -> None:
        """Writes it as .npz."""
        np.savez(file, **self.weights, **{name: value for name, value in vars(self).items() if name != "weights"})

    @classmethod
    def load(cls, file: str | Path) -> "Problem":
        """Reads what :meth:`save` wrote."""
        with np.load(file) as stored:
            arrays = dict(stored)
        rest = {f.name: arrays.pop(f.name) for f in fields(cls) if f.name != "weights"}
        plain = {name: a if a.ndim == 3 else a.tolist() for name, a in rest.items()}
        return cls(arrays, **plain)

    def soften(self, target: np.ndarray) -> np.ndarray:
        """Returns the target with the target range's two values."""
        low, high = self.target_range
        return (low + (high - low) * target).astype(np.float32)
