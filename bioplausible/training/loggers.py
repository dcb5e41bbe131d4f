"""TensorBoard, one folder a run; and where a run of any logger lies."""

import pkgutil
from argparse import Namespace
from pathlib import Path
from typing import Any, cast

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.loggers.logger import DummyLogger
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.tensorboard import SummaryWriter

from bioplausible.lightning_internals import FileLogger, has_writer, silent_writer, write_hyperparameters
from bioplausible.training.named_runs import LOG_FOLDER, in_full


class RunLogger(TensorBoardLogger):
    """TensorBoardLogger whose HParams tab shows the final accuracies.

    Args:
        save_dir: folder of all runs; None: ``lightning_logs``, which the command line puts into ``default_root_dir``.
        name: folder of this kind of run below it; None: ``<data set>/<rule>``, set by the command line.
        version: folder of this run below that; None: the next free ``version_N``.
        purge_step: when a run resumes, TensorBoard drops what it had logged from this step on.
    """

    def __init__(
        self,
        save_dir: str | None = None,
        name: str | None = None,
        version: int | str | None = None,
        purge_step: int | None = None,
    ) -> None:
        super().__init__(in_full(save_dir or LOG_FOLDER), name, version, default_hp_metric=False, purge_step=purge_step)
        self.lost = False
        """Whether the run's folder disappeared."""

    @property
    def experiment(self) -> SummaryWriter:
        """TensorBoard's writer; where the run's folder disappeared, one that writes nothing, for training to go on."""
        self.lost = self.lost or (has_writer(self) and not Path(self.log_dir).is_dir())
        return cast(SummaryWriter, silent_writer() if self.lost else super().experiment)

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, metrics: dict[str, Any] | None = None, step: int | None = None
    ) -> None:
        """Writes the hyperparameters, with the names of the scalars that the HParams tab shows beside them."""
        super().log_hyperparams(params)
        shown = dict.fromkeys(metrics or ("val/accuracy", "test/accuracy"), 0.0)
        write_hyperparameters(self.experiment, self.hparams, shown)


def is_file_logger(cls: Any) -> bool:
    """Returns whether loggers of a class have a folder of their own for each run.

    Args:
        cls: the class, or the path by which it is imported.
    """
    if isinstance(cls, str):
        try:
            cls = pkgutil.resolve_name(cls)
        except Exception:  # whatever the user's module raises
            return False
    return isinstance(cls, type) and issubclass(cls, FileLogger)


def folder_of_run(trainer: Trainer) -> Path | None:
    """Returns the folder where a run leaves its configuration, figures and checkpoints; None without a logger.

    A logger that has no folder of its own for each run, as W&B's or MLflow's, gets the one in which Lightning puts the
    checkpoints: ``save_dir/name/version``. All processes must call it.
    """
    logger = trainer.logger
    if logger is None or isinstance(logger, DummyLogger):  # the latter is fast_dev_run's
        return None
    if isinstance(logger, FileLogger):
        folder = logger.log_dir
    else:
        version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
        folder = str(Path(logger.save_dir or trainer.default_root_dir, str(logger.name), version))
    return Path(trainer.strategy.broadcast(folder))
