"""Oracle: a run that nobody interrupted."""

from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint

from bioplausible import CorInfoMax, DigitsDataModule
from bioplausible.__main__ import main
from tests.conftest import CONFIGS
from tests.processes import command_line
from tests.test_command_line import RUN, scalars

# 230 images less 23 for validation: 11 batches an epoch
ARGS = ["fit", "--trainer.max_epochs", "3", "--data.init_args.subset_size", "230", "--trainer.log_every_n_steps", "2"]
ARGS += ["--trainer.enable_progress_bar", "false"]


def differences(a, b, where="checkpoint"):
    """Yields where two checkpoints differ, to the bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        if not torch.equal(a, b):
            yield where
    elif isinstance(a, dict):
        if a.keys() != b.keys():
            yield f"{where}: {a.keys() ^ b.keys()}"
        for key in a.keys() & b.keys():
            yield from differences(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, (list, tuple)):
        if len(a) != len(b):
            yield where
        for i, (x, y) in enumerate(zip(a, b, strict=False)):
            yield from differences(x, y, f"{where}/{i}")
    elif a != b:
        yield f"{where}: {a!r} {b!r}"


def result(folder: Path, run: Path = RUN):
    """Returns a finished run's last checkpoint (weights, optimizer, scheduler, counters, …) and all it logged."""
    logged = {tag: values for tag, values in scalars(folder / run).items() if not tag.startswith("throughput")}
    return torch.load(folder / run / "checkpoints/last.ckpt", weights_only=True), logged


@pytest.mark.parametrize(
    ("every", "kills", "extra"),
    [
        # within an epoch; just before and after a checkpoint; at the last batch of an epoch and the first of the next
        (4, [5, 9, 10, 11, 12, 17, 21, 22], []),
        # a checkpoint on the last batch of an epoch
        (11, [11, 13, 22, 32], []),
        (4, [10, 13], ["--data.init_args.num_workers", "2"]),
        (4, [13], ["--data.init_args.validation_split", "0", "--data.init_args.crop_padding", "1"]),
        (4, [10], ["--model.init_args.optimizer", "Adam", "--model.init_args.track_correlations", "true"]),
    ],
    ids=["mid-epoch", "last-batch", "workers", "augmented", "adam"],
)
def test_a_killed_run_resumes_to_the_same_bits(every, kills, extra, tmp_path):
    args = [*ARGS, "--checkpoint_every_n_steps", str(every), *extra]
    (tmp_path / "whole").mkdir()
    assert command_line(args, tmp_path / "whole") == 0
    whole, logged = result(tmp_path / "whole")
    assert whole["epoch"] == 2
    for step in kills:
        folder = tmp_path / str(step)
        folder.mkdir()
        assert command_line(args, folder, kill_before_step=step) == -9
        assert command_line(["fit", "--ckpt_path", "last"], folder) == 0
        resumed, logged_too = result(folder)
        assert list(differences(whole, resumed)) == [], f"killed before step {step}"
        assert logged == logged_too, f"killed before step {step}"


