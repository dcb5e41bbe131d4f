"""Checkpoints of earlier versions that trained in another way: they go on where that gives the same, and else not."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from pytorch_lightning import LightningModule

from bioplausible.errors.checks import require


def require_moved_by_the_rule(rule: LightningModule, checkpoint: Mapping[str, Any], noted: Mapping[str, Any]) -> None:
    """Checks that what a rule moves itself was not moved by the optimizer before, in a way of the optimizer's own.

    Contrastive similarity matching's lateral weights were the optimizer's. SGD without momentum, decay and limit of the
    norm moved them by the formula that the rule has now, and training goes on.

    Args:
        rule: what takes the checkpoint up, to train on.
        checkpoint: its content.
        noted: what :class:`bioplausible.resume.configured_rates.ConfiguredRates` noted in it.

    Raises:
        UserError: it was.
    """
    own = {group.get("name") for group in cast(Any, rule).parameter_groups() if not _is_learned(group)}
    earlier = "options_by_group" not in noted  # the versions that let the optimizer move them did not note this
    limit = earlier and checkpoint["hyper_parameters"].get("gradient_norm_limit") is not None
    for state in checkpoint["optimizer_states"]:
        for group in state["param_groups"]:
            stepped = any(map(_has_stepped, (state["state"].get(i, {}) for i in group["params"])))
            decayed = earlier and group.get("weight_decay", 0) != 0
            require(
                group.get("name") not in own or not (stepped or decayed or limit),
                f"The checkpoint is of an earlier version, in which the optimizer ({noted['optimizer']}) moved"
                f" {group.get('name')}, which {type(rule).__name__} moves itself now: training would go on in another"
                " way, so go on with that version, or train anew.",
            )


def _is_learned(group: Mapping[str, Any]) -> bool:
    """Returns whether an optimizer moves what a group holds, or only has a rate for, as the rule moves it."""
    return any(isinstance(weight, torch.nn.Parameter) for weight in group["params"])


def _has_stepped(state: Mapping[str, Any]) -> bool:
    """Returns whether an optimizer's state of one tensor comes from steps; Adagrad has one before its first."""
    if "step" in state:
        return float(state["step"]) > 0
    return any(isinstance(value, torch.Tensor) for value in state.values())
