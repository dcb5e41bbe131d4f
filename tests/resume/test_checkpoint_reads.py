"""How often checkpoints are read: the one that a command names once, and never one that is no longer there."""

import gc
import weakref
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback

from bioplausible import UserError
from bioplausible.commands import command_line
from bioplausible.resume import checkpoint_files
from bioplausible.resume.checkpoint_files import AtomicCheckpointIO, ReadAhead
from tests.helpers import FEW, RUN

LAST, BEST = RUN / "checkpoints/last.ckpt", RUN / "checkpoints/best.ckpt"


@pytest.fixture
def reads(monkeypatch):
    """The files that were read and hashed, in order."""
    files: list[Path] = []
    read = checkpoint_files._read

    def counted(path):
        files.append(path)
        return read(path)

    monkeypatch.setattr(checkpoint_files, "_read", counted)
    return files


class ReadsUntilTraining(Callback):
    """Notes what was read before the first batch: later, last.ckpt is read before it is replaced."""

    def __init__(self, reads: list[Path]) -> None:
        self.reads, self.before = reads, None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.before = self.before or list(self.reads)


def train(reads, *args: str) -> list[Path]:
    noted = ReadsUntilTraining(reads)
    assert command_line.run(["fit", *args, *FEW, "--data.init_args.validation_split", "0.1"], [noted]) == 0
    return noted.before


def test_a_command_reads_the_checkpoint_that_it_names_once(reads):
    assert train(reads, "--trainer.max_epochs", "1") == []
    for command in ("validate", "test", "predict"):
        reads.clear()
        assert command_line.run([command, "--ckpt_path", str(LAST)]) == 0
        assert reads == [LAST]
    for epochs, named in enumerate((LAST, BEST), start=2):
        reads.clear()
        before = train(reads, "--trainer.max_epochs", str(epochs), "--ckpt_path", str(named))
        assert before.count(named) == 1
        assert set(before) <= {LAST, BEST}


def test_a_checkpoint_that_a_file_names_is_read_once(reads):
    train(reads, "--trainer.max_epochs", "1")
    config = (RUN / "config.yaml").read_text()
    Path("again.yaml").write_text(config.replace("ckpt_path: null", f"ckpt_path: {LAST}"))
    reads.clear()
    assert train(reads, "--config", "again.yaml", "--trainer.max_epochs", "2").count(LAST) == 1
    assert [folder.name for folder in RUN.parent.iterdir()] == [RUN.name]  # it went on in its own folder


def save(number: float) -> None:
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"weight": torch.tensor(number)}, "global_step": 1}, "a.ckpt")


def weight(checkpoint) -> float:
    return float(checkpoint["state_dict"]["weight"])


@pytest.mark.parametrize("asked", ["a.ckpt", "folder/../a.ckpt"])
def test_what_was_read_ahead_is_handed_over_once_and_kept_no_longer(asked, reads):
    Path("folder").mkdir()
    save(1)
    ahead = ReadAhead("a.ckpt")
    io = AtomicCheckpointIO(ahead)
    first = io.load_checkpoint(Path.cwd() / asked)
    assert (weight(first), len(reads)) == (1, 1)
    first["state_dict"]["weight"].fill_(7)
    assert (weight(io.load_checkpoint("a.ckpt")), len(reads)) == (1, 2)
    tensor = weakref.ref(first["state_dict"]["weight"])
    del first
    gc.collect()
    assert tensor() is None


def test_a_file_that_changed_meanwhile_is_read_again():
    save(1)
    io = AtomicCheckpointIO(ReadAhead("a.ckpt"))
    save(2)
    assert weight(io.load_checkpoint("a.ckpt")) == 2


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(monkeypatch):
    save(1)
    read = checkpoint_files._read

    def interrupted(path):
        content = read(path)
        save(2)
        return content

    monkeypatch.setattr(checkpoint_files, "_read", interrupted)
    ahead = ReadAhead("a.ckpt")
    monkeypatch.undo()
    assert ahead.hand_over("a.ckpt") is None


def test_another_file_is_read_itself():
    save(1)
    Path("a.ckpt").rename("b.ckpt")
    save(2)
    assert weight(AtomicCheckpointIO(ReadAhead("a.ckpt")).load_checkpoint("b.ckpt")) == 1


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed")])
def test_what_stops_a_checkpoint_halfway_is_told_of_and_leaves_the_one_before(error, monkeypatch):
    """A full disk is an OSError, or torch's RuntimeError where torch meets it first."""
    path, io = Path("checkpoints/last.ckpt"), AtomicCheckpointIO()
    io.save_checkpoint({"global_step": 1}, path)
    save = torch.save

    def half(content, file):
        save(content, file)
        raise error

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(UserError, match=r"could not be written .* make room or choose another folder"):
        io.save_checkpoint({"global_step": 2}, path)
    assert torch.load(path)["global_step"] == 1
    assert list(path.parent.iterdir()) == [path]
