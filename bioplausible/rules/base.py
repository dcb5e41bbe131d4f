"""The training step that all learning rules share."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from typing_extensions import Self

from bioplausible.errors import UserError
from bioplausible.errors.checks import require, require_arguments
from bioplausible.network import Dense
from bioplausible.resume.configured_rates import ConfiguredRates
from bioplausible.resume.exact_resume import ExactResume
from bioplausible.training.data_parallel import join
from bioplausible.training.metrics import EpochMeans
from bioplausible.training.optimization import build_optimizer, build_scheduler, step_optimizer, step_scheduler
from bioplausible.training.phase import Phase, Phases, evaluate_in_pieces, settle_in_pieces, whole_batch
from bioplausible.training.randomness import run_seed

MOST_NEURONS = 10**7
"""Of a layer: no machine holds the weights of two such layers, yet their number does not overflow."""


class LearningRule(LightningModule, ABC):
    """A learning rule: how activities settle, and what each synapse learns from them.

    A training step is the same for every rule::

        phases = settle(x, target)                 # free, nudged, … the rule's own affair
                                                   # with several processes: joined to the whole batch
        p.grad = −update   for p, update in local_updates(phases)
        optimizer step; update_state(phases, optimizer); schedulers; metrics

    Since the local update is written into ``p.grad``, every optimizer and scheduler of torch works, and
    ``on_before_optimizer_step`` shows a callback each rule's update. A rule fills in :meth:`forward`,
    :meth:`settle` and :meth:`local_updates`; the rest has defaults.

    In Trainer's precision ``bf16-mixed`` only the Hebbian products of the updates are taken in bfloat16; activities,
    errors and weights stay float32.

    Args:
        layer_sizes: d_0 … d_L, the input's size first and the number of classes last.
        optimizer: any torch optimizer, as a callable of the parameter groups.
        lr_scheduler: any torch scheduler, as a callable of the optimizer; None keeps the rates.
        lr_scheduler_interval: whether the scheduler counts epochs or batches (steps).

    Raises:
        UserError: the sizes are not at least two positive integers, the interval is neither word, or
            among the rule's arguments is a number that is NaN, infinite or too large for float32.
    """

    recorded_as: ClassVar[str] = ""
    """Name of the rule in recorded trajectories (``verify``)."""
    recorded_but_unused: ClassVar[frozenset[str]] = frozenset()
    """Initial weights that recorded trajectories hold and the rule has no use for."""

    def __init__(
        self,
        layer_sizes: list[int],
        optimizer: OptimizerCallable = torch.optim.SGD,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        super().__init__()
        if len(layer_sizes) < 2 or not all(1 <= d <= MOST_NEURONS for d in layer_sizes):
            raise UserError(
                f"layer_sizes is {layer_sizes}: give at least an input and an output size, all between 1 and"
                f" {MOST_NEURONS}, for example [784, 500, 10]."
            )
        if lr_scheduler_interval not in ("epoch", "step"):
            raise UserError(f"lr_scheduler_interval is {lr_scheduler_interval!r}: choose epoch or step.")
        # callables can't be loaded from a checkpoint without running its code; the command line saves their names
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"])
        require_arguments(type(self), self.hparams)
        self.automatic_optimization = False
        self.layer_sizes = list(layer_sizes)
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.lr_scheduler_interval = lr_scheduler_interval
        # the same ones for fit, test, …: a checkpoint saved after a test still holds what they know
        self._resume_callbacks: list[Callback] = [ExactResume(), ConfiguredRates()]
        self.seed = 0
        """Seed of the draws that are functions of (seed, step); set when training starts."""
        self.watch: Callable[[int, list[Tensor], float], None] | None = None
        """Called by relaxations with (t, activities r_0 … r_L, η_t): t = 0 at the start, then after each iteration.

        While training, for each part of the batch that settles on its own.
        """
        self.phases: Phases = {}
        """Where the relaxations of the last training batch ended; for callbacks to read."""
        # every process sees the whole training batch, but only its share of an evaluation
        self.classes = torch.empty(0, dtype=torch.int64)
        """The last training batch's classes (n), of all processes; for callbacks to read."""
        self.train_means = EpochMeans(persistent=True, sync_on_compute=False)
        self.val_means = EpochMeans(persistent=False)
        self.test_means = EpochMeans(persistent=False)

    # --------------------------------------------------------------------------------------------- what a rule fills in

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Returns the output (n × d_L) from which the class is read, for the input x (n × d_0)."""

    @abstractmethod
    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Lets the network settle and returns its phases by name.

        It gets a part of the batch, several times a batch, so no sample's phases may depend on the other samples, and
        what is drawn only on ``seed`` and ``step``.

        Args:
            x: input (n × d_0).
            target: one-hot target y (n × d_L).
        """

    @abstractmethod
    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields each parameter with its local update, the direction in which it moves, learning rate excluded.

        An update must be a tensor of its own: its sign is turned in place, for the optimizer.
        """

    def update_state(self, phases: Phases, optimizer: torch.optim.Optimizer) -> None:
        """Updates what no optimizer moves (lateral matrices …), after the optimizer's step."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns the optimizer's parameter groups, one per layer where rates may differ."""
        return [{"params": list(self.parameters())}]

    def prediction_phase(self, phases: Phases) -> Phase:
        """Returns the phase whose output counts as the network's answer during training: the first."""
        return next(iter(phases.values()))

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
        """Returns the forward–feedback angle in degrees by layer k, for rules with feedback weights."""
        return {}

    @classmethod
    def from_recording(cls, meta: Mapping[str, Any]) -> Self:
        """Builds the rule from a recorded trajectory's hyperparameters: those that carry its arguments' names.

        Args:
            meta: the hyperparameters by name; ``optimizer`` is ``sgd`` (where it is missing) or ``adam``, and ``lr``
                its rate.
        """
        if "lr" in meta:
            kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[meta.get("optimizer", "sgd")]
            meta = {**meta, "optimizer": partial(cast(Any, kind), lr=meta["lr"])}
        signatures = (inspect.signature(cast(Any, base).__init__) for base in cls.__mro__)
        arguments = {name for signature in signatures for name in signature.parameters}
        return cls(**{name: value for name, value in meta.items() if name in arguments})

    def recorded_weights(self) -> dict[str, Tensor]:
        """Returns the rule's own weights by their keys in a recorded trajectory: here their names in the module.

        ``verify`` sets them at the start and compares them after each step.
        """
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def recorded_observations(self) -> dict[str, Tensor]:
        """Returns what else a recorded trajectory holds after a step, by its key there: the states of each phase."""
        return {f"{name}{i}": r for name, p in self.phases.items() for i, r in enumerate(p.activity[1:])}

    # -------------------------------------------------------------------------------------------------- the shared step

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Settles, learns and keeps the books for one batch of images and classes."""
        x, y = batch
        x = x.flatten(1)
        with torch.no_grad(), self._full_precision():
            optimizer = cast(torch.optim.Optimizer, self.optimizers())
            target = self.one_hot(y, x.dtype)
            self.phases = self.learn(x, target, optimizer)
            self.classes, target = join([y, target])
            self._score(self.train_means, self.prediction_phase(self.phases).output, self.classes, target)
        if self.lr_scheduler_interval == "step":
            self._step_scheduler()
        every = cast(Any, self.trainer).log_every_n_steps  # 0: never
        if every and self.global_step % every == 0:
            self._write(self.dynamics())

    @torch.no_grad()
    def learn(self, x: Tensor, target: Tensor, optimizer: torch.optim.Optimizer) -> dict[str, Phase]:
        """Settles, moves every weight by its local update, and returns the phases, those of the whole batch.

        Args:
            x: input (n × d_0) of this process's share of the batch.
            target: its one-hot target y (n × d_L).
            optimizer: one over :meth:`parameter_groups`.
        """
        phases = whole_batch(settle_in_pieces(self.settle, x, target))
        for parameter, update in self.local_updates(phases):
            parameter.grad = update.neg_()
        step_optimizer(optimizer)
        self.update_state(phases, optimizer)
        return phases

    @torch.no_grad()
    def require_finite(self) -> None:
        """Checks the weights and buffers, at the end of each epoch and before each checkpoint.

        Raises:
            UserError: one is NaN or infinite: training has diverged.
        """
        for name, tensor in [*self.named_parameters(), *self.named_buffers()]:
            require(
                bool(tensor.isfinite().all()),
                f"Training has diverged: {name} is not finite after step {self.step}; lower the learning rates or"
                " step_size (the callback Guard finds out where it begins).",
            )

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
        means = {f"train/{name}": value.float() for name, value in self.train_means.compute().items()}
        self.train_means.reset()
        self.log_dict(means, logger=False)  # for callbacks that monitor them
        self._write(means)
        self.require_finite()
        if self.lr_scheduler_interval == "epoch":
            self._step_scheduler()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Scores one batch of the validation split, and returns the predicted classes (n) for callbacks."""
        return self._evaluate(self.val_means, batch)

    def on_validation_epoch_end(self) -> None:
        """Logs the validation means."""
        self._log_means("val", self.val_means, prog_bar=True)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Scores one batch of the test split."""
        self._evaluate(self.test_means, batch)

    def on_test_epoch_end(self) -> None:
        """Logs the test means."""
        self._log_means("test", self.test_means, prog_bar=False)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Returns ``label``, ``prediction`` and ``confidence`` (the predicted class's probability) of each sample."""
        x, y = batch
        with torch.no_grad(), self._full_precision():
            confidence, prediction = self.class_probabilities(evaluate_in_pieces(self, x.flatten(1))).max(1)
        return {"label": y, "prediction": prediction, "confidence": confidence}

    def one_hot(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        """Returns the one-hot target (n × d_L) of the classes y (n)."""
        return F.one_hot(y, self.layer_sizes[-1]).to(dtype)

    def _write(self, scalars: Mapping[str, Tensor]) -> None:
        """Writes scalars to the loggers at once.

        ``self.log`` would write them after the checkpoint of the same step, and a kill in between would lose them.
        """
        for logger in self.loggers:
            logger.log_metrics({name: float(value) for name, value in scalars.items()}, step=self.global_step - 1)

    def _evaluate(self, means: EpochMeans, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        x = x.flatten(1)
        with torch.no_grad(), self._full_precision():
            output = evaluate_in_pieces(self, x)
            self._score(means, output, y, self.one_hot(y, x.dtype))
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

    def configure_callbacks(self) -> list[Callback]:
        """Returns the callbacks that make resume exact and changed rates effective, wherever the rule is trained."""
        return self._resume_callbacks

    def setup(self, stage: str) -> None:
        """Checks that the data fit the network, and that the rules hold in the precision and with several processes.

        Raises:
            UserError: the input or output size is not the data's, the precision is below float32, or several processes
                share more than the batch.
        """
        strategy = self.trainer.strategy
        splits_batch = isinstance(strategy, DDPStrategy) and not isinstance(strategy, DeepSpeedStrategy)
        if self.trainer.world_size > 1 and not splits_batch:
            raise UserError(
                f"the strategy {type(strategy).__name__} splits the network or its optimizer over the processes: use"
                " --trainer.strategy ddp, which splits the batch."
            )
        if self.trainer.precision not in ("32-true", "64-true", "bf16-mixed"):
            raise UserError(
                f"precision is {self.trainer.precision}: small updates vanish in its range, and there is no loss whose"
                " scaling could save them, so choose 32-true, 64-true or bf16-mixed."
            )
        for module in self.modules():
            if isinstance(module, Dense):
                module.product_dtype = torch.bfloat16 if self.trainer.precision == "bf16-mixed" else None
        if self.trainer.precision == "64-true":
            self.double()  # Trainer would only after it has loaded the checkpoint, rounded to float32
        data = getattr(self.trainer, "datamodule", None)
        for size, name, what in (
            (self.layer_sizes[0], "input_size", "values a sample"),
            (self.layer_sizes[-1], "num_classes", "classes"),
        ):
            expected = getattr(data, name, size)
            if size != expected:
                place = "first" if name == "input_size" else "last"
                raise UserError(
                    f"layer_sizes is {self.layer_sizes}, but {type(data).__name__} has {expected} {what}: set the"
                    f" {place} size to {expected}."
                )

    def on_fit_start(self) -> None:
        """Fixes the seed of the draws: the one given to ``seed_everything``, else the checkpoint's, else torch's.

        Raises:
            UserError: an interval between validations is 0, by which Trainer would divide.
        """
        for name in ("val_check_interval", "check_val_every_n_epoch"):
            require(getattr(self.trainer, name) != 0, f"{name} is 0: give another interval, or leave it out.")
        given = run_seed()
        if given is not None:
            self.seed = given
        elif self.trainer.ckpt_path is None:
            self.seed = self.trainer.strategy.broadcast(torch.initial_seed())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the rule's name and seed to the checkpoint, once all that was logged before it is on disk.

        Raises:
            UserError: training has diverged; the checkpoint before stays.
        """
        self.require_finite()
        for logger in self.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.flush()
        checkpoint["learning_rule"] = {"name": type(self).__name__, "seed": self.seed}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Checks that the checkpoint is one of this rule and network, and takes its seed.

        Raises:
            UserError: it is another rule's, or another network's.
        """
        saved = checkpoint.get("learning_rule", {})
        name = saved.get("name")
        if name != type(self).__name__:
            raise UserError(
                f"The checkpoint was written by {name or 'something that is no learning rule'}, not by"
                f" {type(self).__name__}: give a checkpoint of {type(self).__name__}, or train {name or 'anew'}."
            )
        mine, theirs = self.state_dict(), checkpoint["state_dict"]
        for key in sorted(mine.keys() | theirs.keys()):
            a, b = mine.get(key), theirs.get(key)
            if a is None or b is None or a.shape != b.shape:
                there, here = ("nothing" if t is None else f"shape {tuple(t.shape)}" for t in (b, a))
                raise UserError(
                    f"The checkpoint has {there} for {key}, the network {here}: use the layer_sizes and options that"
                    " the checkpoint was trained with."
                )
        self.seed = saved["seed"]

    # -------------------------------------------------------------------------------------------------------- internals

    @property
    def step(self) -> int:
        """Number of training steps taken; 0 outside a Trainer."""
        return self.global_step if self._trainer is not None else 0

    def _full_precision(self) -> AbstractContextManager[Any]:
        """Keeps the network dynamics out of Trainer's autocast, for errors are small differences of large values."""
        return torch.autocast(self.device.type, enabled=False)

    def _step_scheduler(self) -> None:
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, ReduceLROnPlateau):
            monitor = getattr(scheduler, "monitor", "train/loss")  # Lightning's subclass names what it monitors
            value = self.trainer.callback_metrics.get(monitor)
            if value is None:
                known = ", ".join(self.trainer.callback_metrics) or "nothing is yet"
                raise UserError(
                    f"ReduceLROnPlateau monitors {monitor}, which is not logged at step {self.step} ({known}): choose"
                    " another, with lr_scheduler_interval epoch for a mean over an epoch."
                )
            step_scheduler(scheduler, value)
        elif scheduler is not None:
            step_scheduler(cast(Any, scheduler))
