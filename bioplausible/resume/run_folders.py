"""A run has its loggers' folders to itself: it takes them before anything is written, and goes on in them later."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from uuid import uuid4
from weakref import ReferenceType, WeakKeyDictionary, ref

import yaml
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn

from bioplausible.errors import UserError
from bioplausible.lightning_internals import (
    FileLogger,
    chooses_version,
    drop_events,
    keep_silent,
    set_version,
    silenced,
    speak,
    stand_at,
    trainer_option,
    write_place_out,
)
from bioplausible.resume.checkpoint_files import epochs_begun, epochs_finished
from bioplausible.resume.configured_rates import ConfiguredRates
from bioplausible.resume.run_files import (
    ENVIRONMENT,
    HPARAMS,
    METRICS,
    drop_rows,
    environments_before,
    holds,
    keep_rows,
    leave,
    note_resumed,
    occupied,
    read_yaml,
    require_readable,
    write_yaml,
)
from bioplausible.resume.training_data import TRAINING_DATA
from bioplausible.training.environment import environment
from bioplausible.training.hyperparameters import (
    OF_TRAINING,
    TEST_DIGEST,
    digests_of_training,
    hyperparameters,
    of_optimizer,
)
from bioplausible.training.loggers import folder_of_run
from bioplausible.training.monitored import searches
from bioplausible.training.named_runs import in_full

_users: "WeakKeyDictionary[Logger, ReferenceType[Trainer]]" = WeakKeyDictionary()
"""The Trainer that has a logger's folder."""


