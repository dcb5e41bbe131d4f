"""What the package uses of Lightning, torch and TensorBoard though their manuals don't promise it.

Any release of theirs may change it. The rest of the package uses none of it but through this module, so a change is
mended here; `tests/test_lightning_internals.py` looks for each name of :data:`REQUIRED` in the installed versions.
"""

import warnings
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from lightning_fabric.loggers import logger as fabric_loggers
from lightning_fabric.utilities import logger as hyperparameters
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.loops import evaluation_loop
from pytorch_lightning.strategies import launchers
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# Lightning asks torch in a way that torch deprecates, once a fit: no user can do anything about it
warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)

_OPTION = "Trainer keeps this option, but declares no attribute for it"
_LOOPS = "no hook and no property of Trainer's tells it"
_COUNT = "Trainer counts steps of its optimizers, of which a batch may take several, and no method counts a batch"
_RESTART = "Trainer leaves out a validation, or an epoch's end, before which a checkpoint was written"
_SAVE = "no method saves at a step of one's own choice and books it"
_BEST = "ModelCheckpoint has no method that forgets a file or finds it elsewhere"
_HPARAMS = (
    "log_hyperparams writes the metrics as scalars of a step too, SummaryWriter.add_hparams into a run of its own"
)
_VERSION = "a logger's version is what it was given, or what it chooses when it is asked: no method tells which"
_PLACE = "a logger's log, its checkpoints and Trainer each read ~ and $VARIABLES in it differently; nothing sets it"
_WRITER = "asked for its experiment, a logger opens one, and a CSVLogger's removes the metrics that are there"
_PROFILE = "the profiler's public tables sum up: no peak is in them"

