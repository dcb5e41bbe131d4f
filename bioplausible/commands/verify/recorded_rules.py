"""Which mapping reads the recordings of which rule."""

from collections.abc import Mapping
from types import MappingProxyType

from bioplausible.commands.verify.meta import Meta
from bioplausible.commands.verify.recorded_burstprop import RecordedBurstprop
from bioplausible.commands.verify.recorded_corinfomax import RecordedCorInfoMax
from bioplausible.commands.verify.recorded_direct_projection import RecordedDirectProjection
from bioplausible.commands.verify.recorded_dual_propagation import RecordedDualPropagation
from bioplausible.commands.verify.recorded_equilibrium_propagation import (
    RecordedEquilibriumPropagation,
    RecordedPublishedUnits,
)
from bioplausible.commands.verify.recorded_error_broadcast import RecordedCorInfoMaxEBD, RecordedErrorBroadcast
from bioplausible.commands.verify.recorded_feedforward import RecordedFeedforward
from bioplausible.commands.verify.recorded_forward_forward import RecordedForwardForward
from bioplausible.commands.verify.recorded_holomorphic import RecordedHolomorphic
from bioplausible.commands.verify.recorded_inference import RecordedIncremental, RecordedScaled
from bioplausible.commands.verify.recorded_kolen_pollack import RecordedKolenPollack
from bioplausible.commands.verify.recorded_local_difference import RecordedLocalDifference
from bioplausible.commands.verify.recorded_pepita import RecordedPEPITA
from bioplausible.commands.verify.recorded_predictive_coding import RecordedPredictiveCoding, RecordedRosenbaum
from bioplausible.commands.verify.recorded_rule import RecordedRule
from bioplausible.commands.verify.recorded_target_propagation import RecordedTargetPropagation
from bioplausible.errors import UserError

RECORDED: dict[str, type[RecordedRule]] = {
    **dict.fromkeys(("backprop", "feedback_alignment"), RecordedFeedforward),
    **dict.fromkeys(
        ("feedback_alignment_conv", "sign_symmetry_conv", "direct_feedback_alignment_conv"), RecordedFeedforward
    ),
    **dict.fromkeys(("kolen_pollack", "weight_mirror"), RecordedKolenPollack),
    **dict.fromkeys(RecordedDirectProjection.known, RecordedDirectProjection),
    "dual_propagation": RecordedDualPropagation,
    "pepita": RecordedPEPITA,
    "burstprop": RecordedBurstprop,
    **dict.fromkeys(("ep", "csm", "ep_conv_leaky", "csm_conv"), RecordedEquilibriumPropagation),
    **dict.fromkeys(("ep_conv", "ep_conv_vector_field", "coupled_learning_conv"), RecordedPublishedUnits),
    **dict.fromkeys(("equilibrium_propagation", "coupled_learning", "contrastive_learning"), RecordedPublishedUnits),
    "holomorphic_ep": RecordedHolomorphic,
    **dict.fromkeys(("pc", "pc_nudge"), RecordedPredictiveCoding),
    "pc_conv": RecordedRosenbaum,
    **dict.fromkeys(("incremental_predictive_coding", "predictive_coding"), RecordedIncremental),
    **dict.fromkeys(("mu_predictive_coding", "error_predictive_coding"), RecordedScaled),
    **dict.fromkeys(
        ("corinfomax", "corinfomax_sparse", "corinfomax_conv", "corinfomax_sparse_conv"), RecordedCorInfoMax
    ),
    "error_broadcast_decorrelation": RecordedErrorBroadcast,
    "corinfomax_ebd": RecordedCorInfoMaxEBD,
    "forward_forward": RecordedForwardForward,
    "difference_target_propagation": RecordedTargetPropagation,
    "local_difference_reconstruction": RecordedLocalDifference,
}
"""By the name of a recording's rule."""


def recorded_rule(
    meta: Meta, steps: int, batch_size: int, start: Mapping[str, tuple[int, ...]] = MappingProxyType({})
) -> RecordedRule:
    """Returns the rule that a recording names, with its hyperparameters.

    Args:
        meta: the recording's.
        steps: batches.
        batch_size: samples a batch.
        start: shapes of the recorded initial weights by their keys.

    Raises:
        UserError: there is none, or the recording says of it what is not known.
    """
    name = str(meta.read("rule"))
    if name not in RECORDED and "." not in name:
        raise UserError(f"there is no rule {name}: a recording's is one of {', '.join(RECORDED)}, or a class path.")
    return RECORDED.get(name, RecordedRule)(meta, steps, batch_size, start)