class RunFolders(Callback):
    """Gives a run folders of its own, and its loggers what it trains with.

    A run that starts takes its loggers' folders; of several that start at once only one gets a folder. One that resumes
    goes on in the folder of its checkpoint: what was logged from the checkpoint's step on is dropped, for it comes
    again, and hyperparameters that differ from those before are noted in ``resumed.yaml``. A run that fails before its
    first step leaves nothing.

    Lightning tells nobody which checkpoint it will resume from before the loggers open their folders. The command line
    knows and says so (:meth:`expect`); otherwise a logger whose folder holds a run writes nothing until it is known.

    Args:
        rates: knows how optimizer and schedule were configured.
    """

    def __init__(self, rates: ConfiguredRates) -> None:
        self._rates = rates
        self._configured: dict[str, Any] = {}
        self._without_effect: tuple[str, ...] = ()
        self._expected: tuple[str | Path | None] | None = None
        self._going_on: list[Logger] = []
        self._silent: list[FileLogger] = []
        self._taken: list[tuple[FileLogger, bool]] = []
        self._run: str | None = None
        self._step: int | None = None
        self._stood: tuple[int, int] | None = None
        self._trained = False
        self._content: str | None = None
        self._silenced: list[Callable[[], None]] = []

    def expect(self, checkpoint: str | Path | None, going_on: Sequence[Logger] = ()) -> None:
        """Says which checkpoint the run will read (None: none), and which loggers go on with its run."""
        self._expected, self._going_on = (checkpoint,), list(going_on)

    def take(self, trainer: Trainer) -> None:
        """Takes the loggers' folders, before these open them.

        Raises:
            UserError: one holds another run or a damaged note, or can't be written to.
        """
        self._silent, self._taken, self._step = [], [], None
        for logger in file_loggers(trainer):  # in each process, before any asks where the checkpoints go
            write_place_out(logger, in_full)
        if not trainer.is_global_zero:
            return
        fits, run = trainer.state.fn == TrainerFn.FITTING, _run_of(file_loggers(trainer)) or uuid4().hex
        said = {**environment(trainer.strategy.root_device), "run": run} if fits else None
        for logger in file_loggers(trainer):
            user = _users.get(logger)
            if user is not None and user() is trainer:
                continue  # it tests what it has trained, or trains on
            if self._beside(logger):
                keep_rows(logger)
            elif chooses_version(logger) or not occupied(Path(logger.log_dir)):
                self._take(logger, said)
            else:
                self._enter(logger, fits)
            _users[logger] = ref(trainer)
        self._run = run if fits else None

    def _beside(self, logger: FileLogger) -> bool:
        """Returns whether a logger has a folder that was just taken for another one of this run.

        One that has no version logs there, if that one writes other files.
        """
        if not chooses_version(logger):
            return Path(logger.log_dir) in [Path(other.log_dir) for other, _ in self._taken]
        for other, _ in self._taken:
            if isinstance(other, CSVLogger) != isinstance(logger, CSVLogger):
                set_version(logger, other.version)
                if Path(logger.log_dir) == Path(other.log_dir):
                    return True
                set_version(logger, None)
        return False

    def _take(self, logger: FileLogger, said: dict[str, Any] | None) -> None:
        """Takes a logger's folder for a run, of which this is said there; None: for an evaluation."""
        chosen = chooses_version(logger)
        while True:
            folder = Path(logger.log_dir)
            there = folder.is_dir()
            try:
                # of several that make a folder or this file at once, one succeeds
                folder.mkdir(parents=True, exist_ok=not chosen)
                if said is not None:
                    with (folder / ENVIRONMENT).open("x") as file:
                        yaml.safe_dump(said, file, sort_keys=False)
            except FileExistsError as error:
                if not chosen or not folder.is_dir():
                    raise UserError(_refusal(folder, None)) from error
                set_version(logger, None)
            except OSError as error:
                raise UserError(_unwritable(folder, error)) from error
            else:
                if said is not None:
                    self._taken.append((logger, not there))
                return keep_rows(logger)

    def _enter(self, logger: FileLogger, fits: bool) -> None:
        if self._expected is not None:
            _require_own(logger, *self._expected)
            if fits:
                require_readable(Path(logger.log_dir))
        elif fits:
            keep_silent(logger)
            self._silent.append(logger)
            return
        try:
            TemporaryFile(dir=logger.log_dir).close()
        except OSError as error:
            raise UserError(_unwritable(Path(logger.log_dir), error)) from error
        keep_rows(logger)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Notes the step at which training resumes; what an evaluation logs stands where the checkpoint does."""
        if trainer.state.fn == TrainerFn.FITTING:
            # a search ends where it began, by a checkpoint of its own; training that resumes has none
            self._step = None if searches(trainer) else checkpoint["global_step"]
            self._content = (checkpoint.get(TRAINING_DATA) or {}).get("content")
        else:
            # a validation where training logs its own, in the epoch of the last step; a test after all that was trained
            place = checkpoint["global_step"], epochs_finished(checkpoint)
            if trainer.state.fn == TrainerFn.VALIDATING:
                place = place[0] - 1, max(epochs_begun(checkpoint) - 1, 0)
            self._stood = stand_at(trainer, *place)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lets a Trainer that trained count on from where it was."""
        self._stand_back(trainer)
        for go_on_writing in self._silenced:
            go_on_writing()
        self._silenced = []

    def _stand_back(self, trainer: Trainer) -> None:
        if self._stood is not None:
            stand_at(trainer, *self._stood)
            self._stood = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks that the run may write where it will, and hands the loggers its hyperparameters.

        Raises:
            UserError: a folder holds another run, or a damaged note.
        """
        for logger in self._silent:
            _require_own(logger, trainer.ckpt_path)
            require_readable(Path(logger.log_dir))
            speak(logger)
            keep_rows(logger)
        self._silent = []
        if not trainer_option(trainer, "fast_dev_run"):
            _require_own_checkpoints(trainer)
        self._configured = of_optimizer(trainer, self._rates.groups)
        self._without_effect = ("lr_scheduler",) if self._rates.schedule_is_of_average else ()
        if trainer_option(trainer, "enable_autolog_hparams"):
            values = hyperparameters(trainer, pl_module, self._configured)
            for each in trainer.loggers:
                if not _has_hyperparameters(each, self._going_on):
                    each.log_hyperparams(values)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drops what was logged from the checkpoint's step on, and notes what the run goes on with."""
        self._note_images(trainer)
        self._go_on(trainer, pl_module, trains=True)
        self._name(trainer)
        self._trained = True

    def _note_images(self, trainer: Trainer) -> None:
        """Notes in the folders that the run has taken what tells its images from others of the same name."""
        found = digests_of_training(getattr(trainer, "datamodule", None))
        for logger, _ in self._taken if found and trainer.is_global_zero else ():
            path = Path(logger.log_dir, ENVIRONMENT)
            write_yaml(path, {**read_yaml(path, {}), **found})

    def _name(self, trainer: Trainer) -> None:
        """Names the run in its own folder where that is no logger's, so that it is known for the run logged elsewhere.

        It is where a logger such as W&B's, which has no such folder, comes first.
        """
        folder = folder_of_run(trainer)
        if self._run is None or folder is None or not trainer.is_global_zero:
            return
        logs = [str(logger.log_dir) for logger in file_loggers(trainer)]
        if not any(Path(log) == folder for log in logs):
            folder.mkdir(parents=True, exist_ok=True)
            others = [type(logger).__name__ for logger in trainer.loggers if not isinstance(logger, FileLogger)]
            content = {**environment(trainer.strategy.root_device), "run": self._run, "loggers": others, "logs": logs}
            content |= digests_of_training(getattr(trainer, "datamodule", None))
            (folder / ENVIRONMENT).write_text(yaml.safe_dump(content, sort_keys=False))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Does so where nothing was left to train."""
        self._go_on(trainer, pl_module, trains=False)
        self._trained = True

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes which test images a run is scored on, where they may be others another time.

        What a later test on other ones comes to is not logged: it would count for the run.
        """
        data: Any = getattr(trainer, "datamodule", None)
        scores = getattr(data, "scores", None)
        digest = data.test_content if scores is not None and scores(trainer.test_dataloaders) else None
        scored, self._trained = self._trained, False  # by what trained it, and by none before
        for path in self._noted_in(trainer):
            noted = read_yaml(path, {})
            before = noted.get(TEST_DIGEST)
            if not scored and before not in (None, digest):
                rank_zero_warn(
                    f"This is not counted: the test images are not those on which the run in {path.parent} was scored,"
                    " so its log and its result stay as they are."
                )
                self._silenced = [silenced(logger) for logger in file_loggers(trainer)]
                return
            knows = not OF_TRAINING.keys().isdisjoint(noted)  # a run of an earlier version does not
            if trainer.is_global_zero and before != digest and (knows or before is not None):
                rest = {name: value for name, value in noted.items() if name != TEST_DIGEST}
                write_yaml(path, {**rest, **({} if digest is None else {TEST_DIGEST: digest})})

    def _noted_in(self, trainer: Trainer) -> list[Path]:
        """Returns the files in a run's folders, its loggers' and its own, that say what it ran in."""
        folder = folder_of_run(trainer)
        folders = dict.fromkeys(
            [*(Path(logger.log_dir) for logger in file_loggers(trainer)), *([folder] if folder else [])]
        )
        return [path for path in (each / ENVIRONMENT for each in folders) if path.is_file()]

    def _go_on(self, trainer: Trainer, pl_module: LightningModule, trains: bool) -> None:
        fresh, step = [logger for logger, _ in self._taken], self._step
        # before anything is dropped: a note of it may be damaged
        before = environments_before(str(trainer.ckpt_path), step) if fresh and step is not None else []
        self._taken, self._step = [], None
        if step is None or not trainer.is_global_zero:
            return
        values = hyperparameters(trainer, pl_module, self._configured)
        ran_in = environment(trainer.strategy.root_device) if trains else None
        for logger in file_loggers(trainer):
            if isinstance(logger, TensorBoardLogger):
                drop_events(logger.experiment, step)
            else:
                drop_rows(Path(logger.log_dir, METRICS), step)
            elsewhere = str(trainer.ckpt_path) if logger in fresh else None
            note_resumed(
                Path(logger.log_dir), step, values, elsewhere, self._without_effect, self._content, ran_in, before
            )

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves the folders that were taken, where training has not begun; after an exception there is no teardown."""
        self.teardown(trainer, pl_module, "")
        for logger in self._silent:
            speak(logger)
        for logger, made in self._taken:
            logger.finalize("failed")
            speak(logger)
            leave(Path(logger.log_dir), made)
            _users.pop(logger, None)
        self._silent, self._taken = [], []


def _run_of(loggers: Iterable[FileLogger]) -> str | None:
    """Returns the name of the run with which loggers go on; None where none does, or it has no name."""
    for logger in loggers:
        if not chooses_version(logger):
            name: str | None = read_yaml(Path(logger.log_dir, ENVIRONMENT), {}).get("run")
            if name is not None:
                return name
    return None


def file_loggers(trainer: Trainer) -> Iterator[FileLogger]:
    """Yields the loggers that have a folder of their own for each run."""
    for logger in trainer.loggers:
        if isinstance(logger, FileLogger):
            yield logger


def _refusal(folder: Path, checkpoint: str | Path | None) -> str:
    which = "a run already" if checkpoint is None else f"another run than the one of {checkpoint}"
    return (
        f"{folder} holds {which}: choose another version for the logger or leave it out for the next free one, or go on"
        " with the run that is there by ckpt_path."
    )


def _unwritable(folder: Path, error: OSError) -> str:
    return (
        f"The log folder {folder} can't be written to ({error.strerror}): choose another with the logger's save_dir"
        " (--trainer.logger.init_args.save_dir)."
    )


def _require_own(logger: FileLogger, checkpoint: str | Path | None) -> None:
    folder = Path(logger.log_dir)
    if not holds(folder, checkpoint):
        raise UserError(_refusal(folder, checkpoint))


def _require_own_checkpoints(trainer: Trainer) -> None:
    """Raises UserError where checkpoints of fixed names would take the place of another run's."""
    for callback in trainer.checkpoint_callbacks:
        folder = Path(str(getattr(callback, "dirpath", None)))
        fixed = getattr(callback, "overwrites", False)
        if fixed and next(folder.glob("*.ckpt"), None) is not None and not holds(folder, trainer.ckpt_path):
            raise UserError(
                f"{folder} holds another run's checkpoints, which this one would overwrite: move them, or choose"
                " another folder with the logger's version or, without a logger, with the Trainer's default_root_dir."
            )


def _has_hyperparameters(logger: Logger, going_on: Sequence[Logger]) -> bool:
    """Returns whether a logger keeps the hyperparameters that its run started with; MLflow lets none be changed."""
    if isinstance(logger, FileLogger):
        return isinstance(logger, CSVLogger) and Path(logger.log_dir, HPARAMS).is_file()
    return logger in going_on
