"""Burstprop: learning from the bursts of two-compartment neurons (Payeur, Guerguiev, Zenke, Richards & Naud 2021)."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from bioplausible.errors.checks import require
from bioplausible.functional import mean_outer_product, rows
from bioplausible.network import Initialization, Recurrent, Sizes
from bioplausible.rules.backpropagation import FeedforwardRule
from bioplausible.rules.learned_feedback import decay_, taught_alike
from bioplausible.rules.options import by_layer, group, per_layer, require_choice
from bioplausible.training.phase import Phase, Phases


class Burstprop(FeedforwardRule):
    r"""Event rates go up and burst rates come down, and a synapse learns from how the target changes the bursts.

    With the event rates r_k = σ(a_k) of all layers, a_k = W_k r_{k−1} + b_k, and the baseline p of the output's burst
    probability, the burst rates come down without the target (b) and with it (bᵗ)::

        output:  b_L = p r_L,        bᵗ_L = p ((y − r_L)(1 − r_L) + 1) r_L
        hidden:  m_k = V_{k+1}ᵀ b_{k+1},    h_k = σ(m_k) r_k,    u_k = m_k (1 − r_k) − R_k h_k,    b_k = σ(u_k) r_k
                 mᵗ_k = V_{k+1}ᵀ bᵗ_{k+1},  uᵗ_k = mᵗ_k (1 − r_k) − R_k h_k,   bᵗ_k = σ(uᵗ_k) r_k
        ΔW_k = ⟨(bᵗ_k − b_k) r_{k−1}⟩,      Δb_k = mean(bᵗ_k − b_k),           ΔV_k = ΔW_k
        W_k ← λ W_k + lr ΔW_k,  V_k alike,  R_k ← R_k + lr_r ⟨u_k h_k⟩

    The output learns p times the gradient of ½ ‖r_L − y‖². With V = W, bᵗ_k − b_k is to first order in p
    r_k (1 − r_k) σ′(u_k) ⊙ W_{k+1}ᵀ (bᵗ_{k+1} − b_{k+1}), as in backpropagation but for σ′(u_k), which is ¼ or less:
    each layer further down learns slower, so ``learning_rates`` gives the layers rates of their own. The factors are
    local: the presynaptic event rate, and a difference of two burst rates of one postsynaptic neuron. V learns as in
    :class:`bioplausible.rules.KolenPollack`. R (``recurrent_rate``; units × units, 0 at the start, channels × channels
    on images) learns to predict the bursts' drive without the target and takes it away, which keeps σ(u) where it is
    steep.

    Published: sums over the batch in the place of means here, so rates are n times smaller, of R too; λ = 1 − (the
    published decay), which no rate multiplies and from which biases are spared.

    On images W_k r is Q(W_k * r), pooling before σ, and updates sum over positions (R's: their mean).

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        feedback: whether V is ``learned`` or ``fixed``.
        baseline: p in (0, ½], so that no burst probability exceeds 1.
        decay: λ in (0, 1], by which W, and V where it learns, are multiplied each batch.
        recurrent_rate: lr_r, one number or one per hidden layer; None: no recurrent weights.
        learning_rates: rate of W_k, b_k and V_k, one number or one per layer 1 … L; None: the optimizer's own.
        initialization: of W, V and b (:func:`bioplausible.network.initialization.draw`).
        options: the other arguments of :class:`bioplausible.rules.backpropagation.FeedforwardRule`; its loss and its
            activation functions are the rule's own.

    Raises:
        UserError: an argument is outside its range, a list has the wrong length, or an option has no effect.
    """

    of_hidden_layers = frozenset({"feedback"})  # the activation function is the output's too, and fixed

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        feedback: Literal["learned", "fixed"] = "learned",
        baseline: float = 0.2,
        decay: float = 0.999999,
        recurrent_rate: float | list[float] | None = None,
        learning_rates: float | list[float] | None = None,
        initialization: Initialization = "xavier",
        **options: Any,
    ) -> None:
        loss = options.pop("loss", "mean_squared_error")
        require(loss == "mean_squared_error", f"loss is {loss}: bursts tell the squared error's gradient, so leave it.")
        f, output_f = options.pop("activation_function", "sigmoid"), options.pop("output_activation", "sigmoid")
        for name, value in (("activation_function", f), ("output_activation", output_f)):
            require(value == "sigmoid", f"{name} is {value}: event rates are sigmoid in all layers, so leave it.")
        super().__init__(
            layer_sizes,
            loss="mean_squared_error",
            activation_function="sigmoid",
            output_activation="sigmoid",
            **options,
        )
        require_choice("feedback", feedback, ("learned", "fixed"))
        require(
            0 < baseline <= 0.5, f"baseline is {baseline}: it is half of a probability, so it must lie in (0, 0.5]."
        )
        require(0 < decay <= 1, f"decay is {decay}: it multiplies the weights, so it must lie in (0, 1].")
        self.feedback, self.baseline, self.decay = feedback, baseline, decay
        self.network = self.build_network(feedback=feedback, initialization=initialization)
        L = self.network.L
        require(
            recurrent_rate is None or L > 1,
            f"recurrent_rate is {recurrent_rate}, but the network has no hidden layer: leave it out.",
        )
        self.learning_rates = per_layer("learning_rates", learning_rates, L, 1)
        self.recurrent_rates: dict[int, float] = {}
        if recurrent_rate is not None:
            self.recurrent_rates = by_layer("recurrent_rate", recurrent_rate, range(1, L))
            self.network.add_laterals({k: Recurrent(self.network.shapes[k][0]) for k in self.recurrent_rates})

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phase ``feedforward``, with burst rates as ``internal``'s ``burst`` and ``burst_target``.

        And with their difference b − bᵗ as ``delta``, and u and h of the layers that have recurrent weights.
        """
        (r, _), network, L = self.feedforward(x), self.network, self.network.L
        u: list[Tensor] = []
        h: list[Tensor] = []
        b, change = [*r], [*r]  # of layer k: b_k and bᵗ_k − b_k, which would lose its digits as a difference
        b[L] = self.baseline * r[L]
        change[L] = self.baseline * (target - r[L]) * (1 - r[L]) * r[L]
        for k in range(L - 1, 0, -1):
            m, Δm = (network.feedback(k, bursts, at=r) for bursts in (b, change))
            drive = m * (1 - r[k])
            if k in network.laterals:
                h.insert(0, m.sigmoid() * r[k])
                drive = drive - network.laterals[k](h[0])
                u.insert(0, drive)
            b[k] = drive.sigmoid() * r[k]
            Δu = Δm * (1 - r[k])
            # σ(uᵗ) − σ(u) = σ(uᵗ) σ(−u) (1 − exp(u − uᵗ))
            change[k] = -(drive + Δu).sigmoid() * (-drive).sigmoid() * torch.expm1(-Δu) * r[k]
        target_bursts = [without + more for without, more in zip(b[1:], change[1:], strict=True)]
        internal = {"delta": [-more for more in change[1:]], "burst": b[1:], "burst_target": target_bursts}
        return {"feedforward": Phase(r, internal={**internal, "u": u, "h": h})}

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Returns W_k with ⟨(bᵗ_k − b_k) r_{k−1}⟩, V_k with the same where it learns, and b_k with mean(bᵗ_k − b_k)."""
        found = super().local_updates(phases)
        return taught_alike(found, self.network.weighted) if self.feedback == "learned" else found

    def decay_weights(self) -> None:
        """Multiplies W, and V where it learns, by λ."""
        decay_(self.network.weighted, self.decay, feedback=self.feedback == "learned")

    def update_state(self, phases: Phases, optimizer: torch.optim.Optimizer) -> None:
        """Adds lr_r ⟨u_k h_k⟩ to R_k."""
        phase = phases["feedforward"]
        pairs = zip(phase.internal["u"], phase.internal["h"], strict=True)
        products = [mean_outer_product(rows(u), rows(h)) for u, h in pairs]
        if products:
            for (k, rate), product in zip(self.recurrent_rates.items(), phase.batch_means(products), strict=True):
                self.network.laterals[k].weight.add_(product, alpha=rate)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns one group for each layer, named ``layer_k``, where ``learning_rates`` are given, else one for all."""
        if all(lr is None for lr in self.learning_rates):
            return super().parameter_groups()
        groups = group("layer", self.network.connections, self.learning_rates, "feedforward")
        if self.feedback == "learned":
            of_feedback = group("feedback", self.network.connections, self.learning_rates, "feedback")
            for of_layer, own in zip(groups, of_feedback, strict=True):
                of_layer["params"] += own["params"]
        return groups
