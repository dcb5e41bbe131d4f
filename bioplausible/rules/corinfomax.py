"""Correlative information maximization (Bozkurt, Pehlevan & Erdogan, NeurIPS 2023)."""

from collections.abc import Iterable
from typing import Literal, cast

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from bioplausible.errors.checks import require
from bioplausible.functional import StepSizeRule, step_sizes
from bioplausible.network import Entry, InverseCorrelation, Sizes
from bioplausible.rules.corinfomax_network import CorInfoMaxNetwork
from bioplausible.rules.correlative_information import CorrelativeInformation
from bioplausible.rules.options import (
    per_layer,
    refuse_without_effect,
    require_beta,
    require_choice,
    require_steps,
)
from bioplausible.training.phase import Phase, Phases
from bioplausible.training.randomness import random_sign


class CorInfoMax(CorInfoMaxNetwork):
    r"""Correlative information maximization in a network of three-compartment neurons.

    Each layer maximises its correlative information with its neighbours; each pyramidal neuron has a soma u_k, a basal
    dendrite that receives the feedforward prediction W_k r_{k−1}, and an apical dendrite that receives the feedback
    prediction V_{k+1} r_{k+1} and the lateral input B_k r_k. With γ = (1 − λ)/λ, one iteration updates the layers
    k = 1 … L in order, each seeing those already updated::

        k < L:  Δu_k = g (r_k − u_k) + (W_k r_{k−1} − u_k)/ε + (V_{k+1} r_{k+1} − u_k)/ε + 2γ B_k r_k
        k = L:  Δu_L = g (r_L − u_L) + (W_L r_{L−1} − u_L)/ε + γ B_L r_L − u_L − β (r_L − y)
        u_k ← u_k + η_t Δu_k,   r_k ← min(max(u_k, 0), 1)

    first without the target (*free*, β = 0, from r = 0), then with it (*nudged*, from the free state). With s the
    difference of the two phases' β, learning contrasts the prediction errors of the nudged (+) and free (−) phase::

        e_k = r_k − W_k r_{k−1}     ΔW_k ∝ ( ⟨e_k⁺ r_{k−1}⁺⟩ − ⟨e_k⁻ r_{k−1}⁻⟩ ) / s       k = 1 … L
        f_k = r_{k−1} − V_k r_k     ΔV_k ∝ ( ⟨f_k⁺ r_k⁺⟩ − ⟨f_k⁻ r_k⁻⟩ ) / s               k = 2 … L
        z_k = B_k r_k⁺              B_k ← ( B_k − γ ⟨z_k z_k⟩ ) / λ                         k = 1 … L

    These are the paper's network dynamics and the learning rules of its contrastive form, in the published code's
    discretisation. The published code has three habits that are kept by default and can be switched off: u is set to r
    at the start of each phase (``carry_membrane_potential``), the third phase starts where the second ended
    (``third_phase_start``), and the rate schedule jumps (``PiecewisePower(continuous=True)``).

    The published B has a weakness, kept by default too. It follows R_k⁻¹, the inverse correlation of r_k, and grows by
    1/λ a batch along every direction that r_k does not take: a silent unit is enough. ``regularize_lateral`` lets it
    follow λ (R_k + εI)⁻¹, 2λ times the gradient of the paper's ½ logdet(R_k + εI), with eigenvalues below 1/ε::

        B_k ← ( B_k − γ (⟨z_k z_k⟩ + ε B_k²) ) / λ

    On images W_k r is Q(W_k * r), V_k r its adjoint Vᵀ ⊛ Qᵀ r with V in W's layout, and B_k r acts on the channels at
    every position alike. ΔW and ΔV sum over positions, as gradients by shared weights do; B averages over them, so that
    λ keeps its meaning. It maximises P_k ½ logdet(R̄_k + εI), with R̄_k the mean over the P_k positions of the channels'
    correlation: of all layers with this mean the entropy of the one whose positions are alike and independent. Max
    pooling, stride and average pooling all work; the last two are linear, so that V can become all of the adjoint.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        forgetting_factor: λ in (0, 1].
        epsilon: ε > 0, variance floor of the predictions.
        leak: g ≥ 0, weight of the Hopfield term.
        beta: β ≠ 0, strength of the nudge.
        random_beta_sign: whether β takes a random sign each batch, as in every published run.
        three_phase: whether a phase with −β follows, and the two nudged phases are contrasted.
        third_phase_start: where the third phase starts, from the end of the ``nudged`` or of the ``free`` phase.
        carry_membrane_potential: whether u carries over from phase to phase instead of restarting at r.
        free_steps: iterations of the free phase.
        nudged_steps: iterations of each nudged phase.
        evaluation_steps: iterations of the free phase outside training; None: as many as in training.
        step_size: η, in units of the neural time constant.
        step_size_rule: how η falls within a phase (:func:`bioplausible.functional.step_sizes`).
        step_size_floor: η_stop of the two falling rules; refused with ``constant``.
        step_size_decay: c of ``divide_by_slow_loop_index``; refused with the others.
        feedforward_learning_rates: rate of W, one number or one per layer 1 … L; None: the optimizer's own.
        feedback_learning_rates: rate of V, one number or one per layer 2 … L; None: the optimizer's own.
        regularize_lateral: whether B follows (R + εI)⁻¹ instead of R⁻¹, and so stays bounded.
        weight_decay: whether W_k ← W_k (1 − lr_k ε) and V_k ← V_k (1 − lr'_k ε) follow each step.
        track_correlations: whether to estimate the correlations of the free and the nudged phase and to log the
            correlative information between layers (:class:`bioplausible.rules.CorrelativeInformation`); it changes
            nothing that is learned.
        track_correlations_every_n_steps: the estimates see every n-th batch, and forget with λⁿ; published: 1.
        optimizer: any torch optimizer; momentum and the like act on the local updates.
        lr_scheduler: any torch scheduler; the published one is :class:`bioplausible.PiecewisePower`.
        lr_scheduler_interval: whether the scheduler counts epochs or steps.
        gradient_norm_limit: largest norm of all updates together before rates; None: no limit.
        network: in place of the sizes, the input's shape and one entry a layer.

    Raises:
        UserError: an argument is outside its range, or a list of rates has the wrong length.
    """

    of_hidden_layers = frozenset({"feedback_learning_rates"})

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        forgetting_factor: float = 0.99999,
        epsilon: float = 0.15,
        leak: float = 0.3,
        beta: float = 1.0,
        random_beta_sign: bool = True,
        three_phase: bool = False,
        third_phase_start: Literal["nudged", "free"] = "nudged",
        carry_membrane_potential: bool = False,
        free_steps: int = 30,
        nudged_steps: int = 10,
        evaluation_steps: int | None = None,
        step_size: float = 0.05,
        step_size_rule: StepSizeRule = "constant",
        step_size_floor: float = 0.001,
        step_size_decay: float = 0.01,
        feedforward_learning_rates: float | list[float] | None = 0.3,
        feedback_learning_rates: float | list[float] | None = 0.07,
        regularize_lateral: bool = False,
        weight_decay: bool = False,
        track_correlations: bool = False,
        track_correlations_every_n_steps: int = 10,
        optimizer: OptimizerCallable = torch.optim.SGD,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
        network: list[Entry] | None = None,
        gradient_norm_limit: float | None = None,
    ) -> None:
        super().__init__(
            layer_sizes,
            forgetting_factor=forgetting_factor,
            epsilon=epsilon,
            leak=leak,
            free_steps=free_steps,
            evaluation_steps=evaluation_steps,
            step_size=step_size,
            step_size_rule=step_size_rule,
            step_size_floor=step_size_floor,
            step_size_decay=step_size_decay,
            regularize_lateral=regularize_lateral,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_interval=lr_scheduler_interval,
            network=network,
            gradient_norm_limit=gradient_norm_limit,
        )
        require_beta(beta)
        require_steps("nudged_steps", nudged_steps)
        require_choice("third_phase_start", third_phase_start, ("nudged", "free"))
        n = track_correlations_every_n_steps
        require(n > 0, f"track_correlations_every_n_steps is {n}: it must be at least 1.")
        if not track_correlations:
            refuse_without_effect(self, ["track_correlations_every_n_steps"], "without track_correlations")
        if not three_phase:
            refuse_without_effect(self, ["third_phase_start"], "without three_phase")
        self.track_correlations_every_n_steps = n

        self.beta = beta
        self.random_beta_sign = random_beta_sign
        self.three_phase = three_phase
        self.third_phase_start = third_phase_start
        self.carry_membrane_potential = carry_membrane_potential
        self.weight_decay = weight_decay
        self.nudged_step_sizes = step_sizes(
            nudged_steps, start=step_size, rule=step_size_rule, floor=step_size_floor, decay=step_size_decay
        )
        L = self.network.L
        self.feedforward_learning_rates = per_layer("feedforward_learning_rates", feedforward_learning_rates, L, 1)
        self.feedback_learning_rates = per_layer("feedback_learning_rates", feedback_learning_rates, L - 1, 2)
        self.correlations = cast(dict[str, CorrelativeInformation], nn.ModuleDict())
        if track_correlations:
            for name in ("free", "nudged"):
                self.correlations[name] = CorrelativeInformation([shape[0] for shape in self.network.shapes])

    # ------------------------------------------------------------------------------------------------- network dynamics

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phases ``free``, ``nudged`` and, where asked for, ``antinudged``."""
        beta = self.beta * (random_sign(self.seed, self.step) if self.random_beta_sign else 1)
        network = self.network.clamp(x)
        free = self.relax(network, self.at_rest(network), self.free_step_sizes)
        nudged = self.relax(network, free, self.nudged_step_sizes, target, beta)
        phases = {"free": free, "nudged": nudged}
        if self.three_phase:
            start = phases[self.third_phase_start]
            phases["antinudged"] = self.relax(network, start, self.nudged_step_sizes, target, -beta)
        return phases

    # --------------------------------------------------------------------------------------------------------- learning

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with ( ⟨e_k⁺ r_{k−1}⁺⟩ − ⟨e_k⁻ r_{k−1}⁻⟩ )/s and V_k with ( ⟨f_k⁺ r_k⁺⟩ − ⟨f_k⁻ r_k⁻⟩ )/s."""
        contrasted, network = phases.get("antinudged", phases["free"]), self.network
        plus, minus, s = phases["nudged"].activity, contrasted.activity, phases["nudged"].beta - contrasted.beta
        for k in range(1, network.L + 1):
            into = network.into(k)
            if any(c.pre > 0 for c in into):
                e_plus, e_minus = ((r[k] - network.drive(k, r)) / s for r in (plus, minus))
            else:  # both phases see the same x, so W_1 x cancels: ⟨e⁺ x⟩ − ⟨e⁻ x⟩ = ⟨(r⁺ − r⁻) x⟩
                e_plus = (plus[k] - minus[k]) / s
                e_minus = torch.zeros_like(e_plus)
            for c in into:
                if c.weight is None:
                    continue
                if c.pre == 0:
                    yield c.weight, c.correlate(e_plus - e_minus, plus[0])
                else:
                    yield c.weight, c.contrast((e_plus, plus[c.pre]), (e_minus, minus[c.pre]))
        for j in range(1, network.L):
            f_plus, f_minus = ((r[j] - network.feedback(j, r, at=r)) / s for r in (plus, minus))
            for c in network.out_of(j):
                if c.weight is not None:
                    update = c.contrast((plus[c.post], f_plus), (minus[c.post], f_minus), at=(plus[j], minus[j]))
                    yield c.feedback_weight, update

    def update_state(self, phases: Phases, optimizer: torch.optim.Optimizer) -> None:
        """Decays W and V where asked for, and updates B (and R) from the first nudged phase."""
        if self.weight_decay:
            for weights in optimizer.param_groups:
                for weight in weights["params"]:
                    weight.mul_(1 - weights["lr"] * self.epsilon)
        nudged, laterals = phases["nudged"], self.network.laterals
        for k, lateral in laterals.items():
            cast(InverseCorrelation, lateral).learn_(nudged.activity[k], self.forgetting_factor)
        learned = [lateral.weight for lateral in laterals.values()]
        n = self.track_correlations_every_n_steps
        if self.step % n == 0:
            for name, correlations in self.correlations.items():
                correlations.learn_(phases[name].activity, self.network, self.forgetting_factor**n)
                learned += correlations.buffers()
        # each is linear in a mean over samples, from the same matrix on every process: so is its own mean
        for matrix, mean in zip(learned, nudged.batch_means(learned), strict=True):
            matrix.copy_(mean)

    # ------------------------------------------------------------------------------------------------------ observation

    def dynamics(self) -> dict[str, Tensor]:
        """Adds each phase's correlative information where correlations are tracked."""
        with torch.no_grad():
            return super().dynamics() | {
                f"information/{name}_{key}": value
                for name, correlations in self.correlations.items()
                for key, value in correlations.information(self.phases[name], self.network, self.epsilon).items()
            }
