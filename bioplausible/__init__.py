"""Biologically plausible learning rules as PyTorch Lightning modules."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from bioplausible.data import (
        CIFAR10DataModule,
        CIFAR100DataModule,
        DigitsDataModule,
        FashionMNISTDataModule,
        ImageDataModule,
        MNISTDataModule,
    )
    from bioplausible.errors import UserError
    from bioplausible.rules import (
        Backpropagation,
        ContrastiveSimilarityMatching,
        CorInfoMax,
        CorInfoMaxEBD,
        CorInfoMaxSparse,
        DirectFeedbackAlignment,
        EquilibriumPropagation,
        ErrorBroadcastDecorrelation,
        FeedbackAlignment,
        LearningRule,
        NudgedPredictiveCoding,
        Phase,
        PredictiveCoding,
    )
    from bioplausible.training.schedulers import PiecewisePower, WarmupCosine

__all__ = [
    "Backpropagation",
    "CIFAR10DataModule",
    "CIFAR100DataModule",
    "ContrastiveSimilarityMatching",
    "CorInfoMax",
    "CorInfoMaxEBD",
    "CorInfoMaxSparse",
    "DigitsDataModule",
    "DirectFeedbackAlignment",
    "EquilibriumPropagation",
    "ErrorBroadcastDecorrelation",
    "FashionMNISTDataModule",
    "FeedbackAlignment",
    "ImageDataModule",
    "LearningRule",
    "MNISTDataModule",
    "NudgedPredictiveCoding",
    "Phase",
    "PiecewisePower",
    "PredictiveCoding",
    "UserError",
    "WarmupCosine",
]

_MODULES = ("data", "errors", "rules", "training.schedulers")
_PARTS = ("data", "errors", "functional", "lightning_internals", "network", "resume", "rules", "training")


def __getattr__(name: str) -> Any:
    """Imports what is asked for only then: torch takes seconds, in which Ctrl-C must find the command line ready."""
    if name in _PARTS:
        return importlib.import_module(f"bioplausible.{name}")
    if name in __all__:
        for module in _MODULES:
            found = getattr(importlib.import_module(f"bioplausible.{module}"), name, None)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
