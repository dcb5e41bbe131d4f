"""End to end, through the command line in this process."""

import csv
import shutil
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from pytorch_lightning.accelerators import CUDAAccelerator, MPSAccelerator

from bioplausible.__main__ import main
from bioplausible.commands.recipes import all_recipes, snake_case
from bioplausible.data import DigitsDataModule, MNISTDataModule
from bioplausible.errors import UserError
from tests.helpers import CONFIGS, FEW, PUBLISHED_NETWORKS, RUN, scalars


def fit(*args: str) -> int:
    return main(["fit", *FEW, "--trainer.max_epochs", "2", *args])


def test_fit_then_validate_test_and_predict(capsys):
    assert fit("--trainer.log_every_n_steps", "2") == 0
    out = capsys.readouterr().out
    assert f"run                  {RUN}" in out
    assert f"tensorboard --logdir {RUN}" in out
    accuracy = out.split("test accuracy")[1].split("%")[0].strip()

    logged = scalars(RUN)
    expected = {f"{stage}/{what}" for stage in ("train", "val", "test") for what in ("accuracy", "loss")}
    expected |= {"dynamics/free_residual", "dynamics/nudged_residual", "alignment/layer_2_angle"}
    expected |= {"throughput/samples_per_second"}
    expected |= {f"lr-SGD/{name}" for name in ("feedforward_1", "feedforward_2", "feedback_2")}
    assert expected <= logged.keys()
    assert len(logged["train/accuracy"]) == 2
    assert logged["lr-SGD/feedforward_1"][-1][1] == pytest.approx(2.0 * 0.97)
    assert f"{logged['test/accuracy'][-1][1]:.2%}"[:-1] == accuracy
    hparams = (RUN / "hparams.yaml").read_text()
    assert "forgetting_factor" in hparams
    events = b"".join(p.read_bytes() for p in RUN.glob("events*"))
    assert b"_hparams_/session_start_info" in events

    best, last = RUN / "checkpoints/best.ckpt", RUN / "checkpoints/last.ckpt"
    assert best.is_file()
    config = (RUN / "config.yaml").read_text()
    assert yaml.safe_load(config)["ckpt_path"] is None
    assert main(["test", "--ckpt_path", str(last), "--trainer.enable_progress_bar", "false"]) == 0
    assert main(["validate", "--ckpt_path", "last", "--trainer.enable_progress_bar", "false"]) == 0
    assert main(["predict", "--ckpt_path", str(RUN), "--trainer.enable_progress_bar", "false"]) == 0
    assert [p.name for p in RUN.parent.iterdir()] == ["version_0"]
    assert (RUN / "config.yaml").read_text() == config
    capsys.readouterr()
    assert main(["predict", "--ckpt_path", str(RUN), "--output", "/dev/null/p.csv"]) == 2
    assert capsys.readouterr().err.startswith("error: The predictions /dev/null/p.csv can't be written")
    assert main(["predict", "--ckpt_path", str(RUN), "--output", "."]) == 2
    assert "a folder" in capsys.readouterr().err
    assert not list(RUN.glob(".*"))
    with (RUN / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["sample", "label", "prediction", "confidence"]
    data = DigitsDataModule()
    data.setup("test")
    labels = torch.cat([y for _, y in data.test_dataloader()]).tolist()
    assert [int(r["label"]) for r in rows] == labels
    assert [int(r["sample"]) for r in rows] == list(range(len(labels)))
    right = sum(r["label"] == r["prediction"] for r in rows) / len(rows)
    assert f"{right:.2%}"[:-1] == accuracy
    assert all(0 < float(r["confidence"]) <= 1 for r in rows)


@pytest.mark.parametrize("split", ["0", "0.1"])
def test_no_command_warns_of_what_is_meant(split, recwarn):
    """Nothing that Lightning warns about is a fault of a run with the options that we give it."""
    few = ["--trainer.max_epochs", "1", "--trainer.limit_test_batches", "1", "--data.init_args.validation_split", split]
    assert main(["fit", *FEW, *few]) == 0
    for command in ("validate", "test", "predict", "fit") if split != "0" else ("test", "predict", "fit"):
        assert main([command, "--ckpt_path", "last"]) == 0
    assert [str(w.message) for w in recwarn if "jsonargparse" not in str(type(w.message))] == []


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_evaluation_without_a_checkpoint_is_refused(command, capsys):
    assert main([command]) == 2
    assert "--ckpt_path" in capsys.readouterr().err


def test_any_optimizer_and_scheduler_of_torch(capsys):
    model = "--model.init_args."
    assert (
        fit(
            f"{model}optimizer",
            "torch.optim.Adam",
            f"{model}optimizer.init_args.lr",
            "0.003",
            f"{model}feedforward_learning_rates",
            "null",
            f"{model}feedback_learning_rates",
            "null",
            f"{model}lr_scheduler",
            "torch.optim.lr_scheduler.StepLR",
            f"{model}lr_scheduler.init_args.step_size",
            "3",
            f"{model}lr_scheduler.init_args.gamma",
            "0.5",
            f"{model}lr_scheduler_interval",
            "step",
        )
        == 0
    )
    checkpoint = torch.load(RUN / "checkpoints/last.ckpt", weights_only=True)
    (state,) = checkpoint["optimizer_states"]
    assert {group["lr"] for group in state["param_groups"]} == {0.003 * 0.5 ** (checkpoint["global_step"] // 3)}
    assert "exp_avg" in state["state"][0]


def test_a_schedule_that_would_not_come_to_its_end_is_told_of():
    schedule = ["--model", "Backpropagation", "--model.lr_scheduler", "OneCycleLR", "--model.lr_scheduler.max_lr=0.1"]
    schedule += ["--model.lr_scheduler.total_steps"]
    with pytest.warns(UserWarning, match="planned for 12 steps, and takes one an epoch, 2 in this run"):
        assert fit(*schedule, "12") == 0
    for as_planned in (["2"], ["12", "--model.lr_scheduler_interval", "step"]):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="OneCycleLR")
            assert fit(*schedule, *as_planned) == 0


def test_plateau_scheduler():
    model = "--model.init_args.lr_scheduler"
    args = [
        model,
        "pytorch_lightning.cli.ReduceLROnPlateau",
        f"{model}.init_args.monitor",
        "val/loss",
        f"{model}.init_args.patience",
        "0",
    ]
    args += [f"{model}.init_args.threshold", "10", f"{model}.init_args.factor", "0.1"]
    assert fit(*args) == 0
    (state,) = torch.load(RUN / "checkpoints/last.ckpt", weights_only=True)["optimizer_states"]
    assert state["param_groups"][0]["lr"] == pytest.approx(0.02)


def test_tracked_information_is_logged():
    assert fit("--model.init_args.track_correlations", "true", "--trainer.log_every_n_steps", "3") == 0
    logged = scalars(RUN)
    assert [step for step, _ in logged["information/free_forward_layer_2"]] == [2, 5, 8, 11]
    assert "information/nudged_published_backward_layer_2" in logged


def test_float64():
    assert fit("--trainer.precision", "64-true") == 0
    state = torch.load(RUN / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert {t.dtype for name, t in state.items() if "weight" in name} == {torch.float64}


def test_command_line_beats_the_checkpoint():
    assert fit() == 0
    assert main(["fit", *FEW, "--ckpt_path", "last", "--trainer.max_epochs", "3", "--model.init_args.beta", "0.9"]) == 0
    checkpoint = torch.load(RUN / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["epoch"] == 2
    config = yaml.safe_load(checkpoint["run_config"])
    assert config["model"]["init_args"]["beta"] == 0.9
    assert config["data"]["init_args"]["subset_size"] == 120
    assert checkpoint["hyper_parameters"]["beta"] == 0.9


def test_a_resumed_run_keeps_a_configuration_to_start_from(recwarn):
    assert fit("--data.init_args.validation_split", "0") == 0
    assert main(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "3", "--checkpoint_every_n_steps", "7"]) == 0
    config = yaml.safe_load((RUN / "config.yaml").read_text())
    assert config["ckpt_path"] is None
    assert config["trainer"]["max_epochs"] == 3
    assert not [w for w in recwarn if "callback" in str(w.message)]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--trainer.log_every_n_steps", "0"], "test accuracy        "),
        (["--trainer.limit_test_batches", "0"], "test accuracy        not run"),
        (["--trainer.limit_val_batches", "0"], "validation accuracy  not run"),
        (["--data.init_args.validation_split", "0"], "validation accuracy  none (validation_split is 0)"),
        (
            ["--trainer.callbacks", "{class_path: EarlyStopping, init_args.monitor: val/loss}"],
            "test accuracy        ",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_trainer_options(args, said, capsys):
    assert fit(*args) == 0
    assert said in capsys.readouterr().out


def test_checkpoints_every_n_steps():
    assert fit("--checkpoint_every_n_steps", "2", "--checkpoint_keep", "-1") == 0
    names = sorted(p.name for p in (RUN / "checkpoints").iterdir())
    assert names == sorted(
        [*(f"step={s}.ckpt" for s in (2, 4, 6, 8, 10, 12)), "best.ckpt", "last.ckpt", "previous.ckpt"]
    )


BAD = {
    "unknown option": ["--model.init_args.betta", "1"],
    "unknown class": ["--model", "Nonsense"],
    "unknown trainer key": ["--trainer.nonsense", "1"],
    "no number": ["--model.init_args.beta", "abc"],
    "input size": ["--model.init_args.layer_sizes", "[63, 20, 10]"],
    "output size": ["--model.init_args.layer_sizes", "[64, 20, 9]"],
    "no layers": ["--model.init_args.layer_sizes", "[64]"],
    "feedforward rates": ["--model.init_args.feedforward_learning_rates", "[1, 2, 3]"],
    "feedback rates": ["--model.init_args.feedback_learning_rates", "[1, 2]"],
    "epsilon": ["--model.init_args.epsilon", "0"],
    "forgetting factor": ["--model.init_args.forgetting_factor", "1.01"],
    "forgetting factor 0": ["--model.init_args.forgetting_factor", "0"],
    "beta": ["--model.init_args.beta", "0"],
    "negative steps": ["--model.init_args.nudged_steps", "-1"],
    "step size": ["--model.init_args.step_size", "0"],
    "split": ["--data.init_args.validation_split", "1"],
    "tiny split": ["--data.init_args.validation_split", "0.00001"],
    "subset": ["--data.init_args.subset_size", "100000"],
    "batch size": ["--data.init_args.batch_size", "0"],
    "mirror": ["--data", "MNISTDataModule", "--data.init_args.mirror", "nowhere"],
    "log folder": ["--trainer.logger.init_args.save_dir", "/dev/null/logs"],
    "no config": ["--config", "nothing.yaml"],
    "no checkpoint": ["--ckpt_path", "nothing.ckpt"],
    "no last checkpoint": ["--ckpt_path", "last"],
    "bad interval": ["--checkpoint_every_n_steps", "0"],
    "no checkpoints to keep": ["--checkpoint_keep", "0"],
    "no checkpoints kept": ["--checkpoint_every_n_steps", "5", "--checkpoint_keep", "0"],
    "mixed precision": ["--trainer.precision", "16-mixed"],
    "half precision": ["--trainer.precision", "bf16-true"],
    "abbreviation": ["--trainer.max_epoch", "3"],
    "no value": ["--ckpt_path"],
    "negative rate": ["--model.init_args.feedforward_learning_rates", "-1"],
    "overfit": ["--trainer.overfit_batches", "2"],
    "no accelerator": ["--trainer.accelerator", "tpu"],
    "NUL in a file's name": ["--config", "a\0b"],
    "NUL in a checkpoint's name": ["--ckpt_path", "a\0b"],
    "NUL in a folder's name": ["--trainer.logger.save_dir", "a\0b"],
    "NUL in the root": ["--trainer.default_root_dir=\0"],
    "NUL in the data's folder": ["--data", "MNISTDataModule", "--data.data_dir", "a\0b"],
    "checkpoints off and on": ["--trainer.enable_checkpointing", "false", "--checkpoint_every_n_steps", "5"],
}


BAD_FOR_RULE = {
    "corinfomax_sparse": ["dual_step_sizes={3: 0.1}", "dual_step_sizes={1: 0}", "epsilon=0", "beta=0"],
    "equilibrium_propagation": [
        "beta=0",
        "readout=true",
        "activation_function=cube",
        "free_steps=0",
        "nudged_steps=-1",
        "step_size=0",
        "learning_rates=[1]",
    ],
    "contrastive_similarity_matching": ["beta=0", "evaluation_steps=0", "lateral_learning_rates=[1, 2]"],
    "predictive_coding": ["inference_steps=0", "step_size=-1", "target_range=[0.9, 0.1]", "activation_function=cube"],
    "nudged_predictive_coding": ["beta=0", "inference_steps=-1", "step_size_rule=never", "step_size=0"],
    "forward_forward": [
        "goodness=max",
        "prediction=loss",
        "order=upwards",
        "updates_per_batch=0",
        "negative_labels=right",
        "peer_normalization=-1",
        "read_from=9",
        "normalization=none",
    ],
    "predictive_coding_error_based": ["inference=weights", "fixed_predictions=true", "stale_errors=true", "beta=0"],
    "incremental_predictive_coding": [
        "step_size_discount=0",
        "step_size_discount=1.5",
        "update_weights_at=first",
        "target_range=[0.9, 0.1]",
        "loss=hinge",
        "residual=true",
    ],
    "mu_predictive_coding": ["output_divisor=0", "initialization=zero", "free_output_error=true", "inference=weights"],
    "feedback_alignment": [
        "loss=hinge",
        "activation_function=cube",
        "output_activation=cube",
        "layer_sizes=[64, 10, 0]",
    ],
    "corinfomax_ebd": [
        "error_forgetting_factor=1.5",
        "decorrelation=[1, 2, 3]",
        "feedback_decorrelation=-1",
        "lateral_decorrelation=[]",
        "epsilon=0",
        "free_steps=0",
        "power=-0.1",
    ],
    "error_broadcast_decorrelation": [
        "error_forgetting_factor=-0.1",
        "forgetting_factor=2",
        "correlated=cube",
        "entropy_of=layer",
        "decorrelation=[1, 2, 3]",
        "entropy=[1, 2]",
        "target_power=-1",
        "forward_broadcast=-1",
        "epsilon=0",
        "learning_rates=[1]",
        "loss=hinge",
    ],
    "direct_feedback_alignment": [
        "loss=hinge",
        "initialization=zero",
        "network=[[1, 8, 8], {conv: 4}, 10]",
        "signal=reward",
        "projection=above",
        "learning_rates=[1]",
    ],
    "direct_random_target_projection": ["projection=above", "learning_rates=-1", "loss=hinge"],
    "holomorphic_equilibrium_propagation": [
        "points=0",
        "points=2.5",
        "activation_function=clip",
        "activation_slope=2",
        "step_size=0.5",
        "feedback=learned",
    ],
    "contrastive_hebbian_learning": ["random_beta_sign=true", "hold_output=perhaps", "points=3"],
    "coupled_learning": ["loss=cross_entropy", "relax_free_again=true", "points=2"],
    "difference_target_propagation": [
        "feedback_loss=inverse",
        "last_hidden_target=loss",
        "target_step=0",
        "sigma=0",
        "sigma=[0.1, 0.1]",
        "feedback_steps=0",
        "feedback_activation=cube",
        "feedback_learning_rates=[0.1, 0.1]",
        "learning_rates=-1",
        "loss=hinge",
    ],
    "direct_difference_target_propagation": [
        "target_step=-1",
        "sigma=-0.1",
        "feedback_steps=0.5",
        "hidden_units=4",
        "feedback_learning_rates=-1",
        "loss=hinge",
    ],
    "local_difference_reconstruction": [
        "target_step=0",
        "sigma=0",
        "feedback_steps=[3, 3]",
        "feedback_steps=0",
        "feedback_learning_rates=[1, 1]",
        "learning_rates=[1]",
        "loss=hinge",
    ],
    "kolen_pollack": ["decay=0", "decay=1.5", "mirror=glass", "mirror_rate=0.1"],
    "dual_propagation": [
        "alpha=1.5",
        "beta=0",
        "form=dual",
        "order=up",
        "sweeps=3",
        "output_activation=tanh",
        "loss=hinge",
    ],
    "pepita": ["projection_scale=0", "dropout=1", "published_convolution=true", "learning_rates=[1]", "loss=hinge"],
    "burstprop": [
        "feedback=tied",
        "baseline=0.7",
        "decay=0",
        "recurrent_rate=-1",
        "learning_rates=[1]",
        "loss=cross_entropy",
    ],
    "backpropagation": ["loss=hinge", "activation_function=1", "layer_sizes=[10]", "lr_scheduler_interval=week"],
}


@pytest.mark.sampled
@pytest.mark.parametrize(("rule", "option"), [(rule, o) for rule, options in BAD_FOR_RULE.items() for o in options])
def test_bad_options_of_every_rule_get_one_sentence(rule, option, capsys):
    dense = {p.stem for p in (CONFIGS / "digits").glob("*.yaml") if not p.stem.endswith("_conv")}
    assert dense == BAD_FOR_RULE.keys() | {"corinfomax"}
    recipe = ["--config", str(CONFIGS / f"digits/{rule}.yaml")]
    assert main(["fit", *recipe, *FEW, f"--model.init_args.{option}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert option.partition("=")[0] in error
    assert error.count("\n") == 1
    assert len(error) < 500


@pytest.mark.parametrize("args", BAD.values(), ids=BAD.keys())
def test_bad_input_gets_one_sentence(args, capsys):
    assert main(["fit", *FEW, *args]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert len(error) < 500


NUL_IN_FILES = {
    "ckpt_path": 'ckpt_path: "a\\0b"',
    "trainer.logger.init_args.save_dir": 'trainer: {logger: {class_path: RunLogger, init_args: {save_dir: "a\\0b"}}}',
    "data.init_args.data_dir": 'data: {class_path: MNISTDataModule, init_args: {data_dir: "a\\0b"}}',
    "data.init_args.mirror": 'data: {class_path: MNISTDataModule, init_args: {mirror: "a\\0b"}}',
    "trainer.callbacks.init_args.dirpath": (
        'trainer: {callbacks: [{class_path: ModelCheckpoint, init_args: {dirpath: "a\\0b"}}]}'
    ),
}


@pytest.mark.parametrize(("place", "content"), NUL_IN_FILES.items(), ids=NUL_IN_FILES)
def test_a_nul_byte_in_a_file_is_refused_in_one_sentence(place, content, capsys):
    """On the command line no shell lets one through."""
    Path("nul.yaml").write_text(content)
    assert main(["fit", "--config", "nul.yaml"]) == 2
    error = capsys.readouterr().err
    assert error == f"error: {place} holds a NUL byte ('a\\x00b'): write it without.\n"


@pytest.mark.parametrize("command", ["fit", "report", "verify", "sweep", "benchmark", "recipes", "predict"])
def test_no_command_takes_a_nul_byte(command, capsys):
    assert main([command, "a\0b"]) == 2
    assert capsys.readouterr().err == "error: The argument 'a\\x00b' holds a NUL byte: write it without.\n"


@pytest.mark.parametrize("option", ["data_dir", "mirror"])
def test_from_python_a_path_with_a_nul_byte_is_refused_too(option):
    for path in ("a\0b", Path("a\0b")):
        with pytest.raises(UserError, match=f"{option} is .*: write it without the NUL byte"):
            MNISTDataModule(**{option: path})


@pytest.mark.parametrize("name", ["gpu", "cuda"])
def test_without_a_gpu_the_sentence_says_what_to_write(name, monkeypatch, capsys):
    for kind in (CUDAAccelerator, MPSAccelerator):
        monkeypatch.setattr(kind, "is_available", staticmethod(lambda: False))
    assert main(["fit", *FEW, "--trainer.accelerator", name]) == 2
    expected = f"error: accelerator is {name}, and none works here: use --trainer.accelerator cpu, or auto.\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--trainer.max_epochs", "0"], "step 18 in epoch 3, and max_epochs 0 ends training before: set max_epochs to"),
        (["--trainer.max_epochs", "2"], "step 18 in epoch 3, and max_epochs 2 ends training before: set max_epochs to"),
        (["--trainer.max_steps", "17"], "step 18 in epoch 3, and max_steps 17 ends training before: set max_steps to"),
    ],
)
def test_an_end_before_the_checkpoint_is_refused_before_anything_is_written(options, said, capsys):
    assert main(["fit", *FEW, "--trainer.max_epochs", "3"]) == 0
    capsys.readouterr()
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert main(["fit", "--ckpt_path", "last", *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    within = ["--trainer.max_epochs", "4", "--trainer.max_steps", "20"]  # two steps into the fourth epoch
    assert main(["fit", "--ckpt_path", "last", *within]) == 0
    assert main(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "3", "--trainer.max_steps", "-1"]) == 2
    assert "step 20 in epoch 4, and max_epochs 3 ends training before" in capsys.readouterr().err
    assert main(["fit", "--ckpt_path", "last", *within]) == 0  # nothing is left, which is no mistake


def test_a_recipe_named_config_yaml_stays_as_it_is_without_a_logger():
    recipe = "# mine\nmodel: {class_path: Backpropagation, init_args: {layer_sizes: [64, 10]}}\n"
    recipe += "data: {class_path: DigitsDataModule}\ntrainer: {max_epochs: 1}\n"
    Path("config.yaml").write_text(recipe)
    callbacks = ["--trainer.callbacks", "[Settling, Representations]"]
    assert main(["fit", "--config", "config.yaml", *FEW, "--trainer.logger", "false", *callbacks]) == 0
    assert Path("config.yaml").read_text() == recipe
    assert not Path("environment.yaml").exists()
    assert not Path("figures").exists()


def test_a_broken_config_file_is_named_by_its_line(capsys):
    Path("broken.yaml").write_text("model:\n  init_args: {layer_sizes: [64, 10]\n")
    assert main(["fit", "--config", "broken.yaml"]) == 2
    error = capsys.readouterr().err
    assert "no YAML" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("bioplausible.FashionMNISTDataModule", "fashion_mnist"),
        ("bioplausible.CIFAR10DataModule", "cifar10"),
        ("CorInfoMaxSparse", "corinfomax_sparse"),
        ("PEPITA", "pepita"),
        ("my_module.MyRule", "my_rule"),
    ],
)
def test_run_folders_are_named_after_data_and_rule(path, name):
    assert snake_case(path) == name


def test_bad_command(capsys):
    assert main(["frobnicate"]) == 2
    assert main([]) == 2
    assert main(["--help"]) == 0


def test_damaged_and_foreign_checkpoints_are_refused(capsys):
    assert fit() == 0
    last = RUN / "checkpoints/last.ckpt"
    Path("truncated.ckpt").write_bytes(last.read_bytes()[:2000])
    Path("empty.ckpt").write_bytes(b"")
    torch.save({"weights": 1}, "other.ckpt")
    shutil.copy(last, "copy.ckpt")
    capsys.readouterr()
    other = ["--config", str(CONFIGS / "fashion_mnist/backpropagation.yaml"), "--data", "DigitsDataModule"]
    other += ["--model.init_args.layer_sizes", "[64,200,10]"]
    for args in (
        ["--ckpt_path", "truncated.ckpt"],
        ["--ckpt_path", "empty.ckpt"],
        ["--ckpt_path", "other.ckpt"],
        [
            "--ckpt_path",
            "copy.ckpt",
            "--config",
            str(CONFIGS / "fashion_mnist/backpropagation.yaml"),
            "--data",
            "DigitsDataModule",
            "--model.init_args.layer_sizes",
            "[64,200,10]",
        ],
        ["--ckpt_path", "copy.ckpt", "--model.init_args.layer_sizes", "[64,100,10]"],
    ):
        assert main(["fit", "--trainer.enable_progress_bar", "false", *args]) == 2, args
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1


RECIPES = [path for path in all_recipes() if path not in PUBLISHED_NETWORKS]
"""But for those that test_published_recipes.py trains."""


@pytest.mark.sampled
@pytest.mark.parametrize("path", RECIPES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_recipe_trains(path, monkeypatch, capsys):
    """Every shipped recipe is parsed as it is and trains for three batches, on random images in its data's shape.

    The one whose published runs all failed has infinite activities from the first batch on, and says so.
    """
    text = path.read_text()
    assert text.startswith("# ")
    config = yaml.safe_load(text)

    def load(self, train):
        g = torch.Generator().manual_seed(0)
        return torch.rand(60, *self.image_shape, generator=g), torch.randint(self.num_classes, (60,), generator=g)

    from bioplausible.data.published import PublishedDataModule

    monkeypatch.setattr(PublishedDataModule, "load", load)
    monkeypatch.setattr(PublishedDataModule, "prepare_data", lambda self: None)
    steps = [name for name in config["model"]["init_args"] if name.endswith("_steps") or name == "updates_per_batch"]
    shorter = [a for name in steps for a in (f"--model.init_args.{name}", "2")]
    if "subset_size" in config["data"]["init_args"]:
        shorter += ["--data.init_args.subset_size", "60"]
    limits = [
        "--trainer.max_steps",
        "3",
        "--trainer.limit_test_batches",
        "1",
        "--trainer.enable_checkpointing",
        "false",
    ]
    status = main(["fit", "--config", str(path), *shorter, *limits, "--trainer.enable_progress_bar", "false"])
    diverges = path.parent.name == "cifar100" and path.stem == "corinfomax_sparse_3layer"  # published as a failure
    assert status == (2 if diverges else 0)
    assert ("error: Training has diverged" in capsys.readouterr().err) == diverges
