"""Whether feedback and updates point where backpropagation's do."""

from typing import Any, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from bioplausible.errors import UserError
from bioplausible.observers.figures import log_scalars
from bioplausible.rules import LearningRule
from bioplausible.training.data_parallel import join

LAYOUT = {
    "alignment": {
        "forward–feedback angle (degrees)": ["Multiline", [r"alignment/layer_\d+_angle"]],
        "cosine between update and backpropagation": ["Multiline", [r"alignment/layer_\d+_cosine"]],
    }
}


class Alignment(Callback):
    """Logs ``alignment/layer_k_cosine``, between a rule's update of W_k and backpropagation's, and overlays the layers.

    cos = ⟨ΔW_k, −∂C/∂W_k⟩ / (‖ΔW_k‖ ‖∂C/∂W_k‖), with C the mean of the rule's own loss at the output of a feedforward
    pass through the same weights (:meth:`bioplausible.LearningRule.feedforward_output`), on the same batch. The angles
    between W_k and V_kᵀ are the rule's own to log; the chart ``alignment`` in TensorBoard's custom scalars shows both.

    Args:
        every_n_steps: steps between two comparisons; one costs about a step of backpropagation.

    Raises:
        UserError: the interval is not positive.
    """

    def __init__(self, every_n_steps: int = 100) -> None:
        if every_n_steps < 1:
            raise UserError(f"every_n_steps is {every_n_steps}: it must be at least 1.")
        self.every_n_steps = every_n_steps
        self._gradients: list[Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Adds the chart."""
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_custom_scalars(LAYOUT)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Computes backpropagation's gradients where it is time, before the weights move."""
        self._gradients = []
        known = isinstance(pl_module, LearningRule) and hasattr(pl_module, "connections")
        if (trainer.global_step + 1) % self.every_n_steps == 0 and known:
            x, y = join([batch[0], batch[1]])  # the update is the whole batch's
            self._gradients = backpropagation_gradients(cast(LearningRule, pl_module), x.flatten(1), y)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Compares them with the rule's updates, which are minus what the optimizer got."""
        if not self._gradients:
            return
        weights = [connection.weight for connection in pl_module.connections]  # type: ignore[union-attr]
        log_scalars(
            trainer,
            {
                f"alignment/layer_{k}_cosine": float(cosine(weight.grad, gradient))
                for k, (weight, gradient) in enumerate(zip(weights, self._gradients, strict=True), start=1)
            },
        )


def backpropagation_gradients(rule: LearningRule, x: Tensor, y: Tensor) -> list[Tensor]:
    """Returns ∂C/∂W_k of a feedforward pass through the rule's weights, k = 1 … L; empty where it has no such network.

    Args:
        rule: the rule; its gradients stay as they are.
        x: input (n × d_0).
        y: classes (n).
    """
    with torch.enable_grad():
        output = rule.feedforward_output(x)
        if output is None:
            return []
        loss = rule.sample_losses(output, rule.one_hot(y, x.dtype)).mean()
        weights = [connection.weight for connection in rule.connections]  # type: ignore[union-attr]
        return list(torch.autograd.grad(loss, weights))


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Returns ⟨a, b⟩ / (‖a‖ ‖b‖) of two matrices; 0 where one is 0."""
    product, norms = (a * b).sum(), cast(Tensor, a.norm() * b.norm())
    return product / norms.clamp(min=torch.finfo(a.dtype).tiny)
