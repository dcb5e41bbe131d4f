"""A checkpoint that a callback of the user's writes right after a batch resumes into what came after it there.

Oracle: the run that wrote it, which nobody interrupted.
"""

from functools import partial

import pytest
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from bioplausible import Backpropagation, DigitsDataModule
from tests.helpers import differences

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
OPTIONS = {
    "within an epoch": {"max_epochs": 3, "val_check_interval": 2},
    "each epoch": {"max_epochs": 3},
    "every other epoch": {"max_epochs": 4, "check_val_every_n_epoch": 2},
    "none": {"max_epochs": 3, "limit_val_batches": 0},
    "a stop that must wait": {"max_epochs": 6, "val_check_interval": 2, "min_steps": 12},
    "steps": {"max_steps": 13, "val_check_interval": 2},
}


class Notes(Callback):
    """Notes each validation and each end of an epoch."""

    def __init__(self):
        self.noted = []

    def on_validation_end(self, trainer, pl_module):
        self.noted.append(("validation", trainer.global_step, float(trainer.callback_metrics["val/loss"])))

    def on_train_epoch_end(self, trainer, pl_module):
        self.noted.append(("epoch", trainer.global_step))


def train(folder, ckpt_path=None, **options):
    """Trains 5 batches an epoch, writing a checkpoint after each unless training resumes."""
    notes, callbacks = Notes(), []
    if ckpt_path is None:
        callbacks = [ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1, filename="{step}")]
    if "min_steps" in options:
        callbacks.append(EarlyStopping("val/loss", min_delta=9.0, patience=2))
    torch.manual_seed(0 if ckpt_path is None else 1)
    rule = Backpropagation([64, 10], optimizer=partial(SGD, lr=0.2), lr_scheduler=partial(StepLR, step_size=1))
    data = DigitsDataModule(subset_size=80, batch_size=10, validation_split=0.375, evaluation_batch_size=7)
    seed_everything(3, verbose=False)
    trainer = Trainer(callbacks=[notes, *callbacks], enable_checkpointing=bool(callbacks), **QUIET, **options)
    trainer.fit(rule, data, ckpt_path=ckpt_path)
    trainer.save_checkpoint(folder / "end.ckpt")
    end = torch.load(folder / "end.ckpt", weights_only=True)
    state = [end[name] for name in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "loops")]
    return state, notes.noted


@pytest.mark.sampled
@pytest.mark.parametrize("kind", OPTIONS)
def test_it_resumes_into_what_followed(kind, tmp_path):
    whole, noted = train(tmp_path, **OPTIONS[kind])
    steps = range(1, whole[3])
    assert len(list(tmp_path.glob("step=*.ckpt"))) == len(steps) + 1
    for step in steps:
        resumed, noted_too = train(tmp_path, tmp_path / f"step={step}.ckpt", **OPTIONS[kind])
        assert noted_too == [what for what in noted if what[1] >= step], step
        assert list(differences(whole[:-1], resumed[:-1])) == [], step
        epochs = [state[-1]["fit_loop"]["epoch_progress"]["current"] for state in (whole, resumed)]
        assert epochs[0] == epochs[1], step


def test_an_early_stop_stays_one_unless_its_options_change(tmp_path):
    def fit(ckpt_path=None, **options):
        stop = EarlyStopping("val/loss", min_delta=9.0, **{"patience": 1, **options})
        rule, data = Backpropagation([64, 10]), DigitsDataModule(subset_size=80, validation_split=0.375)
        trainer = Trainer(max_epochs=6, callbacks=[stop], enable_checkpointing=False, **QUIET)
        trainer.fit(rule, data, ckpt_path=ckpt_path)
        trainer.save_checkpoint(tmp_path / "end.ckpt")
        return trainer.current_epoch

    assert fit() == 2
    assert fit(tmp_path / "end.ckpt") == 2
    assert fit(tmp_path / "end.ckpt", patience=3) == 4