REQUIRED = {
    # Trainer
    "pytorch_lightning.Trainer().fast_dev_run": _OPTION,
    "pytorch_lightning.Trainer().overfit_batches": _OPTION,
    "pytorch_lightning.Trainer().log_every_n_steps": _OPTION,
    "pytorch_lightning.Trainer().enable_autolog_hparams": _OPTION,
    "pytorch_lightning.Trainer()._accelerator_connector.is_distributed": "world_size is 1 for one process of DDP too",
    "pytorch_lightning.Trainer()._accelerator_connector.use_distributed_sampler": "Trainer keeps it nowhere else",
    "pytorch_lightning.Trainer().fit_loop._can_stop_early": f"should_stop waits for min_epochs and min_steps; {_LOOPS}",
    "pytorch_lightning.Trainer().fit_loop.epoch_loop.batch_idx": f"which batch was an epoch's last: {_LOOPS}",
    "pytorch_lightning.Trainer().fit_loop.epoch_loop.batch_progress.is_last_batch": f"the same of a stream: {_LOOPS}",
    "pytorch_lightning.Trainer().fit_loop.epoch_loop.max_steps": "Trainer.max_steps can't be set",
    "pytorch_lightning.Trainer().fit_loop.epoch_loop.batch_progress.current.ready": f"batches begun: {_LOOPS}",
    "pytorch_lightning.Trainer().fit_loop.epoch_progress.current.ready": f"epochs begun: {_LOOPS}",
    "pytorch_lightning.Trainer().fit_loop.epoch_progress.current.processed": f"epochs finished: {_LOOPS}",
    "pytorch_lightning.Trainer().fit_loop.epoch_loop.batch_progress.current.processed": f"batches trained on: {_LOOPS}",
    "pytorch_lightning.Trainer().fit_loop.epoch_loop.batch_progress.current.completed": f"batches finished: {_LOOPS}",
    "pytorch_lightning.Trainer().fit_loop.epoch_loop.restarting": _RESTART,
    "pytorch_lightning.Trainer().fit_loop.epoch_loop._should_check_val_fx": f"whether validation follows: {_LOOPS}",
    "pytorch_lightning.Trainer().fit_loop.epoch_loop._batches_that_stepped": f"the step under which it logs: {_LOOPS}",
    "pytorch_lightning.Trainer().fit_loop.epoch_loop.val_loop.setup_data": f"whether there is a validation: {_LOOPS}",
    "pytorch_lightning.Trainer().fit_loop.epoch_loop.val_loop.skip": f"whether there is a validation: {_LOOPS}",
    "pytorch_lightning.Trainer().fit_loop.epoch_loop.val_loop.restarting": _RESTART,
    "pytorch_lightning.Trainer().fit_loop.epoch_loop.val_loop._restart_stage": _RESTART,
    "pytorch_lightning.Trainer().fit_loop.epoch_loop.val_loop._has_run": _RESTART,
    "pytorch_lightning.Trainer().fit_loop._data_fetcher": f"whether validation follows: {_LOOPS}",
    "pytorch_lightning.loops.evaluation_loop.RestartStage.RESTARTED_MID_EVALUATION": _RESTART,
    "pytorch_lightning.Trainer().fit_loop.epoch_loop.manual_optimization.optim_step_progress.increment_ready": _COUNT,
    "pytorch_lightning.Trainer().fit_loop.epoch_loop.manual_optimization.optim_step_progress.increment_completed": (
        _COUNT
    ),
    "pytorch_lightning.Trainer()._logger_connector._callback_metrics": "Trainer.callback_metrics can't be restored",
    "pytorch_lightning.strategies.launchers._MultiProcessingLauncher": "what spawn, fork and notebooks have in common",
    # ModelCheckpoint
    "pytorch_lightning.callbacks.ModelCheckpoint._save_checkpoint": "overridden: no hook runs right before a file is"
    " written, when the one before must be kept",
    "pytorch_lightning.callbacks.ModelCheckpoint._should_remove_checkpoint": "overridden: no option lets the file be"
    " removed that training resumed from",
    "pytorch_lightning.callbacks.ModelCheckpoint._should_skip_saving_checkpoint": _SAVE,
    "pytorch_lightning.callbacks.ModelCheckpoint._save_topk_checkpoint": _SAVE,
    "pytorch_lightning.callbacks.ModelCheckpoint._monitor_candidates": _SAVE,
    "pytorch_lightning.callbacks.ModelCheckpoint().best_k_models": _BEST,
    "pytorch_lightning.callbacks.ModelCheckpoint().best_model_path": _BEST,
    "pytorch_lightning.callbacks.ModelCheckpoint().best_model_score": _BEST,
    "pytorch_lightning.callbacks.ModelCheckpoint().kth_best_model_path": _BEST,
    "pytorch_lightning.callbacks.ModelCheckpoint().kth_value": _BEST,
    "pytorch_lightning.callbacks.ModelCheckpoint().last_model_path": _BEST,
    "pytorch_lightning.callbacks.ModelCheckpoint().current_score": "saved, but not loaded again",
    # LightningCLI
    "pytorch_lightning.cli.LightningCLI._parse_ckpt_path": "overridden: no option keeps the checkpoint's"
    " hyperparameters from overriding the command line's",
    "pytorch_lightning.cli.LightningCLI._run_subcommand": "overridden: no option parses without running",
    "pytorch_lightning.cli.LightningCLI._set_seed": "overridden: the same",
    "pytorch_lightning.cli.LightningCLI._dump_config": "overridden: it checks all options again",
    "pytorch_lightning.cli.LightningCLI._prepare_subcommand_parser": "overridden: add_arguments_to_parser is not told"
    " of which command the parser is",
    # loggers
    "pytorch_lightning.loggers.TensorBoardLogger()._version": _VERSION,  # CSVLogger has it too
    "pytorch_lightning.loggers.TensorBoardLogger()._name": _PLACE,  # CSVLogger has both too
    "pytorch_lightning.loggers.TensorBoardLogger()._root_dir": _PLACE,
    "pytorch_lightning.loggers.CSVLogger()._save_dir": _PLACE,
    "pytorch_lightning.loggers.csv_logs.ExperimentWriter._check_log_dir_exists": _WRITER,
    # TensorBoard
    "lightning_fabric.loggers.logger._DummyExperiment": "the one writer that takes every call and writes nothing",
    "lightning_fabric.utilities.logger._flatten_dict": _HPARAMS,
    "lightning_fabric.utilities.logger._sanitize_params": _HPARAMS,
    "pytorch_lightning.loggers.TensorBoardLogger()._experiment": _WRITER,
    "torch.utils.tensorboard.summary.hparams": _HPARAMS,
    "torch.utils.tensorboard.SummaryWriter._get_file_writer": _HPARAMS,
    # torch
    "torch.Tensor._version": "nothing public tells whether a tensor was changed in place",
    "torch.utils._python_dispatch.TorchDispatchMode": "torch's manual names the class, but there is no public module",
    "torch.autograd.profiler.profile().kineto_results": _PROFILE,
    "torch.autograd._ProfilerResult.events": _PROFILE,
    "torch.autograd._KinetoEvent.name": _PROFILE,
    "torch.autograd._KinetoEvent.nbytes": _PROFILE,
    "torch.autograd._KinetoEvent.start_ns": _PROFILE,
}
"""Each name and why there is no public way; ``()`` stands for an instance, whose attributes follow."""

