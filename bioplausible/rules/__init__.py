"""The learning rules, one a file. Importing and naming one here is all the registration it needs."""

import inspect

from bioplausible.rules.backpropagation import Backpropagation
from bioplausible.rules.base import LearningRule
from bioplausible.rules.burstprop import Burstprop
from bioplausible.rules.contrastive_similarity_matching import ContrastiveSimilarityMatching
from bioplausible.rules.corinfomax import CorInfoMax
from bioplausible.rules.corinfomax_ebd import CorInfoMaxEBD
from bioplausible.rules.corinfomax_sparse import CorInfoMaxSparse
from bioplausible.rules.correlative_information import CorrelativeInformation
from bioplausible.rules.difference_target_propagation import DifferenceTargetPropagation
from bioplausible.rules.direct_difference_target_propagation import DirectDifferenceTargetPropagation
from bioplausible.rules.direct_feedback_alignment import DirectFeedbackAlignment
from bioplausible.rules.direct_random_target_projection import DirectRandomTargetProjection
from bioplausible.rules.dual_propagation import DualPropagation
from bioplausible.rules.equilibrium_propagation import EquilibriumPropagation
from bioplausible.rules.error_broadcast_decorrelation import ErrorBroadcastDecorrelation
from bioplausible.rules.feedback_alignment import FeedbackAlignment
from bioplausible.rules.forward_forward import ForwardForward
from bioplausible.rules.incremental_predictive_coding import IncrementalPredictiveCoding
from bioplausible.rules.kolen_pollack import KolenPollack
from bioplausible.rules.local_difference_reconstruction import LocalDifferenceReconstruction
from bioplausible.rules.mu_predictive_coding import MuPredictiveCoding
from bioplausible.rules.nudged_predictive_coding import NudgedPredictiveCoding
from bioplausible.rules.pepita import PEPITA
from bioplausible.rules.predictive_coding import PredictiveCoding
from bioplausible.training.phase import Phase, Phases

__all__ = [
    "PEPITA",
    "Backpropagation",
    "Burstprop",
    "ContrastiveSimilarityMatching",
    "CorInfoMax",
    "CorInfoMaxEBD",
    "CorInfoMaxSparse",
    "CorrelativeInformation",
    "DifferenceTargetPropagation",
    "DirectDifferenceTargetPropagation",
    "DirectFeedbackAlignment",
    "DirectRandomTargetProjection",
    "DualPropagation",
    "EquilibriumPropagation",
    "ErrorBroadcastDecorrelation",
    "FeedbackAlignment",
    "ForwardForward",
    "IncrementalPredictiveCoding",
    "KolenPollack",
    "LearningRule",
    "LocalDifferenceReconstruction",
    "MuPredictiveCoding",
    "NudgedPredictiveCoding",
    "Phase",
    "Phases",
    "PredictiveCoding",
]

RULES: tuple[type[LearningRule], ...] = tuple(
    cls
    for cls in map(globals().__getitem__, __all__)
    if isinstance(cls, type) and issubclass(cls, LearningRule) and not inspect.isabstract(cls)
)
"""Every rule of the package, by which colours, benchmark and reports find it."""
