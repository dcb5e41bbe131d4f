"""Training that resumes within an epoch with another ``limit_train_batches``."""

import pytest
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from bioplausible import Backpropagation, DigitsDataModule, UserError

BATCHES, EPOCHS = 6, 3


class Validations(Callback):
    def __init__(self):
        self.steps = []

    def on_validation_end(self, trainer, pl_module):
        self.steps.append(trainer.global_step)


def loaders():
    data = DigitsDataModule(subset_size=120)
    data.prepare_data()
    data.setup("fit")
    images = data.train_dataloader().dataset
    return [DataLoader(images, batch_size=20), DataLoader(images, batch_size=20)]


def modules():
    return [DigitsDataModule(subset_size=140, validation_split=1 / 7)]


def fit(data, epochs, limit=None, ckpt_path=None, callbacks=()):
    seen = Validations()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    options = {"limit_train_batches": limit, "enable_checkpointing": bool(callbacks), "num_sanity_val_steps": 0}
    trainer = Trainer(max_epochs=epochs, callbacks=[seen, *callbacks], **options, **quiet)
    seed_everything(0, verbose=False)
    trainer.fit(Backpropagation([64, 10]), *data(), ckpt_path=ckpt_path)
    return trainer.global_step, seen.steps


RUNS = {"a data module": (modules, None), "data loaders": (loaders, None), "four batches": (modules, 4)}
"""The data, and ``limit_train_batches``, of a run that is interrupted."""


@pytest.fixture(scope="module", params=RUNS.values(), ids=RUNS)
def interrupted(request, tmp_path_factory):
    """Returns the data, how many batches an epoch had, and the folder with a checkpoint of each step of two epochs."""
    data, limit = request.param
    folder, batches = tmp_path_factory.mktemp("steps"), limit or BATCHES
    every = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1, save_on_train_epoch_end=False)
    assert fit(data, 2, limit, callbacks=[every]) == (2 * batches, [batches, 2 * batches])
    return data, batches, folder


@pytest.mark.parametrize("limit", [None, 1, 3, 4, 5, 9, 0.5])
def test_a_resumed_epoch_ends_at_the_limit_or_is_refused(interrupted, limit):
    """Its end, for which a validation stands, is never left out, and no batch comes after it."""
    data, batches, folder = interrupted
    most = BATCHES if limit is None else min(limit, BATCHES) if isinstance(limit, int) else int(limit * BATCHES)
    for step in range(1, 2 * batches):
        epoch, done = (step - 1) // batches, (step - 1) % batches + 1
        checkpoint, waits_for_its_end = folder / f"step={step}.ckpt", done == batches
        if done != most if waits_for_its_end else done >= most:
            said = f"lies after {done} batches of an epoch that is not finished, and an epoch has {most} batches now"
            with pytest.raises(UserError, match=said):
                fit(data, EPOCHS, limit, checkpoint)
            continue
        ends = [step + most - done + most * further for further in range(EPOCHS - epoch)]
        assert fit(data, EPOCHS, limit, checkpoint) == (ends[-1], ends)