SCHEDULER_BOOKS = frozenset({"last_epoch", "_step_count", "_last_lr", "_get_lr_called_within_step", "_is_initial"})
"""What a scheduler's state counts for itself: torch doesn't tell it apart from options of the user's."""

SCHEDULERS_WITHIN = "_schedulers"
"""Key of a scheduler's state that holds those of the schedulers which it is made of: there is no other way to them."""


# -------------------------------------------------------------------------------------------------------------- Trainer


def trainer_option(trainer: Trainer, name: str) -> Any:
    """Returns an option that a Trainer was built with and that :data:`REQUIRED` names, such as ``fast_dev_run``."""
    return getattr(trainer, name)


def replaces_samplers(trainer: Trainer) -> bool:
    """Returns whether a Trainer deals the samples out to several processes itself."""
    connector = trainer._accelerator_connector
    return bool(connector.is_distributed and connector.use_distributed_sampler)


def starts_processes_within(trainer: Trainer) -> bool:
    """Returns whether a Trainer's strategy starts its processes from within this one (spawn, fork, notebook)."""
    return isinstance(trainer.strategy.launcher, launchers._MultiProcessingLauncher)


def stops_early(trainer: Trainer) -> bool:
    """Returns whether training ends after this step because it should stop, and not only after ``min_epochs``.

    Trainer counts an epoch that training leaves as finished, also where it leaves for another reason: that one is none
    of ``min_epochs``.
    """
    if not trainer.should_stop or not trainer.fit_loop._can_stop_early:
        return False
    begun, finished, _ = progress(trainer)
    left = begun == finished and batches_left(trainer)
    return not left or finished > (trainer.min_epochs or 0)


def batch_in_epoch(trainer: Trainer) -> int:
    """Returns the position in its epoch, from 0, of the last batch trained on."""
    return trainer.fit_loop.epoch_loop.batch_idx


def batches_left(trainer: Trainer) -> bool:
    """Returns whether the last batch trained on is not the last one of its epoch.

    Data of unknown length say so themselves, of the batch that is on.
    """
    if trainer.num_training_batches == float("inf"):
        return not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
    return batch_in_epoch(trainer) + 1 < trainer.num_training_batches


def within_epoch(trainer: Trainer) -> bool:
    """Returns whether an epoch is on of which batches are left: one that training leaves counts as finished."""
    begun, finished, _ = progress(trainer)
    return begun > finished and batches_left(trainer)


def ends_here(trainer: Trainer) -> bool:
    """Returns whether training goes no further than the last batch, or than the epoch that just ended."""
    return trainer.global_step == trainer.max_steps or stops_early(trainer) or enough_epochs(trainer)


def enough_epochs(trainer: Trainer) -> bool:
    """Returns whether the epochs are finished that were asked for; one that training leaves counts as finished."""
    epochs = trainer.max_epochs
    return epochs not in (None, -1) and progress(trainer).epochs_finished >= epochs and not batches_left(trainer)


def validation_follows(trainer: Trainer) -> bool:
    """Returns whether a validation comes right after the batch whose hooks run."""
    loop = trainer.fit_loop.epoch_loop
    if not loop._should_check_val_fx(cast(Any, trainer.fit_loop._data_fetcher)):
        return False
    if trainer.val_dataloaders is None:  # as Trainer itself does it where training starts
        trainer.validating = True
        loop.val_loop.setup_data()
        trainer.training = True
    return not loop.val_loop.skip


