"""Direct random target projection (Frenkel, Lefebvre & Bol 2021)."""

from typing import Any

from bioplausible.errors.checks import require
from bioplausible.functional import ActivationName
from bioplausible.network import Initialization, Sizes
from bioplausible.rules.backpropagation import Loss
from bioplausible.rules.direct_feedback_alignment import DirectFeedbackAlignment, Projection


class DirectRandomTargetProjection(DirectFeedbackAlignment):
    r"""Hidden layers learn from a fixed random projection of the target: they need nothing of what lies above them.

    With y the one-hot target of a sample (n × classes) and D_k (classes × shape of layer k before pooling)::

        hidden:   δ_k = f′(a_k) ⊙ y D_k                             k = 1 … L − 1
        output:   δ_L = f′(a_L) ⊙ ∂C/∂r_L
        ΔW_k ∝ −⟨δ_k r_{k−1}⟩,       Δb_k ∝ −mean(δ_k)

    A layer can learn as soon as its activity is there, for the target is known before the output is. A unit moves the
    same way in every batch, for each class, until f saturates: choose f with bounds, tanh or sigmoid.

    It is direct feedback alignment of another signal (:class:`bioplausible.rules.DirectFeedbackAlignment`, which tells
    how a signal arrives, and which habits of the published code are left out).

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        loss: what the output layer descends.
        activation_function: f of the hidden layers.
        projection: where the target arrives, at a layer's output or at the next layer's input.
        learning_rates: rate of W_k and b_k, one number or one per layer 1 … L; None: the optimizer's own.
        initialization: of W and b (:func:`bioplausible.network.initialization.draw`).
        options: the other arguments of :class:`bioplausible.rules.backpropagation.FeedforwardRule`.

    Raises:
        UserError: an argument is outside its range, or a list of rates has the wrong length.
    """

    of_hidden_layers = DirectFeedbackAlignment.of_hidden_layers - {"signal"}  # which is fixed

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        loss: Loss = "binary_cross_entropy",
        activation_function: ActivationName = "tanh",
        projection: Projection = "output",
        learning_rates: float | list[float] | None = None,
        initialization: Initialization = "xavier",
        **options: Any,
    ) -> None:
        signal = options.pop("signal", "target")
        require(signal == "target", f"signal is {signal}: choose target, or DirectFeedbackAlignment, which has others.")
        super().__init__(
            layer_sizes,
            signal="target",
            projection=projection,
            learning_rates=learning_rates,
            initialization=initialization,
            loss=loss,
            activation_function=activation_function,
            **options,
        )
