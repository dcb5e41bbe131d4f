"""Equilibrium propagation (Scellier & Bengio 2017)."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from bioplausible.errors.checks import require
from bioplausible.functional import StateActivationName, hopfield_energy, state_activation
from bioplausible.network import Clamped, Entry, Initialization
from bioplausible.rules.base import LearningRule
from bioplausible.rules.options import (
    group,
    per_layer,
    refuse_without_effect,
    require_beta,
    require_choice,
    require_steps,
)
from bioplausible.training.data_parallel import processes
from bioplausible.training.phase import Phase, Phases
from bioplausible.training.randomness import random_sign

Cost = Literal["squared_error", "cross_entropy"]


class EquilibriumPropagation(LearningRule):
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
        super().__init__(layer_sizes, network, optimizer, lr_scheduler, lr_scheduler_interval, gradient_norm_limit)
        self.free_steps = free_steps
        self.nudged_steps = nudged_steps
        self.evaluation_steps = free_steps if evaluation_steps is None else evaluation_steps
        self.step_size = step_size
        self.evaluation_step_size = step_size if evaluation_step_size is None else evaluation_step_size
        require_beta(beta)
        for name in ("free_steps", "nudged_steps", "evaluation_steps"):
            require_steps(name, getattr(self, name))
        for name in ("step_size", "evaluation_step_size"):
            size = getattr(self, name)
            require(size > 0, f"{name} is {size}: it must be positive.")
        require_choice("update_order", update_order, ("synchronous", "asynchronous"))
        require_choice("loss", loss, ("squared_error", "cross_entropy"))
        require_choice("feedback", feedback, ("tied", "learned"))
        require_choice("feedback_update", feedback_update, ("separate", "same"))
        require(not readout or loss == "cross_entropy", "readout needs loss: cross_entropy, whose softmax it is.")
        require(
            loss != "cross_entropy" or readout or output_activation == "linear",
            f"output_activation is {output_activation}: cross entropy takes the softmax of the output, so choose"
            " linear, or readout: true.",
        )
        self.beta = beta
        self.random_beta_sign = random_beta_sign
        self.three_phase = three_phase
        self.relax_free_again = relax_free_again
        self.persistent_states = persistent_states
        self.hold_output = hold_output
        self.loss = loss
        self.readout = readout
        self.feedback_update = feedback_update
        self.network = self.build_network(feedback=feedback, initialization=initialization)
        L = self.network.L
        self.top = L - 1 if readout else L
        """The last layer that settles."""
        require(
            not readout or (self.top >= 1 and all(c.pre == L - 1 for c in self.network.into(L))),
            "readout reads the last hidden layer alone: give the network one, and the output no skip.",
        )
        if feedback == "tied":
            refuse_without_effect(self, ["feedback_learning_rates", "feedback_update"], "where feedback is tied")
        if three_phase:
            refuse_without_effect(self, ["relax_free_again"], "with three_phase")
        if readout and output_activation != "linear":  # what a readout before its softmax is
            refuse_without_effect(self, ["output_activation"], "with readout, whose softmax is the output")
        require(
            not hold_output or loss == "squared_error",
            "hold_output holds the output where the squared error pulls it: leave out loss: cross_entropy.",
        )
        if readout:
            self.network.chain[-1].tie_feedback()  # it sends back no activity, only the error
        require(
            feedback == "tied" or not all(c.is_tied for c in self.network.weighted),
            "feedback: learned has no effect here, for no layer that settles sends activity back: leave it out.",
        )
        for connection in self.network.connections:
            connection.winners_of = "feedforward" if connection.is_tied else "feedback"
        self.f = [state_activation(activation_function)] * L + [state_activation(output_activation)]
        for size in (step_size, self.evaluation_step_size):
            require(
                size == 1 or all(f.projects for f in self.f[: self.top + 1]),
                f"step_size is {size}: with the activation sigmoid only 1 leads to a fixed point r = f(u).",
            )
        layers = list(range(1, self.top + 1))
        self.order = [layers] if update_order == "synchronous" else [o for o in (layers[::2], layers[1::2]) if o]
        """The layers that move at once, in the order in which they do."""
        self.learning_rates = per_layer("learning_rates", learning_rates, L, 1)
        self.feedback_learning_rates = per_layer("feedback_learning_rates", feedback_learning_rates, L - 1, 2)
        self.weight_decays = per_layer("weight_decays", weight_decays, L, 1)
        self._persisted: list[Tensor] = []
        self._carried: list[Tensor] = []

    # ----------------------------------------------------------------------------------------------- network dynamics

    def forward(self, x: Tensor) -> Tensor:
        """Returns the output (n × d_L) after the free phase of an evaluation, for the input x (n × shape_0)."""
        return self.activity(x)[-1]

    def activity(self, x: Tensor) -> list[Tensor]:
        """Returns r_0 … r_L after the free phase of an evaluation, with a readout's scores for r_L."""
        network = self.clamp(x)
        free = self.relax(network, Phase(network.rest()), self.evaluation_steps, self.evaluation_step_size)
        return [*free.activity[: self.network.L], self.answer(free)]

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

    def clamp(self, x: Tensor) -> Clamped:
        """Returns the layers that settle, with the input held at x (n × shape_0)."""
        return self.network.clamp(x, self.top)

    def start(self, network: Clamped) -> Phase:
        """Returns where a free phase of training starts: at rest, or where the last batch ended."""
        r, n = network.rest(), len(network.x)
        if self._carried:  # copied, for a checkpoint's states lie otherwise in memory
            r = [r[0], *(a.copy_(b[:n]) for a, b in zip(r[1:], self._carried, strict=True))]
            self._carried = [a[n:] for a in self._carried]
        return Phase(r)

    def learn(self, x: Tensor, target: Tensor, optimizer: torch.optim.Optimizer) -> dict[str, Phase]:
        """Settles and learns; keeps the states where they persist.

        Raises:
            UserError: states persist and several processes train, whose shares of a batch change.
        """
        if not self.persistent_states:
            return super().learn(x, target, optimizer)
        require(processes() == 1, "persistent_states needs one process: each has other samples in the next batch.")
        same_size = bool(self._persisted) and len(self._persisted[0]) == len(x)
        self._carried = [a.to(x) for a in self._persisted] if same_size else []
        phases = super().learn(x, target, optimizer)
        second = max(self.contrasted(phases), key=lambda phase: phase.beta)
        self._carried, self._persisted = [], second.activity[1:]
        return phases

    def answer(self, phase: Phase) -> Tensor:
        """Returns r_L (n × d_L), or the readout's scores W_L r_{L−1} + b_L, a free phase's from before learning."""
        if not self.readout:
            return phase.output
        if "scores" in phase.internal:
            return phase.internal["scores"][0]
        return self.network.drive(self.network.L, phase.activity)

    def energy(self, phase: Phase, target: Tensor) -> Tensor | None:
        """Returns the energy Φ of each sample (n) at a phase's end; None with V of its own, for then there is none."""
        r, layers = phase.activity, range(1, self.top + 1)
        if not all(c.is_tied for c in self.network.weighted):
            return None
        laterals = self.network.laterals
        return hopfield_energy(
            r[1:],
            [self.network.drive(k, r) for k in layers],
            [self.f[k].potential for k in layers],
            [laterals[k](r[k]) if k in laterals else None for k in layers],
            phase.beta * self.sample_losses(self.answer(phase), target),
        )

    def feedforward_output(self, x: Tensor) -> Tensor:
        """Returns the output of r_k = f(W_k r_{k−1} + b_k)."""
        r = [x]
        for k in range(1, self.top + 1):
            r.append(self.f[k].function(self.network.drive(k, r)))
        return self.answer(Phase(r))

    # -------------------------------------------------------------------------------------------------------- learning

    def contrasted(self, phases: Phases) -> tuple[Phase, Phase]:
        """Returns the nudged phase (+) and the one that it is contrasted with (−)."""
        return phases["nudged"], phases.get("antinudged") or phases.get("free_again") or phases["free"]

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

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns one group for each W_k and b_k, named ``layer_k``, and one for each V_k, named ``feedback_k``."""
        connections, decays = self.network.connections, self.weight_decays
        groups = group("layer", connections, self.learning_rates, "feedforward", decays=decays)
        if not all(c.is_tied for c in self.network.weighted):
            groups += group("feedback", connections, self.feedback_learning_rates, "feedback", 2, decays[1:])
        return groups

    def sample_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns the cost C of each sample (n)."""
        if self.loss == "cross_entropy":
            return F.cross_entropy(output, target, reduction="none")
        return (output - target).square().sum(1)

    def class_probabilities(self, output: Tensor) -> Tensor:
        """Returns the softmax of the output where the loss is the cross entropy, else as for every rule (n × d_L)."""
        return output.softmax(1) if self.loss == "cross_entropy" else super().class_probabilities(output)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the states that persist to the checkpoint."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["persistent_states"] = [a.contiguous() for a in self._persisted]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes up the states that persist."""
        super().on_load_checkpoint(checkpoint)
        self._persisted = checkpoint.get("persistent_states", [])
