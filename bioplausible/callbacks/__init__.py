"""Observers: they read updates and states, and never teach."""

from bioplausible.callbacks.exact_resume import ExactResume

__all__ = ["ExactResume"]
