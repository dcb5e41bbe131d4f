"""What the kinds of target propagation share: each layer learns to move its activity to a target of its own."""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch import Tensor

from bioplausible.errors.checks import require
from bioplausible.network import Connection, Feedback, Initialization, Sizes
from bioplausible.rules.backpropagation import FeedforwardRule
from bioplausible.rules.options import by_layer, group, per_layer, refuse_without_effect
from bioplausible.training.phase import Phase, Phases

OF_FEEDBACK = ("feedback_loss", "sigma", "feedback_steps", "feedback_activation", "feedback_learning_rates")
"""Options of the feedback that learns, which a network of too few layers has none of."""


class TargetPropagation(FeedforwardRule):
    r"""A feedforward pass, targets t_k that come down by way of feedback that learns, and a local loss in each layer.

    ::

        t_L = r_L − η̂ ∂C/∂r_L,       t_k = r_k + (what comes back of t − r above, the rule's own affair)
        δ_k = c f′(a_k) ⊙ (r_k − t_k),      ΔW_k ∝ −⟨δ_k r_{k−1}⟩,     Δb_k ∝ −mean(δ_k)

    which descends c/2 ‖r_k − t_k‖² with t held. C is that of each sample, so that a sample's target depends on itself
    alone.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        target_step: η̂ > 0, how far the output's target lies down the loss's gradient.
        options: the other arguments of :class:`bioplausible.rules.backpropagation.FeedforwardRule`.

    Raises:
        UserError: an argument is outside its range.
    """

    local_loss_factor = 2.0
    """c, of the squared distance to the target; 1 of half of it."""

    of_hidden_layers = FeedforwardRule.of_hidden_layers | {"sigma", "feedback_steps", "feedback_learning_rates"}

    def __init__(self, layer_sizes: Sizes | None, target_step: float, **options: Any) -> None:
        super().__init__(layer_sizes, **options)
        require(target_step > 0, f"target_step is {target_step}: it must be positive, or no target differs.")
        self.target_step = target_step

    def connect(
        self,
        initialization: Initialization,
        sigma: float | list[float],
        learning_rates: float | list[float] | None,
        feedback_learning_rates: float | list[float] | None,
        feedback: Feedback = "tied",
        highest: int = 1,
    ) -> None:
        """Builds the network, and reads what there is one of for each layer.

        Args:
            initialization: of the weights (:func:`bioplausible.network.initialization.draw`).
            sigma: standard deviation σ > 0 of the noise from which feedback learns, one number or one per layer.
            learning_rates: rate of W_k and b_k, one number or one per layer 1 … L; None: the optimizer's own.
            feedback_learning_rates: rate of the feedback to each layer, as ``sigma``; None: the optimizer's own.
            feedback: of every connection above the input (:class:`bioplausible.network.Connection`).
            highest: the highest layer to which feedback learns, by how far it lies below the output.

        Raises:
            UserError: a number is outside its range, or a list has the wrong length.
        """
        self.network = self.build_network(feedback=feedback, initialization=initialization)
        L = self.network.L
        self.feedback_layers = range(1, max(L - highest + 1, 1))
        """The layers to which feedback learns."""
        if not self.feedback_layers:
            given = [name for name in OF_FEEDBACK if name in self.hparams]
            refuse_without_effect(self, given, "where no layer gets feedback that learns")
        self.sigma = by_layer("sigma", sigma, self.feedback_layers)
        require(all(σ > 0 for σ in self.sigma.values()), f"sigma is {sigma}: without noise feedback can't learn.")
        self.learning_rates = per_layer("learning_rates", learning_rates, L, 1)
        count = len(self.feedback_layers)
        self.feedback_learning_rates = per_layer("feedback_learning_rates", feedback_learning_rates, count, 1)

    @abstractmethod
    def targets(self, phase: Phase) -> list[Tensor]:
        """Returns r_0 and the targets t_1 … t_L (n × shape_k) of a feedforward pass, by the feedback as it is now."""

    @abstractmethod
    def feedback_parameters(self, k: int) -> list[Tensor]:
        """Returns the parameters of the feedback to layer k."""

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phase ``feedforward``, with ∂C/∂r_L as ``internal["output_error"]``, what f′ needs as ``kept``.

        Nothing is kept where the activities tell f′.
        """
        r, kept = self.feedforward(x)
        internal = {"output_error": [self.loss_gradient(r[-1], target)]}
        if any(f.derivative is None for f in (self.f, self.output_f)):
            internal["kept"] = kept[1:]
        return {"feedforward": Phase(r, internal=internal)}

    def layer(self, k: int, r: list[Tensor]) -> Tensor:
        """Returns the activity of layer k (n × shape_k), where those below it are at r."""
        return self.f_of(k).function(self.network.drive(k, r))

    def output_target(self, phase: Phase) -> Tensor:
        """Returns t_L (n × d_L)."""
        return phase.output - self.target_step * phase.internal["output_error"][0]

    def errors(self, phase: Phase) -> list[Tensor]:
        """Returns δ_1 … δ_L, each (n × shape_k)."""
        r, t, L = phase.activity, self.targets(phase), self.network.L
        kept = [r[0], *phase.internal.get("kept", r[1:])]
        return [self.local_loss_factor * self.f_of(k).slope(kept[k]) * (r[k] - t[k]) for k in range(1, L + 1)]

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with −⟨δ_k r_{k−1}⟩ and b_k with −mean(δ_k), by the targets of the feedback as it is now."""
        phase = phases["feedforward"]
        return super().local_updates({"feedforward": replace(phase, internal={"delta": self.errors(phase)})})

    def learners(self, k: int) -> list[Connection]:
        """Returns the connections out of layer k whose V learns."""
        return [c for c in self.network.out_of(k) if c.weight is not None and not c.is_tied]

    def is_feedback(self, parameter: Tensor, k: int | None = None) -> bool:
        """Returns whether a parameter belongs to the feedback, to layer k or any."""
        layers = self.feedback_layers if k is None else (k,)
        return any(parameter is p for j in layers for p in self.feedback_parameters(j))

    def noise(self, phase: Phase, like: Tensor, *stream: int) -> Tensor:
        """Returns standard normal draws for each sample of a phase, as many as an activity has (n × shape_k).

        Args:
            phase: whose samples.
            like: the activity.
            stream: numbers that tell draws apart, the first of them the layer's.
        """
        return self.draws(phase, *stream).normal(*like.shape[1:], dtype=like.dtype)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns a group for each layer's W and b, ``layer_k``, and one for the feedback to it, ``feedback_k``."""
        groups = group("layer", self.network.connections, self.learning_rates, "feedforward")
        for k, lr in zip(self.feedback_layers, self.feedback_learning_rates, strict=True):
            own = {} if lr is None else {"lr": lr}
            groups.append({"name": f"feedback_{k}", "params": self.feedback_parameters(k), **own})
        return groups


