"""Which mapping reads the recordings of which rule."""

from bioplausible.commands.verify.meta import Meta
from bioplausible.commands.verify.recorded_corinfomax import RecordedCorInfoMax
from bioplausible.commands.verify.recorded_direct_projection import RecordedDirectProjection
from bioplausible.commands.verify.recorded_equilibrium_propagation import (
    RecordedEquilibriumPropagation,
    RecordedPublishedUnits,
)
from bioplausible.commands.verify.recorded_error_broadcast import RecordedCorInfoMaxEBD, RecordedErrorBroadcast
from bioplausible.commands.verify.recorded_feedforward import RecordedFeedforward
from bioplausible.commands.verify.recorded_inference import RecordedIncremental, RecordedScaled
from bioplausible.commands.verify.recorded_kolen_pollack import RecordedKolenPollack
from bioplausible.commands.verify.recorded_predictive_coding import RecordedPredictiveCoding, RecordedRosenbaum
from bioplausible.commands.verify.recorded_rule import RecordedRule
from bioplausible.errors import UserError

RECORDED: dict[str, type[RecordedRule]] = {
    **dict.fromkeys(("backprop", "feedback_alignment"), RecordedFeedforward),
    **dict.fromkeys(
        ("feedback_alignment_conv", "sign_symmetry_conv", "direct_feedback_alignment_conv"), RecordedFeedforward
    ),
    **dict.fromkeys(("kolen_pollack", "weight_mirror"), RecordedKolenPollack),
    **dict.fromkeys(RecordedDirectProjection.known, RecordedDirectProjection),
    **dict.fromkeys(("ep", "csm", "ep_conv_leaky", "csm_conv"), RecordedEquilibriumPropagation),
    **dict.fromkeys(("ep_conv", "ep_conv_vector_field", "coupled_learning_conv"), RecordedPublishedUnits),
    **dict.fromkeys(("pc", "pc_nudge"), RecordedPredictiveCoding),
    "pc_conv": RecordedRosenbaum,
    **dict.fromkeys(("incremental_predictive_coding", "predictive_coding"), RecordedIncremental),
    **dict.fromkeys(("mu_predictive_coding", "error_predictive_coding"), RecordedScaled),
    **dict.fromkeys(
        ("corinfomax", "corinfomax_sparse", "corinfomax_conv", "corinfomax_sparse_conv"), RecordedCorInfoMax
    ),
    "error_broadcast_decorrelation": RecordedErrorBroadcast,
    "corinfomax_ebd": RecordedCorInfoMaxEBD,
}
"""By the name of a recording's rule."""


def recorded_rule(meta: Meta, steps: int, batch_size: int) -> RecordedRule:
    """Returns the rule that a recording names, with its hyperparameters.

    Args:
        meta: the recording's.
        steps: batches.
        batch_size: samples a batch.

    Raises:
        UserError: there is none, or the recording says of it what is not known.
    """
    name = str(meta.read("rule"))
    if name not in RECORDED and "." not in name:
        raise UserError(f"there is no rule {name}: a recording's is one of {', '.join(RECORDED)}, or a class path.")
    return RECORDED.get(name, RecordedRule)(meta, steps, batch_size)
