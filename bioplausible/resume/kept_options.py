"""Options that nobody named when training resumes: they stay as the checkpoint has them.

A rule that is built without an optimizer has its class's default. Whether an argument was named, a rule knows
(``named_arguments``).
"""

import inspect
from functools import partial
from typing import Any, cast

from pytorch_lightning import LightningModule
from pytorch_lightning.utilities import rank_zero_warn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, LRScheduler

from bioplausible.errors import UserError
from bioplausible.lightning_internals import SCHEDULERS_WITHIN
from bioplausible.resume.told_callables import told_optimizer, trusted

RATES = ("learning_rates", "weight_decays")
"""How the names of arguments end that are rates and decays, one or one a layer."""


def is_named(rule: LightningModule, argument: str) -> bool:
    """Returns whether an argument was given to a rule; the command line gives each, some as the class's default."""
    if argument not in cast(Any, rule).named_arguments:
        return False
    for base in type(rule).__mro__:
        parameter = inspect.signature(base.__init__).parameters.get(argument)  # type: ignore[misc]
        if parameter is not None:
            default = parameter.default
            return not (callable(default) and getattr(rule, argument, None) is default)
    return True


def require_same_options(rule: LightningModule, checkpoint: dict[str, Any], trains: bool) -> None:
    """Checks that no option which nobody named has its class's default where the checkpoint was trained with another.

    Rates are left to :func:`keep_rates`, the network's shapes to the weights, the optimizer and the schedule to theirs.

    Args:
        rule: the rule.
        checkpoint: what it takes up.
        trains: whether it trains on; an evaluation, which many options do not bear on, warns alone.

    Raises:
        UserError: one has, and training would go on with it.
    """
    left = {"layer_sizes", "network"} | (set() if is_named(rule, "lr_scheduler") else {"lr_scheduler_interval"})
    saved, now = checkpoint.get("hyper_parameters", {}), rule.hparams
    names = [n for n in saved.keys() & now.keys() - left if not n.startswith("_") and not n.endswith(RATES)]
    changed = {n: f"{n} {now[n]} instead of {saved[n]}" for n in sorted(names) if alike(saved[n]) != alike(now[n])}
    other = [option for name, option in changed.items() if not is_named(rule, name)]
    if other:
        said = ", ".join(other)
        name = type(rule).__name__
        sentence = (
            f"This {name} has its defaults where the checkpoint's had other options ({said}): name them, or build it by"
            f" {name}.load_from_checkpoint, which takes them all from the checkpoint."
        )
        if trains:
            raise UserError(sentence)
        rank_zero_warn(sentence)
    elif changed and trains:
        rank_zero_warn(f"Training goes on with other options than the checkpoint's: {', '.join(changed.values())}.")


def keep_rates(rule: LightningModule, checkpoint: dict[str, Any]) -> None:
    """Gives a rule the rates and decays of the checkpoint's, where it was given none."""
    for name, value in checkpoint.get("hyper_parameters", {}).items():
        own = getattr(rule, name, None)
        if name.endswith(RATES) and isinstance(own, list) and not is_named(rule, name):
            setattr(rule, name, list(value) if isinstance(value, (list, tuple)) else [value] * len(own))
            rule.hparams[name] = value


def keep_optimizer(rule: LightningModule, saved: dict[str, Any]) -> None:
    """Gives a rule the checkpoint's optimizer, where it was given none; one of a user's own must be named.

    Raises:
        UserError: it was given none, and the checkpoint's can't be built by its class and options.
    """
    if is_named(rule, "optimizer"):
        return
    if by_group := saved.get("options_by_group"):
        raise UserError(
            f"The checkpoint's optimizer was built by a function that sets {', '.join(by_group)} group by group, and"
            " nothing else says how: give the rule that function as its optimizer again."
        )
    told = told_optimizer(saved)
    if told is not None:
        cast(Any, rule).optimizer = partial(trusted(told["class_path"]), **told["init_args"])


def keep_schedule(rule: LightningModule, saved: dict[str, Any], checkpoint: dict[str, Any]) -> bool:
    """Gives a rule the checkpoint's schedule, where it was given none, and returns whether it did.

    One of a user's own must be named, and so must one that is made of functions or of other schedules.
    """
    if is_named(rule, "lr_scheduler"):
        return False
    states = checkpoint.get("lr_schedulers", [])
    if not states:
        cast(Any, rule).lr_scheduler = None
        return True
    kind = trusted(saved.get("lr_scheduler_class", ""))
    if kind is None or len(states) > 1 or {SCHEDULERS_WITHIN, "lr_lambdas"} & states[0].keys():
        return False
    cast(Any, rule).lr_scheduler = partial(_restored, kind, states[0])
    interval = "lr_scheduler_interval"
    if not is_named(rule, interval):
        cast(Any, rule).lr_scheduler_interval = rule.hparams[interval] = checkpoint["hyper_parameters"][interval]
    return True


def _restored(kind: type[LRScheduler], state: dict[str, Any], optimizer: Optimizer) -> LRScheduler:
    """Returns a scheduler in a state that holds all its options, without the arguments that it was built with."""
    ConstantLR(optimizer, factor=1.0)  # prepares the optimizer as every scheduler does, and changes no rate
    scheduler = kind.__new__(kind)
    scheduler.optimizer = optimizer
    vars(scheduler).update(state)
    return scheduler


def alike(value: Any) -> Any:
    """Returns a value in the form in which a configuration file holds it too."""
    if isinstance(value, dict):
        return {str(name): alike(entry) for name, entry in value.items()}
    return [alike(entry) for entry in value] if isinstance(value, (list, tuple)) else value
