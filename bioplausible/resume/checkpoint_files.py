"""Writing, finding and reading checkpoints."""

import hashlib
import io
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
import yaml
from pytorch_lightning.plugins.io import TorchCheckpointIO

from bioplausible.errors import UserError
from bioplausible.resume.from_python import configuration_from_python, untold_callables

CHECKSUM = "checksum"
"""Key in a checkpoint that says that its file ends in :data:`MARK` and the SHA-256 digest of all before."""
RUN_CONFIG = "run_config"
"""Key in a checkpoint of the command line's configuration of its run, as YAML text."""
LOGGER_VERSIONS = "logger_versions"
"""Key in a checkpoint of its run's loggers' versions, in their order."""
MARK = b"\nsha256 "
ASIDE = ".aside"
"""End of the name, which starts with a dot, of a file that is not whole yet."""
END_OF_ZIP = b"PK\x05\x06"
CLOCKS_DIFFER = 60
"""Seconds by which the clock of a shared disk may be ahead."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes each checkpoint aside, with a checksum, and renames it when it is on disk.

    A kill leaves the previous one whole, and a damaged one is refused. The file is one that ``torch.load`` reads too.

    Args:
        ahead: a checkpoint that was read already, for the first load.
    """

    def __init__(self, ahead: "ReadAhead | None" = None) -> None:
        self._ahead = ahead

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
            aside = path.with_name(f".{path.name}{ASIDE}")  # what a kill leaves of it, the next one overwrites
            try:
                with aside.open("wb") as file:
                    hashed = _Hashed(file)
                    torch.save({**checkpoint, CHECKSUM: "sha256"}, hashed)  # type: ignore[arg-type]
                    file.write(MARK + hashed.digest())
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

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Returns a checkpoint's content (:func:`read_checkpoint`)."""
        content = None if self._ahead is None else self._ahead.hand_over(path)
        return read_checkpoint(path) if content is None else content


class _Hashed:
    """A file that is hashed as it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def digest(self) -> bytes:
        return self._hash.digest()


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Returns a checkpoint's content; nothing in it is executed.

    Raises:
        UserError: there is no such file, it may not be read, or it is no (whole) checkpoint; then the newest whole one
            beside it is named.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise UserError(f"There is no checkpoint {path}: name an existing file, or use --ckpt_path last.")
        checkpoint = _read(path)
    except UserError:
        raise
    except PermissionError as error:
        raise UserError(f"The checkpoint {path} may not be read: change its permissions, or name another.") from error
    except Exception as error:  # zip, pickle and torch each raise their own
        others = sorted(path.parent.glob("*.ckpt"), key=lambda p: p.stat().st_mtime_ns, reverse=True)
        whole = next((other for other in others if other != path and whole_checkpoint(other) is not None), None)
        cure = "there is no other beside it, so train anew" if whole is None else f"use --ckpt_path {whole}"
        raise UserError(
            f"{path} is no readable checkpoint (damaged, or not written by this program): {cure}."
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise UserError(f"{path} holds no training state: name a checkpoint that `fit` wrote.")
    return checkpoint


class ReadAhead:
    """A checkpoint that is read before the Trainer asks for it, so that a command reads and hashes its file once.

    Args:
        path: the file.

    Attributes:
        path: the file.
        config: the configuration of the run that wrote it.
        from_python: whether that run was made from Python: the configuration is what its hyperparameters say.
        untold: optimizer and schedule of such a run, by their classes, whose options the checkpoint does not say.
        versions: its loggers' versions, in their order; empty where it holds none.
        global_step: training steps taken.
        epochs_begun: training epochs begun.

    Raises:
        UserError: as :func:`read_checkpoint` does.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._state = _file_state(path)  # before the file is read: one that is replaced meanwhile counts as changed
        content = read_checkpoint(path)
        self.from_python = RUN_CONFIG not in content
        self.config: Mapping[str, Any] = (
            configuration_from_python(content) if self.from_python else yaml.safe_load(content[RUN_CONFIG])
        )
        self.untold = untold_callables(content) if self.from_python else {}
        self.versions: list[str] = content.get(LOGGER_VERSIONS, [])
        self.global_step: int | None = content.get("global_step")
        self.epochs_begun = epochs_begun(content)
        self._content: dict[str, Any] | None = content

    def hand_over(self, path: str | Path) -> dict[str, Any] | None:
        """Returns the content, once, and keeps it no longer: it may be large, and its new owner may change it.

        Args:
            path: the file that is asked for; where it is another one, or changed since it was read, None is returned.
        """
        content, self._content = self._content, None
        return content if _file_state(path) == self._state else None


