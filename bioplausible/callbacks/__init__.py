"""Observers: they read updates and states, and never teach."""

from bioplausible.callbacks.alignment import Alignment
from bioplausible.callbacks.compile_relaxation import CompileRelaxation
from bioplausible.callbacks.guard import Guard
from bioplausible.callbacks.information import Information
from bioplausible.callbacks.representations import Representations
from bioplausible.callbacks.settling import Settling

__all__ = ["Alignment", "CompileRelaxation", "Guard", "Information", "Representations", "Settling"]
