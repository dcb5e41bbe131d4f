"""Callbacks that every run has, beside those that the user gives."""

from collections.abc import Sequence
from pathlib import Path

from pytorch_lightning import Callback
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint, ProgressBar

from bioplausible.errors import UserError
from bioplausible.resume.checkpoint_callbacks import BestCheckpoint


def beside(given: Sequence[Callback], built_in: Sequence[Callback]) -> list[Callback]:
    """Returns the user's callbacks and those of the built-in ones that do what none of the user's does.

    A progress bar, a LearningRateMonitor and a checkpoint ``best.ckpt`` of the user's take the built-in one's place,
    and so does any other of the same class. ``last.ckpt`` stays the built-in one, for training resumes from it to the
    same bits: a ModelCheckpoint with ``save_last`` in the run's folder writes all but that.

    Raises:
        UserError: a ModelCheckpoint of the user's would write ``last.ckpt`` or ``previous.ckpt``.
    """
    for callback in given:
        if not _in_run_folder(callback):
            continue
        assert isinstance(callback, ModelCheckpoint)
        name = _file_name(callback)
        if name in ("last", "previous"):
            raise UserError(
                f"A ModelCheckpoint has the filename {name}, and {name}.ckpt is what every run resumes from: give it"
                " another filename, or a dirpath of its own."
            )
        callback.save_last = None
    return [*given, *(callback for callback in built_in if not any(_replaces(own, callback) for own in given))]


def _replaces(own: Callback, built_in: Callback) -> bool:
    if isinstance(built_in, BestCheckpoint) and _in_run_folder(own) and _file_name(own) == "best":
        return True
    kinds = [kind for kind in (ProgressBar, LearningRateMonitor) if isinstance(built_in, kind)]
    return isinstance(own, (type(built_in), *kinds))


def _in_run_folder(callback: Callback) -> bool:
    """Returns whether a callback writes checkpoints into the run's folder, as the built-in ones do."""
    return isinstance(callback, ModelCheckpoint) and callback.dirpath is None and not _is_built_in(callback)


def _is_built_in(callback: Callback) -> bool:
    return type(callback).__module__.startswith("bioplausible.")


def _file_name(callback: Callback) -> str:
    return Path(str(getattr(callback, "filename", None))).name
