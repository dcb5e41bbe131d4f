"""Oracle: a run that nobody interrupted."""

import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.optim import lr_scheduler

from bioplausible import (
    PEPITA,
    Burstprop,
    CorInfoMax,
    CorInfoMaxEBD,
    DifferenceTargetPropagation,
    DigitsDataModule,
    DirectDifferenceTargetPropagation,
    DirectFeedbackAlignment,
    DualPropagation,
    EquilibriumPropagation,
    ErrorBroadcastDecorrelation,
    FeedbackAlignment,
    KolenPollack,
    PiecewisePower,
    UserError,
)
from bioplausible.__main__ import main
from bioplausible.resume.checkpoint_callbacks import BestCheckpoint, EveryNSteps
from bioplausible.resume.checkpoint_files import read_checkpoint
from bioplausible.resume.configured_rates import ConfiguredRates
from tests.helpers import (
    ALL_TERMS_OF_CORINFOMAX_EBD,
    ALL_TERMS_OF_EBD,
    ARGS,
    CONFIGS,
    RUN,
    all_rules,
    build,
    command_line,
    differences,
    result,
    scalars,
)


def require_resumes_to(whole, logged, folder, when):
    """Resumes the newest run of a folder: it must come to the bits and the log of the one that nobody interrupted."""
    assert command_line(["fit", "--ckpt_path", "last"], folder) == 0
    resumed, logged_too = result(folder)
    assert list(differences(whole, resumed)) == [], when
    assert logged == logged_too, when


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("every", "steps"),
    [
        # within an epoch; just before and after a checkpoint; at the last batch of an epoch and the first of the next
        (4, [5, 9, 10, 11, 12, 17, 21, 22]),
        # a checkpoint on the last batch of an epoch
        (11, [11, 13, 22, 32]),
    ],
    ids=["mid-epoch", "last-batch"],
)
def test_what_a_kill_leaves_before_any_step_resumes_to_the_same_bits(every, steps, tmp_path):
    """Copied while the run goes on, and resumed in its place: so one run leaves what many killed ones would."""
    folder = tmp_path / "run"
    folder.mkdir()
    args = [*ARGS, "--checkpoint_every_n_steps", str(every)]
    assert command_line(args, folder, copy_before_steps=steps) == 0
    whole, logged = result(folder)
    assert whole["epoch"] == 2
    for step in steps:
        shutil.rmtree(folder)
        (tmp_path / str(step)).rename(folder)
        left = (read_checkpoint(path)["global_step"] for path in (folder / RUN / "checkpoints").glob("*.ckpt"))
        assert step - every <= max(left) <= step
        require_resumes_to(whole, logged, folder, f"killed before step {step}")


@pytest.mark.parametrize(
    ("kills", "extra"),
    [
        ([10, 13], ["--data.init_args.num_workers", "2"]),
        ([13], ["--data.init_args.validation_split", "0", "--data.init_args.crop_padding", "1"]),
        ([10], ["--model.init_args.optimizer", "Adam", "--model.init_args.track_correlations", "true"]),
        ([10], ["--trainer.precision", "64-true"]),
    ],
    ids=["workers", "augmented", "adam", "float64"],
)
def test_a_killed_run_resumes_to_the_same_bits(kills, extra, tmp_path):
    args = [*ARGS, "--checkpoint_every_n_steps", "4", *extra]
    (tmp_path / "whole").mkdir()
    assert command_line(args, tmp_path / "whole") == 0
    whole, logged = result(tmp_path / "whole")
    assert whole["epoch"] == 2
    for step in kills:
        folder = tmp_path / str(step)
        folder.mkdir()
        assert command_line(args, folder, kill_before_step=step) == -9
        require_resumes_to(whole, logged, folder, f"killed before step {step}")


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("corinfomax", {"track_correlations": "true", "carry_membrane_potential": "true"}),
        ("equilibrium_propagation", {"persistent_states": "true", "feedback": "learned"}),
        ("equilibrium_propagation", {"readout": "true", "loss": "cross_entropy"}),
        ("feedback_alignment", {"feedback": "batchwise_random_sign"}),
    ],
)
def test_a_killed_run_on_images_resumes_to_the_same_bits(recipe, options, tmp_path):
    layers = "[[1, 8, 8], {conv: 4, kernel: 3, padding: 1, pool: max}, 10]"
    options = {"layer_sizes": "null", "network": layers, **options}
    args = ["fit", "--config", str(CONFIGS / f"digits/{recipe}.yaml"), *ARGS[1:], "--trainer.max_epochs", "2"]
    args += [text for name, value in options.items() for text in (f"--model.init_args.{name}", value)]
    run = RUN.parents[1] / recipe / "version_0"
    for name, kill in (("whole", None), ("parts", 14)):
        (tmp_path / name).mkdir()
        killed = command_line([*args, "--checkpoint_every_n_steps", "4"], tmp_path / name, kill_before_step=kill)
        assert killed == (0 if kill is None else -9)
    assert command_line(["fit", "--ckpt_path", "last"], tmp_path / "parts") == 0
    (whole, logged), (resumed, logged_too) = (result(tmp_path / name, run) for name in ("whole", "parts"))
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


