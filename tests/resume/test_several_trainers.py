"""One rule in several Trainers, one after the other: nothing is left of what an earlier one read or failed at."""

import warnings
from functools import partial

import pytest
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.callbacks import BatchSizeFinder
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import StepLR

from bioplausible import Backpropagation, DigitsDataModule, UserError
from tests.helpers import differences

BATCHES = 3


class BrokenError(Exception):
    pass


class Breaks(Callback):
    def on_test_batch_end(self, *_):
        raise BrokenError

    def on_train_start(self, *_):
        raise BrokenError


def data():
    return DigitsDataModule(subset_size=60)


def trainer(*callbacks, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return Trainer(callbacks=list(callbacks), enable_checkpointing=False, **quiet, **options)


def rule(cls=SGD, rate=0.01):
    torch.manual_seed(0)
    return Backpropagation([64, 10], optimizer=partial(cls, lr=rate))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Returns one of two epochs with another rate."""
    path, first = tmp_path_factory.mktemp("before") / "end.ckpt", trainer(max_epochs=2)
    first.fit(rule(rate=0.05), data())
    first.save_checkpoint(path)
    return path


def evaluates(stage):
    def use(learner, path):
        getattr(trainer(), stage)(learner, data(), ckpt_path=path)

    return use


def breaks_in_a_test(learner, path):
    with pytest.raises(BrokenError):
        trainer(Breaks()).test(learner, data(), ckpt_path=path, verbose=False)


def resumes_and_breaks(learner, path):
    with pytest.raises(BrokenError):
        trainer(Breaks(), max_epochs=3, max_steps=2 * BATCHES + 1).fit(learner, data(), ckpt_path=path)


def has_nothing_left(learner, path):
    trainer(max_epochs=2).fit(learner, data(), ckpt_path=path)


def is_refused(learner, path):
    configured, learner.optimizer = learner.optimizer, partial(Adam, lr=0.1)
    limited = trainer(max_epochs=3, max_steps=2 * BATCHES + 1)
    with pytest.raises(UserError, match="was trained with optimizer SGD"):
        limited.fit(learner, data(), ckpt_path=path)
    assert limited.max_steps == 2 * BATCHES + 1
    learner.optimizer = configured


def searches_in_a_test(learner, path):
    trainer(BatchSizeFinder(max_trials=1)).test(learner, data(), verbose=False)


EARLIER = {
    "a test": evaluates("test"),
    "predictions": evaluates("predict"),
    "a test that breaks": breaks_in_a_test,
    "a resume that breaks": resumes_and_breaks,
    "nothing left to train": has_nothing_left,
    "a refused resume": is_refused,
    "a test with a search": searches_in_a_test,
}


def trained_anew(learner, path):
    seed_everything(1, verbose=False)
    learner.load_state_dict(rule().state_dict())
    later = trainer(max_epochs=3)
    later.fit(learner, data())
    later.save_checkpoint(path)
    saved = torch.load(path, weights_only=True)
    return {key: saved[key] for key in ("epoch", "global_step", "state_dict", "optimizer_states")}


@pytest.mark.parametrize("earlier", EARLIER.values(), ids=EARLIER)
def test_training_anew_is_as_if_no_trainer_had_been_before(earlier, checkpoint, tmp_path):
    expected = trained_anew(rule(), tmp_path / "alone.ckpt")
    learner = rule()
    earlier(learner, checkpoint)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Training goes on with other options")
        found = trained_anew(learner, tmp_path / "after.ckpt")
    assert (found["epoch"], found["global_step"]) == (3, 3 * BATCHES)
    assert list(differences(expected, found)) == []


def test_a_trainer_whose_test_of_an_older_checkpoint_broke_counts_on_from_where_it_was(checkpoint):
    further, learner = trainer(max_epochs=4), rule()
    further.fit(learner, data())
    further.callbacks.append(Breaks())
    with pytest.raises(BrokenError):
        further.test(learner, data(), ckpt_path=checkpoint, verbose=False)
    assert (further.current_epoch, further.global_step) == (4, 4 * BATCHES)


def test_an_optimizer_with_a_schedule_is_built_without_a_trainer():
    learner = Backpropagation([64, 10], lr_scheduler=partial(StepLR, step_size=1))
    assert isinstance(learner.configure_optimizers()["lr_scheduler"]["scheduler"], StepLR)
