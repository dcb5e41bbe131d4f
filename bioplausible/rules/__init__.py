"""The learning rules, one a file. Importing one here is all the registration it needs."""

from bioplausible.rules.base import LearningRule, Phase, Phases
from bioplausible.rules.corinfomax import CorInfoMax

__all__ = ["CorInfoMax", "LearningRule", "Phase", "Phases"]
