"""The seed fixes every bit of a run, and nothing that only looks, logs or saves changes one.

Elsewhere: every rule ends with the same bits in another process (tests/resume/test_resume.py, where that one was killed
and resumed on top), and with all observers on (tests/observers/test_observers.py).
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pytorch_lightning import Trainer, seed_everything

from bioplausible import DigitsDataModule, FeedbackAlignment
from bioplausible.__main__ import main
from tests.helpers import CONFIGS, QUICK, ROOT, RUN, all_rules, build, differences, result, slow_but

RECIPES = pytest.mark.parametrize("recipe", slow_but(QUICK, sorted((CONFIGS / "digits").glob("*.yaml"))))
# two epochs of 6 batches; the sign of β and the shifts of the images are drawn
SMALL = ["--data.init_args.subset_size=120", "--data.init_args.crop_padding=1", "--trainer.max_epochs=2"]
SMALL += ["--trainer.enable_progress_bar=false", "--trainer.limit_test_batches=0"]


def disturb_global_state(seed: int) -> None:
    """Leaves Python's, NumPy's and torch's generators in a state of their own."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def weights(*args: str, recipe: Path = CONFIGS / "digits/corinfomax.yaml") -> dict[str, torch.Tensor]:
    """Returns the weights and buffers at the end of a run."""
    assert main(["fit", "--config", str(recipe), *SMALL, *args]) == 0
    last = max(Path().rglob("last.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    return torch.load(last, weights_only=True)["state_dict"]


@pytest.mark.sampled
@RECIPES
def test_the_seed_and_nothing_else_fixes_the_weights(recipe):
    runs = []
    for disturbance, seed in ((1, 3), (2, 3), (1, 4)):
        disturb_global_state(disturbance)
        runs.append(weights(f"--seed_everything={seed}", recipe=recipe))
    first, again, other = runs
    assert list(differences(first, again)) == []
    changed = {where.removeprefix("checkpoint/") for where in differences(first, other)}
    assert {name for name in first if "weight" in name} <= changed


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The end of a run of the default recipe, to which others are compared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("plain"))
        return weights()


@pytest.mark.sampled
@pytest.mark.parametrize(
    "option",
    [
        "--trainer.log_every_n_steps=1",
        "--trainer.log_every_n_steps=0",
        "--trainer.logger=false",
        "--trainer.enable_progress_bar=true",
        "--trainer.enable_model_summary=true",
        "--checkpoint_every_n_steps=1",
        "--trainer.val_check_interval=2",
        "--trainer.check_val_every_n_epoch=2",
        "--trainer.limit_val_batches=0",
        "--trainer.num_sanity_val_steps=1",
        "--data.init_args.evaluation_batch_size=7",
        "--data.init_args.num_workers=1",
        "--data.init_args.num_workers=2",
        "--trainer.reload_dataloaders_every_n_epochs=1",
    ],
)
def test_what_only_looks_logs_or_saves_changes_no_weight(option, plain):
    assert list(differences(plain, weights(option))) == []


def test_two_processes_with_other_hash_seeds_give_the_same_run(tmp_path):
    command, both = [sys.executable, "-m", "bioplausible", "fit", *SMALL], []
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": name, "PYTHONPATH": str(ROOT)}
        both.append(subprocess.Popen(command, cwd=tmp_path / name, env=environment, stdout=subprocess.DEVNULL))
    assert [process.wait() for process in both] == [0, 0]
    (checkpoint, logged), (other_checkpoint, other_logged) = (result(tmp_path / name) for name in ("1", "2"))
    assert list(differences(checkpoint, other_checkpoint)) == []
    assert logged == other_logged


@pytest.mark.parametrize(("given", "seed"), [("7", 7), ("true", 0)])
def test_the_seed_is_recorded_and_repeats_the_run(given, seed):
    first = weights(f"--seed_everything={given}")
    config = yaml.safe_load((RUN / "config.yaml").read_text())
    checkpoint = torch.load(RUN / "checkpoints/last.ckpt", weights_only=True)
    assert config["seed_everything"] == seed
    assert yaml.safe_load(checkpoint["run_config"])["seed_everything"] == seed
    assert checkpoint["learning_rule"]["seed"] == checkpoint["DigitsDataModule"]["seed"] == seed
    assert list(differences(first, weights(recipe=RUN / "config.yaml"))) == []


@pytest.mark.parametrize(
    ("cls", "options"),
    [*((cls, {}) for cls in all_rules()), (FeedbackAlignment, {"feedback": "batchwise_random_sign"})],
    ids=str,
)
def test_training_from_python_draws_nothing_from_global_state(cls, options):
    ends = []
    for disturbance in (1, 2):
        seed_everything(3)
        rule = build(cls, [64, 5, 10], **options)
        disturb_global_state(disturbance)
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = Trainer(max_epochs=2, precision="64-true", accelerator="cpu", enable_model_summary=False, **quiet)
        trainer.fit(rule, DigitsDataModule(subset_size=120, crop_padding=1, horizontal_flip=True))
        ends.append(rule.state_dict())
    assert list(differences(*ends)) == []
