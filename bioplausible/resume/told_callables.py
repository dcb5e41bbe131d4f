"""Optimizer and schedule that a checkpoint was trained with, as a configuration names them: by class and options."""

import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import SGD, Optimizer

from bioplausible.lightning_internals import SCHEDULER_BOOKS

TRUSTED = ("torch.optim.", "bioplausible.", "pytorch_lightning.")
"""Where the classes lie that a checkpoint may name: nothing else is imported at its word."""

Setting = dict[str, Any]
"""``class_path`` and ``init_args``."""


def class_path(thing: Any) -> str:
    """Returns where an object's class lies; of an optimizer that Lightning wraps, the one within."""
    kind = type(getattr(thing, "optimizer", thing)) if isinstance(thing, Optimizer) else type(thing)
    return f"{kind.__module__}.{kind.__qualname__}"


def trusted(path: str) -> Any:
    """Returns a class that a checkpoint names; None for one that lies elsewhere than in :data:`TRUSTED`."""
    if not path.startswith(TRUSTED):
        return None
    try:
        return pkgutil.resolve_name(path)
    except (AttributeError, ImportError, ValueError):  # of another version
        return None


def told_optimizer(saved: Mapping[str, Any]) -> Setting | None:
    """Returns the optimizer of a run; None where no configuration can say it: its class is a user's own.

    Args:
        saved: what :class:`bioplausible.resume.configured_rates.ConfiguredRates` noted of the run.
    """
    path = saved.get("optimizer_class", "")
    kind = trusted(path)
    if kind is None or saved.get("options_by_group"):
        return None
    known = inspect.signature(kind).parameters
    options = {name: value for name, value in saved["optimizer_defaults"].items() if name in known}
    return {"class_path": path, "init_args": options}


def told_schedule(saved: Mapping[str, Any]) -> Setting | None:
    """Returns the schedule of a run; None where no configuration can say it, or there is none.

    A schedule's state holds most options under their names. Whether it holds all is tried: a schedule that is built
    with them must be in the state in which the run's was.

    Args:
        saved: as in :func:`told_optimizer`.
    """
    path = saved.get("lr_scheduler_class", "")
    kind = trusted(path)
    if kind is None:
        return None
    (state,) = saved["schedules"]
    for options in (saved.get("lr_scheduler_options"), schedule_options(kind, state)):
        if options is not None and _start(kind, options, saved) == state:
            return {"class_path": path, "init_args": options}
    return None


def plain_state(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that a checkpoint holds as plain values."""
    plain = (bool, int, float, str, type(None), list, tuple, dict)
    return {
        name: value.copy() if isinstance(value, (list, dict)) else value
        for name, value in options.items()
        if isinstance(value, plain) and name not in SCHEDULER_BOOKS and name != "params"
    }


def schedule_options(kind: Any, state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that a schedule's state holds: some by group, under the name in the plural.

    Args:
        kind: its class.
        state: its state, as :func:`plain_state` has it.
    """
    found = {}
    known = {name for base in kind.__mro__[:-1] for name in inspect.signature(base.__init__).parameters}
    for name in known - {"optimizer", "last_epoch"}:  # a derived class may hand on its base's
        value = state.get(name)
        if value is None and (by_group := state.get(f"{name}s")):
            value = by_group if any(one != by_group[0] for one in by_group) else by_group[0]
        if name == "milestones" and isinstance(value, Mapping):  # counts of each
            value = sorted(epoch for epoch, count in value.items() for _ in range(count))
        if value is not None:
            found[name] = value
    return dict(sorted(found.items()))


def _start(kind: Any, options: Mapping[str, Any], saved: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the state in which a schedule starts that is built with some options; None where it refuses them."""
    groups = [{**group, "params": [torch.zeros(1)]} for group in saved["groups"]]
    try:
        optimizer = (trusted(saved.get("optimizer_class", "")) or SGD)(groups)
        return plain_state(kind(optimizer, **options).state_dict())
    except Exception:  # whatever torch raises of options that are not all
        return None
