"""A rule from ``load_from_checkpoint`` that trains anew: with the optimizer and the schedule that trained its weights.

Lightning builds it with the hyperparameters of the checkpoint. Callables are not among them, and without them it would
have its class's defaults.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from pytorch_lightning import LightningModule
from pytorch_lightning.utilities import rank_zero_warn

from bioplausible.resume.from_python import noted_callables, untold_callables
from bioplausible.resume.kept_options import is_named
from bioplausible.resume.told_callables import trusted


class StandIn(NamedTuple):
    """What a rule has in the place of an optimizer or schedule that its checkpoint can't say."""

    argument: str
    before: str
    """The class that trained."""
    now: Any


def take_callables(rule: LightningModule, checkpoint: Mapping[str, Any]) -> list[StandIn]:
    """Gives a rule the checkpoint's optimizer and schedule, where it was given none, as they were built.

    Returns:
        Those that the checkpoint can't say.
    """
    for argument, told in noted_callables(checkpoint).items():
        if told is not None and not is_named(rule, argument):
            setattr(rule, argument, partial(trusted(told["class_path"]), **told["init_args"]))
    untold = untold_callables(checkpoint).items()
    return [StandIn(name, before, getattr(rule, name)) for name, before in untold if not is_named(rule, name)]


def tell_of_stand_ins(rule: LightningModule, stand_ins: Sequence[StandIn]) -> None:
    """Warns of those with which a rule is about to train: nobody has set another."""
    for argument, before, now in stand_ins:
        if getattr(rule, argument) is now:
            name = type(rule).__name__
            rank_zero_warn(
                f"The weights were trained with {argument} {before}, of which the checkpoint doesn't say all, and"
                f" {name} trains with its class's own: give load_from_checkpoint the {argument} that it is to have."
            )
