"""Data of unknown length: checkpoints, validations and resume are those of the same data with a length.

Oracle: a loader that knows its length.
"""

from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch.utils.data import DataLoader, Dataset, IterableDataset

from bioplausible import Backpropagation
from bioplausible.resume.checkpoint_callbacks import BestCheckpoint, EveryNSteps, LastCheckpoint

N = 10
"""Batches an epoch."""


class Known(Dataset):
    def __init__(self, length):
        draw = torch.Generator().manual_seed(1)
        self.images = torch.rand(length, 2, 4, generator=draw)
        self.classes = torch.randint(3, (length, 2), generator=draw)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i], self.classes[i]


class Stream(IterableDataset):
    def __init__(self, length):
        self.known = Known(length)

    def __iter__(self):
        return (self.known[i] for i in range(len(self.known)))


class Validations(Callback):
    def __init__(self):
        self.at = []

    def on_validation_end(self, trainer, pl_module):
        self.at.append(trainer.global_step)


def fit(kind, folder, checkpoint=None, epochs=2, every=5, **options):
    """Returns at which steps was validated, the checkpoints' positions and the last one's weights."""
    torch.manual_seed(0)
    validations = Validations()
    trainer = Trainer(
        max_epochs=epochs,
        callbacks=[validations, BestCheckpoint(), EveryNSteps(every, -1), LastCheckpoint()],
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        accelerator="cpu",
        **options,
    )
    train, held_out = (DataLoader(kind(n), batch_size=None) for n in (N, 3))
    trainer.fit(Backpropagation([4, 3]), train, held_out, ckpt_path=checkpoint)
    found = {path.name: torch.load(path, weights_only=True) for path in Path(folder, "checkpoints").iterdir()}
    facts = {
        name: (c["epoch"], c["global_step"], c["within_epoch"], c["last_is_due"], c["position"]["follows"])
        for name, c in found.items()
        if "within_epoch" in c
    }
    return validations.at, facts, found["last.ckpt"]["state_dict"]


OPTIONS = {
    "plain": {},
    "validation within the epoch": {"val_check_interval": 4},
    "validation across epochs": {"val_check_interval": 7, "check_val_every_n_epoch": None},
    "few batches": {"limit_train_batches": 5},
    "few batches and validation": {"limit_train_batches": 6, "val_check_interval": 2, "limit_val_batches": 2},
    "max_steps": {"max_steps": 13},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_stream_leaves_what_a_loader_with_a_length_leaves(options):
    known, stream = (fit(kind, kind.__name__, **options) for kind in (Known, Stream))
    assert stream[:2] == known[:2]
    assert all(value.equal(known[2][name]) for name, value in stream[2].items())


@pytest.mark.parametrize("options", [OPTIONS["plain"], OPTIONS["validation within the epoch"]])
@pytest.mark.parametrize("name", ["step=10.ckpt", "last.ckpt"])
def test_a_stream_resumes_at_the_end_of_an_epoch(name, options):
    """Within one nothing tells a stream where to go on."""
    whole = fit(Stream, "whole", epochs=3, **options)
    part = fit(Stream, "part", epochs=1, **options)
    resumed = fit(Stream, "part", f"part/checkpoints/{name}", epochs=3, **options)
    assert [*part[0], *resumed[0]] == whole[0]
    assert all(value.equal(whole[2][key]) for key, value in resumed[2].items())
