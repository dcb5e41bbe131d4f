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
