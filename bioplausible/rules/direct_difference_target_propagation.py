"""Difference target propagation by direct feedback from the output (Meulemans et al. 2020)."""

from collections.abc import Iterable
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from bioplausible.errors.checks import require
from bioplausible.functional import ActivationName
from bioplausible.network import Initialization, Sizes, broadcast, mean_product
from bioplausible.network.initialization import draw, draw_bias
from bioplausible.rules.options import require_steps
from bioplausible.rules.target_propagation import JointTargetPropagation, moved
from bioplausible.training.phase import Phase


class DirectDifferenceTargetPropagation(JointTargetPropagation):
    r"""Targets of all hidden layers come straight from the output's, through feedback Q_k that learns to invert them.

    With r_k = f(a_k), a_k = W_k r_{k−1} + b_k (DDTP-linear)::

        t_L = r_L − η̂ ∂C/∂r_L,        t_k = r_k + Q_k (t_L − r_L)                Q_k (shape of layer k × d_L)
        ΔW_k ∝ −2 ⟨f′(a_k) ⊙ (r_k − t_k)  r_{k−1}⟩,   Δb_k ∝ −2 ⟨f′(a_k) ⊙ (r_k − t_k)⟩       t held
        Q_k descends ⟨(Q_k (o − r_L) − σξ)²⟩ / σ²,  o: r_k + σξ run up to the output

    its mean over samples and units, ξ standard normal for each layer and sample. For small σ, Q_k goes to
    Jᵀ (J Jᵀ)⁻¹, J = ∂r_L/∂r_k: then t_k − r_k is the Gauss–Newton step of the output. W, b and Q learn in one step,
    from what they were before it. A bias of the feedback would cancel, so there is none.

    With ``hidden_units`` (DDTP-RHL) a fixed random layer lies on the way down: φ(u) = tanh(H u + h) takes the place of
    o, r_L and t_L for all layers but L − 1, and Q_k is of the shape of layer k × hidden_units.

    Habits of the published code: its C is the batch's mean, so that its targets depend on the size of a batch; here
    they don't, and its η̂, divided by n, is ``target_step``. Its last hidden layer has no bias b.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        target_step: η̂.
        sigma: σ, one number or one per layer 1 … L − 1; what it changes above loses its digits where it is small, in
            float32 half of them at 10⁻⁴.
        feedback_steps: steps that Q takes a batch, each with noise of its own, the last with W and b.
        hidden_units: of the fixed random layer; None: there is none.
        activation_function: f of the hidden layers.
        learning_rates: rate of W_k and b_k, one number or one per layer 1 … L; None: the optimizer's own.
        feedback_learning_rates: rate of Q_k, one number or one per layer 1 … L − 1; None: the optimizer's own.
        initialization: of W, b, Q, H and h (:func:`bioplausible.network.initialization.draw`).
        options: the other arguments of :class:`bioplausible.rules.backpropagation.FeedforwardRule`.

    Raises:
        UserError: an argument is outside its range, or a list has the wrong length.
    """

    H: Tensor
    h: Tensor

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        target_step: float = 0.1,
        sigma: float | list[float] = 0.1,
        feedback_steps: int = 1,
        hidden_units: int | None = None,
        activation_function: ActivationName = "tanh",
        learning_rates: float | list[float] | None = None,
        feedback_learning_rates: float | list[float] | None = None,
        initialization: Initialization = "xavier",
        **options: Any,
    ) -> None:
        super().__init__(layer_sizes, target_step, activation_function=activation_function, **options)
        self.connect(initialization, sigma, learning_rates, feedback_learning_rates)
        require_steps("feedback_steps", feedback_steps)
        self.feedback_steps, self.hidden_units = feedback_steps, hidden_units
        shapes, L = self.network.shapes, self.network.L
        classes = shapes[L][0]
        if hidden_units is not None:
            require(
                hidden_units >= 1 and L > 2,
                f"hidden_units is {hidden_units}: give at least one, to a network of two hidden layers or more, for"
                " the last of them gets its target from the output itself.",
            )
            self.register_buffer("H", draw((hidden_units, classes), classes, hidden_units, initialization))
            self.register_buffer("h", draw_bias(hidden_units, classes, initialization))
        self.Q = nn.ParameterDict()
        """Q_k by layer."""
        for k in self.feedback_layers:
            width = classes if hidden_units is None or k == L - 1 else hidden_units
            self.Q[str(k)] = nn.Parameter(draw((*shapes[k], width), width, prod(shapes[k]), initialization))

    def sent_down(self, k: int, output: Tensor) -> Tensor:
        """Returns what Q_k gets of an output (n × d_L): itself, or φ of it (n × hidden_units)."""
        if self.hidden_units is None or k == self.network.L - 1:
            return output
        return torch.tanh(nn.functional.linear(output, self.H, self.h))

    def targets(self, phase: Phase) -> list[Tensor]:
        """Returns r_0, t_1 … t_L, each (n × shape_k)."""
        r, t_L = phase.activity, self.output_target(phase)
        t = [*r[:-1], t_L]
        for k in self.feedback_layers:
            t[k] = r[k] + broadcast(self.Q[str(k)], self.sent_down(k, t_L) - self.sent_down(k, r[-1]))
        return t

    def feedback_updates(self, phase: Phase, q: int) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields Q_k with the descent of its loss, by the noise of step q."""
        r = phase.activity
        for k in self.feedback_layers:
            change, error = self.reconstruct(k, r, self.sigma[k] * self.noise(phase, r[k], k, q))
            lower = self.network.chain[k].product_dtype  # as all Hebbian products
            product = mean_product(error.to(lower), change.to(lower)).to(error.dtype)
            yield self.Q[str(k)], product * (-2 * self.scale(k) / self.network.sizes[k])

    def reconstruct(self, k: int, r: list[Tensor], σξ: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what Q_k gets of noise in layer k, and how far Q_k of it is from the noise (n × shape_k)."""
        noisy = moved(r, k, r[k] + σξ)
        for j in range(k + 1, self.network.L + 1):
            noisy = moved(noisy, j, self.layer(j, noisy))
        change = self.sent_down(k, noisy[-1]) - self.sent_down(k, r[-1])
        return change, broadcast(self.Q[str(k)], change) - σξ

    def scale(self, k: int) -> float:
        """Returns what multiplies the mean square error of Q_k."""
        return float(1 / self.sigma[k] ** 2)

    def feedback_parameters(self, k: int) -> list[Tensor]:
        """Returns Q_k."""
        return [self.Q[str(k)]]
