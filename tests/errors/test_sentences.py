"""Errors of other libraries that come down to one sentence."""

import errno
import re
from functools import wraps
from importlib.util import find_spec

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader, RandomSampler

from bioplausible import DigitsDataModule
from bioplausible.__main__ import main
from bioplausible.errors.sentences import sentence
from bioplausible.rules import base
from tests.helpers import FEW

NEEDING = {
    "WandbLogger": ("wandb", ["--trainer.logger", "WandbLogger"]),
    "MLFlowLogger": ("mlflow", ["--trainer.logger", "pytorch_lightning.loggers.MLFlowLogger"]),
    "CometLogger": ("comet-ml", ["--trainer.logger", "[{class_path: pytorch_lightning.loggers.CometLogger}]"]),
    "RichProgressBar": ("rich", ["--trainer.callbacks", "RichProgressBar"]),
}


@pytest.mark.parametrize(("cls", "package", "options"), [(cls, *rest) for cls, rest in NEEDING.items()], ids=NEEDING)
def test_a_class_whose_package_is_missing_is_named_before_training(cls, package, options, capsys):
    if find_spec(package.replace("-", "_")):
        pytest.skip(f"{package} is installed here")
    assert main(["fit", *FEW, *options]) == 2
    said = f"error: {cls} needs the package {package}, which is not installed: install it, or choose another class.\n"
    assert capsys.readouterr().err == said


def test_what_a_class_of_lightnings_raises_while_it_is_built_is_one_sentence(monkeypatch, capsys):
    class OddError(Exception):
        pass

    @wraps(CSVLogger.__init__)
    def refuse(self, *_, **__):
        raise OddError("The moon is full.")

    monkeypatch.setattr(CSVLogger, "__init__", refuse)
    assert main(["fit", *FEW, "--trainer.logger", "CSVLogger"]) == 2
    assert capsys.readouterr().err == "error: CSVLogger can't be built (The moon is full): change its options.\n"


class Breaks(EarlyStopping):
    """Lightning's code calls what raises."""

    trains = False

    def on_train_start(self, trainer, pl_module):
        self.trains = True

    @property
    def monitor_op(self):
        return {False: torch.lt}[self.trains]


@pytest.mark.parametrize("callback", ["BackboneFinetuning", "pytorch_lightning.callbacks.SpikeDetection"])
def test_a_callback_of_lightnings_that_takes_for_granted_what_no_rule_has_is_one_sentence(
    callback, capsys, monkeypatch
):
    """As if nobody had known beforehand what these two need."""
    monkeypatch.setattr(base, "require_callbacks_that_fit", lambda trainer, rule: None)
    assert main(["fit", *FEW, "--trainer.callbacks", callback]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(rf"error: {callback.rpartition('.')[2]} can't work on this run \(.+\): leave it out\.", error)


def test_an_error_of_a_callback_of_ones_own_keeps_its_traceback():
    with pytest.raises(KeyError, match="True"):
        main(["fit", *FEW, "--trainer.callbacks", f"{__name__}.Breaks", "--trainer.callbacks.monitor", "train/loss"])


class Samples(Callback):
    """Builds on the way what refuses its argument."""

    def on_train_start(self, trainer, pl_module):
        RandomSampler([])


def test_what_is_built_while_a_run_goes_on_keeps_its_traceback():
    """No option is wrong, and none would be its cure."""
    with pytest.raises(ValueError, match="num_samples should be a positive integer"):
        main(["fit", *FEW, "--trainer.callbacks", f"{__name__}.Samples"])


class Ragged(torch.utils.data.Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        return torch.zeros(index + 1), 0


class RaggedData(DigitsDataModule):
    def train_dataloader(self):
        return DataLoader(Ragged(), batch_size=self.batch_size)


def test_an_error_of_the_data_in_a_search_for_a_batch_size_is_none_of_the_callback_s():
    """torch's loader raises it, and it would come without the search too."""
    data = ["--config", "digits/backpropagation", "--data", f"{__name__}.RaggedData"]
    with pytest.raises(RuntimeError, match="equal size"):
        main(["fit", *data, *FEW[:2], "--trainer.callbacks", "BatchSizeFinder"])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("deep", [False, True])
def test_a_disk_or_a_quota_that_is_full_is_told_of_whatever_came_of_it(number, deep):
    error: Exception = OSError(number, "none left")
    if deep:
        error, error.__cause__ = RuntimeError("a writer broke"), error
    assert sentence(error).startswith("The disk is full: make room")