TWO_EPOCHS = [*ARGS, "--trainer.max_epochs", "2"]


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory):
    """The last checkpoint of a run of two epochs that nobody interrupted."""
    folder = tmp_path_factory.mktemp("two-epochs")
    assert command_line(TWO_EPOCHS, folder) == 0
    return result(folder)[0]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("step", [7, 10, 11])
def test_a_signal_ends_training_after_the_batch_and_it_resumes_to_the_same_bits(
    number, status, step, two_epochs, tmp_path
):
    assert command_line(TWO_EPOCHS, tmp_path, kill_before_step=step, number=number) == status
    assert result(tmp_path)[0]["global_step"] == step + 1
    assert command_line(["fit", "--ckpt_path", "last"], tmp_path) == 0
    assert list(differences(two_epochs, result(tmp_path)[0])) == []


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


def resumed_rates(first, again, steps=3):
    """Returns the rates where a resumed run starts, and after its next step: each run is (its rates, its scheduler)."""

    def start(rates, scheduler):
        weights = [torch.nn.Parameter(torch.zeros(1)) for _ in rates]
        optimizer = torch.optim.SGD([{"params": [w], "lr": lr} for w, lr in zip(weights, rates, strict=True)])
        schedule = scheduler(optimizer)
        trainer = SimpleNamespace(optimizers=[optimizer], lr_scheduler_configs=[SimpleNamespace(scheduler=schedule)])
        return ConfiguredRates(), optimizer, schedule, trainer

    callback, optimizer, schedule, trainer = start(*first)
    callback.on_fit_start(trainer, None)
    for _ in range(steps):
        optimizer.step()
        schedule.step()
    saved = callback.state_dict(), optimizer.state_dict(), schedule.state_dict()
    callback, optimizer, schedule, trainer = start(*again)
    callback.load_state_dict(saved[0])
    callback.on_fit_start(trainer, None)
    optimizer.load_state_dict(saved[1])
    schedule.load_state_dict(saved[2])
    callback.on_train_start(trainer, None)
    now = [group["lr"] for group in optimizer.param_groups]
    optimizer.step()
    schedule.step()
    return now, [group["lr"] for group in optimizer.param_groups]


SCHEDULES = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2, 0.5),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.7),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.25, total_iters=5),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.25, total_iters=5),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 9),
    "PiecewisePower": lambda o: PiecewisePower(o, {0: 0.9, 2: 0.7}),
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
def test_a_resumed_run_has_the_rates_of_one_that_was_configured_so_from_the_start(schedule):
    new = [4.0, 0.5, 3.0]
    fresh = torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in new])
    expected = schedule(fresh)
    for _ in range(3):
        fresh.step()
        expected.step()
    now, following = resumed_rates(([2.0, 1.0, 0.0], schedule), (new, schedule))
    assert now == pytest.approx([group["lr"] for group in fresh.param_groups])
    fresh.step()
    expected.step()
    assert following == pytest.approx([group["lr"] for group in fresh.param_groups])


def test_a_changed_schedule_acts_from_its_next_step():
    def warm_up(factor):
        return lambda o: lr_scheduler.ConstantLR(o, factor, total_iters=2)

    def cycle(steps):
        return lambda o: lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=steps)

    assert resumed_rates(([2.0], warm_up(0.25)), ([2.0], warm_up(0.5))) == ([2.0], [2.0])  # it is over
    now, following = resumed_rates(([1.0], cycle(20)), ([1.0], cycle(40)))
    assert now != following
    fresh = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    expected = cycle(40)(fresh)
    for _ in range(4):
        fresh.step()
        expected.step()
    assert following == pytest.approx([fresh.param_groups[0]["lr"]])


