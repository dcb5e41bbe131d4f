"""Difference target propagation (Lee et al. 2015) and difference reconstruction (Meulemans et al. 2020)."""

from collections.abc import Iterable
from typing import Any, Literal, get_args

from torch import Tensor, nn

from bioplausible.errors.checks import require
from bioplausible.functional import ActivationName, activation
from bioplausible.network import Connection, Initialization, Sizes
from bioplausible.network.initialization import draw_bias
from bioplausible.rules.options import refuse_without_effect, require_choice, require_steps
from bioplausible.rules.target_propagation import JointTargetPropagation, moved
from bioplausible.training.phase import Phase

FeedbackLoss = Literal["reconstruction", "difference_reconstruction"]
LastHiddenTarget = Literal["difference", "gradient"]
SMALLEST_SIGMA = 0.02
"""Below it the loss of reconstruction is not divided by a smaller σ²."""


class DifferenceTargetPropagation(JointTargetPropagation):
    r"""Targets come down through feedback maps G_k that learn to invert the layer above; a difference corrects them.

    With r_k = f(a_k), a_k = W_k r_{k−1} + b_k, and G_k(u) = f_b(V_{k+1}ᵀ u_{k+1} + c_k)::

        t_L = r_L − η̂ ∂C/∂r_L,        t_k = r_k + G_k(t) − G_k(r)
        ΔW_k ∝ −2 ⟨f′(a_k) ⊙ (r_k − t_k)  r_{k−1}⟩,   Δb_k ∝ −2 ⟨f′(a_k) ⊙ (r_k − t_k)⟩       t held

    V_{k+1} and c_k descend a loss of G_k, a mean over samples and units, ξ standard normal for each layer and sample::

        reconstruction:               ⟨(G_k(F_{k+1}(r_k + σξ)) − (r_k + σξ))²⟩ / max(σ, 0.02)²                    (DTP)
        difference_reconstruction:    ⟨(G_k(u) + r_k − G_k(r) − (r_k + σξ))²⟩ / σ²,  u held                       (DRL)
            u_L: r_k + σξ run up to the output;   u_j = G_j(u) + r_j − G_j(r)   for j = L − 1 … k + 1

    The first makes G_k an inverse of layer k + 1, the second makes all that lies above k one: then t_k − r_k is the
    Gauss–Newton step of the output, where backpropagation takes the gradient's. W, V and c learn in one step, from
    what they were before it. V_{k+1} knows r_k + σξ, its own target, and what came of it above.

    Lee et al. hand the last hidden layer its target by the output's weights, and let these learn by the loss's own
    gradient (``last_hidden_target: gradient``); V_L is not used then::

        t_{L−1} = r_{L−1} − η̂ W_Lᵀ δ_L,     δ_L = f′(a_L) ⊙ ∂C/∂r_L,     ΔW_L ∝ −⟨δ_L r_{L−1}⟩

    Habits of the published code: its C is the batch's mean, so that its targets depend on the size of a batch; here
    they don't, and its η̂, divided by n, is ``target_step``. Its f_b is f, but for Lee's variant, where an option is not
    passed on and it is the rectifier; ``feedback_activation`` sets either.

    On images V has the kernels of W, c_k is one number a channel, and max pooling passes back through the winners of
    the activity that G_k takes the place of: r_k + σξ where that is reconstructed, else r_k. A layer with skips is
    reconstructed from all layers that it reaches.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        feedback_loss: what G_k learns from.
        last_hidden_target: how layer L − 1 gets its target.
        target_step: η̂.
        sigma: σ, one number or one per layer 1 … L − 1 (L − 2 with ``last_hidden_target: gradient``); what it changes
            above, of which DRL's loss is made, loses its digits where it is small, in float32 half of them at 10⁻⁴.
        feedback_steps: steps that V and c take a batch, each with noise of its own, the last with W and b.
        activation_function: f of the hidden layers.
        feedback_activation: f_b; None: f.
        learning_rates: rate of W_k and b_k, one number or one per layer 1 … L; None: the optimizer's own.
        feedback_learning_rates: rate of V_{k+1} and c_k, one number or one as of ``sigma``; None: the optimizer's own.
        initialization: of W, V, b and c (:func:`bioplausible.network.initialization.draw`).
        options: the other arguments of :class:`bioplausible.rules.backpropagation.FeedforwardRule`.

    Raises:
        UserError: an argument is outside its range, or a list has the wrong length.
    """

    of_hidden_layers = JointTargetPropagation.of_hidden_layers | {"feedback_loss", "feedback_activation"}

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        feedback_loss: FeedbackLoss = "reconstruction",
        last_hidden_target: LastHiddenTarget = "difference",
        target_step: float = 0.1,
        sigma: float | list[float] = 0.1,
        feedback_steps: int = 1,
        activation_function: ActivationName = "tanh",
        feedback_activation: ActivationName | None = None,
        learning_rates: float | list[float] | None = None,
        feedback_learning_rates: float | list[float] | None = None,
        initialization: Initialization = "xavier",
        **options: Any,
    ) -> None:
        require_choice("feedback_loss", feedback_loss, get_args(FeedbackLoss))
        require_choice("last_hidden_target", last_hidden_target, get_args(LastHiddenTarget))
        by_gradient = last_hidden_target == "gradient"
        require(
            feedback_loss == "reconstruction" or not by_gradient,
            "feedback_loss is difference_reconstruction and last_hidden_target gradient: what runs up to the output"
            " can't come down without feedback from it, so change one of them.",
        )
        super().__init__(layer_sizes, target_step, activation_function=activation_function, **options)
        self.connect(
            initialization, sigma, learning_rates, feedback_learning_rates, "learned", highest=2 if by_gradient else 1
        )
        require_steps("feedback_steps", feedback_steps)
        if by_gradient and self.network.L == 1:
            refuse_without_effect(self, ["target_step"], "without a hidden layer where the gradient is its target")
        self.differs = feedback_loss == "difference_reconstruction"
        self.by_gradient, self.feedback_steps = by_gradient, feedback_steps
        self.f_b = self.f if feedback_activation is None else activation(feedback_activation)
        self.feedback_biases = nn.ParameterDict()
        """c_k (channels or units of layer k)."""
        for k in self.feedback_layers:
            fan_in = sum(c.fans(c.weight.shape)[1] for c in self.network.out_of(k) if c.weight is not None)
            c_k = draw_bias(self.network.shapes[k][0], max(fan_in, 1), initialization)
            self.feedback_biases[str(k)] = nn.Parameter(c_k)
        if by_gradient:
            for c in self.network.into(self.network.L):
                c.tie_feedback()

    def G(self, k: int, u: list[Tensor], at: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns G_k(u) and f_b′ there, each (n × shape_k), through the winners at an activity."""
        c = self.feedback_biases[str(k)]
        v = self.network.feedback(k, u, at) + c.view(1, -1, *[1] * (at[k].ndim - 2))
        g = self.f_b.function(v)
        return g, self.f_b.slope(self.f_b.kept(v, g))

    def targets(self, phase: Phase) -> list[Tensor]:
        """Returns r_0, t_1 … t_L, each (n × shape_k)."""
        r, L = phase.activity, self.network.L
        t = [*r[:L], self.output_target(phase)]
        for k in range(L - 1, 0, -1):
            if k in self.feedback_layers:
                t[k] = r[k] + self.G(k, t, r)[0] - self.G(k, r, r)[0]
            else:
                δ = moved(r, L, self.output_error(phase))
                t[k] = r[k] - self.target_step * self.network.feedback(k, δ, r)
        return t

    def output_error(self, phase: Phase) -> Tensor:
        """Returns f′(a_L) ⊙ ∂C/∂r_L (n × d_L)."""
        kept = phase.internal.get("kept", phase.activity)[-1]
        return self.output_f.slope(kept) * phase.internal["output_error"][0]

    def errors(self, phase: Phase) -> list[Tensor]:
        """Returns δ_1 … δ_L, each (n × shape_k)."""
        δ = super().errors(phase)
        return [*δ[:-1], self.output_error(phase)] if self.by_gradient else δ

    def feedback_updates(self, phase: Phase, q: int) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields V_{k+1} and c_k with the descent of G_k's loss, by the noise of step q."""
        r = phase.activity
        of_r = {k: self.G(k, r, r) for k in self.feedback_layers} if self.differs else {}
        for k in self.feedback_layers:
            u, at, error, slope = self.reconstruct(k, r, self.sigma[k] * self.noise(phase, r[k], k, q), of_r)
            missing = error * (-2 * self.scale(k) / self.network.sizes[k])
            δ, δ_r = slope * missing, of_r[k][1] * missing if self.differs else None
            for c in self.learners(k):
                if δ_r is None:
                    yield c.feedback_weight, c.correlate(u[c.post], δ, at=at[k])
                else:
                    yield c.feedback_weight, c.contrast((u[c.post], δ), (r[c.post], δ_r), at=(at[k], at[k]))
            # the difference of slopes, not of products, which float32 would round off
            of_bias = slope if δ_r is None else slope - of_r[k][1]
            yield self.feedback_biases[str(k)], Connection.bias_update(of_bias * missing)

    def reconstruct(
        self, k: int, r: list[Tensor], σξ: Tensor, of_r: dict[int, tuple[Tensor, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
        """Returns u, the activities whose winners count, G_k's error (n × shape_k), and f_b′ at G_k(u).

        Args:
            k: the layer.
            r: r_0 … r_L.
            σξ: what moves r_k.
            of_r: by layer G_j(r) and f_b′ there, with ``difference_reconstruction``.
        """
        noisy = u = moved(r, k, r[k] + σξ)
        if not self.differs:
            for c in self.network.out_of(k):
                u = moved(u, c.post, self.layer(c.post, noisy))
            g, slope = self.G(k, u, noisy)
            return u, noisy, g - noisy[k], slope
        L = self.network.L
        for j in range(k + 1, L + 1):
            u = moved(u, j, self.layer(j, u))
        for j in range(L - 1, k, -1):
            u = moved(u, j, r[j] + self.G(j, u, r)[0] - of_r[j][0])
        g, slope = self.G(k, u, r)
        return u, r, g - of_r[k][0] - σξ, slope

    def scale(self, k: int) -> float:
        """Returns what multiplies the mean square error of G_k."""
        σ = self.sigma[k]
        return float(1 / σ**2 if self.differs else 1 / max(σ, SMALLEST_SIGMA) ** 2)

    def feedback_parameters(self, k: int) -> list[Tensor]:
        """Returns V of the connections out of layer k, and c_k."""
        return [*(c.feedback_weight for c in self.learners(k)), self.feedback_biases[str(k)]]
