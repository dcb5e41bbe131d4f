"""Ctrl-C and SIGTERM: at any moment status 130 or 143, a sentence, and a command that goes on from there."""

import contextlib
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.trainer import call

from bioplausible.__main__ import main
from bioplausible.commands import command_line, summary
from bioplausible.commands.program import this_program
from bioplausible.errors import UserError
from tests.helpers import ARGS, ROOT, RUN

LAST = RUN / "checkpoints/last.ckpt"


class Interrupts(Callback):
    """Sends a signal to its own process.

    Args:
        hook: at which hook.
        step: from which training step on.
        times: how often, one right after the other.
        number: the signal.
    """

    def __init__(self, hook: str, step: int = 0, times: int = 1, number: int = signal.SIGINT) -> None:
        def interrupt(trainer, *_, **__):
            nonlocal times
            while trainer.global_step >= step and times > 0:
                times -= 1
                os.kill(os.getpid(), number)

        setattr(self, hook, interrupt)


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


SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])


def moments_of(monkeypatch, of, number=None, at=None):
    """Counts the moments before and after Trainer's hooks of all callbacks, and sends a signal at one of them.

    Args:
        monkeypatch: the fixture.
        of: whether a moment counts, told the Trainer.
        number: the signal.
        at: the moment, from 0.
    """
    passed = []

    def counted(trainer, hook, *args, plain=call._call_callback_hooks, **options):
        for name in (f"before {hook}", f"after {hook}"):
            if of(trainer):
                passed.append((trainer.state.fn, name))
                if len(passed) - 1 == at:
                    os.kill(os.getpid(), number)
            if name.startswith("before"):
                found = plain(trainer, hook, *args, **options)
        return found

    monkeypatch.setattr(call, "_call_callback_hooks", counted)
    return passed


def trained(trainer) -> bool:
    return trainer.global_step == 11


@SIGNALS
def test_a_signal_once_training_has_ended_is_never_lost(number, monkeypatch, capsys):
    """At any moment from the last batch on: the status, and how to go on, but nothing that sounds finished."""
    args = [*ARGS, "--trainer.max_epochs", "1"]
    with monkeypatch.context() as patch:
        passed = moments_of(patch, trained)
        assert main(args) == 0
    assert {fn for fn, _ in passed} == {"fit", "validate", "test"}
    draws = random.Random(int(number))
    by_stage = [[i for i, (fn, _) in enumerate(passed) if fn == stage] for stage in ("fit", "validate", "test")]
    for moment in [draws.choice(stage) for stage in by_stage for _ in range(2)] + [len(passed) - 1]:
        shutil.rmtree("lightning_logs")
        capsys.readouterr()
        with monkeypatch.context() as patch:
            moments_of(patch, trained, number, moment)
            assert main(args) == 128 + number, passed[moment]
        said = capsys.readouterr()
        assert f"by {number.name}" in said.out + said.err, passed[moment]
        assert "accuracy" not in said.out, passed[moment]
        assert hint(said.out)[1] == LAST, passed[moment]
        assert said.out.count("go on with") == 1, passed[moment]


@SIGNALS
def test_a_signal_between_what_trainer_does(number, monkeypatch, capsys):
    """While the final accuracies are printed, say."""
    plain = summary.where_it_lies
    monkeypatch.setattr(summary, "where_it_lies", lambda *args: (os.kill(os.getpid(), number), plain(*args))[1])
    assert main([*ARGS, "--trainer.max_epochs", "1"]) == 128 + number
    assert hint(capsys.readouterr().out)[1] == LAST


@SIGNALS
def test_a_second_signal_ends_at_once(number, capsys):
    assert (
        main([*ARGS, *interrupted(hook="on_train_batch_start", step=13, times=2, number=int(number))]) == 128 + number
    )
    said = capsys.readouterr()
    assert f"stopped by {number.name}" in said.err
    assert hint(said.out)[1] == LAST
    assert torch.load(LAST, weights_only=True)["global_step"] == 11


@pytest.mark.sampled
@SIGNALS
@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_a_signal_in_an_evaluation(command, number, capsys):
    """Before its first batch, and after its last one."""
    assert main([*ARGS, "--trainer.max_epochs", "1"]) == 0
    stage = {"validate": "validation"}.get(command, command)
    for hook in (f"on_{stage}_start", f"on_{stage}_batch_end", f"on_{stage}_end"):
        capsys.readouterr()
        options = interrupted(hook=hook, number=int(number))
        assert main([command, "--ckpt_path", str(LAST), *options]) == 128 + number, hook
        said = capsys.readouterr()
        assert said.err == f"stopped by {number.name}\n"
        assert "predictions" not in said.out
        assert "accuracy" not in said.out


@SIGNALS
def test_signals_are_taken_as_before_once_the_command_has_ended(number):
    before = signal.getsignal(number)
    for options in ([], interrupted(hook="on_test_start", number=int(number))):
        main([*ARGS, "--trainer.max_epochs", "1", *options])
        assert signal.getsignal(number) == before


def test_a_signal_that_was_ignored_before_is_ignored(monkeypatch):
    """As for a program that was started with `nohup`, or with & in a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert main([*ARGS, "--trainer.max_epochs", "1", *interrupted(hook="on_test_start")]) == 0
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    "turned_into", [ImportError("half initialised"), UserError("a file is missing")], ids=["unknown", "with a sentence"]
)
def test_a_signal_counts_whatever_error_it_is_turned_into(turned_into, monkeypatch, capsys):
    def broken(_):
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        raise turned_into

    monkeypatch.setattr(command_line, "run", broken)
    assert main(["fit"]) == 130
    assert capsys.readouterr().err == "stopped by SIGINT\n"


IMPORTS = [("fit", module) for module in ("torch", "pytorch_lightning", "bioplausible.commands.command_line")]
IMPORTS += [("benchmark --batches 0", "torch"), ("report logs", "matplotlib")]  # which import it after their options


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("command", "module", "number"),
    [*((*each, signal.SIGINT) for each in IMPORTS), *((*each, signal.SIGTERM) for each in IMPORTS[-2:])],
)
def test_a_signal_during_imports(command, module, number, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED_IMPORT.format(module=module, number=int(number)))
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = [sys.executable, "-m", "bioplausible", *command.split()]
    environment = os.environ | {"PYTHONPATH": path}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 128 + number
    assert ended.stderr == f"stopped by {number.name}\n"


INTERRUPTED_IMPORT = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            try:
                exec("os.kill(os.getpid(), {number})")
            except BaseException:  # as an extension that is half initialised
                raise ImportError("half initialised") from None
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
