"""Kolen–Pollack learning (Kolen & Pollack 1994) and weight mirrors (Akrout et al. 2019)."""

from collections.abc import Iterable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from bioplausible.errors.checks import require
from bioplausible.functional import placed
from bioplausible.network import Connection, Initialization, Sizes
from bioplausible.rules.backpropagation import FeedforwardRule, Loss, backward
from bioplausible.rules.learned_feedback import decay_, taught_alike
from bioplausible.rules.options import require_choice
from bioplausible.training.phase import Phase, Phases
from bioplausible.training.randomness import mix, uniform

Mirror = Literal["zero_mean", "published"]
NOISE_WIDTH = 0.1
"""Of the published mirror's noise, uniform in ±half of it."""


class KolenPollack(FeedforwardRule):
    r"""Feedback alignment whose feedback weights learn too, until they are the transposes of the forward weights.

    Errors go down through V as in feedback alignment. V_k then learns the same product as W_k, of the activity and the
    error at its two ends, at the same rate and with the same decay λ::

        δ_L = f′(a_L) ⊙ ∂C/∂r_L,     δ_k = f′(a_k) ⊙ V_{k+1}ᵀ δ_{k+1}        V as it is before the update
        W_k ← λ W_k − lr ⟨δ_k r_{k−1}⟩,    V_k ← λ V_k − lr ⟨δ_k r_{k−1}⟩,    b_k ← b_k − lr mean(δ_k)

    V_k has W_k's layout (out × in, kernels alike), so that V_k − W_k shrinks by exactly λ a batch, whatever the data.
    This holds for every optimizer that treats V and W alike, Adam included: λ multiplies the weights before its step.
    In the published code λ stays 1: the difference is constant, and the angle falls only as W grows past it. Its other
    habit, biases whose gradient is divided by the number of samples twice, is left out.

    With ``mirror`` V_k follows W_k without errors. Noise ξ enters the presynaptic layer, and V_k learns from it and
    from what W_k makes of it, n draws after each batch of n; λ then acts on W alone::

        zero_mean:   V_k ← V_k + η ( ⟨(W_k ξ) ξ⟩ / s² − V_k )        s² the variance of ξ
        published:   V_k ← V_k + η Σ_n f(W_k ξ + b_k) ξ              ξ uniform in ±0.05

    On average the first leads V to W; positions of a kernel are averaged. The second, published one has three habits:
    a sum over draws, no decay, and a mean of f(·) that is not removed, which makes 98 % of its noise; on average it
    adds η n s² diag(f′(b)) W to V. Its f is the layer's activation; the output's is what the loss compares with y.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        loss: the cost whose error is sent down.
        decay: λ in (0, 1], by which W and V are multiplied each batch; published: 1.
        mirror: how noise teaches V; None: V learns from errors, as W does.
        mirror_rate: η; None: 0.01. Above 0, and at most 1 with ``zero_mean``.
        initialization: of W, V and b (:func:`bioplausible.network.initialization.draw`).
        options: the other arguments of :class:`bioplausible.rules.backpropagation.FeedforwardRule`.

    Raises:
        UserError: an argument is outside its range.
    """

    of_hidden_layers = FeedforwardRule.of_hidden_layers | {"mirror", "mirror_rate"}

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        loss: Loss = "cross_entropy",
        decay: float = 0.9999,
        mirror: Mirror | None = None,
        mirror_rate: float | None = None,
        initialization: Initialization = "xavier",
        **options: Any,
    ) -> None:
        super().__init__(layer_sizes, loss, **options)
        require(0 < decay <= 1, f"decay is {decay}: it multiplies the weights, so it must lie in (0, 1].")
        if mirror is not None:
            require_choice("mirror", mirror, get_args(Mirror))
        require(
            mirror is not None or mirror_rate is None,
            f"mirror_rate is {mirror_rate}, but without a mirror nothing has this rate: set mirror, or leave it out.",
        )
        η = 0.01 if mirror_rate is None else mirror_rate
        require(η > 0, f"mirror_rate is {η}: it must be positive.")
        require(
            mirror != "zero_mean" or η <= 1,
            f"mirror_rate is {η}: a mirror of zero mean replaces this share of V, so it must lie in (0, 1].",
        )
        self.decay, self.mirror, self.mirror_rate = decay, mirror, η
        self.network = self.build_network(
            feedback="learned" if mirror is None else "fixed", initialization=initialization
        )
        self._with_feedback = [c for c in self.network.weighted if not c.is_tied]

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phase ``feedforward``, with each sample's errors n · δ_1 … n · δ_L as ``internal["delta"]``."""
        return {"feedforward": backward(self, x, target)}

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Returns W_k with −⟨δ_k r_{k−1}⟩, V_k with the same where no mirror teaches it, and b_k with −mean(δ_k)."""
        found = super().local_updates(phases)
        return taught_alike(found, self._with_feedback) if self.mirror is None else found

    def decay_weights(self) -> None:
        """Multiplies W, and V where no mirror teaches it, by λ."""
        decay_(self.network.weighted, self.decay, feedback=self.mirror is None)

    def update_state(self, phases: Phases, optimizer: torch.optim.Optimizer) -> None:
        """Lets noise teach V, with as many draws as the batch has samples; each process makes them all."""
        if self.mirror is not None:
            for c, ξ in zip(self._with_feedback, self.draw_noise(phases["feedforward"].batch_size), strict=True):
                self.reflect(c, ξ)

    def draw_noise(self, n: int) -> list[Tensor]:
        """Returns n draws of ξ (n × pre_shape) for each connection with a V, functions of the seed and the step."""
        draws = (uniform(mix(self.seed, 2 + i), self.step, n, *c.pre_shape) for i, c in enumerate(self._with_feedback))
        return [
            NOISE_WIDTH * placed(u - 0.5, c.feedback_weight) for u, c in zip(draws, self._with_feedback, strict=True)
        ]

    def reflect(self, c: Connection, ξ: Tensor) -> None:
        """Lets V of a connection learn from noise in its presynaptic layer.

        Args:
            c: the connection.
            ξ: draws of the noise (n × pre_shape).
        """
        V, η = c.feedback_weight, self.mirror_rate
        if self.mirror == "published":
            a = c.feedforward(ξ)
            r = self.f.function(a) if c.post < self.network.L else self.prediction(self.output_f.function(a))
            V.add_(c.correlate(r, ξ), alpha=η * len(ξ))
        else:
            drive = c.transform(c.weight, ξ)
            # how many positions each weight of a kernel has: fewer where it reaches beyond the image
            positions = c.correlation(torch.ones_like(drive[:1]), torch.ones_like(ξ[:1])).clamp(min=1)
            V.lerp_(c.correlation(drive, ξ) / (positions * NOISE_WIDTH**2 / 12), η)
