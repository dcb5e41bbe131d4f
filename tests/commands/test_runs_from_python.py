"""Checkpoints that were made from Python, at the command line: what nobody names is the checkpoint's.

Oracle: Python.
"""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.cli import ReduceLROnPlateau
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR, OneCycleLR, StepLR
from torch.utils.data import DataLoader, TensorDataset

from bioplausible import (
    Backpropagation,
    CorInfoMax,
    DigitsDataModule,
    EquilibriumPropagation,
    PiecewisePower,
    UserError,
    WarmupCosine,
)
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


@pytest.mark.sampled
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


CALLABLES = {
    "partial": (partial(SGD, lr=0.2, momentum=0.5, nesterov=True), partial(StepLR, step_size=1, gamma=0.25)),
    "lambda": (
        lambda groups: Adam(groups, lr=0.01, betas=(0.8, 0.9), amsgrad=True),
        lambda optimizer: CosineAnnealingLR(optimizer, 5, eta_min=1e-4),
    ),
    "a function that changes all groups": (
        lambda groups: SGD([{**group, "momentum": 0.5} for group in groups], lr=0.2),
        lambda optimizer: WarmupCosine(optimizer, 3, floor=[1e-3], warmup_steps=1, peak=1.5),
    ),
    "class": (AdamW, partial(PiecewisePower, bases={0: 0.9, 2: 0.5})),
    "a schedule that sets momentum": (
        partial(SGD, lr=0.2, momentum=0.5),
        partial(OneCycleLR, max_lr=0.1, total_steps=9),
    ),
    "plateau": (
        partial(RMSprop, lr=0.02, alpha=0.7, centered=True),
        lambda optimizer: ReduceLROnPlateau(optimizer, "train/loss", patience=0, threshold=9.0),
    ),
    "milestones": (partial(SGD, lr=0.2), lambda optimizer: MultiStepLR(optimizer, [1, 1, 3], gamma=0.5)),
    "no schedule": (lambda groups: SGD(groups, 0.2, momentum=0.9, weight_decay=0.01), None),
}
"""Optimizers and schedules as they are given from Python."""


@pytest.mark.parametrize("name", CALLABLES)
def test_the_configuration_names_what_trains_and_a_further_resume_goes_on_to_the_same_bits(name):
    optimizer, schedule = CALLABLES[name]

    def rule():
        seed_everything(3, verbose=False)
        return Backpropagation([64, 10], optimizer=optimizer, lr_scheduler=schedule)

    whole = trained(rule(), digits(), max_epochs=4)
    half = trained(rule(), digits(), max_epochs=1)
    fit = ["fit", *SILENT, "--trainer.max_epochs"]
    assert main([*fit, "2", "--ckpt_path", FILE]) == 0
    (saved,) = Path("lightning_logs").rglob("config.yaml")
    named = yaml.safe_load(saved.read_text())["model"]["init_args"]
    built = optimizer([{"params": [torch.zeros(1, requires_grad=True)]}])
    assert named["optimizer"]["class_path"] == f"torch.optim.{type(built).__name__}"
    for option, value in built.param_groups[0].items():
        if option in named["optimizer"]["init_args"]:
            same = list(value) if isinstance(value, tuple) else value
            assert named["optimizer"]["init_args"][option] == same, option
    assert (named["lr_scheduler"] is None) == (schedule is None)
    for epochs in ("3", "4"):
        assert main([*fit, epochs, "--ckpt_path", "last"]) == 0
    end = torch.load(saved.parent / "checkpoints/last.ckpt", weights_only=True)
    assert list(differences(state(whole), state(end))) == []
    # and a run that starts with the saved configuration builds the same
    assert main(["fit", *SILENT, "--config", str(saved), "--trainer.max_epochs", "1"]) == 0
    again = torch.load(next(Path("lightning_logs").rglob("version_1/checkpoints/last.ckpt")), weights_only=True)
    for what in ("optimizer_defaults", "groups", "schedules"):
        there, here = (c["callbacks"]["ConfiguredRates"][what] for c in (half, again))
        assert list(differences(there, here)) == [], what


