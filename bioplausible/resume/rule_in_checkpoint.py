"""Which rule wrote a checkpoint, with which seed and network."""

from typing import Any, cast

from pytorch_lightning import LightningModule
from torch import Tensor

from bioplausible.errors import UserError


def note_rule(rule: LightningModule, checkpoint: dict[str, Any]) -> None:
    """Adds a rule's name and seed to a checkpoint, once all that was logged before it is on disk."""
    for logger in rule.loggers:
        logger.save()
    checkpoint["learning_rule"] = {"name": type(rule).__name__, "seed": cast(Any, rule).seed}


def require_same_rule(rule: LightningModule, checkpoint: dict[str, Any]) -> int:
    """Checks that a checkpoint is one of a rule and its network, and returns its seed.

    Raises:
        UserError: it is another rule's, or another network's.
    """
    saved = checkpoint.get("learning_rule", {})
    name, mine = saved.get("name"), type(rule).__name__
    if name != mine:
        raise UserError(
            f"The checkpoint was written by {name or 'something that is no learning rule'}, not by {mine}: give a"
            f" checkpoint of {mine}, or train {name or 'anew'}."
        )
    now, then = rule.state_dict(), checkpoint["state_dict"]
    if any(key.startswith("connections.") for key in then):
        raise UserError(
            "The checkpoint is of version 0.1, which named its parameters in another way: use it with that version, or"
            " train anew."
        )
    for key in sorted(now.keys() | then.keys()):
        here, there = (_shape(state.get(key)) for state in (now, then))
        if here != there:
            raise UserError(
                f"The checkpoint has {there} for {key}, the network {here}: use the network and options that the"
                " checkpoint was trained with."
            )
    return int(saved["seed"])


def _shape(value: Any) -> str:
    if value is None:
        return "nothing"
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else "a state of its own"
