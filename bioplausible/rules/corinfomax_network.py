"""What CorInfoMax and its relatives share: the network of three-compartment neurons, and how it settles."""

from typing import Any, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from bioplausible.errors.checks import LARGEST, require
from bioplausible.functional import StepSizeRule, blank, clip, step_sizes
from bioplausible.network import Clamped, Entry, InverseCorrelation, Sizes
from bioplausible.rules.base import LearningRule
from bioplausible.rules.neurons import ClippedNeurons, Neurons
from bioplausible.rules.options import group, refuse_unused_of_step_sizes, refuse_without_effect, require_steps
from bioplausible.training.phase import Phase


class CorInfoMaxNetwork(LearningRule):
    """Pyramidal neurons with a soma u_k, a basal dendrite (W_k r_{k−1}) and an apical one (V_{k+1} r_{k+1}, B_k r_k).

    How they settle is in :class:`bioplausible.rules.CorInfoMax`, and so are the arguments.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        forgetting_factor: λ in (0, 1].
        epsilon: ε > 0, variance floor of the predictions.
        leak: g ≥ 0, weight of the Hopfield term.
        free_steps: iterations of the free phase.
        evaluation_steps: iterations of the free phase outside training; None: as many as in training.
        step_size: η, in units of the neural time constant.
        step_size_rule: how η falls within a phase (:func:`bioplausible.functional.step_sizes`).
        step_size_floor: η_stop of the two falling rules; refused with ``constant``.
        step_size_decay: c of ``divide_by_slow_loop_index``; refused with the others.
        regularize_lateral: whether B follows (R + εI)⁻¹ instead of R⁻¹, and so stays bounded.
        optimizer: any torch optimizer.
        lr_scheduler: any torch scheduler.
        lr_scheduler_interval: whether the scheduler counts epochs or steps.
        network: in place of the sizes, the input's shape and one entry a layer.
        gradient_norm_limit: largest norm of all updates together before rates; None: no limit.

    Raises:
        UserError: an argument is outside its range.
    """

    carry_membrane_potential = False
    """Whether u carries over from phase to phase instead of restarting at r."""

    feedforward_learning_rates: list[float | None]
    feedback_learning_rates: list[float | None]

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        forgetting_factor: float = 0.99999,
        epsilon: float = 0.15,
        leak: float = 0.3,
        free_steps: int = 30,
        evaluation_steps: int | None = None,
        step_size: float = 0.05,
        step_size_rule: StepSizeRule = "constant",
        step_size_floor: float = 0.001,
        step_size_decay: float = 0.01,
        regularize_lateral: bool = False,
        optimizer: OptimizerCallable = torch.optim.SGD,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
        network: list[Entry] | None = None,
        gradient_norm_limit: float | None = None,
    ) -> None:
        super().__init__(layer_sizes, network, optimizer, lr_scheduler, lr_scheduler_interval, gradient_norm_limit)
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
        require(step_size > 0, f"step_size is {step_size}: it must be positive.")
        for name, steps in (("free", free_steps), ("evaluation", evaluation_steps)):
            require_steps(f"{name}_steps", steps)

        self.forgetting_factor = forgetting_factor
        self.epsilon = epsilon
        self.leak = leak
        self.free_step_sizes, self.evaluation_step_sizes = (
            step_sizes(steps, start=step_size, rule=step_size_rule, floor=step_size_floor, decay=step_size_decay)
            for steps in (free_steps, evaluation_steps)
        )
        refuse_unused_of_step_sizes(self, step_size_rule)
        if forgetting_factor == 1:
            refuse_without_effect(self, ["regularize_lateral"], "where forgetting_factor is 1 and B never changes")
        self.network = self.build_network(bias=False, feedback="learned")
        laterals = {
            k: InverseCorrelation(self.network.shapes[k][0], epsilon if regularize_lateral else 0.0)
            for k in range(1, self.network.L + 1)
        }
        require(
            not regularize_lateral or all(lateral.starts_bounded() for lateral in laterals.values()),
            f"epsilon is {epsilon}: with regularize_lateral B must start below 1/epsilon, so choose a smaller one.",
        )
        self.network.add_laterals(laterals)

    # ------------------------------------------------------------------------------------------------- network dynamics

    def forward(self, x: Tensor) -> Tensor:
        """Returns the output r_L (n × d_L) after the free phase of an evaluation, for the input x (n × shape_0)."""
        return self.activity(x)[-1]

    def activity(self, x: Tensor) -> list[Tensor]:
        """Returns r_0 … r_L after the free phase of an evaluation, for the input x (n × shape_0)."""
        network = self.network.clamp(x)
        return self.relax(network, self.at_rest(network), self.evaluation_step_sizes).activity

    def at_rest(self, network: Clamped) -> Phase:
        """Returns the state r = u = 0."""
        rest = [network.x, *(blank(network.x, shape) for shape in self.network.shapes[1:])]
        return Phase(rest, internal={"u": rest[1:]})

    @torch.no_grad()
    def relax(
        self,
        network: Clamped,
        start: Phase,
        step_sizes: list[float],
        target: Tensor | None = None,
        beta: float = 0.0,
    ) -> Phase:
        """Iterates the network dynamics (see the class) from a state and returns the state that they reach.

        Args:
            network: with the input clamped.
            start: where to start.
            step_sizes: η_t of every iteration.
            target: one-hot target y (n × d_L); unused in a free phase.
            beta: strength of the nudge.
        """
        g, ε = self.leak, self.epsilon
        γ = (1 - self.forgetting_factor) / self.forgetting_factor
        r = [start.activity[0], *(a.clone() for a in start.activity[1:])]
        u = [r[0], *(a.clone() for a in (start.internal["u"] if self.carry_membrane_potential else start.activity[1:]))]
        neurons = self.neurons(start)
        L = len(r) - 1
        # Δu_k's terms that need no product here, W_k x/ε + g r_k − a_k u_k, are a_k (rest_k − u_k): one kernel for all
        a = [g + (2 / ε if k < L else 1 / ε + 1) for k in range(L + 1)]
        from_x = [Wx / (ε * a_k) for Wx, a_k in zip(network.constant, a, strict=True)]
        rest = [torch.empty_like(state) for state in u]
        previous: list[Tensor] = []
        network.find_winners(r)
        for η in self.iterate(r, step_sizes, before_last=previous):
            for k in range(1, L + 1):
                torch.add(from_x[k], r[k], alpha=g / a[k], out=rest[k])
                u[k].lerp_(rest[k], η * a[k])
                network.add_drive_(k, u[k], r, η / ε)
                if k < L:
                    network.add_feedback_(k, u[k], r, r, η / ε)
                    network.laterals[k].add_lateral_(u[k], r[k], 2 * γ * η)
                else:
                    network.laterals[k].add_lateral_(u[k], r[k], γ * η)
                    if target is not None:
                        u[k].sub_(r[k], alpha=η * beta).add_(target, alpha=η * beta)
                neurons[k - 1].fire_(u[k], r[k], η)
        carried = {"u": u[1:], "dual": [q for layer in neurons for q in layer.carried]}
        return Phase(r, beta, previous, step_sizes[-1], carried)

    def neurons(self, start: Phase) -> list[Neurons]:
        """Returns how the neurons of each layer 1 … L fire from where a phase starts."""
        return [ClippedNeurons()] * self.network.L

    # -------------------------------------------------------------------------------------------------------- learning

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns one group for each W_k and V_k, named ``feedforward_k`` and ``feedback_k``."""
        connections = self.network.connections
        return [
            *group("feedforward", connections, self.feedforward_learning_rates, "feedforward"),
            *group("feedback", connections, self.feedback_learning_rates, "feedback", first=2),
        ]

    # ------------------------------------------------------------------------------------------------------ observation

    def feedforward_output(self, x: Tensor) -> Tensor:
        """Returns r_L of r_k = min(max(W_k r_{k−1}, 0), 1)."""
        r = [x]
        for k in range(1, self.network.L + 1):
            r.append(self.activation_of(k, self.network.drive(k, r)))
        return r[-1]

    def activation_of(self, k: int, u: Tensor) -> Tensor:
        """Returns layer k's activity for the membrane potential u (n × shape_k)."""
        return clip(u)
