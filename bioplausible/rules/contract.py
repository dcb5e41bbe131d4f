"""What a learning rule says of itself."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from bioplausible.errors import UserError
from bioplausible.errors.checks import require, require_arguments
from bioplausible.functional import alignment_angle
from bioplausible.network import Entry, Network, Sizes, Specification
from bioplausible.resume.configured_rates import ConfiguredRates
from bioplausible.resume.exact_resume import ExactResume
from bioplausible.resume.run_folders import RunFolders
from bioplausible.resume.run_options import RunOptions
from bioplausible.resume.training_data import TrainedOn
from bioplausible.rules.description import as_html, as_text
from bioplausible.rules.named_arguments import NotesArguments
from bioplausible.rules.options import refuse_without_effect
from bioplausible.training.data_parallel import positions
from bioplausible.training.exchange import Choice
from bioplausible.training.metrics import EpochMeans
from bioplausible.training.phase import Phase, Phases
from bioplausible.training.preconditions import Preconditions
from bioplausible.training.randomness import SampleDraws


class RuleContract(LightningModule, metaclass=NotesArguments):
    """A learning rule: how activities settle, and what each synapse learns from them.

    A training step is the same for every rule::

        phases = settle(x, target)                 # free, nudged, … the rule's own affair
        for each of updates(phases):               # one, local_updates(phases), unless the rule says otherwise
            p.grad = −update   for p, update in it; decay_weights() before the first; optimizer step
        update_state(phases, optimizer); schedulers; metrics

    Several processes exchange phases or updates (:mod:`bioplausible.training.exchange`), and learn what one would.
    Since the local update is written into ``p.grad``, every optimizer and scheduler of torch works, and
    ``on_before_optimizer_step`` shows a callback each rule's update. A rule builds its network (:meth:`build_network`)
    and fills in :meth:`forward`, :meth:`settle` and :meth:`local_updates`; the rest has defaults.

    In Trainer's precision ``bf16-mixed`` only the Hebbian products of the updates are taken in bfloat16; activities,
    errors and weights stay float32.

    Args:
        layer_sizes: d_0 … d_L of a dense network, the input's size first and the number of classes last. At the command
            line null in the place of these two leaves them to the data, and so does one size alone, which is the hidden
            layer's.
        network: in its place, the input's shape and then one entry a layer
            (:class:`bioplausible.network.Specification`), for example
            ``[[1, 28, 28], {conv: 32, kernel: 3, stride: 2}, 10]``; at the command line null may stand for the first
            and the last entry, which are the data's, and a list that begins with a layer leaves out both.
        optimizer: any torch optimizer, as a callable of the parameter groups.
        lr_scheduler: any torch scheduler, as a callable of the optimizer; None keeps the rates.
        lr_scheduler_interval: whether the scheduler counts epochs or batches (steps).
        gradient_norm_limit: largest Euclidean norm of the updates of all parameters together, before rates, momentum
            and decay: longer ones are shortened to it; None: no limit. Trainer's ``gradient_clip_val`` needs a loss.

    Raises:
        UserError: there is no such network, the interval is neither word, the limit is not positive, among the
            rule's arguments is a number that is NaN, infinite or too large for float32, or one of
            :attr:`of_hidden_layers` is given where there is no hidden layer.
    """

    network: Network
    exchange: Choice = "smaller"
    """What several processes exchange in a training step: ``phases``, ``updates``, or what takes fewer bytes."""

    of_hidden_layers: frozenset[str] = frozenset()
    """The arguments that only hidden layers, or what comes back to them, depend on: refused where there are none."""

    named_arguments: frozenset[str] = frozenset()
    """The arguments that the rule was built with: when training resumes, what nobody named stays the checkpoint's."""

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        network: list[Entry] | None = None,
        optimizer: OptimizerCallable = torch.optim.SGD,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
        gradient_norm_limit: float | None = None,
    ) -> None:
        super().__init__()
        self.specification = Specification.read(layer_sizes, network)
        if lr_scheduler_interval not in ("epoch", "step"):
            raise UserError(f"lr_scheduler_interval is {lr_scheduler_interval!r}: choose epoch or step.")
        # callables can't be loaded from a checkpoint without running its code; the command line saves their names
        callables = ["optimizer", "lr_scheduler", *(["network"] if any(map(callable, network or [])) else [])]
        self.save_hyperparameters(ignore=callables, logger=False)  # RunFolders hands out more of them
        require_arguments(type(self), self.hparams)
        if len(self.specification.layers) == 1:
            refuse_without_effect(self, sorted(self.of_hidden_layers), "without a hidden layer")
        self.automatic_optimization = False
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.lr_scheduler_interval = lr_scheduler_interval
        limit = gradient_norm_limit
        require(limit is None or limit > 0, f"gradient_norm_limit is {limit}: it must be positive, or left out.")
        self.gradient_norm_limit = limit
        # the same ones for fit, test, …: a checkpoint saved after a test still holds what they know
        self._trained_on, self._configured_rates, self._run_options = TrainedOn(), ConfiguredRates(), RunOptions()
        self.run_folders = RunFolders(self._configured_rates)
        self._callbacks: list[Callback] = [
            Preconditions(),
            self._trained_on,
            ExactResume(),
            self._configured_rates,
            self._run_options,
            self.run_folders,
        ]
        self.seed = 0
        """Seed of the draws that are functions of (seed, step); set when training starts."""
        self.watch: Callable[[int, list[Tensor], float], None] | None = None
        """Called by relaxations with (t, activities r_0 … r_L, η_t): t = 0 at the start, then after each iteration.

        While training, for each part of the batch that settles on its own.
        """
        self._positions: list[range] = []
        """Of the samples that settle, in the batch that is learned; nothing where none is."""
        self.phases: Phases = {}
        """Where the relaxations of the last training batch ended; for callbacks to read.

        With several processes that exchange updates, those of this process's share of the batch
        (:attr:`Phase.share_of`): what is a mean over samples, callbacks take through :meth:`Phase.batch_means`.
        """
        # every process sees the whole training batch, but only its share of an evaluation
        self.classes = torch.empty(0, dtype=torch.int64)
        """The last training batch's classes (n), of all processes; for callbacks to read."""
        self.output = torch.empty(0)
        """The last training batch's outputs (n × d_L), of all processes; for callbacks to read."""
        self.train_means = EpochMeans(persistent=True, sync_on_compute=False)
        self._means_written = -1
        self.val_means = EpochMeans(persistent=False)
        self.test_means = EpochMeans(persistent=False)

    def build_network(self, **options: Any) -> Network:
        """Returns the network that the arguments ask for, with the rule's options of each connection.

        Args:
            options: of every :class:`bioplausible.network.Connection`: feedback, bias, initialization.
        """
        return Network(self.specification, **options)

    def __repr__(self) -> str:
        """Returns the rule's name, the table of its layers, and its settings that differ from the defaults."""
        return as_text(self)

    def _repr_html_(self) -> str:
        """Returns the same as notebooks show it."""
        return as_html(self)

    # --------------------------------------------------------------------------------------------- what a rule fills in

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Returns the output (n × d_L) from which the class is read, for the input x (n × shape_0)."""

    @abstractmethod
    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Lets the network settle and returns its phases by name.

        It gets a part of the batch, several times a batch, so no sample's phases may depend on the other samples. What
        is drawn for all samples may depend on ``seed`` and ``step`` alone, what is drawn for each comes from
        :meth:`draws`. Activities may be complex; further tensors of a layer, as of a second compartment, go into
        ``internal``.

        Args:
            x: input (n × shape_0).
            target: one-hot target y (n × d_L).
        """

    @abstractmethod
    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields each parameter with its local update, the direction in which it moves, learning rate excluded.

        A parameter that is yielded several times, as one that layers share, moves by the sum. One that is frozen
        (``requires_grad`` is False) stays as it is, whatever is yielded for it.

        With several processes the phases may hold a share of the batch, and the shares' updates are averaged. So an
        update is a mean over samples, and where a rule sums over the batch, that mean times :attr:`Phase.batch_size`.
        """

    def updates(self, phases: Phases) -> Iterable[Iterable[tuple[Tensor, Tensor]]]:
        """Yields the batch's updates, after each of which the optimizer takes a step: here :meth:`local_updates` alone.

        A rule that takes several steps a batch overrides it as a generator: what follows a ``yield`` runs after the
        step, with the weights as they are then. Parameters that are not in an update are left alone by its step: no
        momentum, no decay. However many there are, it is one batch that counts, in ``step`` and for Trainer,
        schedules and checkpoints. State that moves between steps is kept in the phases, which hold the whole batch
        (with several processes that exchange updates, this process's share, and every process must take as many).
        """
        yield self.local_updates(phases)

    def steps_of(self, parameter: Tensor) -> int:
        """Returns how many of a batch's updates move a parameter: one, where :meth:`updates` yields one.

        Processes choose by it what they exchange.
        """
        return 1

    def settled(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phases where a batch's states end, for callbacks to look at: :meth:`settle`'s, unless they move.

        A rule whose states move between its steps (:meth:`updates`) lets them move here with weights that stay.
        """
        return self.settle(x, target)

    def draws(self, of: Tensor | Phase, *stream: int) -> SampleDraws:
        """Returns draws for each sample, the same however the batch is cut into pieces or shared among processes.

        They are functions of the seed, the step, the sample's position in the batch, and the stream.

        Args:
            of: what :meth:`settle` got as x; or a phase, in :meth:`updates` and :meth:`update_state`.
            stream: numbers that tell draws apart, such as a layer and an iteration.

        Raises:
            UserError: these are not the samples that settle.
        """
        return SampleDraws.at(self.seed, self.step, self.positions(of), *stream)

    def positions(self, of: Tensor | Phase) -> Tensor:
        """Returns the positions in the batch of the samples that settle, or of a phase's (n), int64.

        Args:
            of: as in :meth:`draws`.

        Raises:
            UserError: these are not the samples that settle.
        """
        if isinstance(of, Phase):
            at, device = positions(len(of.output), of.batch_size), of.output.device
        else:
            at, device = self._positions[-1] if self._positions else range(len(of)), of.device
            require(
                len(at) == len(of),
                f"draws got {len(of)} samples while {len(at)} settle: give it the x that settle got.",
            )
        return torch.arange(at.start, at.stop, at.step, device=device)

    def decay_weights(self) -> None:
        """Lets weights decay by the rule's own factor, whatever the optimizer, right before the batch's first step."""

    def update_state(self, phases: Phases, optimizer: torch.optim.Optimizer) -> None:
        """Updates what no optimizer moves (lateral matrices …), after the optimizer's step.

        With several processes the phases may hold a share of the batch: every mean over samples must go through
        :meth:`Phase.batch_means`.
        """

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns the optimizer's parameter groups, one per layer where rates may differ."""
        return [{"params": list(self.parameters())}]

    def prediction_phase(self, phases: Phases) -> Phase:
        """Returns the phase whose output counts as the network's answer during training: the first."""
        return next(iter(phases.values()))

    def answer(self, phase: Phase) -> Tensor:
        """Returns the output (n × d_L) from which the class is read in a phase: r_L, of a complex one its real part."""
        return phase.output.real if phase.output.is_complex() else phase.output

    def sample_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns the loss of each sample (n): ½ ‖r_L − y‖²."""
        return (output - target).square().sum(1) / 2

    def class_probabilities(self, output: Tensor) -> Tensor:
        """Returns each class's share (n × d_L) of the output's positive part; uniform where that is 0."""
        share = output.clamp(min=0) + torch.finfo(output.dtype).tiny
        return share / share.sum(1, keepdim=True)

    def activity(self, x: Tensor) -> list[Tensor]:
        """Returns the activities r_0 = x, …, r_L (n × shape_k) from whose last the class is read.

        It takes images or vectors (n × …) of as many values as layer 0 has, as calling the rule does. Here, where
        nothing is known of the layers between, x and the output alone.
        """
        x = self.network.as_input(x)
        return [x, self(x)]

    def energy(self, phase: Phase, target: Tensor) -> Tensor | None:
        """Returns the energy of each sample (n) that relaxations descend, at a state; None where there is none."""
        return None

    def feedforward_output(self, x: Tensor) -> Tensor | None:
        """Returns the output (n × d_L) of a feedforward pass through the same weights, differentiable by them.

        Its gradient is what backpropagation would learn; None where the rule has no such network.
        """
        return None

    def alignment_angles(self) -> dict[int, Tensor]:
        """Returns the angle between W_k and V_k in degrees by layer k, where there are feedback weights.

        Of weights that reach beyond an image only those count that meet a pixel: the others learn nothing.
        """
        own = [c for c in self.network.chain if c.weight is not None and not c.is_tied]
        return {c.post: alignment_angle(c.met(cast(Tensor, c.weight)), c.met(c.feedback_weight)) for c in own}

    def iterate(
        self, state: list[Tensor], step_sizes: Sequence[float], before_last: list[Tensor] | None = None
    ) -> Iterator[float]:
        """Yields the step size η_t of each iteration of a relaxation, and shows the watcher the states.

        Args:
            state: r_0 … r_L, whose entries the iterations change or replace.
            step_sizes: η_t of every iteration.
            before_last: an empty list, which gets a copy of r_1 … r_L as they are before the last iteration.
        """
        if self.watch is not None:
            self.watch(0, state, 0.0)
        for t, η in enumerate(step_sizes, start=1):
            if t == len(step_sizes) and before_last is not None:
                before_last.extend([a.clone() for a in state[1:]])
            yield η
            if self.watch is not None:
                self.watch(t, state, η)

    # ---------------------------------------------------------------------------------------------- what every rule has

    def dynamics(self) -> dict[str, Tensor]:
        """Returns the scalars logged while training: each phase's residual and each layer's alignment angle."""
        with torch.no_grad():
            return {
                **{f"dynamics/{name}_residual": p.residual() for name, p in self.phases.items() if p.previous},
                **{f"alignment/layer_{k}_angle": angle for k, angle in self.alignment_angles().items()},
            }

    def one_hot(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        """Returns the one-hot target (n × d_L) of the classes y (n)."""
        return F.one_hot(y, self.network.sizes[-1]).to(dtype)

    @property
    def step(self) -> int:
        """Number of training steps taken; 0 outside a Trainer."""
        return self.global_step
