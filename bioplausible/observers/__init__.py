"""Observers: they read updates and states, and never teach."""

from bioplausible.observers.alignment import Alignment
from bioplausible.observers.cost import Cost
from bioplausible.observers.drawings import receptive_fields
from bioplausible.observers.each_epoch_test import EachEpochTest
from bioplausible.observers.guard import Guard
from bioplausible.observers.information import Information
from bioplausible.observers.representations import Representations
from bioplausible.observers.settling import Settling
from bioplausible.training.compile_relaxation import CompileRelaxation

__all__ = [
    "Alignment",
    "CompileRelaxation",
    "Cost",
    "EachEpochTest",
    "Guard",
    "Information",
    "Representations",
    "Settling",
    "receptive_fields",
]
