"""Whether feedback and updates point where backpropagation's do."""

from typing import Any, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from bioplausible.errors import UserError
from bioplausible.observers.figures import log_scalars
from bioplausible.rules import LearningRule
from bioplausible.training.batch import labelled
from bioplausible.training.data_parallel import join

LAYOUT = {
    "alignment": {
        "forward–feedback angle (degrees)": ["Multiline", [r"alignment/layer_\d+_angle"]],
        "cosine between update and backpropagation": ["Multiline", [r"alignment/layer_\d+(_from_\d+)?_cosine"]],
    }
}


class Alignment(Callback):
    """Logs ``alignment/layer_k_cosine``, between a rule's update of W_k and backpropagation's, and overlays the layers.

    cos = ⟨ΔW_k, −∂C/∂W_k⟩ / (‖ΔW_k‖ ‖∂C/∂W_k‖), with C the mean of the rule's own loss at the output of a feedforward
    pass through the same weights (:meth:`bioplausible.LearningRule.feedforward_output`), on the same batch. A skip
    connection with weights has its own, ``alignment/layer_k_from_j_cosine``. The angles between W_k and V_k are the
    rule's own to log; the chart ``alignment`` in TensorBoard's custom scalars shows both.

    Args:
        every_n_steps: steps between two comparisons; one costs about a step of backpropagation.

    Raises:
        UserError: the interval is not positive.
    """

    def __init__(self, every_n_steps: int = 100) -> None:
        if every_n_steps < 1:
            raise UserError(f"every_n_steps is {every_n_steps}: it must be at least 1.")
        self.every_n_steps = every_n_steps
        self._gradients: dict[str, Tensor] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Adds the chart."""
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_custom_scalars(LAYOUT)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Computes backpropagation's gradients where it is time, before the weights move."""
        self._gradients = {}
        if (trainer.global_step + 1) % self.every_n_steps == 0 and isinstance(pl_module, LearningRule):
            x, y = join(labelled(pl_module.read_batch(batch)))  # the update is the whole batch's
            self._gradients = backpropagation_gradients(pl_module, pl_module.network.as_input(x), y)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Compares them with the rule's updates, which are minus what the optimizer got."""
        if not self._gradients:
            return
        weights = weights_by_name(cast(LearningRule, pl_module))
        log_scalars(
            trainer,
            {
                f"alignment/{name}_cosine": float(cosine(weights[name].grad, gradient))
                for name, gradient in self._gradients.items()
            },
        )


def weights_by_name(rule: LearningRule) -> dict[str, Tensor]:
    """Returns W of every connection that has weights, by ``layer_k``, or ``layer_k_from_j`` where it skips layers."""
    return {f"layer_{name}": c.weight for name, c in rule.network.wiring.items() if isinstance(c.weight, Tensor)}


def backpropagation_gradients(rule: LearningRule, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Returns ∂C/∂W of a feedforward pass through the rule's weights by name; empty where it has no such network.

    Args:
        rule: the rule; its gradients stay as they are.
        x: input (n × shape_0).
        y: classes (n).
    """
    with torch.enable_grad():
        output = rule.feedforward_output(x)
        if output is None:
            return {}
        loss = rule.sample_losses(output, rule.one_hot(y, x.dtype)).mean()
        weights = weights_by_name(rule)
        return dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))


def cosine(a: Tensor | None, b: Tensor) -> Tensor:
    """Returns ⟨a, b⟩ / (‖a‖ ‖b‖) of two tensors of the same shape; 0 where one is 0, or None."""
    if a is None:
        return b.new_zeros(())
    product, norms = (a * b).sum(), cast(Tensor, a.norm() * b.norm())
    return product / norms.clamp(min=torch.finfo(a.dtype).tiny)
