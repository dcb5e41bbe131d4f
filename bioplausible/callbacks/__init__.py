"""Observers: they read updates and states, and never teach."""

from bioplausible.callbacks.random_state import RandomState

__all__ = ["RandomState"]
