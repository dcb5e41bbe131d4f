"""Averages of weights as Lightning's callbacks take them: which weights are the result, and which are trained on."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import StochasticWeightAveraging, WeightAveraging
from torch import Tensor

TRAINING_WEIGHTS = "training_state_dict"
"""Key in a checkpoint of the weights that training goes on with, where ``state_dict`` holds others."""


def training_weights(checkpoint: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the weights that training goes on with; None where they are the checkpoint's ``state_dict``."""
    return checkpoint.get(TRAINING_WEIGHTS)


def with_result(checkpoint: dict[str, Any], pl_module: LightningModule) -> dict[str, Any] | None:
    """Returns a checkpoint with a network's weights in place of its own, which are kept for training to go on with.

    None where they are the same.
    """
    now = weights_of(pl_module)
    saved = checkpoint["state_dict"]
    if same_weights(now, saved):
        return None
    own = {} if "current_model_state" in checkpoint else {TRAINING_WEIGHTS: saved}  # WeightAveraging keeps its own
    return {**checkpoint, "state_dict": {**saved, **now}, **own}


def weights_of(pl_module: LightningModule) -> dict[str, Tensor]:
    """Returns a network's parameters and buffers, on the CPU, by their names in its ``state_dict``."""
    names = {name for name, _ in [*pl_module.named_parameters(), *pl_module.named_buffers()]}
    return {name: value.detach().cpu() for name, value in pl_module.state_dict().items() if name in names}


def same_weights(some: dict[str, Any], others: dict[str, Any]) -> bool:
    """Returns whether the tensors in the first are those in the second, to the bit."""
    return all(name in others and value.equal(others[name]) for name, value in some.items())


def averages_at_epoch_end(trainer: Trainer) -> bool:
    """Returns whether the end of the epoch changes the weights that were validated."""
    averaging = [callback for callback in _callbacks(trainer) if isinstance(callback, WeightAveraging)]
    return any(callback.should_update(epoch_idx=trainer.current_epoch) for callback in averaging)


def averaging_under_way(trainer: Trainer, checkpoint: dict[str, Any]) -> list[StochasticWeightAveraging]:
    """Returns the callbacks whose own schedule was in place of the rule's when a checkpoint was written."""
    states = checkpoint.get("callbacks", {})
    return [
        callback
        for callback in _callbacks(trainer)
        if isinstance(callback, StochasticWeightAveraging)
        and states.get(callback.state_key, {}).get("scheduler_state") is not None
    ]


def start_averaging_again(
    callbacks: list[StochasticWeightAveraging], trainer: Trainer, pl_module: LightningModule
) -> None:
    """Lets StochasticWeightAveraging go on where it was.

    It would only at the start of the next epoch. The rates stay what they are, and its schedule takes them from there
    to those that it has now, which may be others.
    """
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    rates = [group["lr"] for group in groups]
    for callback in callbacks:
        callback.on_train_epoch_start(trainer, pl_module)
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate


def end_averaging(trainer: Trainer, pl_module: LightningModule) -> None:
    """Lets averages be taken up as they are at the end of training."""
    for callback in _callbacks(trainer):
        callback.on_train_end(trainer, pl_module)


def _callbacks(trainer: Trainer) -> list[StochasticWeightAveraging | WeightAveraging]:
    kinds = (StochasticWeightAveraging, WeightAveraging)
    return [callback for callback in trainer.callbacks if isinstance(callback, kinds)]  # type: ignore[attr-defined]
