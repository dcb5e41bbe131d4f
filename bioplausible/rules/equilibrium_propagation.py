"""Equilibrium propagation (Scellier & Bengio 2017)."""

from collections.abc import Iterable
from typing import Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from bioplausible.errors.checks import require
from bioplausible.functional import StateActivationName
from bioplausible.network import Clamped, Entry, Initialization
from bioplausible.rules.hopfield_network import Cost, HopfieldNetwork
from bioplausible.rules.options import require_beta, require_choice, require_steps
from bioplausible.training.phase import Phase, Phases
from bioplausible.training.randomness import random_sign


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

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        network: in its place, the input's shape and one entry a layer.
        beta: β ≠ 0, strength of the nudge; a negative one is the published "negative" estimator.
        random_beta_sign: whether β takes a random sign each batch, as in every published run of the dense code.
        three_phase: whether a phase with −β, also from the free state, replaces the free phase in the contrast.
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

    def __init__(
        self,
        layer_sizes: list[int] | None = None,
        beta: float = 1.0,
        random_beta_sign: bool = True,
        three_phase: bool = False,
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
            network,
            free_steps,
            evaluation_steps,
            step_size,
            evaluation_step_size,
            update_order,
            persistent_states,
            activation_function,
            output_activation,
            loss,
            readout,
            feedback,
            initialization,
            learning_rates,
            feedback_learning_rates,
            weight_decays,
            optimizer,
            lr_scheduler,
            lr_scheduler_interval,
            gradient_norm_limit,
        )
        require_beta(beta)
        require_steps("nudged_steps", nudged_steps)
        require_choice("feedback_update", feedback_update, ("separate", "same"))
        require(
            not hold_output or loss == "squared_error",
            "hold_output holds the output where the squared error pulls it: leave out loss: cross_entropy.",
        )
        self.nudged_steps = nudged_steps
        self.beta = beta
        self.random_beta_sign = random_beta_sign
        self.three_phase = three_phase
        self.relax_free_again = relax_free_again
        self.hold_output = hold_output
        self.feedback_update = feedback_update

    # ----------------------------------------------------------------------------------------------- network dynamics

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phases ``free``, ``nudged``, and ``antinudged`` or ``free_again`` where asked for."""
        beta = self.beta * (random_sign(self.seed, self.step) if self.random_beta_sign else 1)
        network, η, T = self.clamp(x), self.step_size, self.nudged_steps
        free = self.relax(network, self.start(network), self.free_steps, η)
        phases = {"free": free, "nudged": self.relax(network, free, T, η, target, beta)}
        if self.three_phase:
            phases["antinudged"] = self.relax(network, free, T, η, target, -beta)
        elif self.relax_free_again:
            phases["free_again"] = self.relax(network, free, T, η, target, 0.0)
        return phases

    @torch.no_grad()
    def relax(
        self, network: Clamped, start: Phase, steps: int, η: float, target: Tensor | None = None, beta: float = 0.0
    ) -> Phase:
        """Descends the energy from a state and returns the state that is reached.

        Args:
            network: with the input clamped.
            start: where to start.
            steps: number of iterations.
            η: step size.
            target: one-hot target y (n × d_L); None in the free phase.
            beta: strength of the nudge.
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

    def nudge_(self, voltage: Tensor, r: Tensor, target: Tensor, rate: float) -> None:
        """Subtracts rate · ∂C/∂r, the cost's gradient by the last state r, from the voltage, in place."""
        if self.loss == "squared_error":
            voltage.sub_(r, alpha=2 * rate).add_(target, alpha=2 * rate)
        elif self.readout:
            (top,) = self.network.into(self.network.L)
            voltage.sub_(top.adjoint(top.feedforward(r).softmax(1) - target, r), alpha=rate)
        else:
            voltage.sub_(r.softmax(1) - target, alpha=rate)

    # -------------------------------------------------------------------------------------------------------- learning

    def contrasted(self, phases: Phases) -> tuple[Phase, Phase]:
        """Returns the nudged phase (+) and the one that it is contrasted with (−)."""
        return phases["nudged"], phases.get("antinudged") or phases.get("free_again") or phases["free"]

    def last_phase(self, phases: Phases) -> Phase:
        """Returns the second of the contrasted phases, the one of larger β, at whose end states that persist go on."""
        return max(self.contrasted(phases), key=lambda phase: phase.beta)

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with ( ⟨r_k⁺ r_{k−1}⁺⟩ − ⟨r_k⁻ r_{k−1}⁻⟩ )/s, b_k with mean(r_k⁺ − r_k⁻)/s, and V_k."""
        nudged, other = self.contrasted(phases)
        free, plus, minus, s = phases["free"].activity, nudged.activity, other.activity, nudged.beta - other.beta
        for c in self.network.connections:
            if c.post > self.top:
                continue
            j, k = c.pre, c.post
            difference, weight, bias = (plus[k] - minus[k]) / s, c.weight, c.bias
            if bias is not None:
                yield bias, c.bias_update(difference)
            if weight is None:
                continue
            if j == 0:  # both phases see the same x
                yield weight, c.correlate(difference, plus[j])
                continue
            both = (plus[k] / s, plus[j]), (minus[k] / s, minus[j])
            if c.is_tied:
                yield weight, c.contrast(*both)
            elif self.feedback_update == "same":
                update = (c.contrast(*both) + c.contrast(*both, by="feedback")) / 2
                yield weight, update.clone()  # the sign of what is yielded is turned in place
                yield c.feedback_weight, update
            else:
                yield weight, c.correlate(difference, free[j])
                yield c.feedback_weight, c.contrast((free[k] / s, plus[j]), (free[k] / s, minus[j]), by="feedback")
        if self.readout:
            yield from self.readout_updates([p for name, p in phases.items() if name in ("nudged", "antinudged")])

    def readout_updates(self, nudged: list[Phase]) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_L with −⟨(π − y) r_{L−1}⟩ and b_L with −mean(π − y), the mean of the nudged phases."""
        (top,) = self.network.into(self.network.L)
        errors = [(p.internal["target"][0] - self.answer(p).softmax(1)) / len(nudged) for p in nudged]
        parts = [(top.correlate(e, p.output), top.bias_update(e)) for e, p in zip(errors, nudged, strict=True)]
        if top.weight is not None:
            yield top.weight, torch.stack([weight for weight, _ in parts]).sum(0)
        if top.bias is not None:
            yield top.bias, torch.stack([bias for _, bias in parts]).sum(0)
