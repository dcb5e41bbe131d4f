"""The last words of ``fit``: what was trained, how good it is, where it lies, and commands that go on."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from bioplausible.__main__ import main
from bioplausible.commands.program import this_program
from tests.helpers import FEW, RUN

LIMITED = [("validation", "limit_val_batches", "validate"), ("test", "limit_test_batches", "test")]


def summary(capsys, *args):
    """Returns the lines that a run ends with, by what they begin with."""
    assert main(["fit", *FEW, *args]) == 0
    text = capsys.readouterr().out.rpartition("\n\n")[2]
    assert len(text.splitlines()) <= 12
    return {line[:21].rstrip(): line[21:] for line in text.splitlines()}


def command(line):
    """Returns the arguments of a command that was printed."""
    return shlex.split(line.partition(" -m bioplausible ")[2])


def test_it_says_what_was_trained_and_how_good_which_checkpoint_is(capsys):
    said = summary(capsys, "--trainer.max_epochs", "3")
    assert said["rule"] == "CorInfoMax, 64-200-10"
    assert said["data"] == "DigitsDataModule, 108 training images"
    assert re.fullmatch(r"3 epochs, 18 steps; \d+:\d\d:\d\d of it now", said["trained for"])
    assert said["run"] == str(RUN)
    assert said["checkpoint"] == str(RUN / "checkpoints/last.ckpt")
    last, best = re.fullmatch(r"([\d.]+)% in last.ckpt, ([\d.]+)% in best.ckpt", said["validation accuracy"]).groups()
    assert float(best) >= float(last)
    assert re.fullmatch(r"[\d.]+% in last.ckpt", said["test accuracy"])
    for name, accuracy in (("best", best), ("last", last)):
        assert main(["validate", "--ckpt_path", str(RUN / f"checkpoints/{name}.ckpt"), *FEW[:2]]) == 0
        assert f"{float(accuracy) / 100:.4f}"[:5] in capsys.readouterr().out


def test_its_commands_do_what_they_say(capsys):
    said = summary(capsys, "--trainer.max_epochs", "1")
    assert main(command(said["score the best with"])) == 0
    assert main([*command(said["compare it with"]), "--out", "report"]) == 0
    assert main([*command(said["train longer with"]), *FEW[:2]]) == 0
    checkpoint = torch.load(RUN / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["epoch"] == 1
    by_steps = summary(capsys, "--trainer.max_epochs", "-1", "--trainer.max_steps", "7")
    assert command(by_steps["train longer with"])[-2:] == ["--trainer.max_steps", "14"]
    assert by_steps["trained for"].startswith("7 steps, which end within epoch 2; ")


@pytest.mark.parametrize(
    ("args", "absent"),
    [
        (["--trainer.logger", "false"], {"compare it with", "look at it with"}),
        (["--trainer.enable_checkpointing", "false"], {"score the best with", "train longer with"}),
        (["--data.validation_split", "0"], {"score the best with"}),
        (["--trainer.logger", "CSVLogger"], {"compare it with"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_it_names_nothing_that_the_run_did_not_leave(args, absent, capsys):
    said = summary(capsys, "--trainer.max_epochs", "1", *args)
    commands = {"compare it with", "look at it with", "score the best with", "train longer with"}
    assert commands - said.keys() == absent
    assert "None" not in "".join(said.values())


@pytest.mark.parametrize("logger", ["RunLogger", "CSVLogger"])
def test_each_command_is_typed_as_it_is_said(logger, capsys):
    """Also where a folder's name has a blank, and the program is not called python."""
    args = ["--trainer.logger", logger, "--trainer.logger.save_dir", "my runs", "--trainer.logger.name", "a b"]
    said = summary(capsys, "--trainer.max_epochs", "1", *args)
    for label in ("look at it with", "score the best with", "train longer with"):
        words = shlex.split(said[label])
        assert any(Path(word).parts[:2] == ("my runs", "a b") and Path(word).exists() for word in words), label
        if words[0] != "tensorboard":
            assert said[label].startswith(this_program())
    if logger == "CSVLogger":
        assert main([*command(said["look at it with"]), "--out", "report"]) == 0


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("val", "test", "measured"),
    [
        ("2", "3", (8, 12)),
        ("0.5", "0.1", (4, 36)),  # one of three batches, and 9 of 90
        ("3", "90", (None, None)),  # all there are: the last ones are smaller
        ("2", "89", (8, 356)),
        ("1.0", "1.0", (None, None)),
        ("1", "1", (4, 4)),
        ("9", "1", (None, 4)),
        ("1", "0", (4, None)),  # not run
    ],
    ids=str,
)
def test_it_says_on_how_many_images_a_limit_leaves_some_out(val, test, measured, capsys):
    """The accuracy is a multiple of one of so many, and `validate` and `test` say it too."""
    limits = ["--data.evaluation_batch_size", "4"]
    limits += ["--trainer.limit_val_batches", val, "--trainer.limit_test_batches", test]
    said = summary(capsys, "--trainer.max_epochs", "1", *limits)
    for (split, option, command_of_split), few in zip(LIMITED, measured, strict=True):
        line, images = said[f"{split} accuracy"], {"validation": 12, "test": 359}[split]
        assert re.findall(r", on (\d+) of (\d+) images$", line) == ([] if few is None else [(str(few), str(images))])
        percent = re.match(r"[\d.]+", line)
        if percent is not None:
            hits = float(percent[0]) / 100 * (few or images)
            assert hits == pytest.approx(round(hits), abs=0.01 * (few or images) / 100)
        assert main([command_of_split, "--ckpt_path", "last", "--trainer.enable_progress_bar", "false"]) == 0
        out = capsys.readouterr().out
        given = val if split == "validation" else test
        assert ("measured on" in out) == (few is not None)
        assert few is None or f"measured on {few} of {images} images ({option} is {given})\n" in out


@pytest.mark.parametrize("option", ["max_epochs", "max_steps", "limit_train_batches"])
def test_it_says_where_nothing_was_trained(option, capsys):
    said = summary(
        capsys, *(["--trainer.max_epochs", "1"] if option == "limit_train_batches" else []), f"--trainer.{option}", "0"
    )
    assert said["trained for"] == "0 steps: nothing was trained"
    assert said["checkpoint"] == "none"
    assert "train longer with" not in said


def test_time_counts_what_this_process_trained(capsys, monkeypatch):
    said = summary(capsys, "--trainer.max_time", "00:00:00:02", "--trainer.max_epochs", "-1")
    assert "train longer with" not in said  # it is max_time that ended it
    assert said["trained for"].split("; ")[1] in {f"0:00:0{i} of it now" for i in range(2, 10)}


def test_a_network_that_tells_no_classes_apart_is_warned_of(capsys):
    """The accuracy alone looks like that of one that has learned a little. Each test says it, and no other one does."""
    still = ["--model", "Backpropagation", "--model.optimizer.lr", "1e-30", "--model.layer_sizes", "null"]
    for gain, constant in (("1.0", False), ("1e-12", True)):
        network = ["--model.network", f"[64, {{dense: 20, gain: {gain}}}, 10]"]
        assert main(["fit", *FEW, "--trainer.max_epochs", "1", *still, *network]) == 0
        fitted = capsys.readouterr().err
        assert main(["test", "--ckpt_path", "last", "--trainer.enable_progress_bar", "false"]) == 0
        tested = capsys.readouterr().err
        for said in (fitted, tested):
            assert ("warning: Every test image is classified as " in said) == constant
