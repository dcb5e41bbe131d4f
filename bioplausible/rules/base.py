"""What a learning rule is, and the training step that all of them share."""

import inspect
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from bioplausible.errors import UserError
from bioplausible.errors.checks import require_arguments
from bioplausible.functional import alignment_angle
from bioplausible.lightning_internals import batches_left, ends_here, trainer_option, within_epoch
from bioplausible.network import Entry, Network, Specification
from bioplausible.resume.configured_rates import ConfiguredRates
from bioplausible.resume.exact_resume import ExactResume
from bioplausible.resume.rule_in_checkpoint import note_rule, require_same_rule
from bioplausible.resume.run_folders import RunFolders
from bioplausible.resume.training_data import TrainedOn
from bioplausible.training.batch import Batch, as_batch, labelled
from bioplausible.training.data_parallel import batch_size, join, processes
from bioplausible.training.exchange import Choice, averaged, exchanged
from bioplausible.training.metrics import EpochMeans
from bioplausible.training.optimization import build_optimizer, build_scheduler, step_optimizer, step_scheduler
from bioplausible.training.phase import Phase, Phases
from bioplausible.training.pieces import evaluate_in_pieces, settle_in_pieces
from bioplausible.training.preconditions import Preconditions, require_finite
from bioplausible.training.stop_on_signal import ended_by_signal


class NotesArguments(ABCMeta):
    """Notes in each rule with which arguments it was built.

    A ``__new__`` would hide a class's options from jsonargparse.
    """

    def __call__(cls, *args: Any, **options: Any) -> Any:
        """Builds a rule."""
        rule = super().__call__(*args, **options)
        given = inspect.signature(cls.__init__).bind(rule, *args, **options)  # type: ignore[misc]
        rule.named_arguments = frozenset(given.arguments).union(options)
        return rule


