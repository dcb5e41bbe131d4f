"""Checkpoints that were made from Python, at the command line: what nobody names is the checkpoint's.

Oracle: Python.
"""

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

from bioplausible import Backpropagation, CorInfoMax, DigitsDataModule
from bioplausible.__main__ import main
from bioplausible.rules import LearningRule
from tests.helpers import all_rules, differences

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
SILENT = ["--trainer.enable_progress_bar", "false"]
FILE = "made.ckpt"


class OwnRule(Backpropagation):
    """As a user writes one."""


class OwnData(DigitsDataModule):
    """As a user writes one."""


def trained(rule: LearningRule, data, ckpt_path=None, **length) -> dict:
    trainer = Trainer(enable_checkpointing=False, **length, **QUIET)
    trainer.fit(rule, data, ckpt_path=ckpt_path)
    trainer.save_checkpoint(FILE)
    return torch.load(FILE, weights_only=True)


def digits(**options):
    return DigitsDataModule(subset_size=60, validation_split=0.2, evaluation_batch_size=7, **options)


def corinfomax():
    return CorInfoMax(
        [64, 12, 10],
        feedforward_learning_rates=[1.0, 0.5],
        beta=0.5,
        free_steps=7,
        evaluation_steps=3,
        optimizer=partial(SGD, momentum=0.5),
        lr_scheduler=partial(StepLR, step_size=1, gamma=0.25),
    )


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.__name__)
def test_every_rule_is_evaluated_as_it_was_trained(rule, capsys):
    options = {"dual_step_sizes": {1: 0.01, 2: 0.02}} if rule.__name__ == "CorInfoMaxSparse" else {}
    built = rule([64, 8, 10], **options)
    trained(built, digits(), max_steps=2)
    capsys.readouterr()
    for command in ("validate", "test"):
        (expected,) = getattr(Trainer(**QUIET), command)(built, digits(), verbose=False)
        assert main([command, "--ckpt_path", FILE, *SILENT]) == 0
        said = " ".join(capsys.readouterr().out.replace("│", " ").split())
        for name, value in expected.items():
            assert f"{name} {value}" in said
    assert main(["predict", "--ckpt_path", FILE, *SILENT]) == 0
    assert len(Path("predictions.csv").read_text().splitlines()) == 1 + len(digits().load(False)[1])


def state(checkpoint):
    named = {name: value for name, value in checkpoint["hyper_parameters"].items() if not name.startswith("_")}
    return {key: checkpoint[key] for key in ("state_dict", "optimizer_states", "lr_schedulers")} | {"options": named}


def resumed(*options: str) -> dict:
    assert main(["fit", "--ckpt_path", FILE, "--trainer.max_epochs", "3", "--trainer.logger", "false", *options]) == 0
    return torch.load("checkpoints/last.ckpt", weights_only=True)


def test_a_run_goes_on_at_the_command_line_as_in_python():
    torch.manual_seed(3)
    trained(corinfomax(), digits(crop_padding=1), max_epochs=1)
    kept = Path(FILE).read_bytes()
    whole = trained(corinfomax(), digits(crop_padding=1), ckpt_path=FILE, max_epochs=3)
    Path(FILE).write_bytes(kept)
    found = resumed(*SILENT)
    assert list(differences(state(whole), state(found))) == []
    groups = found["optimizer_states"][0]["param_groups"]
    assert [(group["initial_lr"], group["momentum"]) for group in groups] == [(1.0, 0.5), (0.5, 0.5), (0.07, 0.5)]


@pytest.mark.parametrize("how", ["option", "short option", "file"])
def test_what_is_named_at_the_command_line_acts(how):
    trained(corinfomax(), digits(), max_epochs=1)
    # 0.3 is the class's default too, which is no reason to take it for unnamed
    if how == "file":
        Path("changed.yaml").write_text("model: {init_args: {feedforward_learning_rates: 0.3}}")
        options = ["--config", "changed.yaml"]
    else:
        place = {"option": "model.init_args", "short option": "model"}[how]
        options = [f"--{place}.feedforward_learning_rates", "0.3"]
    found = resumed(*SILENT, *options)
    groups = found["optimizer_states"][0]["param_groups"]
    assert [group["initial_lr"] for group in groups][2:] == [0.07]
    assert [group["lr"] for group in groups][:2] == pytest.approx([0.3 * 0.25**3] * 2)
    assert [group["momentum"] for group in groups] == [0.5] * 3
    assert found["hyper_parameters"]["beta"] == 0.5


@pytest.mark.parametrize(
    ("command", "rule", "data", "said"),
    [
        ("fit", corinfomax, digits, f"{FILE} is of a run that was made from Python .*: add --trainer.max_epochs N"),
        ("test", lambda: OwnRule([64, 10]), digits, "made from Python .*: add --model my_module.MyRule"),
        ("predict", corinfomax, lambda: OwnData(subset_size=60), "made from Python .*: add --data my_module.MyData"),
        (
            "validate",
            corinfomax,
            lambda: DataLoader(TensorDataset(torch.rand(9, 64), torch.arange(9)), batch_size=3),
            "made from Python .*: add --data my_module.MyData",
        ),
    ],
    ids=["no end", "own rule", "own data", "data loader"],
)
def test_what_a_run_from_python_does_not_say_is_asked_for(command, rule, data, said, capsys):
    trained(rule(), data(), max_epochs=1)
    capsys.readouterr()
    assert main([command, "--ckpt_path", FILE, *SILENT]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(said, error)


def test_own_classes_take_up_what_the_checkpoint_says_of_them(capsys):
    data = OwnData(subset_size=60, validation_split=0.25)
    rule = OwnRule([64, 10], loss="mean_squared_error")
    trained(rule, data, max_epochs=1)
    (expected,) = Trainer(**QUIET).validate(rule, data, verbose=False)
    capsys.readouterr()
    own = ["--model", f"{__name__}.OwnRule", "--data", f"{__name__}.OwnData"]
    assert main(["validate", "--ckpt_path", FILE, *own, *SILENT]) == 0
    assert str(expected["val/loss"]) in capsys.readouterr().out
