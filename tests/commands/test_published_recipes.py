"""Recipes of published convolutional networks: parsed as they are, and trained on files of the data sets' formats."""

import pytest
import torch
import yaml
from pytorch_lightning import Callback

from bioplausible import CIFAR10DataModule, CIFAR100DataModule, FashionMNISTDataModule, MNISTDataModule
from bioplausible.commands.command_line import run
from tests.helpers import PUBLISHED_NETWORKS, write_cifar, write_idx

DATA = {
    "cifar10": CIFAR10DataModule,
    "cifar100": CIFAR100DataModule,
    "fashion_mnist": FashionMNISTDataModule,
    "mnist": MNISTDataModule,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Small files of each data set in its true format, by the recipes' folders."""
    folders = {name: tmp_path_factory.mktemp(name) for name in DATA}
    with pytest.MonkeyPatch.context() as patch:
        for name, cls in DATA.items():
            if name.startswith("cifar"):
                write_cifar(cls, folders[name] / "mirror", patch)
            else:
                write_idx(folders[name] / "mirror")
                patch.setattr(cls, "sizes", {True: 40, False: 20})
        yield folders


class Weights(Callback):
    """Keeps the weights before and after training."""

    def on_train_start(self, trainer, pl_module):
        self.before = {name: p.detach().clone() for name, p in pl_module.named_parameters()}

    def on_train_end(self, trainer, pl_module):
        self.after, self.steps = dict(pl_module.named_parameters()), trainer.global_step
        self.groups = trainer.optimizers[0].param_groups


@pytest.mark.sampled
@pytest.mark.parametrize("path", PUBLISHED_NETWORKS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_a_recipe_of_a_published_network_trains(path, files):
    """Two images a batch and two iterations a phase: the nets are large. All else is as it stands there."""
    text = path.read_text()
    assert text.startswith("# ")
    assert text.count("\n") <= 70
    assert max(map(len, text.splitlines())) <= 120
    config = yaml.safe_load(text)
    own, folder = config["model"]["init_args"], files[path.parent.name]
    options = {
        "data.data_dir": folder / "data",
        "data.mirror": folder / "mirror",
        "data.batch_size": 2,
        "data.subset_size": 6,
        "data.evaluation_batch_size": 2,
        "trainer.max_steps": 3,
        "trainer.limit_test_batches": 1,
        "trainer.enable_checkpointing": "false",
        "trainer.enable_progress_bar": "false",
        "trainer.enable_model_summary": "false",
        "trainer.logger": "false",
        **{f"model.{name}": 2 for name in own if name.endswith("_steps")},
    }
    weights = Weights()
    run(["fit", f"--config={path}", *(f"--{name}={value}" for name, value in options.items())], callbacks=[weights])
    assert weights.steps == 3
    assert all(p.isfinite().all() for p in weights.after.values())
    moved = [name for name, p in weights.after.items() if not torch.equal(p, weights.before[name])]
    assert len(moved) > len(weights.after) / 2


AUGMENTED = {"crop_padding": 4, "horizontal_flip": True}
VGG5 = {"batch_size": 128, "max_epochs": 50, "lr_scheduler": "WarmupCosine", "optimizer": "AdamW", **AUGMENTED}
LENET = {"batch_size": 64, "max_epochs": 100, "momentum": 0.9, "weight_decay": 1e-3, "milestones": [50, 75]}
LENET_10 = {"batch_size": 128, "max_epochs": 250, "weight_decay": 1e-4, "milestones": [100, 150, 200], **AUGMENTED}
EP = {"batch_size": 128, "momentum": 0.9, "three_phase": True, "crop_padding": 4}
HOLOMORPHIC = {"activation_function": "smooth_clip", "readout": True, "loss": "cross_entropy", "nudged_steps": 60}
SIGNS = ("uniform_sign", "batchwise_random_sign", "fixed_random_sign")


def inference(T, η, momentum, lr, decay, **options):
    named = {"inference_steps": T, "step_size": η, "inference_momentum": momentum, "lr": lr, "weight_decay": decay}
    return {"loss": "squared_error", "activation_function": "gelu", **VGG5, **named, **options}


ROWS = {
    "cifar10/equilibrium_propagation_vgg5": {**EP, "free_steps": 250, "nudged_steps": 25, "max_epochs": 120},
    "cifar10/equilibrium_propagation_vgg5_untied": {**EP, "free_steps": 250, "nudged_steps": 25, "max_epochs": 120},
    "cifar10/equilibrium_propagation_vgg5_squared_error": {**EP, "free_steps": 250, "nudged_steps": 30},
    "cifar10/equilibrium_propagation_vgg5_asynchronous_tuned": {**EP, "free_steps": 60, "nudged_steps": 20},
    "cifar100/equilibrium_propagation_vgg5_asynchronous_tuned": {**EP, "free_steps": 60, "nudged_steps": 15},
    **{
        f"{data}/equilibrium_propagation_vgg5_asynchronous": {
            **{**EP, "free_steps": 60, "nudged_steps": 15, "max_epochs": 100, "total_steps": 100},
            **({"border": 2, "mean": [0.286], "std": [0.353]} if data == "fashion_mnist" else {}),
            **({"border": 2, "horizontal_flip": None} if data == "mnist" else {"horizontal_flip": True}),
        }
        for data in DATA
    },
    **{
        f"{data}/equilibrium_propagation_resnet13": {
            **{"free_steps": 120, "nudged_steps": 50, "activation_function": "relu6", "nesterov": True},
            **{"momentum": 0.9, "max_epochs": 300},
        }
        for data in ("cifar10", "cifar100")
    },
    **{
        f"{data}/holomorphic_equilibrium_propagation_vgg5": {
            **{**HOLOMORPHIC, "points": 2, "beta": 1.0, "activation_slope": 1.0, "free_steps": 250},
            **{"learning_rates": [0.25, 0.15, 0.1, 0.08, 0.05], "batch_size": 128, "max_epochs": 90},
            **{"weight_decay": decay, "std": [0.3035, 0.2991, 0.3015]},
        }
        for data, decay in (("cifar10", 2e-3), ("cifar100", 1e-2))
    },
    "cifar10/holomorphic_equilibrium_propagation_vgg6": {
        **{**HOLOMORPHIC, "points": 4, "free_steps": 260, "weight_decay": 5e-4},
        "learning_rates": [0.05, 0.045, 0.04, 0.035, 0.03, 0.025, 0.02],
    },
    "mnist/equilibrium_propagation_32_64": {
        **{"free_steps": 200, "nudged_steps": 10, "beta": 0.2, "batch_size": 100, "optimizer": "Adam"},
        "learning_rates": [5e-5, 1e-5, 8e-6],
    },
    "cifar10/predictive_coding_vgg5": inference(7, 0.0235, 0.3, 2.7e-4, 6.7e-3),
    "cifar10/predictive_coding_vgg5_cross_entropy": inference(8, 0.0147, 0.05, 2.6e-4, 1.2e-5, loss="cross_entropy"),
    "cifar10/predictive_coding_vgg5_positive_nudging": inference(
        7, 0.036, 0.1, 3e-4, 3.7e-5, beta=0.32, beta_growth=0.02
    ),
    "cifar10/predictive_coding_vgg5_negative_nudging": inference(
        7, 0.028, 0.5, 2.6e-4, 9e-4, beta=-0.18, beta_growth=0.02
    ),
    "cifar100/predictive_coding_vgg5_positive_nudging": inference(8, 0.019, 0.1, 4.1e-5, 2.8e-4, beta=0.1),
    "cifar100/predictive_coding_vgg5_cross_entropy": inference(
        12, 0.0115, 0.25, 2.2e-4, 7.6e-3, loss="cross_entropy", activation_function="hard_tanh"
    ),
    "cifar10/predictive_coding_alexnet": {
        **{"inference_steps": 13, "step_size": 0.05, "inference_momentum": 0.5, "inference_nesterov": True},
        **{"activation_function": "gelu", "optimizer": "AdamW", "lr": 1e-4, "max_epochs": 24},
    },
    "cifar10/dual_propagation_vgg16": {
        **{"form": "lagrangian", "alpha": 0.5, "beta": 0.1, "order": "forward", "sweeps": 16, "batch_size": 100},
        **{"lr": 1e-3, "peak": 25.0, "floor": 2e-6, "momentum": 0.9, "weight_decay": 5e-4, "max_epochs": 130},
    },
    "mnist/predictive_coding_10_5": {
        **{"step_size": 0.1, "inference_steps": 20, "optimizer": "Adam", "lr": 2e-3},
        **{"batch_size": 300, "max_epochs": 2, "stale_errors": True},
    },
    **{
        f"{data}/{name}": {**LENET, "border": 2, "feedback": feedback}
        for data in ("mnist", "fashion_mnist")
        for name, feedback in (
            ("backpropagation_lenet", None),
            ("direct_feedback_alignment_lenet", None),
            ("feedback_alignment_lenet", "fixed"),
            *((f"feedback_alignment_lenet_{sign}", sign) for sign in SIGNS),
        )
    },
    "cifar10/backpropagation_lenet": {**LENET_10, "optimizer": "SGD", "momentum": 0.9, "lr": 0.1},
    "cifar10/feedback_alignment_lenet": {**LENET_10, "optimizer": "SGD", "momentum": 0.9, "lr": 1e-3},
    "cifar10/direct_feedback_alignment_lenet": {**LENET_10, "optimizer": "SGD", "momentum": 0.9, "lr": 1e-4},
    **{
        f"cifar10/feedback_alignment_lenet_{sign}": {**LENET_10, "momentum": 0.9, "lr": 0.1, "feedback": sign}
        for sign in SIGNS
    },
    "cifar10/local_difference_reconstruction": {
        **{"feedback_steps": [20, 30, 35, 55, 20], "sigma": [0.4, 0.4, 0.2, 0.2, 0.08], "target_step": 0.7},
        **{"feedback_learning_rates": [1e-4, 3.5e-4, 8e-3, 8e-3, 0.18], "learning_rates": 0.08, "momentum": 0.9},
        **{"weight_decay": 1e-4, "batch_size": 128, "max_epochs": 90, "activation_function": "elu"},
    },
    "cifar10/feedback_alignment_lenet_adam": {**LENET_10, "optimizer": "Adam", "feedback": "fixed"},
    "cifar10/direct_feedback_alignment_lenet_adam": {**LENET_10, "optimizer": "Adam"},
}
"""What the sources say of each, once more; rates, decays and β of equilibrium propagation: test_published_units.py."""


def flat(entry):
    """Returns the options of a recipe by their own names, an optimizer or a schedule by its class."""
    found = {}
    for name, value in entry.items():
        if isinstance(value, dict):
            if "class_path" in value:
                found[name] = value["class_path"].rpartition(".")[2]
            found |= flat({n: v for n, v in value.items() if n != "class_path"})
        else:
            found[name] = value
    return found


@pytest.mark.parametrize("path", PUBLISHED_NETWORKS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_a_recipe_says_what_its_source_says(path):
    found = flat(yaml.safe_load(path.read_text()))
    for name, value in ROWS[f"{path.parent.name}/{path.stem}"].items():
        assert found.get(name) == value, name
    if (
        "warmup_steps" in found and "inference_steps" in found
    ):  # a tenth of all batches of 128, from lr to 1.1 lr, and down to 0.1 lr
        steps = found["max_epochs"] * 391
        assert (found["total_steps"], found["warmup_steps"], found["peak"]) == (steps, steps // 10, 1.1)
        assert found["floor"] == pytest.approx(found["lr"] / 10)
        assert found["batch_size"] == 128
        assert found["lr_scheduler_interval"] == "step"
