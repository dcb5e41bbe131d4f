"""The layered Hopfield network of equilibrium propagation: what it is made of, its energy, its answer and its cost."""

from abc import abstractmethod
from typing import Any, Literal

import torch.nn.functional as F
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from bioplausible.errors.checks import require
from bioplausible.functional import StateActivationName, hopfield_energy, state_activation
from bioplausible.network import Clamped, Entry, Initialization, Sizes
from bioplausible.rules.options import group, per_layer, refuse_without_effect, require_choice, require_steps
from bioplausible.rules.persistent_states import PersistentStates
from bioplausible.training.phase import Phase

Cost = Literal["squared_error", "cross_entropy"]


class HopfieldNetwork(PersistentStates):
    """Layers that settle together, and what is asked of them; how they settle and learn is their rule's.

    The arguments are those of :class:`bioplausible.EquilibriumPropagation`.

    Attributes:
        top: number of the last layer that settles.
        f: activation functions of layers 0 … L.
        order: the layers that move at once, in the order in which they do.

    Raises:
        UserError: an argument is outside its range, a list of rates has the wrong length, or options exclude each
            other.
    """

    def __init__(
        self,
        layer_sizes: Sizes | None,
        network: list[Entry] | None,
        free_steps: int,
        evaluation_steps: int | None,
        step_size: float,
        evaluation_step_size: float | None,
        update_order: Literal["synchronous", "asynchronous"],
        persistent_states: bool,
        activation_function: StateActivationName,
        output_activation: StateActivationName,
        activation_slope: float | None,
        loss: Cost,
        readout: bool,
        feedback: Literal["tied", "learned"],
        initialization: Initialization,
        learning_rates: float | list[float] | None,
        feedback_learning_rates: float | list[float] | None,
        weight_decays: float | list[float] | None,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        lr_scheduler_interval: Literal["epoch", "step"],
        gradient_norm_limit: float | None,
    ) -> None:
        super().__init__(layer_sizes, network, optimizer, lr_scheduler, lr_scheduler_interval, gradient_norm_limit)
        self.free_steps = free_steps
        self.evaluation_steps = free_steps if evaluation_steps is None else evaluation_steps
        self.step_size = step_size
        self.evaluation_step_size = step_size if evaluation_step_size is None else evaluation_step_size
        for name in ("free_steps", "evaluation_steps"):
            require_steps(name, getattr(self, name))
        for name in ("step_size", "evaluation_step_size"):
            size = getattr(self, name)
            require(size > 0, f"{name} is {size}: it must be positive.")
        require_choice("update_order", update_order, ("synchronous", "asynchronous"))
        require_choice("loss", loss, ("squared_error", "cross_entropy"))
        require_choice("feedback", feedback, ("tied", "learned"))
        require(not readout or loss == "cross_entropy", "readout needs loss: cross_entropy, whose softmax it is.")
        require(
            loss != "cross_entropy" or readout or output_activation == "linear",
            f"output_activation is {output_activation}: cross entropy takes the softmax of the output, so choose"
            " linear, or readout: true.",
        )
        self.persistent_states = persistent_states
        self.loss = loss
        self.readout = readout
        self.network = self.build_network(feedback=feedback, initialization=initialization)
        L = self.network.L
        self.top = L - 1 if readout else L
        require(
            not readout or (self.top >= 1 and all(c.pre == L - 1 for c in self.network.into(L))),
            "readout reads the last hidden layer alone: give the network one, and the output no skip.",
        )
        if readout:
            self.network.chain[-1].tie_feedback()  # it sends back no activity, only the error
        require(
            feedback == "tied" or not all(c.is_tied for c in self.network.weighted),
            "feedback: learned has no effect here, for no layer that settles sends activity back: leave it out.",
        )
        for connection in self.network.connections:
            connection.winners_of = "feedforward" if connection.is_tied else "feedback"
        names = [activation_function] * L + [output_activation]
        smooth = "smooth_clip" in names[1 : self.top + 1]
        require(
            smooth or activation_slope is None,
            f"activation_slope is {activation_slope}: no layer that settles has the activation smooth_clip, whose a it"
            " is.",
        )
        slope = 4.0 if activation_slope is None else activation_slope
        require(slope > 0, f"activation_slope is {slope}: it must be positive.")
        self.f = [state_activation(name, slope) for name in names]
        for size in (step_size, self.evaluation_step_size):
            require(
                size == 1 or all(f.projects for f in self.f[1 : self.top + 1]),
                f"step_size is {size}: with the activation {'smooth_clip' if smooth else 'sigmoid'} only 1 leads to a"
                " fixed point r = f(u).",
            )
        if self.top == 1:
            refuse_without_effect(self, ["update_order"], "where a single layer settles")
        layers = list(range(1, self.top + 1))
        self.order = [layers] if update_order == "synchronous" else [o for o in (layers[::2], layers[1::2]) if o]
        self.learning_rates = per_layer("learning_rates", learning_rates, L, 1)
        self.feedback_learning_rates = per_layer("feedback_learning_rates", feedback_learning_rates, L - 1, 2)
        self.weight_decays = per_layer("weight_decays", weight_decays, L, 1)

    def require_holomorphic(self, why: str) -> None:
        """Raises a :class:`bioplausible.UserError` unless what settles has derivatives at complex states."""
        require(
            all(f.holomorphic for f in self.f[1 : self.top + 1]),
            f"{why}: complex β needs holomorphic activations, so choose sigmoid, smooth_clip or linear for"
            " activation_function and output_activation.",
        )
        pools = [c.pool for c in self.network.connections if c.post <= self.top and c.pool is not None]
        require(
            all(pool.is_holomorphic for pool in pools),
            f"{why}: max pooling has no derivative at complex states, so choose pool: soft or average.",
        )

    def clamp(self, x: Tensor) -> Clamped:
        """Returns the layers that settle, with the input held at x (n × shape_0)."""
        return self.network.clamp(x, self.top)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the output (n × d_L) after the free phase of an evaluation, for the input x (n × shape_0)."""
        return self.activity(x)[-1]

    def activity(self, x: Tensor) -> list[Tensor]:
        """Returns r_0 … r_L after the free phase of an evaluation, with a readout's scores for r_L."""
        network = self.clamp(x)
        free = self.relax(network, Phase(network.rest()), self.evaluation_steps, self.evaluation_step_size)
        return [*free.activity[: self.network.L], self.answer(free)]

    @abstractmethod
    def relax(
        self, network: Clamped, start: Phase, steps: int, η: float, target: Tensor | None = None, beta: complex = 0.0
    ) -> Phase:
        """Returns the state that the network settles into, as its rule has it."""

    def answer(self, phase: Phase) -> Tensor:
        """Returns r_L (n × d_L), or the readout's scores W_L r_{L−1} + b_L, a free phase's from before learning."""
        if not self.readout:
            return phase.output
        if "scores" in phase.internal:
            return phase.internal["scores"][0]
        return self.network.drive(self.network.L, phase.activity)

    def energy(self, phase: Phase, target: Tensor) -> Tensor | None:
        """Returns the energy Φ of each sample (n) at a phase's end.

        None with V of its own, for then there is none; of complex states, which descend none; and where f falls and
        rises.
        """
        r, layers = phase.activity, range(1, self.top + 1)
        potentials = [potential for k in layers if (potential := self.f[k].potential) is not None]
        tied = all(c.is_tied for c in self.network.weighted)
        if not tied or phase.output.is_complex() or len(potentials) < len(layers):
            return None
        laterals = self.network.laterals
        return hopfield_energy(
            r[1:],
            [self.network.drive(k, r) for k in layers],
            potentials,
            [laterals[k](r[k]) if k in laterals else None for k in layers],
            phase.beta.real * self.sample_losses(self.answer(phase), target),
        )

    def feedforward_output(self, x: Tensor) -> Tensor:
        """Returns the output of r_k = f(W_k r_{k−1} + b_k)."""
        r = [x]
        for k in range(1, self.top + 1):
            r.append(self.f[k].function(self.network.drive(k, r)))
        return self.answer(Phase(r))

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
