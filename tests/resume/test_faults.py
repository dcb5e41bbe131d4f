"""What training survives: kills at any moment, full disks, lost folders, damaged checkpoints.

Oracle: a run that nobody interrupted. ``FAULTS=10 python -m pytest tests/resume/test_faults.py -k killed -m ""`` kills
each rule's training ten times instead of twice.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bioplausible.__main__ import main
from bioplausible.errors import UserError
from bioplausible.resume.checkpoint_callbacks import LastCheckpoint
from bioplausible.resume.checkpoint_files import AtomicCheckpointIO, read_checkpoint
from bioplausible.rules import LearningRule
from tests.helpers import ARGS, CONFIGS, ROOT, RUN, command_line, differences, result, run_of, slow_but

KILLS = int(os.environ.get("FAULTS", "2"))
STATES = {"backpropagation", "corinfomax", "corinfomax_ebd", "equilibrium_propagation", "forward_forward", "pepita"}
"""Recipes of rules that keep different things from step to step: nothing but weights, lateral weights, running
correlations, draws for a batch, several steps a batch, draws for each sample."""


@pytest.mark.sampled
@pytest.mark.parametrize("recipe", slow_but(STATES, sorted((CONFIGS / "digits").glob("*.yaml"))))
def test_training_killed_at_any_moment_resumes_to_the_same_bits(recipe, tmp_path):
    """Even kills come at a random moment of training, odd ones at a random byte of a random checkpoint."""
    run = run_of(recipe)
    args = ["fit", "--config", str(recipe), *ARGS[1:], "--trainer.max_epochs", "2", "--checkpoint_every_n_steps", "4"]
    (tmp_path / "whole").mkdir()
    start = time.monotonic()
    assert command_line(args, tmp_path / "whole") == 0
    seconds = time.monotonic() - start
    whole, logged = result(tmp_path / "whole", run)
    size = (tmp_path / "whole" / run / "checkpoints/last.ckpt").stat().st_size
    draws = random.Random(f"{recipe.stem} {KILLS}")
    killed = 0
    for i in range(KILLS):
        folder = tmp_path / str(i)
        folder.mkdir()
        number = draws.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        if i % 2:
            moment = {"number": signal.SIGKILL, "kill_after_bytes": draws.randrange(size * 6)}
        else:
            moment = {"number": number, "kill_after_seconds": draws.uniform(0, seconds / 2)}
        status = command_line(args, folder, **moment)
        assert status in (0, -signal.SIGKILL, 128 + signal.SIGTERM, 128 + signal.SIGINT), moment
        assert status == -signal.SIGKILL or i % 2 == 0, moment
        killed += status != 0
        again = ["fit", "--ckpt_path", "last"]
        if not list(folder.rglob("[!.]*.ckpt")):  # killed before its first checkpoint, it starts anew
            shutil.rmtree(folder / "lightning_logs")
            again = args
        assert command_line(again, folder) == 0, moment
        resumed, logged_too = result(folder, run)
        assert list(differences(whole, resumed)) == [], moment
        if number == signal.SIGKILL or i % 2:  # a signal's own last checkpoint ends an epoch early in the log
            assert while_training(logged) == while_training(logged_too), moment
    print(f"{killed} of {KILLS} runs of {recipe.stem} were killed before their end")


@pytest.mark.parametrize("every", [[], ["--checkpoint_every_n_steps", "4"]], ids=["epochs", "steps"])
def test_a_kill_between_the_best_and_the_last_checkpoint_leaves_the_last_one_no_older(every, tmp_path):
    recipe, run = CONFIGS / "digits/backpropagation.yaml", RUN.parents[1] / "backpropagation/version_0"
    args = ["fit", "--config", str(recipe), *ARGS[1:], "--trainer.max_epochs", "2", *every]
    for name in ("whole", "part"):
        (tmp_path / name).mkdir()
    assert command_line(args, tmp_path / "whole") == 0
    assert command_line(args, tmp_path / "part", prepare=end_between_two_checkpoints) == 9
    assert read_checkpoint(tmp_path / "part" / run / "checkpoints/best.ckpt")["global_step"] == 22
    assert command_line(["fit", "--ckpt_path", "last"], tmp_path / "part") == 0
    whole, resumed = (result(tmp_path / name, run)[0] for name in ("whole", "part"))
    assert list(differences(whole, resumed)) == []


def end_between_two_checkpoints():
    """Ends this process without a word between the best checkpoint of the last step and the last one."""
    save = LastCheckpoint._save_checkpoint

    def save_or_end(self, trainer, path):
        if trainer.global_step == 22:
            os._exit(9)
        save(self, trainer, path)

    LastCheckpoint._save_checkpoint = save_or_end


def while_training(logged):
    """What was logged before the last step: a run that was killed after it validates once more."""
    return {tag: [(step, value) for step, value in values if step < 22] for tag, values in logged.items()}


def small_checkpoint(path):
    state = {"weight": torch.arange(3.0)}
    AtomicCheckpointIO().save_checkpoint({"state_dict": state, "global_step": 1}, path)


def test_a_checkpoint_cut_or_changed_at_any_byte_is_refused():
    small_checkpoint(Path("whole.ckpt"))
    data = Path("whole.ckpt").read_bytes()
    assert torch.equal(read_checkpoint("whole.ckpt")["state_dict"]["weight"], torch.arange(3.0))
    assert torch.equal(torch.load("whole.ckpt", weights_only=True)["state_dict"]["weight"], torch.arange(3.0))
    damaged = Path("damaged.ckpt")
    for i in range(len(data)):
        for content in (data[:i], data[:i] + bytes([data[i] ^ (1 << i % 8)]) + data[i + 1 :]):
            damaged.write_bytes(content)
            with pytest.raises(UserError, match=r"damaged.*use --ckpt_path whole\.ckpt"):
                read_checkpoint(damaged)
    print(f"{len(data)} bytes flipped, {len(data)} cuts")


def test_the_previous_checkpoint_is_offered(tmp_path, capsys):
    assert main([*ARGS, "--data.init_args.validation_split", "0", "--trainer.max_epochs", "2"]) == 0
    last = RUN / "checkpoints/last.ckpt"
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 1
    last.write_bytes(data)
    capsys.readouterr()
    assert main(["fit", "--ckpt_path", "last"]) == 2
    previous = last.with_name("previous.ckpt")
    assert f"use --ckpt_path {previous}" in capsys.readouterr().err
    assert read_checkpoint(previous)["epoch"] == 0
    assert main(["fit", "--ckpt_path", str(previous), "--trainer.max_epochs", "2"]) == 0
    assert read_checkpoint(last)["epoch"] == 1
    assert read_checkpoint(previous)["epoch"] == 0  # the damaged one has not taken its place


class _Malicious:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_a_malicious_checkpoint_does_not_run(capsys):
    torch.save({"state_dict": {}, "callbacks": _Malicious()}, "bad.ckpt")
    for command in ("fit", "test"):
        assert main([command, "--ckpt_path", "bad.ckpt"]) == 2
        assert "bad.ckpt is no readable checkpoint" in capsys.readouterr().err
    assert not Path("pwned").exists()


def test_a_folder_that_disappears_costs_its_log_alone(tmp_path):
    (tmp_path / "whole").mkdir()
    args = [*ARGS, "--trainer.max_epochs", "2"]
    assert command_line(args, tmp_path / "whole") == 0
    assert command_line(args, tmp_path, prepare=lose_the_folder, errors_in="errors.txt") == 2
    errors = (tmp_path / "errors.txt").read_text()
    assert errors.count("error: ") == 1
    assert f"The run's folder {RUN} disappeared" in errors
    assert command_line(["fit", "--ckpt_path", str(RUN / "checkpoints/last.ckpt")], tmp_path) == 0
    newest = max(tmp_path.glob("lightning_logs/**/last.ckpt"), key=lambda p: p.stat().st_mtime_ns)
    whole = result(tmp_path / "whole")[0]["state_dict"]
    assert list(differences(whole, read_checkpoint(newest)["state_dict"])) == []


def test_a_folder_that_disappears_is_told_of_where_no_checkpoint_is_written(tmp_path):
    args = [*ARGS, "--trainer.max_epochs", "1", "--trainer.enable_checkpointing", "false"]
    assert command_line(args, tmp_path, prepare=lose_the_folder, errors_in="errors.txt") == 2
    errors = (tmp_path / "errors.txt").read_text()
    assert errors.count("error: ") == 1
    assert f"The run's folder {RUN} disappeared, and with it all" in errors


def lose_the_folder():
    """Lets the run's folder disappear before the sixth step."""

    def on_train_batch_start(self, batch, batch_idx):
        if self.global_step == 5:
            shutil.rmtree(RUN)

    LearningRule.on_train_batch_start = on_train_batch_start


ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
MOUNT = ["unshare", "-rm", "sh", "-c"]


