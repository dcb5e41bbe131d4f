"""What is printed at the end of a run, and what best.ckpt says of itself, is what those checkpoints' weights reach."""

import contextlib
import io
import os
import re
import tempfile
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import StochasticWeightAveraging
from torch.optim import SGD

from bioplausible import Backpropagation, ContrastiveSimilarityMatching, DigitsDataModule
from bioplausible.__main__ import main
from bioplausible.resume.checkpoint_callbacks import LastCheckpoint
from tests.helpers import CONFIGS, all_rules, build, scalars

# 80 images less 30 for validation: 5 batches an epoch
FIT = ["fit", "--config", str(CONFIGS / "digits/backpropagation.yaml"), "--data.init_args.subset_size", "80"]
FIT += ["--data.init_args.validation_split", "0.375", "--data.init_args.batch_size", "10"]
FIT += ["--data.init_args.evaluation_batch_size", "7", "--trainer.enable_progress_bar", "false"]
CHECKPOINTS = Path("lightning_logs/digits/backpropagation/version_0/checkpoints")
AVERAGES = {
    "none": "",
    "stops": "EarlyStopping monitor=val/accuracy patience=1 mode=max min_delta=0.1",
    "of epochs": "StochasticWeightAveraging swa_lrs=0.05 swa_epoch_start=1 device=cpu",
    "moving": "EMAWeightAveraging decay=0.7",
    "moving by epochs": "EMAWeightAveraging decay=0.7 update_every_n_steps=1000 update_starting_at_epoch=0",
}


