"""Equilibrium propagation (Scellier & Bengio 2017)."""

import cmath
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from bioplausible.errors.checks import require
from bioplausible.functional import StateActivationName, softmax
from bioplausible.network import Clamped, Entry, Initialization, Sizes
from bioplausible.rules.hopfield_network import Cost, HopfieldNetwork
from bioplausible.rules.options import (
    refuse_without_effect,
    require_beta,
    require_choice,
    require_count,
    require_steps,
)
from bioplausible.training.phase import Phase, Phases
from bioplausible.training.randomness import random_sign

MOST_POINTS = 1000
"""Each is a phase of its own, held until the batch has learned; the recipes have 4 at most."""


class EquilibriumPropagation(HopfieldNetwork):
    r"""Equilibrium propagation in a layered Hopfield network.

    The activities descend the energy, with C the cost at its full weight (no ½), here the squared error::

        Φ = ½ Σ_k ‖r_k‖² − Σ_k r_k · (W_k r_{k−1} + b_k) + β C,     C = ‖r_L − y‖²
        r_k ← f( r_k − η ∂Φ/∂r_k ),  f(u) = min(max(u, 0), 1)          all layers at once
        −∂Φ/∂r_k = W_k r_{k−1} + b_k + W_{k+1}ᵀ r_{k+1} − r_k,   at the output −2β (r_L − y) in place of the feedback

    first without the target (*free*, β = 0, from r = 0), then with it (*nudged*, from the free state). With s the
    difference of the two phases' β, learning contrasts nudged (+) and free (−)::

        ΔW_k ∝ ( ⟨r_k⁺ r_{k−1}⁺⟩ − ⟨r_k⁻ r_{k−1}⁻⟩ ) / s,     Δb_k ∝ mean(r_k⁺ − r_k⁻) / s

    which tends to −∂C/∂W_k at the free equilibrium as β → 0 (Scellier & Bengio 2017, theorem 1). ``three_phase``
    contrasts +β with −β: its error is of order β² instead of β (Laborieux et al. 2021).

    On images W_k r is Q(W_k * r), W_kᵀ r its adjoint through the winners of the same moment, and ⟨r r⟩ sums over
    positions (Laborieux et al. 2021; their settings in these units: where f is clip(u/2), W and b halved, β/4 and
    rates/8 with the squared error, β/2 and rates/4 with cross entropy; where f is clip(u), β/2 and rates/2 with the
    squared error; gradients' norms follow the rates, weight decays their inverse; step size 1).

    Variants: ``loss: cross_entropy`` nudges a linear output by −β (softmax(r_L) − y), or, with ``readout``, takes the
    output out of the dynamics: π = softmax(W_L r_{L−1} + b_L) nudges r_{L−1} by −β W_Lᵀ (π − y), and W_L learns from
    −⟨(π − y) r_{L−1}⟩ in the nudged phases. ``feedback: learned`` replaces W_kᵀ by V_kᵀ (Laborieux et al. 2021,
    section 3.4), whose winners of max pooling are V's own; with r° the free state, V and W then learn from::

        separate:  ΔW_k ∝ ⟨(r_k⁺ − r_k⁻) r°_{k−1}⟩ / s,    ΔV_k ∝ ( ⟨r°_k r_{k−1}⁺⟩ − ⟨r°_k r_{k−1}⁻⟩ ) / s
        same:      ΔW_k = ΔV_k = ½ (D_k^W + D_k^V),  D^W the contrast of the first form, D^V the same with V's winners

    ``points: N`` makes β complex, and with it states, costs and activations (holomorphic equilibrium propagation,
    Laborieux & Zenke 2022): Cauchy's formula for the derivative at β = 0, from N nudged phases on a circle, without a
    conjugation anywhere. N = 1 and 2 are the forms above; β̄ leads to r̄, so ⌊N/2⌋ + 1 phases suffice::

        β_t = β e^{2πit/N},  t = 0 … N−1,     ΔW_k ∝ (1/N) Σ_t Re ⟨r_k^t r_{k−1}^t⟩ / β_t,    error of order β^N

    ``hold_output`` is coupled learning (Stern et al. 2021), for a linear output: nudged phases hold it at
    r_L° − β_i (r_L° − y), and the layers below relax without a cost. Positive, (β_1, β_2) = (0, β): ``beta: β``;
    negative, (−β, 0): ``beta: −β``; centered, (−β, β): ``three_phase``; contrastive Hebbian learning, (0, 1):
    ``beta: 1``, whose ΔW_k is −∂(E_clamped − E_free)/∂W_k, E at the two equilibria. None is the gradient of C.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        network: in its place, the input's shape and one entry a layer.
        beta: β ≠ 0, strength of the nudge; a negative one is the published "negative" estimator.
        random_beta_sign: whether β takes a random sign each batch, as in every published run of the dense code. Where
            phases of both signs are contrasted (``three_phase``), it only changes which of them is called nudged.
        three_phase: whether a phase with −β, also from the free state, replaces the free phase in the contrast.
        points: N ≤ 1000; None: 1, or 2 with ``three_phase``. More than 2 need activations, poolings and a cost that are
            holomorphic: not clip, relu6 or max pooling.
        relax_free_again: whether, without a third phase, the free state that is contrasted has gone on to relax as many
            iterations as the nudged one (Scellier et al. 2023).
        free_steps: iterations of the free phase.
        nudged_steps: iterations of each nudged phase.
        evaluation_steps: iterations of the free phase outside training; None: as many as in training.
        step_size: η.
        evaluation_step_size: η outside training; None: the same.
        update_order: whether all layers move at once (``synchronous``), or layers 1, 3, 5 … and then 2, 4 …
            (``asynchronous``, Scellier et al. 2023).
        persistent_states: whether a free phase of training starts where the last batch's second phase ended, the one of
            larger β that was contrasted, where that batch had as many samples (Scellier et al. 2023), instead of from
            r = 0.
        hold_output: whether the nudged phases hold the output at r_L° − β (r_L° − y), with r° the free state, instead
            of pulling it (coupled learning, Stern et al. 2021; with β = 1 contrastive Hebbian learning).
        activation_function: f of the hidden layers (:func:`bioplausible.functional.state_activation`).
        output_activation: f of the output, where it settles.
        activation_slope: a of the activation smooth_clip; None: 4.
        loss: C.
        readout: whether the output is read out of the last state, outside of the dynamics.
        feedback: whether feedback is ``tied`` to Wᵀ, or through ``learned`` weights V of its own.
        feedback_update: how W and V learn where feedback is learned.
        initialization: of W, V and b (:func:`bioplausible.network.initialization.draw`).
        learning_rates: rate of W_k and b_k, one number or one per layer 1 … L; None: the optimizer's own.
        feedback_learning_rates: rate of V_k where feedback is learned, one number or one per layer 2 … L, of which a
            readout has none to learn; None: the optimizer's own.
        weight_decays: the optimizer's weight decay of W_k, b_k and V_k, one number or one per layer 1 … L; None: the
            one that the optimizer is given.
        optimizer: any torch optimizer.
        lr_scheduler: any torch scheduler.
        lr_scheduler_interval: whether the scheduler counts epochs or steps.
        gradient_norm_limit: largest norm of all updates together before rates; None: no limit.

    Raises:
        UserError: an argument is outside its range, a list of rates has the wrong length, or options exclude each
            other.
    """

    of_hidden_layers = frozenset({"activation_function", "update_order"})

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        beta: float = 1.0,
        random_beta_sign: bool = True,
        three_phase: bool = False,
        points: int | None = None,
        relax_free_again: bool = False,
        free_steps: int = 20,
        nudged_steps: int = 4,
        evaluation_steps: int | None = None,
        step_size: float = 0.5,
        evaluation_step_size: float | None = None,
        update_order: Literal["synchronous", "asynchronous"] = "synchronous",
        persistent_states: bool = False,
        hold_output: bool = False,
        activation_function: StateActivationName = "clip",
        output_activation: StateActivationName = "clip",
        activation_slope: float | None = None,
        loss: Cost = "squared_error",
        readout: bool = False,
        feedback: Literal["tied", "learned"] = "tied",
        feedback_update: Literal["separate", "same"] = "separate",
        initialization: Initialization = "xavier",
        learning_rates: float | list[float] | None = 0.05,
        feedback_learning_rates: float | list[float] | None = 0.05,
        weight_decays: float | list[float] | None = None,
        optimizer: OptimizerCallable = torch.optim.SGD,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
        network: list[Entry] | None = None,
        gradient_norm_limit: float | None = None,
    ) -> None:
        super().__init__(
            layer_sizes,
            network=network,
            free_steps=free_steps,
            evaluation_steps=evaluation_steps,
            step_size=step_size,
            evaluation_step_size=evaluation_step_size,
            update_order=update_order,
            persistent_states=persistent_states,
            activation_function=activation_function,
            output_activation=output_activation,
            activation_slope=activation_slope,
            loss=loss,
            readout=readout,
            feedback=feedback,
            initialization=initialization,
            learning_rates=learning_rates,
            feedback_learning_rates=feedback_learning_rates,
            weight_decays=weight_decays,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_interval=lr_scheduler_interval,
            gradient_norm_limit=gradient_norm_limit,
        )
        require_beta(beta)
        require_steps("nudged_steps", nudged_steps)
        require_choice("feedback_update", feedback_update, ("separate", "same"))
        if feedback == "tied":
            refuse_without_effect(self, ["feedback_learning_rates", "feedback_update"], "where feedback is tied")
        require(
            not hold_output or loss == "squared_error",
            "hold_output holds the output where the squared error pulls it: leave out loss: cross_entropy.",
        )
        require(
            not hold_output or not random_beta_sign or three_phase or abs(beta) < 1,
            f"hold_output with beta {beta} and a random sign holds the output beyond the target's opposite in half of"
            " the batches: set random_beta_sign: false.",
        )
        require(
            points is None or not three_phase,
            "points and three_phase are both given: three_phase is points: 2, so leave it out.",
        )
        self.points = (2 if three_phase else 1) if points is None else points
        require_count("points", self.points, MOST_POINTS)
        if self.points > 2:
            self.require_holomorphic(f"points is {points}")
        if self.points > 1:
            refuse_without_effect(self, ["relax_free_again"], "where the free phase is not contrasted")
        for name, given in (("hold_output", hold_output), ("persistent_states", persistent_states)):
            require(
                self.points <= 2 or not given,
                f"{name} knows phases of real β alone: leave it out, or take points: 1 or 2.",
            )
        self.nudged_steps = nudged_steps
        self.beta = beta
        self.random_beta_sign = random_beta_sign
        self.three_phase = self.points == 2
        self.relax_free_again = relax_free_again
        self.hold_output = hold_output
        self.feedback_update = feedback_update

    # ----------------------------------------------------------------------------------------------- network dynamics

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phases ``free``, ``nudged``, and ``antinudged`` or ``free_again`` where asked for.

        With N > 2 points ``nudged`` is that of β_0, ``nudged_t`` of β_t for t < N/2, ``antinudged`` of β_{N/2} = −β.
        """
        beta = self.beta * (random_sign(self.seed, self.step) if self.random_beta_sign else 1)
        network, η, T = self.clamp(x), self.step_size, self.nudged_steps
        free = self.relax(network, self.start(network), self.free_steps, η)
        phases = {"free": free, "nudged": self.relax(network, free, T, η, target, beta)}
        if self.three_phase or (self.points > 2 and self.points % 2 == 0):
            phases["antinudged"] = self.relax(network, free, T, η, target, -beta)
        elif self.relax_free_again:
            phases["free_again"] = self.relax(network, free, T, η, target, 0.0)
        if self.points > 2:
            network = self.network.clamp(x, self.top, complex_states=True)
            start = Phase([x, *(r.to(x.dtype.to_complex()) for r in free.activity[1:])])
            for t in range(1, (self.points + 1) // 2):
                β_t = beta * cmath.exp(2j * cmath.pi * t / self.points)
                phases[f"nudged_{t}"] = self.relax(network, start, T, η, target, β_t)
        return phases

    @torch.no_grad()
    def relax(
        self, network: Clamped, start: Phase, steps: int, η: float, target: Tensor | None = None, beta: complex = 0.0
    ) -> Phase:
        """Descends the energy from a state and returns the state that is reached.

        Args:
            network: with the input clamped.
            start: where to start.
            steps: number of iterations.
            η: step size.
            target: one-hot target y (n × d_L); None in the free phase.
            beta: strength of the nudge; complex where the states are.
        """
        r = [start.activity[0], *(a.clone() for a in start.activity[1:])]
        new = [r[0], *(torch.empty_like(a) for a in r[1:])]
        order, f = self.order, [activation.function for activation in self.f]
        if self.hold_output and target is not None:
            r[-1].lerp_(target, beta)
            new[-1].copy_(r[-1])
            order = [[k for k in layers if k != self.top] for layers in order]
        network.find_winners(r)
        for _ in self.iterate(r, [η] * steps):
            for layers in order:
                for k in layers:  # the terms of r_k + η ( b_k + W_k r_{k−1} + W_{k+1}ᵀ r_{k+1} − r_k ), one by one
                    torch.lerp(r[k], network.constant[k], η, out=new[k])
                    network.add_drive_(k, new[k], r, η)
                for k in layers:
                    network.add_feedback_(k, new[k], r, r, η)
                    if k in network.laterals:
                        network.laterals[k].add_lateral_(new[k], r[k], -η)
                    if k == self.top and target is not None:
                        self.nudge_(new[k], r[k], target, η * beta)
                    f[k](new[k], out=new[k])
                for k in layers:
                    r[k], new[k] = new[k], r[k]
        internal: dict[str, list[Tensor]] = {}
        if self.readout:  # scores with the weights of now: learning changes them
            internal = {"scores": [self.network.drive(self.network.L, r)]} if target is None else {"target": [target]}
        return Phase(r, beta, new[1:], η, internal)

    def nudge_(self, voltage: Tensor, r: Tensor, target: Tensor, rate: complex) -> None:
        """Subtracts rate · ∂C/∂r, the cost's gradient by the last state r, from the voltage, in place."""
        if self.loss == "squared_error":
            voltage.sub_(r, alpha=2 * rate).add_(target, alpha=2 * rate)
        elif self.readout:
            (top,) = self.network.into(self.network.L)
            voltage.sub_(top.adjoint(softmax(top.feedforward(r)) - target, r), alpha=rate)
        else:
            voltage.sub_(softmax(r) - target, alpha=rate)

    def energy(self, phase: Phase, target: Tensor) -> Tensor | None:
        """Returns the energy Φ of each sample (n) at a phase's end, where the output is held without the cost.

        None where :class:`HopfieldNetwork` says that there is none.
        """
        return super().energy(replace(phase, beta=0.0) if self.hold_output else phase, target)

    # -------------------------------------------------------------------------------------------------------- learning

    def contrasted(self, phases: Phases) -> tuple[Phase, Phase]:
        """Returns the nudged phase (+) and the one that it is contrasted with (−)."""
        return phases["nudged"], phases.get("antinudged") or phases.get("free_again") or phases["free"]

    def last_phase(self, phases: Phases) -> Phase:
        """Returns the second of the contrasted phases, the one of larger β, at whose end states that persist go on."""
        return max(self.contrasted(phases), key=lambda phase: phase.beta.real)

    def points_of(self, phases: Phases) -> list[tuple[Phase, float]]:
        """Returns the nudged phases, and the share of the N points for which each stands: β̄_t's are those of β_t."""
        nudged = {name: p for name, p in phases.items() if "nudged" in name}
        points = {name: 1 if name.endswith("nudged") else 2 for name in nudged}
        return [(p, points[name] / sum(points.values())) for name, p in nudged.items()]

    def contrasts(self, phases: Phases) -> list[tuple[list[Tensor], list[Tensor], complex]]:
        """Returns pairs of states, r⁺ and r⁻, and the s by which what they differ in is divided.

        With more than two points each is contrasted with the free state, whose share cancels, for Σ_t 1/β_t = 0.
        """
        if self.points > 2:
            free = phases["free"].activity
            return [(p.activity, free, p.beta / share) for p, share in self.points_of(phases)]
        nudged, other = self.contrasted(phases)
        return [(nudged.activity, other.activity, nudged.beta - other.beta)]

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with ( ⟨r_k⁺ r_{k−1}⁺⟩ − ⟨r_k⁻ r_{k−1}⁻⟩ )/s, b_k with mean(r_k⁺ − r_k⁻)/s, and V_k."""
        free, pairs = phases["free"].activity, self.contrasts(phases)
        for c in self.network.connections:
            if c.post > self.top:
                continue
            j, k = c.pre, c.post
            difference = _sum(((plus[k] - minus[k]) / s).real for plus, minus, s in pairs)
            weight, bias = c.weight, c.bias
            if bias is not None:
                yield bias, c.bias_update(difference)
            if weight is None:
                continue
            if j == 0:  # all phases see the same x
                yield weight, c.correlate(difference, free[j])
                continue
            both = [((plus[k] / s, plus[j]), (minus[k] / s, minus[j])) for plus, minus, s in pairs]
            if c.is_tied:
                yield weight, _sum(c.contrast(*pair) for pair in both)
            elif self.feedback_update == "same":
                update = _sum((c.contrast(*pair) + c.contrast(*pair, by="feedback")) / 2 for pair in both)
                yield weight, update.clone()  # the sign of what is yielded is turned in place
                yield c.feedback_weight, update
            else:
                yield weight, c.correlate(difference, free[j])
                held = [((free[k] / s, plus[j]), (free[k] / s, minus[j])) for plus, minus, s in pairs]
                yield c.feedback_weight, _sum(c.contrast(*pair, by="feedback") for pair in held)
        if self.readout:
            yield from self.readout_updates(self.points_of(phases))

    def readout_updates(self, nudged: list[tuple[Phase, float]]) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_L with −⟨(π − y) r_{L−1}⟩ and b_L with −mean(π − y), the mean of the nudged phases."""
        (top,) = self.network.into(self.network.L)
        errors = [(p.internal["target"][0] - softmax(self.answer(p))) * share for p, share in nudged]
        if top.weight is not None:
            yield top.weight, _sum(top.correlate(e, p.output) for e, (p, _) in zip(errors, nudged, strict=True))
        if top.bias is not None:
            yield top.bias, _sum(top.bias_update(e.real) for e in errors)


def _sum(terms: Iterable[Tensor]) -> Tensor:
    """Returns the sum; of a single term that term itself, to the bit."""
    first, *others = terms
    return sum(others, first)