def test_options_without_saved_state_are_refused_on_resume(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    optimizer = "--model.init_args.optimizer"
    assert main([*ARGS, optimizer, "Adam", "--trainer.max_epochs", "1"]) == 0
    assert main(["fit", "--ckpt_path", "last", f"{optimizer}.init_args.amsgrad", "true"]) == 2
    assert "without amsgrad" in capsys.readouterr().err


@pytest.mark.parametrize("layer", range(3))
def test_so_they_are_whichever_layer_has_them(layer):
    def configured(amsgrad):
        groups = [{"params": [torch.zeros(1)], "amsgrad": amsgrad and k == layer} for k in range(3)]
        return SimpleNamespace(optimizers=[torch.optim.Adam(groups)], lr_scheduler_configs=[])

    before, now = ConfiguredRates(), ConfiguredRates()
    before.on_fit_start(configured(False), None)
    now.load_state_dict(before.state_dict())
    with pytest.raises(UserError, match="trained without amsgrad and holds no state for it"):
        now.on_fit_start(configured(True), None)


def test_the_best_checkpoint_survives_worse_epochs_and_resume(tmp_path, monkeypatch):
    """Its accuracy falls from the second epoch on, for the rate explodes."""
    monkeypatch.chdir(tmp_path)
    explodes = ["--model.init_args.lr_scheduler.init_args.bases", "{0: 1, 1: 100}"]
    every = ["--checkpoint_every_n_steps", "11", "--checkpoint_keep", "-1"]
    assert main([*ARGS, *explodes, *every]) == 0
    folder = tmp_path / RUN / "checkpoints"
    accuracy = [value for _, value in sorted(result(tmp_path)[1]["val/accuracy"])]
    assert accuracy[0] > max(accuracy[1:])

    def steps():
        names = ("best", "step=22", "last")
        return [torch.load(folder / f"{name}.ckpt", weights_only=True)["global_step"] for name in names]

    assert steps() == [11, 22, 33]
    for step in (11, 22, 33):
        state = torch.load(folder / f"step={step}.ckpt", weights_only=True)["callbacks"]["BestCheckpoint"]
        assert float(state["best_model_score"]) == pytest.approx(accuracy[0])
    for name in ("step=22", "best"):
        assert main(["fit", "--ckpt_path", str(folder / f"{name}.ckpt")]) == 0
        assert steps() == [11, 22, 33]


@pytest.mark.parametrize("keep", [1, 2])
def test_the_newest_checkpoints_are_kept_also_where_training_resumes_from_one(keep, tmp_path, monkeypatch):
    """Of epochs of 11 steps."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / RUN / "checkpoints"

    def steps():
        return sorted(int(file.stem.partition("=")[2]) for file in folder.glob("step=*.ckpt"))

    def replaced():
        newest = torch.load(folder / f"step={max(steps())}.ckpt", weights_only=True)
        return [int(Path(path).stem.partition("=")[2]) for path in newest["callbacks"]["EveryNSteps"]["replaced"]]

    every = ["--checkpoint_every_n_steps", "4", "--checkpoint_keep", str(keep)]
    assert main([*ARGS, *every, "--trainer.max_epochs", "1"]) == 0
    assert steps() == [4, 8][-keep:]
    assert replaced() == [[], [4]][keep == 1]
    assert main(["fit", "--ckpt_path", str(folder / "step=8.ckpt"), "--trainer.max_epochs", "2"]) == 0
    assert steps() == [12, 16, 20][-keep:]
    assert replaced() == [20 - 4 * keep]  # which a kill before it is removed leaves


def test_a_checkpoint_after_which_a_validation_comes_is_written_once_after_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = []
    save = EveryNSteps._save_checkpoint

    def noted(self, trainer, filepath):
        validated = next(c for c in trainer.checkpoint_callbacks if isinstance(c, BestCheckpoint))._validated
        written.append((trainer.global_step, validated))
        save(self, trainer, filepath)

    monkeypatch.setattr(EveryNSteps, "_save_checkpoint", noted)
    often = ["--trainer.max_epochs", "1", "--trainer.val_check_interval", "4", "--checkpoint_every_n_steps", "2"]
    assert main([*ARGS, *often]) == 0
    assert written == [(2, -1), (4, 4), (6, 4), (8, 8), (10, 8)]


@pytest.mark.parametrize("training", [True, False])
def test_training_alone_removes_the_checkpoints_that_a_kill_left(training, tmp_path):
    steps = EveryNSteps(4)
    steps.dirpath = str(tmp_path)
    left, kept = tmp_path / "step=4.ckpt", tmp_path / "step=8.ckpt"
    for file in (left, kept):
        file.touch()
    checkpoint = {"callbacks": {steps.state_key: {"replaced": ["where/it/was/step=4.ckpt"]}}}
    steps.on_load_checkpoint(SimpleNamespace(training=training, is_global_zero=True), None, checkpoint)
    assert (left.is_file(), kept.is_file()) == (not training, True)


def test_the_first_checkpoint_after_a_resume_names_those_that_it_replaces_too(tmp_path):
    before, after = EveryNSteps(4), EveryNSteps(4)
    before.dirpath = after.dirpath = str(tmp_path)
    four, eight = (str(tmp_path / f"step={step}.ckpt") for step in (4, 8))
    before.best_k_models = {four: torch.tensor(4.0)}
    after.load_state_dict(before.state_dict())
    assert after.state_dict()["replaced"] == []
    after.best_k_models = {eight: torch.tensor(8.0)}
    assert after.state_dict()["replaced"] == [four]


def test_a_best_checkpoint_ahead_of_the_resumed_one_is_set_aside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*ARGS, "--checkpoint_every_n_steps", "11", "--checkpoint_keep", "-1"]) == 0
    folder = tmp_path / RUN / "checkpoints"
    ahead = torch.load(folder / "best.ckpt", weights_only=True)["global_step"]
    assert ahead > 11
    still = ["--model.init_args.feedforward_learning_rates", "0", "--model.init_args.feedback_learning_rates", "0"]
    assert main(["fit", "--ckpt_path", str(folder / "step=11.ckpt"), *still]) == 0
    assert (folder / f"best_before_resume_step={ahead}.ckpt").is_file()
    best, last = (torch.load(folder / f"{name}.ckpt", weights_only=True) for name in ("best", "last"))
    assert best["callbacks"]["BestCheckpoint"]["best_model_score"] == pytest.approx(
        float(last["callbacks"]["BestCheckpoint"]["best_model_score"])
    )


def test_throughput_of_a_resumed_epoch_is_that_of_its_own_batches(tmp_path):
    assert command_line([*ARGS, "--checkpoint_every_n_steps", "4"], tmp_path, kill_before_step=9) == -9
    assert command_line(["fit", "--ckpt_path", "last"], tmp_path) == 0
    assert min(value for _, value in scalars(tmp_path / RUN)["throughput/samples_per_second"]) > 10


def test_rates_are_known_to_a_checkpoint_saved_after_a_test(tmp_path):
    def trainer(epochs):
        return Trainer(max_epochs=epochs, logger=False, enable_progress_bar=False, enable_checkpointing=False)

    rule, data, first = CorInfoMax([64, 20, 10]), DigitsDataModule(subset_size=230), trainer(1)
    first.fit(rule, data)
    first.test(rule, data, verbose=False)
    first.save_checkpoint(tmp_path / "end.ckpt")
    again = trainer(2)
    again.fit(CorInfoMax([64, 20, 10], feedforward_learning_rates=3.0), data, ckpt_path=tmp_path / "end.ckpt")
    assert [group["lr"] for group in again.optimizers[0].param_groups] == [3.0, 3.0, 0.07]


def test_every_logger_and_new_folders_are_honoured_on_resume(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    csv = "{class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: csv}}"
    csv = csv.replace("lightning.pytorch", "pytorch_lightning")
    loggers = f"[{{class_path: bioplausible.training.loggers.RunLogger}}, {csv}]"
    assert main([*ARGS, "--trainer.max_epochs", "1", "--trainer.logger", loggers]) == 0
    assert main(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "2"]) == 0
    (metrics,) = Path("csv").rglob("metrics.csv")  # it goes on
    assert len([row for row in metrics.read_text().splitlines() if ",10," in row or ",21," in row]) >= 2
    assert [p.name for p in (tmp_path / RUN.parent).iterdir()] == ["version_0"]
    shutil.rmtree("csv")
    assert main([*ARGS, "--trainer.max_epochs", "1"]) == 0
    elsewhere = ["--trainer.logger.init_args.save_dir", "other"]
    last = str(tmp_path / RUN.parent / "version_1/checkpoints/last.ckpt")
    assert main(["fit", "--ckpt_path", last, "--trainer.max_epochs", "2", *elsewhere]) == 0
    assert (tmp_path / "other" / RUN.relative_to("lightning_logs") / "checkpoints/last.ckpt").is_file()


IMAGES = [[1, 8, 8], {"conv": 4, "kernel": 3, "padding": 1, "pool": "max"}, {"conv": 6, "kernel": 3, "stride": 2}, 10]
POINTS = {"points": 3, "activation_function": "sigmoid", "output_activation": "sigmoid", "step_size": 1.0, "beta": 0.3}
VARIANTS = {
    **{f"{cls.__name__} on images": (cls, IMAGES, {}) for cls in all_rules()},
    **{
        f"FeedbackAlignment, {kind}": (FeedbackAlignment, IMAGES, {"feedback": kind})
        for kind in ("uniform_sign", "fixed_random_sign", "batchwise_random_sign")
    },
    "DirectFeedbackAlignment": (DirectFeedbackAlignment, [64, 20, 10], {}),
    "ErrorBroadcastDecorrelation, all terms": (ErrorBroadcastDecorrelation, IMAGES, ALL_TERMS_OF_EBD),
    "CorInfoMaxEBD, all terms": (CorInfoMaxEBD, IMAGES, ALL_TERMS_OF_CORINFOMAX_EBD),
    "DualPropagation, both ways": (DualPropagation, IMAGES, {"order": "forward_backward", "form": "raovr"}),
    "PEPITA, dropout": (PEPITA, IMAGES, {"dropout": 0.2}),
    "Burstprop, recurrent": (Burstprop, IMAGES, {"recurrent_rate": 0.1}),
    **{f"{mirror} mirror": (KolenPollack, IMAGES, {"mirror": mirror}) for mirror in ("zero_mean", "published")},
    "difference reconstruction": (
        DifferenceTargetPropagation,
        IMAGES,
        {"feedback_loss": "difference_reconstruction", "feedback_steps": 2},
    ),
    "last hidden target by the gradient": (DifferenceTargetPropagation, IMAGES, {"last_hidden_target": "gradient"}),
    "hidden units": (DirectDifferenceTargetPropagation, IMAGES, {"hidden_units": 7}),
    "persistent states": (EquilibriumPropagation, [64, 20, 10], {"persistent_states": True}),
    "persistent states on images": (EquilibriumPropagation, IMAGES, {"persistent_states": True}),
    "learned feedback": (EquilibriumPropagation, IMAGES, {"feedback": "learned", "three_phase": True}),
    "readout": (EquilibriumPropagation, IMAGES, {"readout": True, "loss": "cross_entropy"}),
    "complex points": (EquilibriumPropagation, [64, 20, 10], POINTS),
    "correlations": (CorInfoMax, IMAGES, {"track_correlations": True, "track_correlations_every_n_steps": 3}),
}


@pytest.mark.sampled
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kind_of_state_is_in_a_checkpoint(variant, tmp_path):
    """Resumed by a rule with other first weights, in the first and in the second of two epochs of six steps."""
    cls, network, options = VARIANTS[variant]

    def train(ckpt_path=None):
        steps = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1, filename="{step}")
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        torch.manual_seed(0 if ckpt_path is None else 1)
        rule = build(cls, network, **options).float()
        seed_everything(3, verbose=False)
        trainer = Trainer(max_epochs=2, callbacks=[] if ckpt_path else [steps], accelerator="cpu", **quiet)
        trainer.fit(rule, DigitsDataModule(subset_size=120), ckpt_path=ckpt_path)
        trainer.save_checkpoint(tmp_path / "end.ckpt")
        saved = torch.load(tmp_path / "end.ckpt", weights_only=True)
        states = [saved["optimizer_states"], saved.get("persistent_states"), saved["global_step"]]
        return [dict(rule.named_parameters()), dict(rule.named_buffers()), *states]

    whole = train()
    assert whole[-1] == 12
    for step in (3, 5, 9):
        assert list(differences(whole, train(tmp_path / f"step={step}.ckpt"))) == [], step


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
