"""Correlative information maximization (Bozkurt, Pehlevan & Erdogan, NeurIPS 2023)."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Literal, cast

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from typing_extensions import Self

from bioplausible.errors.checks import LARGEST, require
from bioplausible.functional import (
    StepSizeRule,
    alignment_angle,
    published_correlative_information,
    step_sizes,
)
from bioplausible.network import Dense, InverseCorrelation
from bioplausible.rules.base import LearningRule
from bioplausible.rules.correlative_information import CorrelativeInformation
from bioplausible.rules.network import clip, feedforward_network
from bioplausible.rules.options import per_layer, rate, require_steps
from bioplausible.training.phase import Phase, Phases
from bioplausible.training.randomness import random_sign


class CorInfoMax(LearningRule):
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

    Args:
        layer_sizes: d_0 … d_L.
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
        step_size_floor: η_stop of the falling rules.
        step_size_decay: c of ``divide_by_slow_loop_index``.
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

    Raises:
        UserError: an argument is outside its range, or a list of rates has the wrong length.
    """

    recorded_as = "corinfomax"

    def __init__(
        self,
        layer_sizes: list[int],
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
    ) -> None:
        super().__init__(layer_sizes, optimizer, lr_scheduler, lr_scheduler_interval)
        evaluation_steps = free_steps if evaluation_steps is None else evaluation_steps
        require(0 < forgetting_factor <= 1, f"forgetting_factor is {forgetting_factor}: it must lie in (0, 1].")
        require(epsilon > 0, f"epsilon is {epsilon}: it must be positive.")
        # B's update divides by λ²
        for name, divisor, smallest in (
            ("forgetting_factor", forgetting_factor, LARGEST**-0.5),
            ("epsilon", epsilon, 1 / LARGEST),
        ):
            require(divisor >= smallest, f"{name} is {divisor}: it is divided by, so give {smallest:g} or more.")
        require(leak >= 0, f"leak is {leak}: it must not be negative.")
        require(beta != 0, "beta is 0: without a nudge nothing is learned, so give it another value, for example 1.")
        require(step_size > 0, f"step_size is {step_size}: it must be positive.")
        for name, steps in (("free", free_steps), ("nudged", nudged_steps), ("evaluation", evaluation_steps)):
            require_steps(f"{name}_steps", steps)
        require(
            third_phase_start in ("nudged", "free"),
            f"third_phase_start is {third_phase_start!r}: choose nudged or free.",
        )

        n = track_correlations_every_n_steps
        require(n > 0, f"track_correlations_every_n_steps is {n}: it must be at least 1.")
        self.track_correlations_every_n_steps = n

        self.forgetting_factor = forgetting_factor
        self.epsilon = epsilon
        self.leak = leak
        self.beta = beta
        self.random_beta_sign = random_beta_sign
        self.three_phase = three_phase
        self.third_phase_start = third_phase_start
        self.carry_membrane_potential = carry_membrane_potential
        self.weight_decay = weight_decay
        self.free_step_sizes, self.nudged_step_sizes, self.evaluation_step_sizes = (
            step_sizes(steps, start=step_size, rule=step_size_rule, floor=step_size_floor, decay=step_size_decay)
            for steps in (free_steps, nudged_steps, evaluation_steps)
        )

        L = len(layer_sizes) - 1
        self.feedforward_learning_rates = per_layer("feedforward_learning_rates", feedforward_learning_rates, L, 1)
        self.feedback_learning_rates = per_layer("feedback_learning_rates", feedback_learning_rates, L - 1, 2)
        pairs = list(pairwise(layer_sizes))
        # a ModuleList registers them; for the type checker it is the list of what is in it
        self.connections = cast(
            list[Dense],
            nn.ModuleList(
                Dense(pre, post, bias=False, feedback="learned" if k > 0 else "tied")
                for k, (pre, post) in enumerate(pairs)
            ),
        )
        self.laterals = cast(
            list[InverseCorrelation],
            nn.ModuleList(InverseCorrelation(d, epsilon if regularize_lateral else 0.0) for d in layer_sizes[1:]),
        )
        require(
            not regularize_lateral or all(lateral.starts_bounded() for lateral in self.laterals),
            f"epsilon is {epsilon}: with regularize_lateral B must start below 1/epsilon, so choose a smaller one.",
        )
        self.correlations = cast(dict[str, CorrelativeInformation], nn.ModuleDict())
        if track_correlations:
            for name in ("free", "nudged"):
                self.correlations[name] = CorrelativeInformation(layer_sizes[1:])

    # ------------------------------------------------------------------------------------------------- network dynamics

    def forward(self, x: Tensor) -> Tensor:
        """Returns the output r_L (n × d_L) after the free phase of an evaluation, for the input x (n × d_0)."""
        return self.activity(x)[-1]

    def activity(self, x: Tensor) -> list[Tensor]:
        """Returns r_0 … r_L after the free phase of an evaluation, for the input x (n × d_0)."""
        return self.relax(self.at_rest(x), self.evaluation_step_sizes).activity

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phases ``free``, ``nudged`` and, where asked for, ``antinudged``."""
        beta = self.beta * (random_sign(self.seed, self.step) if self.random_beta_sign else 1)
        free = self.relax(self.at_rest(x), self.free_step_sizes)
        nudged = self.relax(free, self.nudged_step_sizes, target, beta)
        phases = {"free": free, "nudged": nudged}
        if self.three_phase:
            start = phases[self.third_phase_start]
            phases["antinudged"] = self.relax(start, self.nudged_step_sizes, target, -beta)
        return phases

    @torch.no_grad()
    def at_rest(self, x: Tensor) -> Phase:
        """Returns the state r = u = 0 for the input x (n × d_0), with what x drives into the first layer, W_1 x."""
        silence = [x.new_zeros(len(x), d) for d in self.layer_sizes[1:]]
        return Phase([x, *silence], internal={"u": silence, "W_1 x": [self.connections[0].feedforward(x)]})

    @torch.no_grad()
    def relax(self, start: Phase, step_sizes: list[float], target: Tensor | None = None, beta: float = 0.0) -> Phase:
        """Iterates the network dynamics (see the class) from a state and returns the state that they reach.

        Args:
            start: where to start.
            step_sizes: η_t of every iteration.
            target: one-hot target y (n × d_L); unused in a free phase.
            beta: strength of the nudge.
        """
        g, ε = self.leak, self.epsilon
        γ = (1 - self.forgetting_factor) / self.forgetting_factor
        L = len(self.connections)
        W = V = [connection.wires() for connection in self.connections]
        B = list(self.laterals)

        r = [start.activity[0], *(a.clone() for a in start.activity[1:])]
        u = [a.clone() for a in (start.internal["u"] if self.carry_membrane_potential else start.activity[1:])]
        Δu = [torch.empty_like(a) for a in u]
        W_1_x = start.internal["W_1 x"][0]  # the input does not change while the network settles
        previous: list[Tensor] = []
        inhibition = self.inhibition(start)
        if self.watch is not None:
            self.watch(0, r, 0.0)

        for t, η in enumerate(step_sizes):
            if t == len(step_sizes) - 1:
                previous = [a.clone() for a in r[1:]]
            for k in range(1, L + 1):
                r_k, u_k, Δu_k = r[k], u[k - 1], Δu[k - 1]
                torch.mul(r_k, g, out=Δu_k)
                if k == 1:
                    Δu_k.add_(W_1_x, alpha=1 / ε)
                else:
                    W[k - 1].add_feedforward_(Δu_k, r[k - 1], 1 / ε)
                if k < L:
                    V[k].add_feedback_(Δu_k, r[k + 1], 1 / ε)
                    B[k - 1].add_lateral_(Δu_k, r_k, 2 * γ)
                    Δu_k.sub_(u_k, alpha=g + 2 / ε)
                else:
                    B[k - 1].add_lateral_(Δu_k, r_k, γ)
                    Δu_k.sub_(u_k, alpha=g + 1 / ε + 1)
                    if target is not None:
                        Δu_k.sub_(r_k, alpha=beta).add_(target, alpha=beta)
                if k in inhibition:
                    Δu_k.sub_(inhibition[k][0])
                u_k.add_(Δu_k, alpha=η)
                self.fire_(k, u_k, r_k, inhibition)
            if self.watch is not None:
                self.watch(t + 1, r, η)
        return Phase(r, beta, previous, step_sizes[-1], {"u": u, "W_1 x": [W_1_x], **self.carried(inhibition)})

    def inhibition(self, start: Phase) -> dict[int, tuple[Tensor, Tensor]]:
        """Returns each inhibited layer's inhibition (n × 1) after and before rectification: none here."""
        return {}

    def carried(self, inhibition: dict[int, tuple[Tensor, Tensor]]) -> dict[str, list[Tensor]]:
        """Returns what of the inhibition carries over to the next phase, by name."""
        return {}

    def fire_(self, k: int, u: Tensor, r: Tensor, inhibition: dict[int, tuple[Tensor, Tensor]]) -> None:
        """Sets r_k = min(max(u_k, 0), 1), in place."""
        torch.clamp(u, 0, 1, out=r)

    # --------------------------------------------------------------------------------------------------------- learning

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with ( ⟨e_k⁺ r_{k−1}⁺⟩ − ⟨e_k⁻ r_{k−1}⁻⟩ )/s and V_k with ( ⟨f_k⁺ r_k⁺⟩ − ⟨f_k⁻ r_k⁻⟩ )/s."""
        plus, minus = phases["nudged"], phases.get("antinudged", phases["free"])
        s = plus.nudge - minus.nudge
        for k, connection in enumerate(self.connections, start=1):
            pre_plus, post_plus = plus.activity[k - 1], plus.activity[k]
            pre_minus, post_minus = minus.activity[k - 1], minus.activity[k]
            if k == 1:  # both phases see the same x, so W_1 x cancels: ⟨e⁺ x⟩ − ⟨e⁻ x⟩ = ⟨(r⁺ − r⁻) x⟩
                yield connection.weight, connection.correlate((post_plus - post_minus) / s, pre_plus)
                continue
            e_plus = (post_plus - connection.feedforward(pre_plus)) / s
            e_minus = (post_minus - connection.feedforward(pre_minus)) / s
            yield connection.weight, connection.contrast(e_plus, pre_plus, e_minus, pre_minus)
            f_plus = (pre_plus - connection.feedback(post_plus)) / s
            f_minus = (pre_minus - connection.feedback(post_minus)) / s
            yield connection.feedback_weight, connection.contrast(f_plus, post_plus, f_minus, post_minus)

    def update_state(self, phases: Phases, optimizer: torch.optim.Optimizer) -> None:
        """Decays W and V where asked for, and updates B (and R) from the first nudged phase."""
        if self.weight_decay:
            for group in optimizer.param_groups:
                for weight in group["params"]:
                    weight.mul_(1 - group["lr"] * self.epsilon)
        for k, lateral in enumerate(self.laterals, start=1):
            lateral.learn_(phases["nudged"].activity[k], self.forgetting_factor)
        n = self.track_correlations_every_n_steps
        if self.step % n == 0:
            for name, correlations in self.correlations.items():
                correlations.learn_(phases[name].activity, self.connections, self.forgetting_factor**n)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns one group for each W_k and V_k, named ``feedforward_k`` and ``feedback_k``."""
        groups: list[dict[str, Any]] = []
        for k, (connection, lr) in enumerate(zip(self.connections, self.feedforward_learning_rates, strict=True), 1):
            groups.append({"name": f"feedforward_{k}", "params": [connection.weight], **rate(lr)})
        for k, (connection, lr) in enumerate(zip(self.connections[1:], self.feedback_learning_rates, strict=True), 2):
            groups.append({"name": f"feedback_{k}", "params": [connection.feedback_weight], **rate(lr)})
        return groups

    # ------------------------------------------------------------------------------------------------------ observation

    def feedforward_output(self, x: Tensor) -> Tensor:
        """Returns r_L of r_k = min(max(W_k r_{k−1}, 0), 1)."""
        return feedforward_network(x, self.connections, self.activation_of)

    def activation_of(self, k: int, u: Tensor) -> Tensor:
        """Returns layer k's activity for the membrane potential u (n × d_k)."""
        return clip(u)

    def alignment_angles(self) -> dict[int, Tensor]:
        """Returns the angle between W_k and V_kᵀ in degrees, k = 2 … L."""
        return {k: alignment_angle(c.weight, c.feedback_weight) for k, c in enumerate(self.connections[1:], 2)}

    def dynamics(self) -> dict[str, Tensor]:
        """Adds each phase's correlative information where correlations are tracked."""
        with torch.no_grad():
            return super().dynamics() | {
                f"information/{name}_{key}": value
                for name, correlations in self.correlations.items()
                for key, value in correlations.information(
                    self.phases[name].activity, self.connections, self.epsilon
                ).items()
            }

    @classmethod
    def from_recording(cls, meta: Mapping[str, Any]) -> Self:
        """Builds the rule from a recorded trajectory's hyperparameters, with the correlation estimates it recorded."""
        every = {"track_correlations": True, "track_correlations_every_n_steps": 1}
        return super().from_recording({**meta, "random_beta_sign": False, **every})

    def recorded_weights(self) -> dict[str, Tensor]:
        """Returns W, V and B by their keys in a recorded trajectory: ``W{i}``, ``Wfb{i}`` and ``B{i}``."""
        return {
            **{f"W{i}": c.weight for i, c in enumerate(self.connections)},
            **{f"Wfb{i}": c.feedback_weight for i, c in enumerate(self.connections[1:], 1)},
            **{f"B{i}": lateral.weight for i, lateral in enumerate(self.laterals)},
        }

    def recorded_observations(self) -> dict[str, Tensor]:
        """Returns states, correlation estimates, angles and the first pair's information by their recorded keys."""
        layers = range(1, len(self.connections) + 1)
        free = self.phases["free"]
        error = free.activity[2] - self.connections[1].feedforward(free.activity[1])
        R = self.correlations["free"].of_state(2)
        return {
            **super().recorded_observations(),
            **{f"R{name}{k - 1}": c.of_state(k) for name, c in self.correlations.items() for k in layers},
            "angles_deg": torch.stack(list(self.alignment_angles().values())),
            "forward_info_free_pair0": published_correlative_information(R, error, self.epsilon),
        }