class OwnSGD(SGD):
    """One of a user's."""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"optimizer": partial(OwnSGD, lr=0.2)}, rf"add --model.optimizer {__name__}.OwnSGD with the options that it"),
        ({"lr_scheduler": lambda o: OneCycleLR(o, 0.1, 9)}, "add --model.lr_scheduler torch.*OneCycleLR with the opt"),
        ({"optimizer": lambda groups: SGD([{**g, "lr": 0.1 * k} for k, g in enumerate(groups)])}, "--model.optimizer"),
    ],
    ids=["own class", "a function", "rates of groups"],
)
def test_what_can_not_be_told_of_optimizer_and_schedule_is_asked_for(given, said, capsys):
    rule = EquilibriumPropagation([64, 12, 10], free_steps=2, nudged_steps=1, learning_rates=[0.1, 0.2])
    rule.optimizer, rule.lr_scheduler = given.get("optimizer", SGD), given.get("lr_scheduler")
    trained(rule, digits(), max_epochs=1)
    capsys.readouterr()
    assert main(["fit", "--ckpt_path", FILE, *SILENT, "--trainer.max_epochs", "2"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(said, error)
    assert main(["test", "--ckpt_path", FILE, *SILENT]) == 0


def test_an_optimizer_s_options_are_kept_beside_rates_of_layers():
    rates = {"feedforward_learning_rates": [1.0, 0.5], "feedback_learning_rates": 0.25}
    trained(CorInfoMax([64, 12, 10], optimizer=partial(SGD, momentum=0.5), **rates), digits(), max_epochs=1)
    for checkpoint, epochs in ((FILE, "2"), ("last", "3")):
        assert main(["fit", "--ckpt_path", checkpoint, *SILENT, "--trainer.max_epochs", epochs]) == 0
    (last,) = Path("lightning_logs").rglob("last.ckpt")
    groups = torch.load(last, weights_only=True)["optimizer_states"][0]["param_groups"]
    assert [(group["lr"], group["momentum"]) for group in groups] == [(1.0, 0.5), (0.5, 0.5), (0.25, 0.5)]


def test_the_same_optimizer_named_alone_keeps_its_options_and_other_options_are_said(capsys):
    trained(Backpropagation([64, 10], optimizer=partial(SGD, lr=0.2, momentum=0.5)), digits(), max_epochs=1)
    fit = ["fit", "--ckpt_path", FILE, *SILENT, "--trainer.max_epochs", "2"]
    for options, rate, momentum in (
        (["--model.optimizer", "SGD"], 0.2, 0.5),
        (["--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "0.1"], 0.1, 0.5),
    ):
        assert main([*fit, *options]) == 0
        last = max(Path("lightning_logs").rglob("last.ckpt"), key=lambda path: path.stat().st_mtime_ns)
        (group,) = torch.load(last, weights_only=True)["optimizer_states"][0]["param_groups"]
        assert (group["lr"], group["momentum"]) == (rate, momentum)
    assert main([*fit, "--model.optimizer", "Adam"]) == 2
    assert "resume with SGD and its options lr=0.2, momentum=0.5, or train anew" in capsys.readouterr().err


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


def test_a_rule_that_is_called_with_no_tensor_says_what_it_takes():
    rule, images = Backpropagation([4, 3]), np.ones((2, 4), dtype=np.float32)
    with pytest.raises(UserError, match="takes images as a tensor, not ndarray"):
        rule(images)
    assert rule(torch.as_tensor(images)).shape == (2, 3)


SCRIPT = """
import pytorch_lightning as pl
from bioplausible import Backpropagation, DigitsDataModule
trainer = pl.Trainer(max_epochs=1, limit_train_batches=2, logger=False, enable_checkpointing=False)
trainer.fit(Backpropagation([64, 10]), DigitsDataModule())
"""


@pytest.mark.thorough
def test_a_script_is_not_told_what_lightning_asks_of_torch():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "LeafSpec" not in done.stderr + done.stdout
