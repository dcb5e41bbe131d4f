"""What a Trainer leaves out of a checkpoint."""

import random
from typing import Any, cast

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from bioplausible.lightning_internals import set_max_steps


class ExactResume(Callback):
    """Makes training that resumes from a checkpoint end with the same bits as if it had never stopped.

    Within an epoch this needs data that resume too, as this package's data modules do.

    Saves the states of the random number generators with each checkpoint and restores them when training resumes.

    Everything is stored as tensors and numbers, so that checkpoints load with ``weights_only=True``.
    """

    def __init__(self) -> None:
        self._restored: dict[str, Any] = {}
        self._max_steps: int | None = None

    def state_dict(self) -> dict[str, Any]:
        """Returns the states of torch's (also each GPU's), Python's and NumPy's generators."""
        version, internal, gauss = random.getstate()
        algorithm, keys, *numpy_rest = np.random.get_state(legacy=True)
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if cast(Any, torch.cuda).is_initialized() else [],
            "python": [version, list(internal), gauss],
            "numpy": [algorithm, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *numpy_rest],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps the states until training starts: building data and model in between may draw numbers."""
        self._restored = state_dict

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hides ``max_steps`` from Trainer while it restores its counters.

        Where it is set, Trainer would take a finished epoch for one that was interrupted, and go through its end again.
        """
        if self._restored:
            self._max_steps = trainer.max_steps
            set_max_steps(trainer, -1)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gives ``max_steps`` back where nothing was left to train."""
        self._give_back_max_steps(trainer)

    def _give_back_max_steps(self, trainer: Trainer) -> None:
        if self._max_steps is not None:
            set_max_steps(trainer, self._max_steps)
            self._max_steps = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restores the states, where training resumes."""
        self._give_back_max_steps(trainer)
        if not self._restored:
            return
        state, self._restored = self._restored, {}
        torch.set_rng_state(state["torch"])
        if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        algorithm, keys, *rest = state["numpy"]
        np.random.set_state((algorithm, keys.numpy().astype(np.uint32), *rest))
