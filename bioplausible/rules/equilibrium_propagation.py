"""Equilibrium propagation (Scellier & Bengio 2017)."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Literal, cast

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from typing_extensions import Self

from bioplausible.errors.checks import require
from bioplausible.functional import hopfield_energy, silence
from bioplausible.network import Dense
from bioplausible.rules.base import LearningRule
from bioplausible.rules.network import clip, feedforward_network, weights_and_biases
from bioplausible.rules.options import per_layer, rate, require_steps
from bioplausible.training.phase import Phase, Phases
from bioplausible.training.randomness import random_sign


class EquilibriumPropagation(LearningRule):
    r"""Equilibrium propagation in a layered Hopfield network.

    The activities descend the energy (with the cost's full weight, no ½)::

        Φ = ½ Σ_k ‖r_k‖² − Σ_k r_kᵀ (W_k r_{k−1} + b_k) + β ‖r_L − y‖²
        r_k ← min(max(r_k − η ∂Φ/∂r_k, 0), 1)          all layers at once
        −∂Φ/∂r_k = W_k r_{k−1} + b_k + W_{k+1}ᵀ r_{k+1} − r_k,   at the output −2β (r_L − y) in place of the feedback

    first without the target (*free*, β = 0, from r = 0), then with it (*nudged*, from the free state). With s the
    difference of the two phases' β, learning contrasts nudged (+) and free (−)::

        ΔW_k ∝ ( ⟨r_k⁺ r_{k−1}⁺⟩ − ⟨r_k⁻ r_{k−1}⁻⟩ ) / s,     Δb_k ∝ mean(r_k⁺ − r_k⁻) / s

    which tends to −∂C/∂W_k of C = mean ‖r_L − y‖² at the free equilibrium as β → 0 (Scellier & Bengio 2017, theorem 1).
    ``symmetric_nudge`` contrasts +β with −β: its error is of order β² instead of β (Laborieux et al. 2021).

    Args:
        layer_sizes: d_0 … d_L.
        beta: β ≠ 0, strength of the nudge.
        random_beta_sign: whether β takes a random sign each batch, as in every published run.
        symmetric_nudge: whether a phase with −β, also from the free state, replaces the free phase in the contrast.
        free_steps: iterations of the free phase.
        nudged_steps: iterations of each nudged phase.
        evaluation_steps: iterations of the free phase outside training; None: as many as in training.
        step_size: η.
        evaluation_step_size: η outside training; None: the same.
        learning_rates: rate of W_k and b_k, one number or one per layer 1 … L; None: the optimizer's own.
        optimizer: any torch optimizer.
        lr_scheduler: any torch scheduler.
        lr_scheduler_interval: whether the scheduler counts epochs or steps.

    Raises:
        UserError: an argument is outside its range, or a list of rates has the wrong length.
    """

    recorded_as = "ep"

    def __init__(
        self,
        layer_sizes: list[int],
        beta: float = 1.0,
        random_beta_sign: bool = True,
        symmetric_nudge: bool = False,
        free_steps: int = 20,
        nudged_steps: int = 4,
        evaluation_steps: int | None = None,
        step_size: float = 0.5,
        evaluation_step_size: float | None = None,
        learning_rates: float | list[float] | None = 0.05,
        optimizer: OptimizerCallable = torch.optim.SGD,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        super().__init__(layer_sizes, optimizer, lr_scheduler, lr_scheduler_interval)
        self.free_steps = free_steps
        self.nudged_steps = nudged_steps
        self.evaluation_steps = free_steps if evaluation_steps is None else evaluation_steps
        self.step_size = step_size
        self.evaluation_step_size = step_size if evaluation_step_size is None else evaluation_step_size
        require(beta != 0, "beta is 0: without a nudge nothing is learned, so give it another value, for example 1.")
        for name in ("free_steps", "nudged_steps", "evaluation_steps"):
            require_steps(name, getattr(self, name))
        for name in ("step_size", "evaluation_step_size"):
            size = getattr(self, name)
            require(size > 0, f"{name} is {size}: it must be positive.")
        self.beta = beta
        self.random_beta_sign = random_beta_sign
        self.symmetric_nudge = symmetric_nudge
        self.learning_rates = per_layer("learning_rates", learning_rates, len(layer_sizes) - 1, 1)
        # a ModuleList registers them; for the type checker it is the list of what is in it
        self.connections = cast(list[Dense], nn.ModuleList(Dense(pre, post) for pre, post in pairwise(layer_sizes)))

    # ----------------------------------------------------------------------------------------------- network dynamics

    def forward(self, x: Tensor) -> Tensor:
        """Returns the output r_L (n × d_L) after the free phase of an evaluation, for the input x (n × d_0)."""
        return self.activity(x)[-1]

    def activity(self, x: Tensor) -> list[Tensor]:
        """Returns r_0 … r_L after the free phase of an evaluation, for the input x (n × d_0)."""
        return self.relax(self.at_rest(x), self.evaluation_steps, self.evaluation_step_size).activity

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phases ``free``, ``nudged`` and, where asked for, ``antinudged``."""
        beta = self.beta * (random_sign(self.seed, self.step) if self.random_beta_sign else 1)
        free = self.relax(self.at_rest(x), self.free_steps, self.step_size)
        phases = {"free": free, "nudged": self.relax(free, self.nudged_steps, self.step_size, target, beta)}
        if self.symmetric_nudge:
            phases["antinudged"] = self.relax(free, self.nudged_steps, self.step_size, target, -beta)
        return phases

    @torch.no_grad()
    def at_rest(self, x: Tensor) -> Phase:
        """Returns the state r = 0 for the input x (n × d_0), with what x drives into the first layer, W_1 x + b_1."""
        at_rest = [silence(x, d) for d in self.layer_sizes[1:]]
        drive = {"W_1 x": [self.connections[0].feedforward(x)]}
        return Phase([x, *at_rest], internal=drive, constants=self.constants())

    def constants(self) -> dict[str, list[Tensor]]:
        """Returns what else does not change while the network settles, by name."""
        return {}

    @torch.no_grad()
    def relax(self, start: Phase, steps: int, η: float, target: Tensor | None = None, beta: float = 0.0) -> Phase:
        """Descends the energy from a state and returns the state that is reached.

        Args:
            start: where to start.
            steps: number of iterations.
            η: step size.
            target: one-hot target y (n × d_L); unused in a free phase.
            beta: strength of the nudge.
        """
        W = [connection.wires() for connection in self.connections]
        L = len(W)
        constant = [cast(Tensor, connection.bias) for connection in self.connections]
        constant[0] = start.internal["W_1 x"][0]  # the input does not change while the network settles
        r = [start.activity[0], *(a.clone() for a in start.activity[1:])]
        r_next = [r[0], *(torch.empty_like(a) for a in r[1:])]
        if self.watch is not None:
            self.watch(0, r, 0.0)
        for t in range(steps):
            for k in range(1, L + 1):
                # r_k + η ( b_k + W_k r_{k−1} + W_{k+1}ᵀ r_{k+1} − r_k ), its terms added to the new state one by one
                new = torch.lerp(r[k], constant[k - 1], η, out=r_next[k])
                if k > 1:
                    W[k - 1].add_feedforward_(new, r[k - 1], η)
                if k < L:
                    W[k].add_feedback_(new, r[k + 1], η)
                    self.inhibit_(k, new, r[k], η, start)
                elif target is not None:
                    new.sub_(r[L], alpha=2 * beta * η).add_(target, alpha=2 * beta * η)
                new.clamp_(0, 1)
            r, r_next = r_next, r
            if self.watch is not None:
                self.watch(t + 1, r, η)
        return Phase(r, beta, r_next[1:], η, start.internal, start.constants)

    def inhibit_(self, k: int, voltage: Tensor, activity: Tensor, η: float, start: Phase) -> None:
        """Subtracts η times a hidden layer's lateral inhibition from its voltage, in place: none here."""

    def energy(self, phase: Phase, target: Tensor) -> Tensor:
        """Returns the energy Φ of each sample (n) at a phase's end."""
        return hopfield_energy(
            phase.activity,
            [c.weight for c in self.connections],
            [cast(Tensor, c.bias) for c in self.connections],
            target=target,
            beta=phase.nudge,
        )

    def feedforward_output(self, x: Tensor) -> Tensor:
        """Returns r_L of r_k = min(max(W_k r_{k−1} + b_k, 0), 1)."""
        return feedforward_network(x, self.connections, lambda k, u: clip(u))

    # -------------------------------------------------------------------------------------------------------- learning

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with ( ⟨r_k⁺ r_{k−1}⁺⟩ − ⟨r_k⁻ r_{k−1}⁻⟩ )/s and b_k with mean(r_k⁺ − r_k⁻)/s."""
        plus, minus = phases["nudged"], phases.get("antinudged", phases["free"])
        s = plus.nudge - minus.nudge
        for k, connection in enumerate(self.connections, start=1):
            pre_plus, post_plus = plus.activity[k - 1], plus.activity[k]
            pre_minus, post_minus = minus.activity[k - 1], minus.activity[k]
            difference = (post_plus - post_minus) / s
            if k == 1:  # both phases see the same x
                update = connection.correlate(difference, pre_plus)
            else:
                update = connection.contrast(post_plus / s, pre_plus, post_minus / s, pre_minus)
            yield connection.weight, update
            yield cast(Tensor, connection.bias), difference.mean(0)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns one group for each W_k and b_k, named ``layer_k``."""
        return [
            {"name": f"layer_{k}", "params": [c.weight, c.bias], **rate(lr)}
            for k, (c, lr) in enumerate(zip(self.connections, self.learning_rates, strict=True), start=1)
        ]

    def sample_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns the cost of each sample (n): ‖r_L − y‖²."""
        return (output - target).square().sum(1)

    # ------------------------------------------------------------------------------------------------------ recordings

    @classmethod
    def from_recording(cls, meta: Mapping[str, Any]) -> Self:
        """Builds the rule from a recorded trajectory's hyperparameters."""
        return super().from_recording({**meta, "random_beta_sign": False})

    def recorded_weights(self) -> dict[str, Tensor]:
        """Returns W and b by their keys in a recorded trajectory: ``W{i}`` and ``b{i}``."""
        return weights_and_biases(self.connections)
