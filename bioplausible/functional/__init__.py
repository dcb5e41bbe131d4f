"""The mathematics: pure functions of tensors, without Lightning and without state."""

from bioplausible.functional.activations import (
    Activation,
    ActivationName,
    StateActivation,
    StateActivationName,
    activation,
    clip,
    state_activation,
)
from bioplausible.functional.alignment import alignment_angle
from bioplausible.functional.complex_numbers import as_real, squares
from bioplausible.functional.complex_parts import both_parts, softmax, through_both_parts
from bioplausible.functional.correlation import (
    correlative_information,
    mean_outer_product,
    published_correlative_information,
    published_error_term,
    regularized_logdet,
    regularized_solve,
    update_correlation_,
    update_inverse_correlation_,
)
from bioplausible.functional.derivatives import vector_jacobian
from bioplausible.functional.energies import hopfield_energy, prediction_error_energy
from bioplausible.functional.layout import blank, placed, rows, silence
from bioplausible.functional.settling import mean_square_changes, residual
from bioplausible.functional.step_sizes import StepSizeRule, step_sizes

__all__ = [
    "Activation",
    "ActivationName",
    "StateActivation",
    "StateActivationName",
    "StepSizeRule",
    "activation",
    "alignment_angle",
    "as_real",
    "blank",
    "both_parts",
    "clip",
    "correlative_information",
    "hopfield_energy",
    "mean_outer_product",
    "mean_square_changes",
    "placed",
    "prediction_error_energy",
    "published_correlative_information",
    "published_error_term",
    "regularized_logdet",
    "regularized_solve",
    "residual",
    "rows",
    "silence",
    "softmax",
    "squares",
    "state_activation",
    "step_sizes",
    "through_both_parts",
    "update_correlation_",
    "update_inverse_correlation_",
    "vector_jacobian",
]
