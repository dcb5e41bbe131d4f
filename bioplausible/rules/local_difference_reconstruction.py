"""Local difference reconstruction (Ernoult et al. 2022): target propagation that scales."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from bioplausible.functional import ActivationName
from bioplausible.network import Initialization, Sizes
from bioplausible.rules.options import by_layer, require_steps
from bioplausible.rules.target_propagation import TargetPropagation, moved
from bioplausible.training.phase import Phase, Phases


class LocalDifferenceReconstruction(TargetPropagation):
    r"""Difference target propagation whose feedback learns the layer above's transpose, before each forward step.

    With r_k = f(a_k), F_{k+1}(r) = f(Q(W_{k+1} * r) + b_{k+1}), and G_k(u) = V_{k+1}ᵀ ⊛ Qᵀ f(u), f that of layer k + 1
    (L-DRL)::

        V_{k+1} descends, for each k = 1 … L − 1 in m_k iterations with noise ξ, η of their own for each sample,
            −2 ⟨σξ · (G_k(F(r_k + σξ)) − G_k(F(r_k)))⟩ + ⟨‖G_k(r_{k+1} + ση) − G_k(r_{k+1})‖²⟩       mean over samples
        then   t_L = r_L − β ∂C/∂r_L,        t_k = r_k + G_k(t) − G_k(r)
        ΔW_k ∝ −⟨f′(a_k) ⊙ (r_k − t_k)  r_{k−1}⟩,   Δb_k ∝ −⟨f′(a_k) ⊙ (r_k − t_k)⟩              t held

    Where difference target propagation learns an inverse, this loss is least where the derivative of G_k is the
    transpose of that of F_{k+1}: of linear layers V = W, to which V comes closer by 1 − 2 σ² times its rate an
    iteration on average. Then the targets carry β times the errors of backpropagation. V_{k+1} learns from noise in
    the two layers that it joins, without a target; a bias of G_k would cancel, so there is none.

    Max pooling passes back through the winners of the noisy activity where it is F's, else through those of r_k. The
    published code applies f after Qᵀ, which is the same for max pooling where f(0) is 0, and only convolutions have an
    f there (``dense_activation: linear``). A layer with skips is reconstructed from all layers that it reaches.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        target_step: β.
        sigma: σ, one number or one per layer 1 … L − 1.
        feedback_steps: m_k, one number or one per layer 1 … L − 1.
        activation_function: f of the hidden layers.
        learning_rates: rate of W_k and b_k, one number or one per layer 1 … L; None: the optimizer's own.
        feedback_learning_rates: rate of V_{k+1}, one number or one per layer k = 1 … L − 1; None: the optimizer's own.
        initialization: of W, V and b (:func:`bioplausible.network.initialization.draw`).
        options: the other arguments of :class:`bioplausible.rules.backpropagation.FeedforwardRule`.

    Raises:
        UserError: an argument is outside its range, or a list has the wrong length.
    """

    local_loss_factor = 1.0

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        target_step: float = 0.5,
        sigma: float | list[float] = 0.2,
        feedback_steps: int | list[int] = 10,
        activation_function: ActivationName = "elu",
        learning_rates: float | list[float] | None = None,
        feedback_learning_rates: float | list[float] | None = None,
        initialization: Initialization = "xavier",
        **options: Any,
    ) -> None:
        super().__init__(layer_sizes, target_step, activation_function=activation_function, **options)
        self.connect(initialization, sigma, learning_rates, feedback_learning_rates, "learned")
        self.feedback_steps = by_layer("feedback_steps", feedback_steps, self.feedback_layers)
        for steps in self.feedback_steps.values():
            require_steps("feedback_steps", steps)

    def back(self, k: int, u: list[Tensor], at: Tensor) -> Tensor:
        """Returns G_k(u) (n × shape_k) through the winners at an activity of layer k."""
        sent = [*u]
        for c in self.network.out_of(k):
            sent[c.post] = self.f_of(c.post).function(u[c.post])
        return self.network.feedback(k, sent, moved(u, k, at))

    def targets(self, phase: Phase) -> list[Tensor]:
        """Returns r_0, t_1 … t_L, each (n × shape_k)."""
        r = phase.activity
        t = [*r[:-1], self.output_target(phase)]
        for k in range(self.network.L - 1, 0, -1):
            t[k] = r[k] + self.back(k, t, r[k]) - self.back(k, r, r[k])
        return t

    def steps_of(self, parameter: Tensor) -> int:
        """Returns how many of a batch's updates move a parameter."""
        return next((m for k, m in self.feedback_steps.items() if self.is_feedback(parameter, k)), 1)

    def updates(self, phases: Phases) -> Iterable[Iterable[tuple[Tensor, Tensor]]]:
        """Yields each V in all of its iterations, layer by layer, then W and b."""
        for k in self.feedback_layers:
            for q in range(self.feedback_steps[k]):
                yield self.feedback_updates(phases["feedforward"], k, q)
        yield self.local_updates(phases)

    def feedback_updates(self, phase: Phase, k: int, q: int) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields V_{k+1} with the descent of its loss, by the noise of iteration q."""
        r, σ = phase.activity, self.sigma[k]
        σξ = σ * self.noise(phase, r[k], k, q, 0)
        noisy = moved(r, k, r[k] + σξ)
        # what G_k gets of layer k + 1, or of each layer that layer k reaches: its f of F(r_k + σξ), and of r + ση
        above, apart = [*r], [*r]
        for c in self.network.out_of(k):
            above[c.post] = self.layer(c.post, noisy)
            apart[c.post] = r[c.post] + σ * self.noise(phase, r[c.post], k, q, c.post)
        sent = self.back(k, apart, r[k]) - self.back(k, r, r[k])
        for c in self.learners(k):
            f = self.f_of(c.post).function
            z, z_above, z_apart = f(r[c.post]), f(above[c.post]), f(apart[c.post])
            follow = c.contrast((z_above, σξ), (z, σξ), at=(noisy[k], r[k]))
            yield c.feedback_weight, 2 * (follow - c.correlate(z_apart - z, sent, at=r[k]))

    def feedback_parameters(self, k: int) -> list[Tensor]:
        """Returns V of the connections out of layer k."""
        return [c.feedback_weight for c in self.learners(k)]