def what_follows(trainer: Trainer, checkpoint: dict[str, Any]) -> str:
    """Returns what comes right after a checkpoint that is being written: ``validation``, ``epoch_end`` or nothing.

    A checkpoint that a hook at a batch's end writes counts the batch as unfinished, and Trainer would go on with the
    next one. Where something follows, the batch is counted as finished, for :func:`go_on_with` to take it from there.
    """
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    if batches.processed == batches.completed or not trainer.training:
        return ""
    follows = "validation" if validation_follows(trainer) else "" if within_epoch(trainer) else "epoch_end"
    if follows:
        saved = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counts in (saved["total"], saved["current"]):
            counts["completed"] = counts["processed"]
    return follows


def go_on_with(trainer: Trainer, follows: str) -> None:
    """Lets training that resumes start with what followed on the checkpoint (:func:`what_follows`)."""
    loop = trainer.fit_loop.epoch_loop
    if follows == "validation":
        loop.val_loop._restart_stage = evaluation_loop.RestartStage.RESTARTED_MID_EVALUATION
        loop.val_loop.restarting = False  # from its first batch
    elif follows == "epoch_end":
        loop.val_loop._has_run = True  # there is none
        loop._batches_that_stepped += 1


def end_restart(trainer: Trainer) -> None:
    """Lets the next epoch start as any other, after one of which only the end was left."""
    trainer.fit_loop.epoch_loop.restarting = False


def count_as_ended(trainer: Trainer) -> None:
    """Lets Trainer count steps and epochs at the end as where it has trained, if nothing was left to train.

    What is logged after training stands at the last step and epoch.
    """
    trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
    epochs: Any = trainer.fit_loop.epoch_progress.current
    epochs.processed = epochs.completed = epochs.ready


def stand_at(trainer: Trainer, step: int, epoch: int) -> tuple[int, int]:
    """Lets what an evaluation logs stand at a step and after so many epochs, and returns those before."""
    loop = trainer.fit_loop.epoch_loop
    epochs: Any = trainer.fit_loop.epoch_progress.current
    before = loop._batches_that_stepped, epochs.completed  # the latter is Trainer's current_epoch
    loop._batches_that_stepped, epochs.completed = step, epoch
    return before


def restore_metrics(trainer: Trainer, metrics: dict[str, Any]) -> None:
    """Gives the metrics back that callbacks and schedulers monitor."""
    trainer._logger_connector._callback_metrics.update(metrics)


def count_batch(trainer: Trainer) -> None:
    """Counts a training step (``Trainer.global_step``), of however many steps of an optimizer it is made."""
    steps = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    steps.increment_ready()
    steps.increment_completed()


def set_max_steps(trainer: Trainer, steps: int) -> None:
    """Changes after how many steps training ends; −1: never."""
    trainer.fit_loop.epoch_loop.max_steps = steps


class Progress(NamedTuple):
    """How far training is; within an epoch one more has begun than is finished."""

    epochs_begun: int
    epochs_finished: int
    batches_begun: int
    """Of the epoch that is on, or was last."""


def progress(trainer: Trainer) -> Progress:
    """Returns how far training is."""
    epochs: Any = trainer.fit_loop.epoch_progress.current
    return Progress(epochs.ready, epochs.processed, trainer.fit_loop.epoch_loop.batch_progress.current.ready)


# ---------------------------------------------------------------------------------------------------------- checkpoints


def save_now(callback: ModelCheckpoint, trainer: Trainer) -> None:
    """Lets a ModelCheckpoint save where its own triggers would not, unless it has at this step."""
    if not callback._should_skip_saving_checkpoint(trainer):
        callback._save_topk_checkpoint(trainer, callback._monitor_candidates(trainer))


def forget_best(callback: ModelCheckpoint) -> None:
    """Lets a ModelCheckpoint forget its best checkpoint, as if none had been written."""
    callback.best_k_models, callback.kth_best_model_path, callback.best_model_path = {}, "", ""
    callback.best_model_score = callback.kth_value = None  # type: ignore[assignment]


def moved_files(state: dict[str, Any], folder: str, moved: Callable[[str], str]) -> dict[str, Any]:
    """Returns a ModelCheckpoint's saved state with its files where they lie now.

    Args:
        state: the saved state.
        folder: the callback's folder now.
        moved: returns a file's path now from its path then; paths may be empty.
    """
    paths = {name: moved(state[name]) for name in ("best_model_path", "last_model_path", "kth_best_model_path")}
    models = {moved(path): score for path, score in state["best_k_models"].items()}
    return {**state, **paths, "dirpath": folder, "best_k_models": models}


