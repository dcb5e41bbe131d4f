"""Oracle: a run that nobody interrupted."""

from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint

from bioplausible import CorInfoMax, DigitsDataModule
from tests.processes import command_line
from tests.test_command_line import RUN, scalars

# 230 images less 23 for validation: 11 batches an epoch
ARGS = ["fit", "--trainer.max_epochs", "3", "--data.init_args.subset_size", "230", "--trainer.log_every_n_steps", "2"]
ARGS += ["--trainer.enable_progress_bar", "false"]


def differences(a, b, where="checkpoint"):
    """Yields where two checkpoints differ, to the bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        if not torch.equal(a, b):
            yield where
    elif isinstance(a, dict):
        if a.keys() != b.keys():
            yield f"{where}: {a.keys() ^ b.keys()}"
        for key in a.keys() & b.keys():
            yield from differences(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, (list, tuple)):
        if len(a) != len(b):
            yield where
        for i, (x, y) in enumerate(zip(a, b, strict=False)):
            yield from differences(x, y, f"{where}/{i}")
    elif a != b:
        yield f"{where}: {a!r} {b!r}"


def result(folder: Path):
    """Returns a finished run's last checkpoint (weights, optimizer, scheduler, counters, …) and all it logged."""
    logged = {tag: values for tag, values in scalars(folder / RUN).items() if not tag.startswith("throughput")}
    return torch.load(folder / RUN / "checkpoints/last.ckpt", weights_only=True), logged


@pytest.mark.parametrize(
    ("every", "kills", "extra"),
    [
        # within an epoch; just before and after a checkpoint; at the last batch of an epoch and the first of the next
        (4, [5, 9, 10, 11, 12, 17, 21, 22], []),
        # a checkpoint on the last batch of an epoch
        (11, [11, 13, 22, 32], []),
        (4, [10, 13], ["--data.init_args.num_workers", "2"]),
        (4, [13], ["--data.init_args.validation_split", "0", "--data.init_args.crop_padding", "1"]),
        (4, [10], ["--model.init_args.optimizer", "Adam", "--model.init_args.track_correlations", "true"]),
    ],
    ids=["mid-epoch", "last-batch", "workers", "augmented", "adam"],
)
def test_a_killed_run_resumes_to_the_same_bits(every, kills, extra, tmp_path):
    args = [*ARGS, "--checkpoint_every_n_steps", str(every), *extra]
    (tmp_path / "whole").mkdir()
    assert command_line(args, tmp_path / "whole") == 0
    whole, logged = result(tmp_path / "whole")
    assert whole["epoch"] == 2
    for step in kills:
        folder = tmp_path / str(step)
        folder.mkdir()
        assert command_line(args, folder, kill_before_step=step) == -9
        assert command_line(["fit", "--ckpt_path", "last"], folder) == 0
        resumed, logged_too = result(folder)
        assert list(differences(whole, resumed)) == [], f"killed before step {step}"
        assert logged == logged_too, f"killed before step {step}"


def test_a_run_resumes_from_the_end_of_an_epoch_to_more_epochs(tmp_path):
    for name, epochs in (("whole", ["3"]), ("parts", ["1", "3"])):
        folder = tmp_path / name
        folder.mkdir()
        for i, epoch in enumerate(epochs):
            args = ["fit", "--ckpt_path", "last"] if i else ARGS
            assert command_line([*args, "--trainer.max_epochs", epoch], folder) == 0
    assert list(differences(*(result(tmp_path / name)[0] for name in ("whole", "parts")))) == []


def test_resume_from_python_is_exact_too(tmp_path):
    def train(ckpt_path=None):
        steps = ModelCheckpoint(tmp_path, every_n_train_steps=7, save_top_k=-1, filename="{step}")
        options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "max_epochs": 2}
        trainer = Trainer(**options, callbacks=[steps])
        seed_everything(3)
        trainer.fit(CorInfoMax([64, 20, 10]), DigitsDataModule(subset_size=230), ckpt_path=ckpt_path)
        trainer.save_checkpoint(tmp_path / "end.ckpt")
        return torch.load(tmp_path / "end.ckpt", weights_only=True)

    whole = train()
    for step in (7, 14, 21):
        resumed = train(tmp_path / f"step={step}.ckpt")
        assert whole["global_step"] == resumed["global_step"] == 24
        assert list(differences(whole["state_dict"], resumed["state_dict"])) == []
