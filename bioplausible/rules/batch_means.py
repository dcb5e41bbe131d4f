"""Means over a batch that both halves of a training step need: the updates, and the state that follows them."""

from collections.abc import Callable

from torch import Tensor

from bioplausible.training.phase import Phase

Means = dict[tuple[str, int], Tensor]
"""By what they are of and the layer."""


class BatchMeans:
    """The means of the batch that is being learned, which several processes exchange once a step.

    Args:
        of_samples: returns the means over a phase's samples.
    """

    def __init__(self, of_samples: Callable[[Phase], Means]) -> None:
        self._of_samples = of_samples
        self._noted: tuple[Phase, Means] | None = None

    def for_updates(self, phase: Phase) -> Means:
        """Returns the means over the whole batch of a phase, and notes them for :meth:`for_state`."""
        means = self._of_samples(phase)
        if means:
            means = dict(zip(means, phase.batch_means(list(means.values())), strict=True))
        self._noted = phase, means
        return means

    def for_state(self, phase: Phase) -> Means:
        """Returns the same of the same phase without another exchange, and forgets them."""
        noted, means = self._noted or (None, {})
        if noted is not phase:
            means = self.for_updates(phase)
        self._noted = None
        return means