class LearningRule(LightningModule, metaclass=NotesArguments):
    """A learning rule: how activities settle, and what each synapse learns from them.

    A training step is the same for every rule::

        phases = settle(x, target)                 # free, nudged, … the rule's own affair
        p.grad = −update   for p, update in local_updates(phases)
        optimizer step; update_state(phases, optimizer); schedulers; metrics

    Several processes exchange phases or updates (:mod:`bioplausible.training.exchange`), and learn what one would.
    Since the local update is written into ``p.grad``, every optimizer and scheduler of torch works, and
    ``on_before_optimizer_step`` shows a callback each rule's update. A rule builds its network (:meth:`build_network`)
    and fills in :meth:`forward`, :meth:`settle` and :meth:`local_updates`; the rest has defaults.

    In Trainer's precision ``bf16-mixed`` only the Hebbian products of the updates are taken in bfloat16; activities,
    errors and weights stay float32.

    Args:
        layer_sizes: d_0 … d_L of a dense network, the input's size first and the number of classes last.
        network: in its place, the input's shape and then one entry a layer
            (:class:`bioplausible.network.Specification`), for example
            ``[[1, 28, 28], {conv: 32, kernel: 3, stride: 2}, 10]``.
        optimizer: any torch optimizer, as a callable of the parameter groups.
        lr_scheduler: any torch scheduler, as a callable of the optimizer; None keeps the rates.
        lr_scheduler_interval: whether the scheduler counts epochs or batches (steps).

    Raises:
        UserError: there is no such network, the interval is neither word, or among the rule's arguments is a number
            that is NaN, infinite or too large for float32.
    """

    network: Network
    exchange: Choice = "smaller"
    """What several processes exchange in a training step: ``phases``, ``updates``, or what takes fewer bytes."""

    named_arguments: frozenset[str] = frozenset()
    """The arguments that the rule was built with: when training resumes, what nobody named stays the checkpoint's."""

    def __init__(
        self,
        layer_sizes: list[int] | None = None,
        network: list[Entry] | None = None,
        optimizer: OptimizerCallable = torch.optim.SGD,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        super().__init__()
        self.specification = Specification.read(layer_sizes, network)
        if lr_scheduler_interval not in ("epoch", "step"):
            raise UserError(f"lr_scheduler_interval is {lr_scheduler_interval!r}: choose epoch or step.")
        # callables can't be loaded from a checkpoint without running its code; the command line saves their names
        callables = ["optimizer", "lr_scheduler", *(["network"] if any(map(callable, network or [])) else [])]
        self.save_hyperparameters(ignore=callables, logger=False)  # RunFolders hands out more of them
        require_arguments(type(self), self.hparams)
        self.automatic_optimization = False
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.lr_scheduler_interval = lr_scheduler_interval
        # the same ones for fit, test, …: a checkpoint saved after a test still holds what they know
        self._trained_on, self.run_folders = TrainedOn(), RunFolders()
        self._callbacks: list[Callback] = [
            Preconditions(),
            self._trained_on,
            ExactResume(),
            ConfiguredRates(),
            self.run_folders,
        ]
        self.seed = 0
        """Seed of the draws that are functions of (seed, step); set when training starts."""
        self.watch: Callable[[int, list[Tensor], float], None] | None = None
        """Called by relaxations with (t, activities r_0 … r_L, η_t): t = 0 at the start, then after each iteration.

        While training, for each part of the batch that settles on its own.
        """
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
        """Returns the rule's name and the table of its layers."""
        return f"{type(self).__name__}\n{self.network.table()}"

    # --------------------------------------------------------------------------------------------- what a rule fills in

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Returns the output (n × d_L) from which the class is read, for the input x (n × shape_0)."""

    @abstractmethod
    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Lets the network settle and returns its phases by name.

        It gets a part of the batch, several times a batch, so no sample's phases may depend on the other samples, and
        what is drawn only on ``seed`` and ``step``.

        Args:
            x: input (n × shape_0).
            target: one-hot target y (n × d_L).
        """

    @abstractmethod
    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields each parameter with its local update, the direction in which it moves, learning rate excluded.

        An update must be a tensor of its own: its sign is turned in place, for the optimizer.

        With several processes the phases may hold a share of the batch, and the shares' updates are averaged. So an
        update is a mean over samples, and where a rule sums over the batch, that mean times :attr:`Phase.batch_size`.
        """

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
        """Returns the output (n × d_L) from which the class is read in a phase: r_L."""
        return phase.output

    def sample_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns the loss of each sample (n): ½ ‖r_L − y‖²."""
        return (output - target).square().sum(1) / 2

    def class_probabilities(self, output: Tensor) -> Tensor:
        """Returns each class's share (n × d_L) of the output's positive part; uniform where that is 0."""
        share = output.clamp(min=0) + torch.finfo(output.dtype).tiny
        return share / share.sum(1, keepdim=True)

    def activity(self, x: Tensor) -> list[Tensor]:
        """Returns the activities r_0 = x, …, r_L from whose last the class is read, for callbacks to look at.

        Here, where nothing is known of the layers between, x and the output alone.
        """
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
        """Returns the angle between W_k and V_k in degrees by layer k, where there are feedback weights."""
        own = [c for c in self.network.chain if c.weight is not None and not c.is_tied]
        return {c.post: alignment_angle(cast(Tensor, c.weight), c.feedback_weight) for c in own}

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

    # -------------------------------------------------------------------------------------------------- the shared step

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Returns the output (n × d_L) for images or vectors (n × …) of as many values as layer 0 has."""
        if len(inputs) == 1 and isinstance(inputs[0], Tensor):  # strategies call a step so, with a batch and its number
            inputs = (self.network.as_input(inputs[0]),)
        return super().__call__(*inputs, **options)

    def read_batch(self, batch: Any) -> Batch:
        """Returns what a data loader yields as images and classes (:func:`bioplausible.training.batch.as_batch`).

        Raises:
            UserError: it is nothing that can be learned from, or scored.
        """
        return as_batch(batch, self.network.sizes[-1], cast(torch.dtype, self.dtype))

    # wrapped, or Trainer would warn wherever a data module leaves this hook to the rule
    @wraps(LightningModule.on_before_batch_transfer)
    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:  # type: ignore[override]
        """Reads the batch where it does not make a GPU wait."""
        return self.read_batch(batch)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Settles, learns, and adds up the metrics for one batch of images and classes."""
        images, y = labelled(self.read_batch(batch))
        x = self.network.as_input(images)
        with torch.no_grad(), self._full_precision():
            optimizer = cast(torch.optim.Optimizer, self.optimizers())
            self.phases = self.learn(x, self.one_hot(y, x.dtype), optimizer)
            answering = self.prediction_phase(self.phases)
            self.output = self.answer(answering)
            if answering.share_of is None:
                (self.classes,) = join([y])
            else:
                self.classes, self.output = join([y, self.output])
            self._score(self.train_means, self.output, self.classes, self.one_hot(self.classes, x.dtype))
        if self.lr_scheduler_interval == "step":
            self._step_scheduler()
        every = trainer_option(self.trainer, "log_every_n_steps")  # 0: never
        if every and self.global_step % every == 0:
            self._write(self.dynamics())

    @torch.no_grad()
    def learn(self, x: Tensor, target: Tensor, optimizer: torch.optim.Optimizer) -> dict[str, Phase]:
        """Settles, moves every weight by its local update, and returns the phases that it learned from.

        Args:
            x: input (n × shape_0) of this process's share of the batch.
            target: its one-hot target y (n × d_L).
            optimizer: one over :meth:`parameter_groups`.
        """
        samples = batch_size(x)
        if samples < processes():  # not every process has one: each settles them all, and none has to settle nothing
            x, target = join([x, target])
        with self.network.weights_held():
            phases = settle_in_pieces(self.settle, x, target, *self.network.settling)
            if len(x) < samples:
                phases = exchanged(self, phases, samples, self.exchange)
            for parameter, update in averaged(self.local_updates(phases), phases):
                parameter.grad = update.neg_()
        step_optimizer(optimizer)
        self.update_state(phases, optimizer)
        return phases

    def dynamics(self) -> dict[str, Tensor]:
        """Returns the scalars logged while training: each phase's residual and each layer's alignment angle."""
        with torch.no_grad():
            return {
                **{f"dynamics/{name}_residual": p.residual() for name, p in self.phases.items() if p.previous},
                **{f"alignment/layer_{k}_angle": angle for k, angle in self.alignment_angles().items()},
            }

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's means, checks the weights, and steps an epoch-wise schedule.

        Raises:
            UserError: training has diverged; no checkpoint is written of it.
        """
        self.log_dict(self._training_means(), logger=False)  # for callbacks that monitor them
        self._write_training_means()
        self.train_means.reset()
        require_finite(self, self.step)
        if self.lr_scheduler_interval == "epoch" and not self._will_go_on():
            self._step_scheduler()

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Scores one batch of the validation split, and returns the predicted classes (n) for callbacks."""
        return self._evaluate(self.val_means, batch)

    def on_validation_epoch_end(self) -> None:
        """Logs the validation means."""
        self._log_means("val", self.val_means, prog_bar=True)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Scores one batch of the test split."""
        self._evaluate(self.test_means, batch)

    def on_test_epoch_end(self) -> None:
        """Logs the test means."""
        self._log_means("test", self.test_means, prog_bar=False)

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Returns ``prediction`` and ``confidence`` (the predicted class's probability) of each sample.

        And its ``label``, where the data have labels.
        """
        images, labels = self.read_batch(batch)
        with torch.no_grad(), self._full_precision():
            confidence, prediction = self.class_probabilities(self._outputs(images)).max(1)
        known = {} if labels is None else {"label": labels}
        return {**known, "prediction": prediction, "confidence": confidence}

    def one_hot(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        """Returns the one-hot target (n × d_L) of the classes y (n)."""
        return F.one_hot(y, self.network.sizes[-1]).to(dtype)

    def _outputs(self, images: Tensor) -> Tensor:
        if not len(images):  # a process's share of a batch of few
            return images.new_empty(0, self.network.sizes[-1])
        return evaluate_in_pieces(self, self.network.as_input(images), *self.network.settling)

    def _write(self, scalars: Mapping[str, Tensor]) -> None:
        """Writes scalars to the loggers at once.

        ``self.log`` would write them after the checkpoint of the same step, and a kill in between would lose them.
        """
        for logger in self.loggers:
            logger.log_metrics({name: float(value) for name, value in scalars.items()}, step=self.global_step - 1)

    def _training_means(self) -> dict[str, Tensor]:
        return {f"train/{name}": value.float() for name, value in self.train_means.compute().items()}

    def _write_training_means(self) -> None:
        """Writes the means of the epoch so far, once."""
        if self._means_written != self.step and not self._will_go_on():
            self._means_written = self.step
            self._write(self._training_means())

    def _will_go_on(self) -> bool:
        """Returns whether a signal ends training within an epoch, which is then no epoch's end."""
        return batches_left(self.trainer) and ended_by_signal(self.trainer)

    def _evaluate(self, means: EpochMeans, batch: Any) -> Tensor:
        images, y = labelled(self.read_batch(batch))
        with torch.no_grad(), self._full_precision():
            output = self._outputs(images)
            self._score(means, output, y, self.one_hot(y, output.dtype))
            return output.argmax(1)

    def _score(self, means: EpochMeans, output: Tensor, y: Tensor, target: Tensor) -> None:
        means.update(output.argmax(1) == y, self.sample_losses(output, target))

    def _log_means(self, stage: str, means: EpochMeans, prog_bar: bool) -> None:
        values = {name: value.float() for name, value in means.compute().items()}
        means.reset()
        self.log(f"{stage}/accuracy", values["accuracy"], prog_bar=prog_bar)
        self.log(f"{stage}/loss", values["loss"])

    # ------------------------------------------------------------------------------------------ what Lightning asks for

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Returns the optimizer over :meth:`parameter_groups` and its scheduler.

        Raises:
            UserError: they refuse their options, or do not suit a rule that writes its updates into ``p.grad``.
        """
        optimizer = build_optimizer(self.optimizer, self.parameter_groups())
        if self.lr_scheduler is None:
            return optimizer
        scheduler = build_scheduler(self.lr_scheduler, optimizer)
        config: dict[str, Any] = {"scheduler": scheduler, "interval": self.lr_scheduler_interval}
        return cast(OptimizerLRScheduler, {"optimizer": optimizer, "lr_scheduler": config})

    def prepare_data(self) -> None:
        """Takes the loggers' folders: Lightning has no earlier hook once it knows its processes."""
        self.run_folders.take(self.trainer)

    def configure_callbacks(self) -> list[Callback]:
        """Returns the callbacks that check a run, make resume exact and changed rates effective, wherever it trains."""
        return self._callbacks

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the rule's name and seed to the checkpoint, unless training has diverged.

        Where training ends within an epoch, its means are logged before: a kill may come right after.
        """
        if within_epoch(self.trainer) and ends_here(self.trainer):
            self._write_training_means()
        require_finite(self, self.step)
        note_rule(self, checkpoint)
        self._trained_on.note(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Checks that the checkpoint is one of this rule and network, and takes its seed."""
        self.seed = require_same_rule(self, checkpoint)
        self._trained_on.read(checkpoint)

    # -------------------------------------------------------------------------------------------------------- internals

    @property
    def step(self) -> int:
        """Number of training steps taken; 0 outside a Trainer."""
        return self.global_step

    def _full_precision(self) -> AbstractContextManager[Any]:
        """Keeps the network dynamics out of Trainer's autocast, for errors are small differences of large values."""
        return torch.autocast(self.device.type, enabled=False)

    def _step_scheduler(self) -> None:
        scheduler = self.lr_schedulers()
        if scheduler is not None:
            step_scheduler(cast(Any, scheduler), self.trainer.callback_metrics, self.step)
