"""A network that tells no classes apart, which its accuracy alone doesn't say."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from bioplausible.data.class_names import name_of
from bioplausible.training.data_parallel import gather


class OneClass(Callback):
    """Notices where every test sample gets the same class."""

    said = ""
    """The sentence, of the last test; empty where several classes were told apart, or there is but one."""

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forgets what was predicted before."""
        self._lowest = torch.tensor(torch.iinfo(torch.int64).max, device=pl_module.device)
        self._highest = torch.tensor(-1, device=pl_module.device)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Takes up a batch's predictions; of several processes each has its own."""
        if isinstance(outputs, Tensor) and len(outputs):
            self._lowest = torch.minimum(self._lowest, outputs.min())
            self._highest = torch.maximum(self._highest, outputs.max())

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at what all processes have predicted."""
        lowest, highest = int(gather(self._lowest).min()), int(gather(self._highest).max())
        wrong = float(trainer.callback_metrics.get("test/accuracy", 1.0)) < 1
        self.said = ""
        if lowest == highest and wrong:
            name = name_of(getattr(trainer, "datamodule", None), lowest)
            self.said = (
                f"Every test image is classified as {name}: the network has collapsed, or has not learned yet. Train"
                " longer, change the learning rates, or let --trainer.callbacks Guard say what goes wrong."
            )
