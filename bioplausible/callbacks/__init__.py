"""Observers: they read updates and states, and never teach."""

from bioplausible.callbacks.compile_relaxation import CompileRelaxation
from bioplausible.callbacks.exact_resume import ExactResume

__all__ = ["CompileRelaxation", "ExactResume"]