@pytest.mark.parametrize("recipe", sorted((CONFIGS / "digits").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_rule_resumes_to_the_same_bits(recipe, tmp_path):
    run = RUN.parents[1] / recipe.stem / "version_0"
    args = ["fit", "--config", str(recipe), *ARGS[1:], "--trainer.max_epochs", "2", "--checkpoint_every_n_steps", "4"]
    (tmp_path / "whole").mkdir()
    assert command_line(args, tmp_path / "whole") == 0
    whole, logged = result(tmp_path / "whole", run)
    for step in (7, 13):
        folder = tmp_path / str(step)
        folder.mkdir()
        assert command_line(args, folder, kill_before_step=step) == -9
        assert command_line(["fit", "--ckpt_path", "last"], folder) == 0
        resumed, logged_too = result(folder, run)
        assert list(differences(whole, resumed)) == []
        assert logged == logged_too


def test_a_run_resumes_from_the_end_of_an_epoch_to_more_epochs(tmp_path):
    for name, epochs in (("whole", ["3"]), ("parts", ["1", "3"])):
        folder = tmp_path / name
        folder.mkdir()
        for i, epoch in enumerate(epochs):
            args = ["fit", "--ckpt_path", "last"] if i else ARGS
            assert command_line([*args, "--trainer.max_epochs", epoch], folder) == 0
    assert list(differences(*(result(tmp_path / name)[0] for name in ("whole", "parts")))) == []


def test_a_run_resumes_where_max_steps_cut_its_epoch(tmp_path):
    for name, steps in (("whole", ["25"]), ("parts", ["6", "22", "25"])):
        folder = tmp_path / name
        folder.mkdir()
        for i, step in enumerate(steps):
            args = ["fit", "--ckpt_path", "last"] if i else ARGS
            assert command_line([*args, "--trainer.max_steps", step], folder) == 0
    whole, parts = (result(tmp_path / name)[0] for name in ("whole", "parts"))
    assert whole["global_step"] == 25
    assert list(differences(whole, parts)) == []


def test_changed_rates_and_schedules_take_effect_on_resume(tmp_path):
    def options(**values):
        model = "--model.init_args."
        return [a for name, value in values.items() for a in (model + name.replace("__", ".init_args."), str(value))]

    schedule = {"lr_scheduler": "bioplausible.PiecewisePower", "lr_scheduler__bases": "{0: 0.5, 1: 0.25}"}
    momentum = {"optimizer": "SGD", "optimizer__momentum": 0.5}
    rates = {"feedforward_learning_rates": "[2, 1]", "feedback_learning_rates": 0.4}
    first = options(**schedule, **momentum, **rates)
    assert command_line([*ARGS, *first, "--trainer.max_epochs", "1"], tmp_path) == 0
    before = result(tmp_path)[0]["optimizer_states"][0]["param_groups"]
    assert [group["lr"] for group in before] == [0.5, 0.25, 0.1]  # after the epoch: 0.25¹
    changes = options(
        optimizer__momentum=0.25, feedforward_learning_rates="[4, 1]", lr_scheduler__bases="{0: 0.5, 1: 0.25, 2: 0.125}"
    )
    again = ["fit", "--ckpt_path", "last", "--trainer.max_epochs", "2", *changes]
    assert command_line(again, tmp_path) == 0
    after, logged = result(tmp_path)
    groups = after["optimizer_states"][0]["param_groups"]
    assert [group["momentum"] for group in groups] == [0.25, 0.25, 0.25]
    assert [group["lr"] for group in groups] == [4 * 0.125**2, 0.125**2, 0.4 * 0.125**2]

    assert [value for step, value in logged["lr-SGD/feedforward_1"] if step >= 11] == [4 * 0.25]


@pytest.mark.parametrize("option", ["optimizer Adam", "lr_scheduler CosineAnnealingLR", "lr_scheduler null"])
def test_another_optimizer_or_scheduler_is_refused_on_resume(option, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*ARGS, "--trainer.max_epochs", "1"]) == 0
    name, value = option.split()
    more = ["--model.init_args.lr_scheduler.init_args.T_max", "9"] if value.startswith("Cosine") else []
    assert main(["fit", "--ckpt_path", "last", f"--model.init_args.{name}", value, *more]) == 2
    error = capsys.readouterr().err
    assert f"trained with {name}" in error
    assert error.count("\n") == 1


def test_a_new_seed_on_resume_seeds_rule_and_data(tmp_path):
    assert command_line([*ARGS, "--trainer.max_epochs", "1"], tmp_path) == 0
    again = ["fit", "--ckpt_path", "last", "--trainer.max_epochs", "2"]
    assert command_line([*again, "--seed_everything", "5"], tmp_path) == 0
    last = result(tmp_path)[0]
    assert last["learning_rule"]["seed"] == 5
    assert last["DigitsDataModule"]["seed"] == 5


def test_the_best_checkpoint_is_never_overwritten_by_a_worse_epoch(tmp_path):
    """A checkpoint of an epoch's last step knows that epoch's validation accuracy."""
    assert command_line([*ARGS, "--checkpoint_every_n_steps", "11", "--checkpoint_keep", "-1"], tmp_path) == 0
    logged = dict(result(tmp_path)[1]["val/accuracy"])
    best = 0.0
    for step in (11, 22, 33):
        best = max(best, logged[step - 1])
        saved = torch.load(tmp_path / RUN / f"checkpoints/step={step}.ckpt", weights_only=True)
        assert float(saved["callbacks"]["BestCheckpoint"]["best_model_score"]) == pytest.approx(best)


def test_resume_from_python_is_exact_too(tmp_path):
    def train(ckpt_path=None):
        steps = ModelCheckpoint(tmp_path, every_n_train_steps=7, save_top_k=-1, filename="{step}")
        options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "max_epochs": 2}
        trainer = Trainer(**options, callbacks=[steps])
        seed_everything(3)
        trainer.fit(CorInfoMax([64, 20, 10]), DigitsDataModule(subset_size=230), ckpt_path=ckpt_path)
        trainer.save_checkpoint(tmp_path / "end.ckpt")
        return torch.load(tmp_path / "end.ckpt", weights_only=True)

    whole = train()
    for step in (7, 14, 21):
        resumed = train(tmp_path / f"step={step}.ckpt")
        assert whole["global_step"] == resumed["global_step"] == 24
        assert list(differences(whole["state_dict"], resumed["state_dict"])) == []
