"""States that persist from batch to batch."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from bioplausible.errors.checks import require
from bioplausible.network import Clamped
from bioplausible.rules.base import LearningRule
from bioplausible.training.data_parallel import processes
from bioplausible.training.phase import Phase, Phases


class PersistentStates(LearningRule):
    """A rule whose first phase of training may start where the last batch ended, if that had as many samples.

    Attributes:
        persistent_states: whether it does, or starts at rest.
    """

    persistent_states: bool

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._persisted: list[Tensor] = []
        self._carried: list[Tensor] = []

    @abstractmethod
    def last_phase(self, phases: Phases) -> Phase:
        """Returns the phase at whose end the next batch starts."""

    def start(self, network: Clamped) -> Phase:
        """Returns where a free phase of training starts: at rest, or where the last batch ended."""
        r, n = network.rest(), len(network.x)
        if self._carried:  # copied, for a checkpoint's states lie otherwise in memory
            r = [r[0], *(a.copy_(b[:n]) for a, b in zip(r[1:], self._carried, strict=True))]
            self._carried = [a[n:] for a in self._carried]
        return Phase(r)

    def learn(self, x: Tensor, target: Tensor, optimizer: torch.optim.Optimizer) -> dict[str, Phase]:
        """Settles and learns; keeps the states where they persist.

        Raises:
            UserError: states persist and several processes train, whose shares of a batch change.
        """
        if not self.persistent_states:
            return super().learn(x, target, optimizer)
        require(processes() == 1, "persistent_states needs one process: each has other samples in the next batch.")
        same_size = bool(self._persisted) and len(self._persisted[0]) == len(x)
        self._carried = [a.to(x) for a in self._persisted] if same_size else []
        phases = super().learn(x, target, optimizer)
        self._carried, self._persisted = [], self.last_phase(phases).activity[1:]
        return phases

    def setup(self, stage: str) -> None:
        """Lets a training begin at rest; one that resumes takes up its checkpoint's states after this.

        A Trainer that trains on goes on from the last batch's.
        """
        if stage == "fit" and self.trainer.global_step == 0:
            self._persisted = []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the states that persist to the checkpoint."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["persistent_states"] = [a.contiguous() for a in self._persisted]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes up the states that persist."""
        super().on_load_checkpoint(checkpoint)
        self._persisted = checkpoint.get("persistent_states", [])
