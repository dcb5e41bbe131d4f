"""CorInfoMax that learns by error broadcast and decorrelation (Erdogan, Pehlevan & Erdogan, NeurIPS 2025)."""

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from bioplausible.errors.checks import require
from bioplausible.functional import mean_outer_product, rows
from bioplausible.network import InverseCorrelation, RunningCorrelation, Sizes, broadcast, mean_product
from bioplausible.rules.batch_means import BatchMeans, Means
from bioplausible.rules.corinfomax_network import CorInfoMaxNetwork
from bioplausible.rules.options import by_layer, per_layer, refuse_without_effect
from bioplausible.training.phase import Phase, Phases


class CorInfoMaxEBD(CorInfoMaxNetwork):
    r"""The network of CorInfoMax, which settles freely, and whose layers decorrelate their activity from the error.

    The states are those of the free phase of :class:`bioplausible.rules.CorInfoMax`: nothing nudges the output, and
    there is no second phase. With ε = r_L − y, γ = (1 − λ)/λ, 1[…] the derivative of the clipping, k = 1 … L, R first::

        R_k ← λ_d R_k + (1 − λ_d) ⟨r_k ε⟩   (d_k × d_L)        Φ_k = 1[0 < r_k < 1] ⊙ (ε R_kᵀ)   (n × d_k)
        ΔW_k = ⟨( μ_f (r_k − W_k r_{k−1}) − μ_df Φ_k − 4 μ_P 1[0 < r_k < 1] ⊙ (⟨r_k²⟩ − P_k) ⊙ r_k ) r_{k−1}⟩
        ΔV_k = ⟨( μ_b (r_{k−1} − V_k r_k) − μ_db Φ_{k−1} ) r_k⟩                                    k = 2 … L
        B_k ← B_k/λ − γ ⟨z_k z_k⟩ − μ_dl ⟨Φ_k r_k⟩,   z_k = B_k r_k

    W, V and B in these are those from before the batch, R is the new one. A synapse sees its two ends, the prediction
    error or the third factor Φ_k of one of them, and nothing of another layer but the output's error; ⟨r_k²⟩ is the
    mean of one unit over the batch.

    As published, γ is not divided by λ as CorInfoMax's is, and B grows as it does there. ``regularize_lateral`` lets it
    follow (R + εI)⁻¹ as there, by (B_k − γ (⟨z_k z_k⟩ + ε B_k²))/λ. The last term takes B's symmetry from it in either
    form. The published μ_f and μ_b are of order 1e-18: predictions are not learned at all, all is decorrelation.
    No published code has been replayed: two independent derivations agree, and with them this class.

    R_L starts at I, so that the output starts with the delta rule: from random values it learns nothing. All other R
    start Xavier-uniform, no optimizer moves them, and they are kept in checkpoints. On images R is (channels × rows ×
    columns × d_L), a unit being a channel at a position; updates of W and V sum over positions, B averages over them.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        error_forgetting_factor: λ_d in [0, 1].
        decorrelation: μ_df, one number or one per layer 1 … L.
        feedback_decorrelation: μ_db, one number or one per layer 2 … L.
        lateral_decorrelation: μ_dl, one number or one per layer 1 … L.
        prediction: μ_f, one number or one per layer 1 … L.
        feedback_prediction: μ_b, one number or one per layer 2 … L.
        power: μ_P, one number or one per layer 1 … L.
        target_power: P, one number or one per layer 1 … L.
        feedforward_learning_rates: rate of W, one number or one per layer 1 … L; None: the optimizer's own.
        feedback_learning_rates: rate of V, one number or one per layer 2 … L; None: the optimizer's own.
        options: the other arguments of :class:`bioplausible.rules.corinfomax_network.CorInfoMaxNetwork`.

    Raises:
        UserError: an argument is outside its range, or a list has the wrong length.
    """

    of_hidden_layers = frozenset({"feedback_decorrelation", "feedback_prediction", "feedback_learning_rates"})

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        error_forgetting_factor: float = 0.99999,
        decorrelation: float | list[float] = 1.0,
        feedback_decorrelation: float | list[float] = 0.0,
        lateral_decorrelation: float | list[float] = 0.0,
        prediction: float | list[float] = 0.1,
        feedback_prediction: float | list[float] = 0.1,
        power: float | list[float] = 0.0,
        target_power: float | list[float] = 0.25,
        feedforward_learning_rates: float | list[float] | None = 0.1,
        feedback_learning_rates: float | list[float] | None = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(layer_sizes, **options)
        require(
            0 <= error_forgetting_factor <= 1,
            f"error_forgetting_factor is {error_forgetting_factor}: it must lie in [0, 1].",
        )
        self.error_forgetting_factor = error_forgetting_factor
        shapes, L = self.network.shapes, self.network.L
        layers = range(1, L + 1)
        self.decorrelation = by_layer("decorrelation", decorrelation, layers)
        self.lateral_decorrelation = by_layer("lateral_decorrelation", lateral_decorrelation, layers)
        self.prediction = by_layer("prediction", prediction, layers)
        self.power, self.target_power = by_layer("power", power, layers), by_layer("target_power", target_power, layers)
        if not any(self.power.values()):
            refuse_without_effect(self, ["target_power"], "where power is 0")
        self.feedback_decorrelation = by_layer("feedback_decorrelation", feedback_decorrelation, layers[1:])
        self.feedback_prediction = by_layer("feedback_prediction", feedback_prediction, layers[1:])
        self.feedforward_learning_rates = per_layer("feedforward_learning_rates", feedforward_learning_rates, L, 1)
        self.feedback_learning_rates = per_layer("feedback_learning_rates", feedback_learning_rates, L - 1, 2)
        of_error = {str(k): RunningCorrelation.with_error(shapes[k], shapes[L][0]) for k in layers[:-1]}
        of_error[str(L)] = RunningCorrelation(torch.eye(shapes[L][0]))
        self.error_correlations = cast(dict[str, RunningCorrelation], nn.ModuleDict(of_error))
        self.batch_means = BatchMeans(self.means)

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phase ``free``, with ε as ``internal["output_error"]``."""
        network = self.network.clamp(x)
        free = self.relax(network, self.at_rest(network), self.free_step_sizes)
        free.internal["output_error"] = [free.output - target]
        return {"free": free}

    def means(self, phase: Phase) -> Means:
        """Returns what is learned from as means over a phase's samples: ⟨r_k ε⟩ and ⟨r_k²⟩."""
        found: Means = {}
        for k, r in enumerate(phase.activity[1:], start=1):
            found["error", k] = mean_product(r, phase.internal["output_error"][0])
            if self.power[k]:
                found["square", k] = r.square().mean(0)
        return found

    def third_factors(self, phase: Phase, means: Means) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Returns by layer R_k as it is after the batch and Φ_k (n × shape_k)."""
        λ_d, ε = self.error_forgetting_factor, phase.internal["output_error"][0]
        R = {int(k): kept.after(means["error", int(k)], λ_d) for k, kept in self.error_correlations.items()}
        return R, {k: inside(phase.activity[k]) * broadcast(R[k], ε) for k in R}

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k and V_k with their updates, from the new R."""
        phase, network = phases["free"], self.network
        r, means = phase.activity, self.batch_means.for_updates(phase)
        _, Φ = self.third_factors(phase, means)
        for k in range(1, network.L + 1):
            post = -self.decorrelation[k] * Φ[k]
            if self.prediction[k]:
                post += self.prediction[k] * (r[k] - network.drive(k, r))
            if self.power[k]:
                post -= 4 * self.power[k] * inside(r[k]) * (means["square", k] - self.target_power[k]) * r[k]
            for c in network.into(k):
                if c.weight is not None:
                    yield c.weight, c.correlate(post, r[c.pre])
        for j in range(1, network.L):
            f = r[j] - network.feedback(j, r, at=r)
            for c in network.out_of(j):
                if c.weight is not None:
                    pre = self.feedback_prediction[c.post] * f - self.feedback_decorrelation[c.post] * Φ[j]
                    yield c.feedback_weight, c.correlate(r[c.post], pre, at=r[j])

    def update_state(self, phases: Phases, optimizer: torch.optim.Optimizer) -> None:
        """Updates R and B."""
        phase, λ = phases["free"], self.forgetting_factor
        R, Φ = self.third_factors(phase, self.batch_means.for_state(phase))
        for k, lateral in self.network.laterals.items():
            r, B = phase.activity[k], lateral.weight
            if cast(InverseCorrelation, lateral).epsilon:
                cast(InverseCorrelation, lateral).learn_(r, λ)
            else:
                z = rows(r) @ B.t()
                B.mul_(1 / λ).sub_(mean_outer_product(z, z), alpha=(1 - λ) / λ)
            if self.lateral_decorrelation[k]:
                B.sub_(mean_outer_product(rows(Φ[k]), rows(r)), alpha=self.lateral_decorrelation[k])
            self.error_correlations[str(k)].weight.copy_(R[k])
        # each is linear in a mean over samples, from the same matrix on every process: so is its own mean
        laterals = [lateral.weight for lateral in self.network.laterals.values()]
        for matrix, mean in zip(laterals, phase.batch_means(laterals), strict=True):
            matrix.copy_(mean)

    def dynamics(self) -> dict[str, Tensor]:
        """Adds ‖R_k‖, of which each layer descends half the square."""
        norms = {f"decorrelation/layer_{k}": R.weight.norm() for k, R in self.error_correlations.items()}
        return super().dynamics() | norms


def inside(r: Tensor) -> Tensor:
    """Returns 1[0 < r < 1], the derivative of the clipping, of an activity (n × …)."""
    return ((r > 0) & (r < 1)).to(r.dtype)
