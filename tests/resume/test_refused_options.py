"""Checkpoints of earlier versions that hold an option which is refused today: what to type is said."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml

import bioplausible
from bioplausible import EquilibriumPropagation, UserError
from bioplausible.__main__ import main
from bioplausible.resume.checkpoint_files import RUN_CONFIG, AtomicCheckpointIO, read_checkpoint
from tests.helpers import FEW

OLD = {
    "switched off": ("feedback_learning_rates", 0.1, "--model.feedback_learning_rates 0.05"),
    "of another activation": ("activation_slope", 2.0, "--model.activation_slope null"),
    "an idle rate": (
        "optimizer",
        {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.5}},
        "--model.optimizer.lr 0.001",
    ),
}


@pytest.fixture
def old(request) -> tuple[Path, str, str]:
    """Makes a checkpoint that holds an option, as an earlier version took it."""
    option, value, cure = OLD[request.param]
    assert main(["fit", *FEW, "--model", "EquilibriumPropagation", "--trainer.max_steps", "2"]) == 0
    (path,) = Path().rglob("last.ckpt")
    checkpoint = read_checkpoint(path)
    config = yaml.safe_load(checkpoint[RUN_CONFIG])
    assert option in config["model"]["init_args"]
    config["model"]["init_args"][option] = value
    checkpoint[RUN_CONFIG] = yaml.safe_dump(config, sort_keys=False)
    if option in checkpoint["hyper_parameters"]:
        checkpoint["hyper_parameters"][option] = value
    AtomicCheckpointIO().save_checkpoint(checkpoint, path)
    return path, option, cure


@pytest.mark.parametrize("old", OLD, indirect=True)
def test_the_sentence_says_what_to_type_and_it_works(old, capsys):
    path, _, cure = old
    weights = read_checkpoint(path)["state_dict"]
    capsys.readouterr()
    assert main(["fit", "--ckpt_path", str(path), "--trainer.max_steps", "4"]) == 2
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert said.endswith(f"; the checkpoint gives it, so name the default: {cure}")
    assert all(torch.equal(weights[name], tensor) for name, tensor in read_checkpoint(path)["state_dict"].items())
    assert main(["fit", "--ckpt_path", str(path), *shlex.split(cure), "--trainer.max_steps", "4"]) == 0
    assert read_checkpoint(path)["global_step"] == 4


@pytest.mark.parametrize("old", ["switched off"], indirect=True)
def test_who_names_the_option_is_told_of_the_option_alone(old, capsys):
    path, option, _ = old
    assert main(["fit", "--ckpt_path", str(path), f"--model.{option}", "0.2", "--trainer.max_steps", "4"]) == 2
    said = capsys.readouterr().err
    assert "feedback_learning_rates is 0.2" in said
    assert "the checkpoint gives it" not in said


@pytest.mark.parametrize("old", [name for name in OLD if name != "an idle rate"], indirect=True)
def test_from_python_too(old):
    path, option, _ = old
    with pytest.raises(UserError) as refused:
        bioplausible.load(path)
    call = re.search(
        r"build it by EquilibriumPropagation\.load_from_checkpoint\('(.+)', (\w+)=(.+)\)\.$", str(refused.value)
    )
    assert (call[1], call[2]) == (str(path), option)
    default = {"None": None, "0.05": 0.05}[call[3]]
    assert isinstance(EquilibriumPropagation.load_from_checkpoint(call[1], **{option: default}), EquilibriumPropagation)