@contextlib.contextmanager
def inside(folder):
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def said(*args: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(list(args)) == 0
    return out.getvalue()


def measured(command: str, checkpoint: Path) -> float:
    out = said(command, "--ckpt_path", str(checkpoint), "--trainer.enable_progress_bar", "false")
    return float(re.search(r"accuracy\W+([\d.]+)", out)[1])


def callback(text: str) -> list[str]:
    name, *options = text.split() or [""]
    return [f"--trainer.callbacks+={name}", *(f"--trainer.callbacks.{option}" for option in options)] if name else []


@settings(max_examples=int(os.environ.get("FAULTS", "2")))
@given(
    length=st.sampled_from(["max_epochs=3", "max_steps=4", "max_steps=13", "max_steps=15"]),
    validates=st.sampled_from(["check_val_every_n_epoch=1", "check_val_every_n_epoch=2", "val_check_interval=0.4"]),
    limit=st.sampled_from(["limit_val_batches=1.0", "limit_val_batches=2"]),
    average=st.sampled_from(sorted(AVERAGES)),
)
@example("max_steps=13", "check_val_every_n_epoch=2", "limit_val_batches=2", "none")
@example("max_epochs=3", "val_check_interval=0.4", "limit_val_batches=1.0", "stops")
@example("max_epochs=3", "check_val_every_n_epoch=1", "limit_val_batches=1.0", "of epochs")
@example("max_epochs=3", "check_val_every_n_epoch=1", "limit_val_batches=1.0", "moving by epochs")
def test_every_accuracy_is_that_of_the_checkpoint_it_is_said_of(length, validates, limit, average):
    options = [f"--trainer.{option}" for option in (length, validates, limit)]
    with tempfile.TemporaryDirectory() as folder, inside(folder):
        out = said(*FIT, *options, *callback(AVERAGES[average]))
        last = Path(re.search(r"checkpoint\s+(\S+)", out)[1])
        assert last == CHECKPOINTS / "last.ckpt"
        for command, name in (("validate", "validation"), ("test", "test")):
            assert f"{measured(command, last):.2%}" == re.search(rf"{name} accuracy\s+(\S+)", out)[1]
        logged = scalars(CHECKPOINTS.parent)["val/accuracy"]
        best = CHECKPOINTS / "best.ckpt"
        if best.is_file():
            state = torch.load(best, weights_only=True)["callbacks"]["BestCheckpoint"]
            score = float(state["best_model_score"])
            assert score == pytest.approx(measured("validate", best), abs=1e-6)
            end = torch.load(last, weights_only=True)["global_step"]  # under which the last weights' accuracy is logged
            assert score == pytest.approx(max(v for step, v in logged if step < end))


@pytest.mark.parametrize("average", ["of epochs", "moving"])
def test_training_goes_on_from_the_weights_that_were_trained_not_from_their_average(average):
    options = callback(AVERAGES[average])
    states = {}
    for name, epochs in (("whole", ["4"]), ("parts", ["2", "4"])):
        Path(name).mkdir()
        with inside(name):
            for i, n in enumerate(epochs):
                said(*(["fit", "--ckpt_path", "last"] if i else [*FIT, *options]), "--trainer.max_epochs", n)
            checkpoint = torch.load(CHECKPOINTS / "last.ckpt", weights_only=True)
            states[name] = checkpoint["state_dict"]
            trained = checkpoint.get("training_state_dict", checkpoint.get("current_model_state"))
            weight = "network.wiring.1.weight"
            assert not torch.equal(trained[weight], checkpoint["state_dict"][weight])
    if average == "moving":  # the other's schedule knows of max_epochs
        assert all(torch.equal(value, states["parts"][name]) for name, value in states["whole"].items())


class ChangesAtTheEnd(Callback):
    """Changes parameters and buffers as training ends, as an average or anything else of the user's may."""

    def __init__(self, which: slice) -> None:
        self.which = which

    def on_train_end(self, trainer, pl_module):
        with torch.no_grad():
            for tensor in [*pl_module.parameters(), *pl_module.buffers()][self.which]:
                tensor.add_(1)


@pytest.mark.parametrize("which", [slice(None), slice(1), slice(-1, None)], ids=["all", "first", "last"])
@pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)
def test_the_last_checkpoint_holds_all_that_training_ends_with_and_what_was_trained(cls, which, tmp_path):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    last, rule = LastCheckpoint(), build(cls, [64, 10, 10]).float()
    last.dirpath = str(tmp_path)
    callbacks, limits = [last, ChangesAtTheEnd(which)], {"max_epochs": 1, "limit_train_batches": 1}
    Trainer(callbacks=callbacks, limit_val_batches=0, **limits, **quiet).fit(rule, DigitsDataModule(subset_size=20))
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    names = [name for name, _ in (*rule.named_parameters(), *rule.named_buffers())]
    moved = set(names[which]) & rule.state_dict().keys()
    for name, value in rule.state_dict().items():
        assert torch.equal(saved["state_dict"][name], value), name
        if moved:
            before = saved["training_state_dict"][name]
            assert torch.equal(before + 1 if name in moved else before, value), name


@pytest.mark.parametrize("cls", [ContrastiveSimilarityMatching, Backpropagation])
def test_what_an_average_leaves_out_is_said(cls):
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=2, callbacks=[StochasticWeightAveraging(0.01, 1)], limit_train_batches=2, **options)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        trainer.fit(cls([64, 10, 10]), DigitsDataModule(subset_size=100))
    said = [w for w in heard if "lateral matrices stay those of the last step" in str(w.message)]
    assert len(said) == (cls is ContrastiveSimilarityMatching)


@pytest.mark.parametrize("annealing", [0, 2])
def test_an_average_goes_on_with_the_rate_that_it_is_given_then(annealing):
    """From the rate that it had come to, whose next step leads to the new one."""

    class Rates(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    for swa_lrs, epochs, checkpoint in ((0.02, 4, None), (0.05, 9, "checkpoints/last.ckpt")):
        rates: list[float] = []
        average = StochasticWeightAveraging(swa_lrs, 1, annealing_epochs=annealing)
        callbacks = [LastCheckpoint(), average, Rates()]
        trainer = Trainer(max_epochs=epochs, callbacks=callbacks, limit_train_batches=2, **options)
        rule = Backpropagation([64, 10], optimizer=partial(SGD, lr=0.1))
        trainer.fit(rule, DigitsDataModule(subset_size=100), ckpt_path=checkpoint)
        assert rates[-1] == pytest.approx(swa_lrs)
    assert rates[0] == pytest.approx(0.02)
