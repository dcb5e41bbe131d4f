"""Biologically plausible learning rules as PyTorch Lightning modules."""

__version__ = "0.1.0"

from bioplausible.data import (
    CIFAR10DataModule,
    CIFAR100DataModule,
    DigitsDataModule,
    FashionMNISTDataModule,
    ImageDataModule,
    MNISTDataModule,
)
from bioplausible.errors import UserError
from bioplausible.rules import CorInfoMax, LearningRule, Phase
from bioplausible.schedulers import PiecewisePower

__all__ = [
    "CIFAR10DataModule",
    "CIFAR100DataModule",
    "CorInfoMax",
    "DigitsDataModule",
    "FashionMNISTDataModule",
    "ImageDataModule",
    "LearningRule",
    "MNISTDataModule",
    "Phase",
    "PiecewisePower",
    "UserError",
]