class JointTargetPropagation(TargetPropagation):
    """Target propagation whose feedback learns in all layers at once, and in its last step together with W and b."""

    feedback_steps: int
    """How many steps the feedback takes a batch, each with noise of its own."""

    @abstractmethod
    def feedback_updates(self, phase: Phase, q: int) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields the feedback's parameters with the descent of its loss, by the noise of step q.

        Args:
            phase: the feedforward pass.
            q: from 0.
        """

    def steps_of(self, parameter: Tensor) -> int:
        """Returns how many of a batch's updates move a parameter."""
        return self.feedback_steps if self.is_feedback(parameter) else 1

    def updates(self, phases: Phases) -> Iterable[Iterable[tuple[Tensor, Tensor]]]:
        """Yields the feedback alone for all but the last of its steps, then all parameters together."""
        for q in range(self.feedback_steps - 1):
            yield self.feedback_updates(phases["feedforward"], q)
        yield self.local_updates(phases)

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k and b_k, then the feedback, each with what its loss descends at the weights as they are now."""
        yield from super().local_updates(phases)
        yield from self.feedback_updates(phases["feedforward"], self.feedback_steps - 1)


def moved(r: list[Tensor], k: int, to: Tensor) -> list[Tensor]:
    """Returns activities r_0 … r_L with that of layer k at another place."""
    return [*r[:k], to, *r[k + 1 :]]