def can_mount():
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*MOUNT, "mount -t tmpfs tmpfs /mnt"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="needs a user namespace that may mount a tmpfs")
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
    """The disk holds some checkpoints, but not all that are to be kept."""
    disk = tmp_path / "disk"
    disk.mkdir()
    args = [*ARGS, "--checkpoint_every_n_steps", "2", "--checkpoint_keep", "-1"]
    fit = f"{sys.executable} -m bioplausible {' '.join(args)}"
    script = f"mount -t tmpfs -o size=3m tmpfs {disk} && cd {disk} && ({fit}; echo $? > {tmp_path}/status; "
    script += f"cp -r {disk}/lightning_logs {tmp_path})"
    ended = subprocess.run([*MOUNT, script], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (tmp_path / "status").read_text().strip() == "2", ended.stderr
    assert ended.stderr.count("error: ") == 1
    assert "make room" in ended.stderr
    assert "Traceback" not in ended.stderr
    checkpoints = list((tmp_path / RUN / "checkpoints").iterdir())
    assert len(checkpoints) > 2
    assert all(read_checkpoint(path)["global_step"] > 0 for path in checkpoints)
    (tmp_path / "whole").mkdir()
    assert command_line(ARGS, tmp_path / "whole") == 0
    assert command_line(["fit", "--ckpt_path", "last"], tmp_path) == 0
    weights = [result(folder)[0]["state_dict"] for folder in (tmp_path / "whole", tmp_path)]
    assert list(differences(*weights)) == []
