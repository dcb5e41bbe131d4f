"""Which checkpoint is the best, and when training stops, for validation accuracies that a test says beforehand."""

import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EarlyStopping
from torch.utils.data import DataLoader, TensorDataset

from bioplausible import Backpropagation
from bioplausible.resume.checkpoint_callbacks import BestCheckpoint, EveryNSteps, LastCheckpoint

N = 6
"""Batches an epoch."""


class Scripted(Backpropagation):
    """Validates to accuracies that were said beforehand, by the step."""

    def __init__(self, accuracies: dict[int, float]) -> None:
        super().__init__([4, 3])
        self.accuracies = accuracies
        self.weights: dict[int, dict] = {}

    def validation_step(self, batch, batch_idx):
        pass

    def on_validation_epoch_end(self):
        step = self.trainer.global_step
        self.log("val/accuracy", torch.tensor(self.accuracies[step]))
        self.log("val/loss", torch.tensor(1.0))
        self.weights[step] = {name: value.detach().clone() for name, value in self.named_parameters()}


def fit(folder, accuracies, checkpoint=None, further=(), **options):
    torch.manual_seed(0)
    draw = torch.Generator().manual_seed(1)
    data = TensorDataset(torch.rand(2 * N, 4, generator=draw), torch.randint(3, (2 * N,), generator=draw))
    rule = Scripted(accuracies)
    trainer = Trainer(
        callbacks=[*further, BestCheckpoint(), *([] if checkpoint else [EveryNSteps(1, -1)]), LastCheckpoint()],
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        accelerator="cpu",
        **options,
    )
    trainer.fit(rule, DataLoader(data, batch_size=2), DataLoader(data, batch_size=9), ckpt_path=checkpoint)
    return trainer, rule


@settings(max_examples=3)
@given(st.lists(st.sampled_from([0.0, 0.25, 0.5]), min_size=2, max_size=6), st.sampled_from([3, N]), st.integers(1, 5))
@example([0.25, 0.5, 0.5, 0.0], N, 2)  # a tie, then worse
@example([0.5, 0.5], N, 1)  # a tie with the first, which resume has to know of
@example([0.0, 0.5, 0.25, 0.5], 3, 3)
def test_the_best_checkpoint_is_the_first_of_the_highest_accuracy(accuracies, interval, cut):
    """In one go, and where training is cut after some validations and resumes."""
    steps = [interval * (i + 1) for i in range(len(accuracies))]
    by_step = dict(zip(steps, accuracies, strict=True))
    best = steps[accuracies.index(max(accuracies))]
    options = {"val_check_interval": interval, "max_epochs": -1}
    with tempfile.TemporaryDirectory() as folder:
        checkpoints, validated = Path(folder, "checkpoints"), {}
        for end in ([steps[-1]], [steps[min(cut, len(steps) - 1) - 1], steps[-1]]):
            shutil.rmtree(checkpoints, ignore_errors=True)
            for i, last in enumerate(end):
                checkpoint = checkpoints / "last.ckpt" if i else None
                validated |= fit(folder, by_step, checkpoint, max_steps=last, **options)[1].weights
            found = torch.load(checkpoints / "best.ckpt", weights_only=True)
            assert found["global_step"] == best, end
            assert all(value.equal(found["state_dict"][name]) for name, value in validated[best].items()), end
            assert float(found["callbacks"]["BestCheckpoint"]["best_model_score"]) == max(accuracies), end
            assert [path.name for path in checkpoints.glob("best*")] == ["best.ckpt"], end


def stops() -> EarlyStopping:
    return EarlyStopping("val/accuracy", mode="max", patience=1)


STOP = {"val_check_interval": 3, "max_epochs": 9}
LEAST = {
    "steps, between two validations": {"min_steps": 11},
    "steps, at a validation": {"min_steps": 12},
    "steps, right after one": {"min_steps": 13},
    "epochs": {"min_epochs": 3},
}


@pytest.mark.parametrize("least", LEAST.values(), ids=LEAST)
def test_a_stop_that_was_asked_for_and_must_wait_is_in_every_checkpoint(least):
    """EarlyStopping asks at step 9, and later accuracies would take that back."""
    accuracies = {step: 0.5 if step < 12 else 0.5 + step / 100 for step in range(60)}
    end = fit("whole", accuracies, further=[stops()], **least, **STOP)[0].global_step
    assert 9 < end < 9 * N
    assert end >= least.get("min_steps", 3 * N)
    for step in {8, 10, end - 1}:
        resumed, _ = fit(f"at{step}", accuracies, f"whole/checkpoints/step={step}.ckpt", [stops()], **least, **STOP)
        assert resumed.global_step == end, step
