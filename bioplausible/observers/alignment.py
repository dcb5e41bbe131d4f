"""Whether feedback and updates point where backpropagation's do."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, cast

import torch
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from bioplausible.errors import UserError
from bioplausible.observers.figures import log_scalars, new_figure
from bioplausible.rules import LearningRule
from bioplausible.training.batch import labelled
from bioplausible.training.data_parallel import join
from bioplausible.training.optimization import build_optimizer

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
        found = cosines(cast(LearningRule, pl_module), self._gradients)
        log_scalars(trainer, {f"alignment/{name}_cosine": value for name, value in found.items()})


def weights_by_name(rule: LearningRule) -> dict[str, Tensor]:
    """Returns W of every connection that has weights, by ``layer_k``, or ``layer_k_from_j`` where it skips layers."""
    return {f"layer_{name}": c.weight for name, c in rule.network.wiring.items() if isinstance(c.weight, Tensor)}


def cosines(rule: LearningRule, gradients: Mapping[str, Tensor]) -> dict[str, float]:
    """Returns the cosine between the update of each W that a rule got last and backpropagation's, by name.

    Args:
        rule: the rule, with minus its updates in ``grad``.
        gradients: what :func:`backpropagation_gradients` returned for the same batch and weights.
    """
    weights = weights_by_name(rule)
    return {name: float(cosine(weights[name].grad, gradient)) for name, gradient in gradients.items()}


def cosines_of_batch(rule: LearningRule, x: Tensor, y: Tensor) -> dict[str, float]:
    """Returns the cosines for a batch that a copy of the rule learns: nothing of the rule changes.

    Args:
        rule: one that no Trainer holds: the Trainer would be copied too.
        x: input (n × shape_0).
        y: classes (n).
    """
    gradients, copy = backpropagation_gradients(rule, x, y), deepcopy(rule)
    copy.learn(x, copy.one_hot(y, x.dtype), build_optimizer(copy.optimizer, copy.parameter_groups()))
    return cosines(copy, gradients)


def draw_alignment(angles: Mapping[int, Tensor], cosines: Mapping[str, float]) -> Figure:
    """Returns the angles between W_k and V_k, and the cosines between updates and backpropagation's, as bars.

    Args:
        angles: in degrees, by layer; nothing where there are no feedback weights.
        cosines: by the names of :func:`weights_by_name`; nothing where they are not known. One of both there is.
    """
    figure, axes = new_figure(bool(angles) + bool(cosines))
    if angles:
        axes[0].bar([f"layer {k}" for k in angles], [float(angle) for angle in angles.values()], width=0.6)
        axes[0].axhline(90, color="black", linestyle=":", label="of random weights")
        axes[0].set(title="angle between forward and feedback weights", ylabel="degrees", ylim=(0, 180))
        axes[0].legend()
    if cosines:
        axes[-1].bar([name.replace("_", " ") for name in cosines], list(cosines.values()), width=0.6)
        axes[-1].axhline(0, color="black", linewidth=0.8)
        axes[-1].set(title="updates beside backpropagation's", ylabel="cosine", ylim=(-1, 1))
    return figure


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
