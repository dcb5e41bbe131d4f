"""Ctrl-C: at any moment status 130, a sentence, and a command that goes on from the newest checkpoint."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback

from bioplausible.__main__ import main
from bioplausible.commands.program import this_program
from tests.helpers import ARGS, ROOT, RUN

LAST = RUN / "checkpoints/last.ckpt"


class Interrupts(Callback):
    """Sends SIGINT to its own process.

    Args:
        hook: at which hook.
        step: from which training step on.
        times: how often, one right after the other.
    """

    def __init__(self, hook: str, step: int = 0, times: int = 1) -> None:
        def interrupt(trainer, *_, **__):
            nonlocal times
            while trainer.global_step >= step and times > 0:
                times -= 1
                os.kill(os.getpid(), signal.SIGINT)

        setattr(self, hook, interrupt)


@pytest.fixture(autouse=True)
def _sigint():
    """Lightning ignores SIGINT from the first on, until its process ends."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(**options: str | int) -> list[str]:
    values = ", ".join(f"{name}: {value}" for name, value in options.items())
    return [
        "--trainer.callbacks",
        f"{{class_path: tests.commands.test_interrupts.Interrupts, init_args: {{{values}}}}}",
    ]


def hint(out: str) -> tuple[str, Path]:
    found = re.search(r"^go on with +(.*) fit --ckpt_path (\S+)$", out, re.MULTILINE)
    return found[1], Path(found[2])


def test_the_hint_names_the_newest_checkpoint_and_a_command_that_works(capsys):
    args = [*ARGS, *interrupted(hook="on_train_batch_start", step=25)]
    assert main(args) == 130
    out = capsys.readouterr().out
    assert "stopped after step 26 by SIGINT" in out
    program, checkpoint = hint(out)
    assert checkpoint == LAST
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 26
    assert (RUN / "checkpoints/best.ckpt").is_file()
    told = subprocess.run(f"{program} --help", shell=True, capture_output=True, text=True, check=False)
    assert told.stdout.startswith("usage: ")


@pytest.mark.parametrize("hook", ["on_validation_batch_start", "on_test_batch_start", "on_test_start"])
def test_ctrl_c_in_the_final_evaluation(hook, capsys):
    assert main([*ARGS, "--trainer.max_epochs", "1", *interrupted(hook=hook, step=11)]) == 130
    said = capsys.readouterr()
    assert "stopped" in said.out + said.err
    assert hint(said.out)[1] == LAST


def test_a_second_ctrl_c_ends_at_once(capsys):
    assert main([*ARGS, *interrupted(hook="on_train_batch_start", step=13, times=2)]) == 130
    said = capsys.readouterr()
    assert "stopped by SIGINT" in said.err
    assert hint(said.out)[1] == LAST
    assert torch.load(LAST, weights_only=True)["global_step"] == 11


@pytest.mark.parametrize("command", ["validate", "test"])
def test_ctrl_c_in_an_evaluation(command, capsys):
    assert main([*ARGS, "--trainer.max_epochs", "1"]) == 0
    hook = {"validate": "on_validation_start", "test": "on_test_start"}[command]
    assert main([command, "--ckpt_path", str(LAST), *interrupted(hook=hook)]) == 130
    assert "stopped by SIGINT" in capsys.readouterr().err


IMPORTS = [("fit", module) for module in ("torch", "pytorch_lightning", "bioplausible.commands.command_line")]
IMPORTS += [("benchmark --batches 0", "torch"), ("report logs", "matplotlib")]  # which import it after their options


@pytest.mark.parametrize(("command", "module"), IMPORTS)
def test_ctrl_c_during_imports(command, module, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED_IMPORT.format(module=module))
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = [sys.executable, "-m", "bioplausible", *command.split()]
    environment = os.environ | {"PYTHONPATH": path}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 130
    assert ended.stderr == "stopped by SIGINT\n"


def test_ctrl_c_that_a_module_turns_into_another_error(monkeypatch, capsys):
    def broken(name):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise MisconfigurationException("Some class could not be imported.") from error

    monkeypatch.setattr("bioplausible.__main__.import_module", broken)
    assert main(["report", "logs"]) == 130
    assert capsys.readouterr().err == "stopped by SIGINT\n"


INTERRUPTED_IMPORT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("on_path", [True, False])
def test_the_program_is_named_as_it_was_called(on_path, tmp_path, monkeypatch):
    folder = tmp_path / "some bin"
    folder.mkdir()
    for name in ("python", "bioplausible"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder) if on_path else "/nowhere")
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    expected = "python -m bioplausible" if on_path else f"{shlex.quote(str(folder / 'python'))} -m bioplausible"
    monkeypatch.setattr(sys, "argv", [str(ROOT / "bioplausible/__main__.py"), "fit"])
    assert this_program() == expected
    monkeypatch.setattr(sys, "argv", [str(folder / "bioplausible"), "fit"])
    assert this_program() == ("bioplausible" if on_path else shlex.quote(str(folder / "bioplausible")))
