"""The network's ends come from the data where they are left out, and never where the list says something else."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import Namespace
from sklearn.datasets import load_digits

from bioplausible import DigitsDataModule, UserError
from bioplausible.__main__ import main
from bioplausible.commands.network_ends import fill_ends

QUIET = ["--trainer.enable_progress_bar", "false", "--trainer.max_epochs", "1"]
RUN = Path("lightning_logs/arrays/backpropagation/version_0")
NAMES = [f"digit {k}" for k in range(10)]


def filled(name, given, data="bioplausible.DigitsDataModule", **options):
    """Returns the list that a configuration's is replaced by, and what is said."""
    said = []
    model = Namespace(class_path="bioplausible.Backpropagation", init_args=Namespace(**{name: given}))
    config = Namespace(model=model, data=Namespace(class_path=data, init_args=Namespace(**options)))
    fill_ends(config, said.append)
    return config.model.init_args[name], said


def write_digits(**more):
    digits = load_digits()
    np.savez("digits.npz", images=digits.images / 16, target=digits.target, class_names=NAMES, **more)
    Path("digits.yaml").write_text("data:\n  class_path: ArraysDataModule\n  init_args:\n    file: digits.npz\n")


hidden = st.integers(1, 99).filter(lambda size: size not in (10, 64))


@given(hidden, st.lists(st.integers(1, 99), max_size=4))
def test_what_is_left_out_is_filled_in_and_nothing_else(size, sizes):
    assert filled("layer_sizes", [size])[0] == [64, size, 10]
    assert filled("layer_sizes", [None, *sizes, None])[0] == [64, *sizes, 10]
    assert filled("layer_sizes", [None, *sizes, size])[0] == [64, *sizes, size]
    assert filled("layer_sizes", [size, *sizes, None])[0] == [size, *sizes, 10]
    for whole in ([size, *sizes, size], [64, *sizes, 10]):  # whether it fits or not: rules are told what was written
        assert filled("layer_sizes", whole) == (whole, [])
        assert filled("network", whole) == (whole, [])
    conv = {"conv": 4, "kernel": 3}
    for last in (conv, size, {"dense": size}):
        assert filled("network", [conv, *sizes, last])[0] == [[1, 8, 8], conv, *sizes, last, 10]
        assert filled("network", [None, *sizes, last, None])[0] == [[1, 8, 8], *sizes, last, 10]
        assert filled("network", [conv, *sizes, last, None])[0] == [[1, 8, 8], conv, *sizes, last, 10]
    assert filled("network", [None, conv, 10])[0] == [[1, 8, 8], conv, 10]
    assert filled("network", [None, conv, None], border=2)[0] == [[1, 12, 12], conv, 10]


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("layer_sizes", [10], "write [64, 10] or [64, 10, 10]."),
        ("layer_sizes", [64], "write [64, 10] or [64, 64, 10]."),
        ("network", [{"conv": 3}, 10], "write [[1, 8, 8], {conv: 3}, 10] or [[1, 8, 8], {conv: 3}, 10, 10]."),
        ("network", [{"conv": 3}, {"dense": 10}], "{dense: 10}, 10]."),
        ("layer_sizes", [64, None, 10], "null stands for the first or the last entry alone"),
        ("network", [None, None, None], "null stands for the first or the last entry alone"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(name, given, said):
    with pytest.raises(UserError) as caught:
        filled(name, given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "readings"),
    [
        ("[500, 300]", ["set the first size to 64", "layer_sizes [64, 500, 300, 10]"]),
        ("[64, 300]", ["set the last size to 10", "layer_sizes [64, 300, 10]"]),
        ("[300, 10]", ["set the first size to 64", "layer_sizes [64, 300, 10]"]),
        ("[]", ["give at least"]),
        ("[null]", ["give at least"]),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_both_readings(sizes, readings, capsys):
    write_digits()
    rule = ["--model", "Backpropagation", "--model.layer_sizes", sizes]
    assert main(["fit", "--config", "digits.yaml", *rule, *QUIET]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for reading in readings:
        assert reading in error


def test_data_are_built_for_what_is_left_out_alone(monkeypatch):
    def built(self, **_):
        raise AssertionError("built")

    monkeypatch.setattr(DigitsDataModule, "__init__", built)
    filled("layer_sizes", [64, 5, 10])
    filled("network", [[1, 8, 8], {"conv": 3, "kernel": 3}, 10])
    with pytest.raises(AssertionError, match="built"):
        filled("layer_sizes", [5])


@pytest.mark.parametrize(
    ("name", "given", "whole"),
    [
        ("layer_sizes", "[30]", [64, 30, 10]),
        ("network", "[{conv: 4, kernel: 3, stride: 2}, {conv: 6, kernel: 2}]", [[1, 8, 8], ..., ..., 10]),
    ],
)
def test_a_run_keeps_what_was_filled_in_and_the_names_of_the_classes(name, given, whole, capsys):
    write_digits()
    rule = ["--model", "Backpropagation", f"--model.{name}", given, "--model.optimizer.lr", "0.1"]
    more = ["--data.validation_split", "0.1", "--trainer.callbacks", "[Representations]"]
    assert main(["fit", "--config", "digits.yaml", *rule, *more, *QUIET]) == 0
    assert f"{name} is [" in capsys.readouterr().out
    saved = yaml.safe_load((RUN / "config.yaml").read_text())["model"]["init_args"][name]
    assert [entry if other is not ... else ... for entry, other in zip(saved, whole, strict=True)] == whole
    hyperparameters = torch.load(RUN / "checkpoints/last.ckpt", weights_only=True)["hyper_parameters"]
    assert hyperparameters[name] == saved
    for command in ("test", "validate", "predict"):
        assert main([command, "--ckpt_path", "last", *QUIET[:2]]) == 0
    with (RUN / "predictions.csv").open() as file:
        found = list(csv.DictReader(file))
    assert len(found) == len({row["sample"] for row in found}) > 300
    for row in found:
        assert row["label_name"] == NAMES[int(row["label"])]
        assert row["prediction_name"] == NAMES[int(row["prediction"])]
    assert main(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "2", *QUIET[:2]]) == 0


def test_another_file_is_not_what_the_network_was_trained_on(capsys):
    """Of as many samples, which a position and a validation split would not tell apart."""
    write_digits()
    rule = ["--model", "Backpropagation", "--model.layer_sizes", "[30]", "--model.optimizer.lr", "0.1"]
    steps = ["--trainer.max_steps", "10"]  # within an epoch
    assert main(["fit", "--config", "digits.yaml", *rule, "--data.validation_split", "0.1", *QUIET, *steps]) == 0
    content = dict(np.load("digits.npz"))
    capsys.readouterr()

    def answer(*args):
        status = main([*args, "--ckpt_path", "last", *QUIET[:2]])
        return status, capsys.readouterr().err

    np.savez("digits.npz", **content | {"images": content["images"][:, ::-1]})
    assert answer("fit", "--trainer.max_steps", "20")[0] == 2
    status, error = answer("validate")
    assert status == 2
    assert "The training images are others than those where the checkpoint was trained" in error
    assert answer("test")[0] == 0  # other test images are what a test is for
    np.savez("digits.npz", **content | {"class_names": NAMES[::-1]})
    for command in (["fit", "--trainer.max_steps", "20"], ["validate"], ["test"], ["predict"]):
        status, error = answer(*command)
        assert status == 2
        assert "trained on the classes digit 0, digit 1" in error
        assert error.count("\n") == 1
    np.savez("digits.npz", **content)
    assert answer("fit", "--trainer.max_steps", "20")[0] == 0