def epochs_begun(checkpoint: Mapping[str, Any]) -> int:
    """Returns how many epochs of training had begun when a checkpoint was written; 0 where it holds weights alone."""
    loops = checkpoint.get("loops", {})
    return int(loops["fit_loop"]["epoch_progress"]["current"]["ready"]) if "fit_loop" in loops else 0


def epochs_finished(checkpoint: Mapping[str, Any]) -> int:
    """Returns how many epochs of training had ended when a checkpoint was written; 0 where it holds weights alone."""
    loops = checkpoint.get("loops", {})
    return int(loops["fit_loop"]["epoch_progress"]["current"]["processed"]) if "fit_loop" in loops else 0


def _file_state(path: str | Path) -> tuple[int, ...] | None:
    """Returns what tells a file from another one, and from itself after a change; None where there is none."""
    try:
        stat = Path(path).stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _read(path: Path) -> Any:
    data = path.read_bytes()
    mark = len(data) - len(MARK) - hashlib.sha256().digest_size
    marked = mark > 0 and data[mark:].startswith(MARK)
    if marked and hashlib.sha256(data[:mark]).digest() != data[mark + len(MARK) :]:
        raise ValueError("the checksum differs")
    if not marked and data[-22:-18] != END_OF_ZIP:
        raise ValueError("the end is missing")
    checkpoint = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    # Trainer without AtomicCheckpointIO writes none
    if not marked and isinstance(checkpoint, dict) and CHECKSUM in checkpoint:
        raise ValueError("the checksum is missing")
    return checkpoint


def whole_checkpoint(path: Path) -> dict[str, Any] | None:
    """Returns a checkpoint's content; None where there is no such file, or it can't be read."""
    try:
        content = _read(path)
    except Exception:  # as above
        return None
    return content if isinstance(content, dict) and "state_dict" in content else None


def newest_checkpoint(*folders: str | Path) -> Path:
    """Returns the checkpoint below some folders that was written last, one of the best only where there is no other.

    Nor does the one before the last count where the last is there: copied files have times in any order.
    An epoch's best checkpoint is written before its last one: after a kill in between, training that went on from the
    best one might have nothing left to train, and would leave the last one as it was.

    Raises:
        UserError: there is none, or the one of several runs whose time is the latest lies in the future: a clock that
            was wrong says nothing of the order.
    """
    found = [path for folder in folders for path in Path(folder).rglob("*.ckpt")]
    if not found:
        where = " or ".join(map(str, folders))
        raise UserError(f"There is no checkpoint below {where}: train first, or name one with --ckpt_path.")
    found = [path for path in found if not path.name.startswith("best")] or found
    last = {path.parent for path in found if path.name == "last.ckpt"}
    found = [path for path in found if path.name != "previous.ckpt" or path.parent not in last]
    newest = max(found, key=lambda p: (p.stat().st_mtime_ns, p.name == "last.ckpt"))
    ahead = newest.stat().st_mtime - time.time()
    if ahead > CLOCKS_DIFFER and any(path.parent != newest.parent for path in found):
        raise UserError(
            f"{newest} is dated {ahead:.0f} seconds ahead of this machine's clock, so which run is the newest can't be"
            " told: name the checkpoint of the one that you mean."
        )
    return newest


def run_folder(checkpoint: str | Path) -> Path | None:
    """Returns the folder of the run that wrote a checkpoint; None where the checkpoint was moved elsewhere."""
    folder = Path(checkpoint).parent
    is_run = folder.name == "checkpoints" and (folder.parent / "config.yaml").is_file()
    return folder.parent if is_run else None
