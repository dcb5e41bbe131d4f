"""Writing, finding and reading checkpoints."""

import os
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from bioplausible.errors import UserError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes each checkpoint aside and renames it when it is on disk: a kill leaves the previous one whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Saves a checkpoint.

        Args:
            checkpoint: tensors and plain values.
            path: where to.
            storage_options: not supported, as in the base class.

        Raises:
            UserError: the folder can't be written to; what was there before stays.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_name(f".{path.name}.{os.getpid()}")
            try:
                with aside.open("wb") as file:
                    torch.save(checkpoint, file)
                    file.flush()
                    os.fsync(file.fileno())
                aside.replace(path)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            raise UserError(
                f"The checkpoint {path} could not be written ({error}); make room or choose another folder with"
                " --trainer.logger.init_args.save_dir, then resume from the previous checkpoint."
            ) from error


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Returns a checkpoint's content; nothing in it is executed.

    Raises:
        UserError: there is no such file, or it is no (whole) checkpoint.
    """
    if not Path(path).is_file():
        raise UserError(f"There is no checkpoint {path}: name an existing file, or use --ckpt_path last.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch each raise their own
        raise UserError(
            f"{path} is no readable checkpoint (truncated, or not written by this program): use another one,"
            " for example best.ckpt or last.ckpt beside it."
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise UserError(f"{path} holds no training state: name a checkpoint that `fit` wrote.")
    return checkpoint


def newest_checkpoint(folder: str | Path) -> Path:
    """Returns the checkpoint below a folder that was written last.

    Raises:
        UserError: there is none.
    """
    found = list(Path(folder).rglob("*.ckpt"))
    if not found:
        raise UserError(f"There is no checkpoint below {folder}: train first, or name one with --ckpt_path.")
    return max(found, key=lambda p: (p.stat().st_mtime_ns, p.name == "last.ckpt"))


def run_folder(checkpoint: str | Path) -> Path | None:
    """Returns the folder of the run that wrote a checkpoint; None where the checkpoint was moved elsewhere."""
    folder = Path(checkpoint).parent
    is_run = folder.name == "checkpoints" and (folder.parent / "config.yaml").is_file()
    return folder.parent if is_run else None
