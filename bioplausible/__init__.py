"""Biologically plausible learning rules as PyTorch Lightning modules."""

__version__ = "0.2.0"

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
    CorInfoMaxSparse,
    DirectFeedbackAlignment,
    EquilibriumPropagation,
    FeedbackAlignment,
    LearningRule,
    NudgedPredictiveCoding,
    Phase,
    PredictiveCoding,
)
from bioplausible.training.schedulers import PiecewisePower

__all__ = [
    "Backpropagation",
    "CIFAR10DataModule",
    "CIFAR100DataModule",
    "ContrastiveSimilarityMatching",
    "CorInfoMax",
    "CorInfoMaxSparse",
    "DigitsDataModule",
    "DirectFeedbackAlignment",
    "EquilibriumPropagation",
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
]
