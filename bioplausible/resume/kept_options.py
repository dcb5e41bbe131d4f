"""Options that nobody named when training resumes: they stay as the checkpoint has them.

A rule that is built without an optimizer has its class's default, and so has one from ``load_from_checkpoint``, for
callables are not among the hyperparameters. Whether an argument was named, a rule knows (``named_arguments``).
"""

import inspect
import pkgutil
from functools import partial
from typing import Any, cast

from pytorch_lightning import LightningModule
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, LRScheduler

from bioplausible.lightning_internals import SCHEDULERS_WITHIN

TRUSTED = ("torch.optim.", "bioplausible.", "pytorch_lightning.")
"""Where the classes lie that a checkpoint may name: nothing else is imported at its word."""

RATES = ("learning_rates", "weight_decays")
"""How the names of arguments end that are rates and decays, one or one a layer."""


def class_path(thing: Any) -> str:
    """Returns where an object's class lies; of an optimizer that Lightning wraps, the one within."""
    kind = type(getattr(thing, "optimizer", thing)) if isinstance(thing, Optimizer) else type(thing)
    return f"{kind.__module__}.{kind.__qualname__}"


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


def keep_rates(rule: LightningModule, checkpoint: dict[str, Any]) -> None:
    """Gives a rule the rates and decays of the checkpoint's, where it was given none."""
    for name, value in checkpoint.get("hyper_parameters", {}).items():
        own = getattr(rule, name, None)
        if name.endswith(RATES) and isinstance(own, list) and not is_named(rule, name):
            setattr(rule, name, list(value) if isinstance(value, (list, tuple)) else [value] * len(own))
            rule.hparams[name] = value


def keep_optimizer(rule: LightningModule, saved: dict[str, Any]) -> None:
    """Gives a rule the checkpoint's optimizer, where it was given none; one of a user's own must be named."""
    kind = _trusted(saved.get("optimizer_class", ""))
    if kind is not None and not is_named(rule, "optimizer"):
        known = inspect.signature(kind).parameters
        options = {name: value for name, value in saved["optimizer_defaults"].items() if name in known}
        cast(Any, rule).optimizer = partial(kind, **options)


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
    kind = _trusted(saved.get("lr_scheduler_class", ""))
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


def _trusted(path: str) -> Any:
    if not path.startswith(TRUSTED):
        return None
    try:
        return pkgutil.resolve_name(path)
    except (AttributeError, ImportError, ValueError):  # of another version
        return None
