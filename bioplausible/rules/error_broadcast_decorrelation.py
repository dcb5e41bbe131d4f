"""Error broadcast and decorrelation (Erdogan, Pehlevan & Erdogan, NeurIPS 2025)."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from bioplausible.errors.checks import LARGEST, require
from bioplausible.functional import mean_outer_product, regularized_solve, rows
from bioplausible.network import Connection, Initialization, RunningCorrelation, Sizes, broadcast, mean_product
from bioplausible.rules.backpropagation import FeedforwardRule, Loss
from bioplausible.rules.batch_means import BatchMeans, Means
from bioplausible.rules.options import by_layer, group, per_layer, refuse_without_effect, require_choice
from bioplausible.training.phase import Phase, Phases


class ErrorBroadcastDecorrelation(FeedforwardRule):
    r"""Each hidden layer decorrelates a function g of its activity from the output's error, which is broadcast to it.

    The error of the least-mean-squares estimate is uncorrelated with every function of every layer's activity. With
    a_k = W_k r_{k−1} + b_k, r_k = f(a_k), and the output's error ε = r_L − y, or the score π − y of the cross entropy
    with π = softmax(r_L), each layer descends ½ ‖R_k‖² with ε held. For the layers k = 1 … L − 1, R first::

        R_k   ← λ_d R_k + (1 − λ_d) ⟨g(r_k) ε⟩          (d_k × d_L)       q_k = ε R_kᵀ   (n × d_k)
        R^h_k ← λ_E R^h_k + (1 − λ_E) ⟨r_k r_k⟩         (d_k × d_k)
        post_k = −μ_k g′(r_k) ⊙ q_k + μ_E (R^h_k + ϵI)⁻¹ r_k − 4 μ_P (⟨r_k²⟩ − P_k) ⊙ r_k − μ_1 sign(r_k)
        post_L = −μ_L ε − μ_fwd Σ_{k<L} g(r_k) R_k
        ΔW_k = ⟨f′(a_k) ⊙ post_k  r_{k−1}⟩,   Δb_k = ⟨f′(a_k) ⊙ post_k⟩       k = 1 … L

    The terms after the first are those of the layer's entropy ½ logdet(R^h + ϵI), of its power Σ (⟨r²⟩ − P)², of
    sparsity Σ |r|, and of the error that the layers send forward. One forward pass; nothing goes down but ε. Of one
    sample the first term is a three-factor rule: r_{k−1}, g′(r_k) f′(a_k) and q_k. What is not local is the inverse of
    R^h, of a whole layer, and the output's sum over all layers.

    With λ_d = 1 this is direct feedback alignment through R_kᵀ, which starts as its projections do: Xavier-uniform.
    Both are kept in checkpoints; R^h starts at I. The equations leave out the factor 1 − λ_d of the gradient, and the
    derivative of ε, as the paper's do. No published code has been replayed: two independent derivations agree, and with
    them this class.

    On images W_k r is Q(W_k * r), pooling before f, and updates sum over positions. A unit is a channel at a position:
    R_k (channels × rows × columns × d_L), and ⟨r_k²⟩ too. R^h (channels × channels) is the mean over positions, which
    all of them share as in :class:`bioplausible.rules.CorInfoMax`; the paper takes the entropy of these layers' weights
    instead, ½ logdet(W_k W_kᵀ + ϵI) (``entropy_of: weights``; each position's of its own in a locally connected layer).

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        loss: what is reported, and ε: r_L − y with the mean squared error, d_L/2 times its gradient, or π − y, with
            π the softmax, or for the binary cross entropy the logistic function, of r_L.
        error_forgetting_factor: λ_d in [0, 1].
        correlated: g, the ``identity`` or the half ``square`` r²/2.
        decorrelation: μ, one number or one per layer 1 … L; μ_L weighs the output's own error.
        forward_broadcast: μ_fwd.
        entropy: μ_E, one number or one per hidden layer; None: none, and R^h is not kept.
        entropy_of: of what the layers of images maximise the entropy, their ``activity`` or their ``weights``.
        power: μ_P, one number or one per hidden layer.
        target_power: P, one number or one per hidden layer.
        sparsity: μ_1, one number or one per hidden layer.
        forgetting_factor: λ_E in [0, 1].
        epsilon: ϵ > 0.
        learning_rates: rate of W_k and b_k, one number or one per layer 1 … L; None: the optimizer's own.
        initialization: of W and b (:func:`bioplausible.network.initialization.draw`).
        options: the other arguments of :class:`bioplausible.rules.backpropagation.FeedforwardRule`.

    Raises:
        UserError: an argument is outside its range, or a list has the wrong length.
    """

    of_hidden_layers = FeedforwardRule.of_hidden_layers | {
        "error_forgetting_factor",
        "correlated",
        "forward_broadcast",
        "entropy",
        "power",
        "sparsity",
    }

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        loss: Loss = "mean_squared_error",
        error_forgetting_factor: float = 0.99999,
        correlated: Literal["identity", "square"] = "identity",
        decorrelation: float | list[float] = 1.0,
        forward_broadcast: float = 0.0,
        entropy: float | list[float] | None = None,
        entropy_of: Literal["activity", "weights"] = "activity",
        power: float | list[float] = 0.0,
        target_power: float | list[float] = 0.25,
        sparsity: float | list[float] = 0.0,
        forgetting_factor: float = 0.99999,
        epsilon: float = 0.01,
        learning_rates: float | list[float] | None = None,
        initialization: Initialization = "xavier",
        **options: Any,
    ) -> None:
        super().__init__(layer_sizes, loss, **options)
        require_choice("correlated", correlated, ("identity", "square"))
        require_choice("entropy_of", entropy_of, ("activity", "weights"))
        for name, factor in (
            ("error_forgetting_factor", error_forgetting_factor),
            ("forgetting_factor", forgetting_factor),
        ):
            require(0 <= factor <= 1, f"{name} is {factor}: it must lie in [0, 1].")
        require(epsilon >= 1 / LARGEST, f"epsilon is {epsilon}: it must be positive, {1 / LARGEST:g} or more.")
        require(forward_broadcast >= 0, f"forward_broadcast is {forward_broadcast}: it must not be negative.")
        self.error_forgetting_factor, self.forgetting_factor = error_forgetting_factor, forgetting_factor
        self.correlated, self.epsilon, self.forward_broadcast = correlated, epsilon, forward_broadcast
        self.network = self.build_network(initialization=initialization)
        shapes, L = self.network.shapes, self.network.L
        hidden = range(1, L)
        self.learning_rates = per_layer("learning_rates", learning_rates, L, 1)
        self.decorrelation = by_layer("decorrelation", decorrelation, range(1, L + 1))
        self.power, self.target_power = by_layer("power", power, hidden), by_layer("target_power", target_power, hidden)
        self.sparsity = by_layer("sparsity", sparsity, hidden)
        entropies = {} if entropy is None else by_layer("entropy", entropy, hidden)
        of_weights = {k for k in entropies if entropy_of == "weights" and len(shapes[k]) == 3}
        self.entropy = {k: μ for k, μ in entropies.items() if k not in of_weights}
        self.weight_entropy = {k: μ for k, μ in entropies.items() if k in of_weights}
        if not any(self.power.values()):
            refuse_without_effect(self, ["target_power"], "where power is 0")
        if not any(entropies.values()):
            refuse_without_effect(self, ["entropy_of", "forgetting_factor", "epsilon"], "without entropy")
        if not any(len(shapes[k]) == 3 for k in hidden):
            refuse_without_effect(self, ["entropy_of"], "where no hidden layer is of images")
        if not any(self.entropy.values()):
            refuse_without_effect(self, ["forgetting_factor"], "where the entropy is that of the weights")
        of_error = {str(k): RunningCorrelation.with_error(shapes[k], shapes[L][0]) for k in hidden}
        of_activity = {str(k): RunningCorrelation(torch.eye(shapes[k][0])) for k in self.entropy}
        self.error_correlations = cast(dict[str, RunningCorrelation], nn.ModuleDict(of_error))
        self.correlations = cast(dict[str, RunningCorrelation], nn.ModuleDict(of_activity))
        self.batch_means = BatchMeans(self.means)

    def output_error(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns ε (n × d_L)."""
        return self.prediction(output) - target

    def g(self, r: Tensor) -> Tensor:
        """Returns what is decorrelated, g of an activity r (n × …)."""
        return r if self.correlated == "identity" else r.square() / 2

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phase ``feedforward``, with ε as ``internal["output_error"]`` and what f′ needs as ``kept``."""
        r, kept = self.feedforward(x)
        internal = {"output_error": [self.output_error(r[-1], target)]}
        if any(f.derivative is None for f in (self.f, self.output_f)):  # else the activities tell it
            internal["kept"] = kept[1:]
        return {"feedforward": Phase(r, internal=internal)}

    def means(self, phase: Phase) -> Means:
        """Returns what is learned from as means over a phase's samples: ⟨g(r_k) ε⟩, ⟨r_k r_k⟩ and ⟨r_k²⟩."""
        found: Means = {}
        for k, r in enumerate(phase.activity[1:-1], start=1):
            found["error", k] = mean_product(self.g(r), phase.internal["output_error"][0])
            if k in self.entropy:
                found["activity", k] = mean_outer_product(rows(r), rows(r))
            if self.power[k]:
                found["square", k] = r.square().mean(0)
        return found

    def after(self, means: Means) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Returns by layer what R and R^h are after a batch with these means."""
        λ_d, λ_E = self.error_forgetting_factor, self.forgetting_factor
        R = {k: self.error_correlations[str(k)].after(means["error", k], λ_d) for k in range(1, self.network.L)}
        Rh = {k: self.correlations[str(k)].after(means["activity", k], λ_E) for k in self.entropy}
        return R, Rh

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with ⟨f′(a_k) ⊙ post_k r_{k−1}⟩ and b_k with ⟨f′(a_k) ⊙ post_k⟩, from the new R and R^h."""
        phase, L = phases["feedforward"], self.network.L
        r, ε, means = phase.activity, phase.internal["output_error"][0], self.batch_means.for_updates(phase)
        R, Rh = self.after(means)
        kept = phase.internal.get("kept", r[1:])
        δ = []  # −f′ ⊙ post
        for k in range(1, L):
            q = broadcast(R[k], ε)
            error = self.decorrelation[k] * (q if self.correlated == "identity" else r[k] * q)
            if k in Rh:
                whitened = regularized_solve(Rh[k], rows(r[k]), self.epsilon)
                error -= self.entropy[k] * whitened.view(len(ε), *r[k].shape[2:], -1).movedim(-1, 1)
            if self.power[k]:
                error += 4 * self.power[k] * (means["square", k] - self.target_power[k]) * r[k]
            if self.sparsity[k]:
                error += self.sparsity[k] * r[k].sign()
            δ.append(self.f.slope(kept[k - 1]) * error)
        error = self.decorrelation[L] * ε
        if self.forward_broadcast:
            for k in range(1, L):
                error += self.forward_broadcast * (self.g(r[k]).flatten(1) @ R[k].flatten(0, -2))
        δ.append(self.output_f.slope(kept[-1]) * error)
        kernels = {id(c.weight): c for c in self.network.weighted if self.weight_entropy.get(c.post)}
        for parameter, update in super().local_updates({"feedforward": replace(phase, internal={"delta": δ})}):
            c = kernels.get(id(parameter))
            yield parameter, update if c is None else update + self.weight_entropy[c.post] * self.weights_force(c)

    def weights_force(self, c: Connection) -> Tensor:
        """Returns (W Wᵀ + ϵI)⁻¹ W, W with a row for each postsynaptic channel; by position where each has its own."""
        weight = cast(Tensor, c.weight)
        W = weight if weight.ndim == 3 else weight.flatten(1)
        return regularized_solve(W @ W.mT, W.mT, self.epsilon).mT.reshape(weight.shape)

    def update_state(self, phases: Phases, optimizer: torch.optim.Optimizer) -> None:
        """Updates R and R^h."""
        R, Rh = self.after(self.batch_means.for_state(phases["feedforward"]))
        for kept, after in ((self.error_correlations, R), (self.correlations, Rh)):
            for k, correlation in after.items():
                kept[str(k)].weight.copy_(correlation)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns one group for each layer's W and b, named ``layer_k``."""
        return group("layer", self.network.connections, self.learning_rates, "feedforward")

    def dynamics(self) -> dict[str, Tensor]:
        """Adds ‖R_k‖, of which each layer descends half the square."""
        norms = {f"decorrelation/layer_{k}": R.weight.norm() for k, R in self.error_correlations.items()}
        return super().dynamics() | norms
