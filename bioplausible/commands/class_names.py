"""Classes as a configuration names them: with their module, or without it."""

import pkgutil
from typing import Any

import torch
from pytorch_lightning import callbacks, loggers

import bioplausible.data
import bioplausible.rules
from bioplausible.training import loggers as training_loggers
from bioplausible.training import schedulers

MODULES = (
    bioplausible.rules,
    bioplausible.data,
    training_loggers,
    loggers,
    callbacks,
    torch.optim,
    torch.optim.lr_scheduler,
    schedulers,
)
"""Where a class is looked for that is named without its module."""


def bare_name(class_path: str) -> str:
    """Returns a class's name without its module."""
    return class_path.rpartition(".")[2]


def same_class(one: str, other: str) -> bool:
    """Returns whether two names are of the same class: SGD is torch.optim.SGD, and that torch.optim.sgd.SGD."""
    if one == other or bare_name(one) != bare_name(other):
        return one == other
    classes = resolved(one), resolved(other)
    return None in classes or classes[0] is classes[1]


def resolved(name: str) -> Any:
    """Returns the class of a name, which without its module is one of the package's or of its libraries'.

    None for one that is not known.
    """
    try:
        if "." in name:
            return pkgutil.resolve_name(name)
        return next((vars(module)[name] for module in MODULES if name in vars(module)), None)
    except Exception:  # whatever the user's module raises, which the parser will say
        return None
