"""Predictive coding for deep networks, μPC (Innocenti, Achour & Buckley 2025)."""

import math
from typing import Any

from bioplausible.errors.checks import require
from bioplausible.functional import ActivationName
from bioplausible.network import Initialization, Sizes
from bioplausible.rules.predictive_coding import PredictiveCoding
from bioplausible.rules.supervised_predictive_coding import Loss


class MuPredictiveCoding(PredictiveCoding):
    r"""Predictive coding whose weights act scaled, so that one rate serves networks of any width and depth.

    Weights start standard normal and act as a_k W_k, without biases; hidden layers also receive the values of the
    layer before, where these are of the same shape::

        μ_k = a_k W_k f(v_{k−1}) (+ v_{k−1} for 1 < k < L),    e_k = v_k − μ_k
        v_k ← v_k + η_t ( −e_k + a_{k+1} f′(v_k) ⊙ W_{k+1}ᵀ e_{k+1} (+ e_{k+1} where layer k + 1 receives v_k) )
        ΔW_k ∝ a_k ⟨e_k f(v_{k−1})⟩
        a_1 = 1/√d_0,    a_k = 1/√(N L), without residual layers 1/√N,    a_L = 1/(γ N)

    N is the number of inputs of a neuron, the width of a dense layer, channels × kernel² of a convolution. Skips aside
    it is predictive coding with W′ = a W, whose rate under SGD is a² times this one. The published code takes the mean
    of the energy over the batch, so that its values move by η/n; here a sample's values don't depend on how many
    samples there are: its η is ours times n.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        activation_function: f.
        target_range: value of the target for the other classes and for the right one.
        loss: whose error the output has.
        output_divisor: γ > 0; larger ones let the network learn features instead of its output alone.
        residual: whether hidden layers also receive the values of the layer before; None: where one can.
        bias: whether there are biases b; they act unscaled.
        initialization: of W (:func:`bioplausible.network.initialization.draw`), which a_k multiplies.
        options: the other arguments of :class:`bioplausible.rules.predictive_coding.PredictiveCoding`.

    Raises:
        UserError: an argument is outside its range.
    """

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        activation_function: ActivationName = "relu",
        target_range: tuple[float, float] = (0.0, 1.0),
        loss: Loss = "squared_error",
        output_divisor: float = 1.0,
        residual: bool | None = None,
        bias: bool = False,
        initialization: Initialization = "standard_normal",
        **options: Any,
    ) -> None:
        super().__init__(
            layer_sizes,
            activation_function,
            target_range,
            loss=loss,
            residual=bool(residual),
            bias=bias,
            initialization=initialization,
            **options,
        )
        require(output_divisor > 0, f"output_divisor is {output_divisor}: it must be positive.")
        if residual is None:
            self.residual_layers = self._like_the_one_before
        depth = self.network.L if self.residual_layers else 1
        for c in self.network.weighted:
            N = c.fan_in
            if c.post == self.network.L:
                c.scale = 1 / (output_divisor * N)
            else:
                c.scale = 1 / math.sqrt(N if c.pre == 0 else N * depth)
