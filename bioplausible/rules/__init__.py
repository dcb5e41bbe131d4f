"""The learning rules, one a file. Importing one here is all the registration it needs."""

from bioplausible.rules.backpropagation import Backpropagation
from bioplausible.rules.base import LearningRule
from bioplausible.rules.contrastive_similarity_matching import ContrastiveSimilarityMatching
from bioplausible.rules.corinfomax import CorInfoMax
from bioplausible.rules.corinfomax_ebd import CorInfoMaxEBD
from bioplausible.rules.corinfomax_sparse import CorInfoMaxSparse
from bioplausible.rules.correlative_information import CorrelativeInformation
from bioplausible.rules.direct_feedback_alignment import DirectFeedbackAlignment
from bioplausible.rules.equilibrium_propagation import EquilibriumPropagation
from bioplausible.rules.error_broadcast_decorrelation import ErrorBroadcastDecorrelation
from bioplausible.rules.feedback_alignment import FeedbackAlignment
from bioplausible.rules.nudged_predictive_coding import NudgedPredictiveCoding
from bioplausible.rules.predictive_coding import PredictiveCoding
from bioplausible.training.phase import Phase, Phases

__all__ = [
    "Backpropagation",
    "ContrastiveSimilarityMatching",
    "CorInfoMax",
    "CorInfoMaxEBD",
    "CorInfoMaxSparse",
    "CorrelativeInformation",
    "DirectFeedbackAlignment",
    "EquilibriumPropagation",
    "ErrorBroadcastDecorrelation",
    "FeedbackAlignment",
    "LearningRule",
    "NudgedPredictiveCoding",
    "Phase",
    "Phases",
    "PredictiveCoding",
]