# -------------------------------------------------------------------------------------------------------------- loggers

FileLogger = TensorBoardLogger | CSVLogger
"""Loggers that have a folder of their own for each run."""


def chooses_version(logger: FileLogger) -> bool:
    """Returns whether a logger was given no version, and has not chosen the next free one yet."""
    return logger._version is None


def set_version(logger: FileLogger, version: int | str | None) -> None:
    """Changes a logger's version; None: it chooses the next free one when it is asked."""
    logger._version = version


def write_place_out(logger: FileLogger, in_full: Callable[[str], str]) -> None:
    """Changes what says where a logger's runs lie.

    Args:
        logger: the logger.
        in_full: returns a path as all are to read it.
    """
    for part in ("_root_dir", "_save_dir", "_name", "_version"):  # TensorBoardLogger has no _save_dir
        if isinstance(place := getattr(logger, part, None), str):
            setattr(logger, part, in_full(place))


def keep_silent(logger: FileLogger) -> None:
    """Lets a logger open nothing and write nothing, until it may :func:`speak`."""
    logger._experiment = silent_writer()


def speak(logger: FileLogger) -> None:
    """Lets a silent logger open its folder when it is next asked for its experiment."""
    logger._experiment = None


def silenced(logger: FileLogger) -> Callable[[], None]:
    """Lets a logger write nothing, and returns what lets it write on where it was."""
    before = logger._experiment
    keep_silent(logger)

    def go_on_writing() -> None:
        logger._experiment = before

    return go_on_writing


class _GoingOn(ExperimentWriter):
    """A CSVLogger's writer that keeps the rows that are there."""

    def _check_log_dir_exists(self) -> None:
        """Removes nothing."""


def go_on(logger: CSVLogger, columns: list[str]) -> None:
    """Opens a CSVLogger's folder without removing the metrics that are there.

    Args:
        logger: the logger.
        columns: of the file of metrics, if there is one.
    """
    writer = _GoingOn(log_dir=logger.log_dir)
    writer.metrics_keys = columns
    logger._experiment = writer


# ---------------------------------------------------------------------------------------------------------- TensorBoard


def silent_writer() -> Any:
    """Returns a TensorBoard writer that writes nothing."""
    return fabric_loggers._DummyExperiment()


def has_writer(logger: TensorBoardLogger) -> bool:
    """Returns whether a logger has opened its folder."""
    return logger._experiment is not None


def drop_events(writer: "SummaryWriter", step: int) -> None:
    """Lets TensorBoard drop what was logged from a step on: what comes now takes its place.

    That is what SummaryWriter's ``purge_step`` does, which has to be known before the writer is opened.
    """
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # only here: importing TensorBoard takes a while

    start = SessionLog(status=SessionLog.START)
    cast(Any, writer)._get_file_writer().add_event(Event(step=step, session_log=start))


def write_hyperparameters(
    writer: "SummaryWriter", values: dict[str, Any] | Namespace, metrics: dict[str, float]
) -> None:
    """Writes hyperparameters, and the names of the scalars that the HParams tab shows beside them.

    Args:
        writer: TensorBoard's.
        values: the hyperparameters, which may be nested.
        metrics: a first value by the scalar's name.
    """
    from torch.utils.tensorboard import summary  # only here: importing TensorBoard takes a while

    plain = vars(values) if isinstance(values, Namespace) else values
    flat = hyperparameters._sanitize_params(hyperparameters._flatten_dict(plain))
    for part in cast(Any, summary).hparams(flat, metrics):
        cast(Any, writer)._get_file_writer().add_summary(part)


# ---------------------------------------------------------------------------------------------------------------- torch


def times_changed(tensor: Tensor) -> int:
    """Returns how often a tensor was changed in place; one of ``torch.inference_mode`` has no such number."""
    return tensor._version


def memory_changes(profiler: Any) -> list[int]:
    """Returns by how many bytes the memory in use changed under a profiler (``profile_memory=True``), each time."""
    events = profiler.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return [int(change) for _, change in changes]
