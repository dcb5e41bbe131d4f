"""End to end: does it learn?"""

import pytest
from pytorch_lightning import Callback, Trainer

from bioplausible import DigitsDataModule
from bioplausible.__main__ import main
from tests.helpers import CONFIGS, DEBIAN, all_rules, build

QUIET = ["--trainer.enable_progress_bar", "false"]


def accuracy(capsys) -> float:
    return float(capsys.readouterr().out.split("test accuracy")[1].split("%")[0])


def test_the_default_run_reaches_96_percent(capsys):
    assert main(["fit", *QUIET]) == 0
    assert accuracy(capsys) >= 96


DIGITS = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem.endswith("_conv") else [])
    for path in sorted((CONFIGS / "digits").glob("*.yaml"))
]


@pytest.mark.sampled
@pytest.mark.parametrize("recipe", DIGITS)
def test_every_digits_recipe_learns_in_a_few_epochs(recipe, capsys):
    assert main(["fit", "--config", str(recipe), "--trainer.max_epochs", "4", *QUIET]) == 0
    assert accuracy(capsys) >= 85


CONVOLUTION = [[1, 8, 8], {"conv": 12, "kernel": 3, "stride": 2, "padding": 1}, 10]


@pytest.mark.sampled
@pytest.mark.parametrize("network", [[64, 50, 10], CONVOLUTION], ids=["dense", "convolution"])
@pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)
def test_every_rule_trains_from_python_with_its_defaults(cls, network):
    """As a plain object, with nothing but its layers: no NaN, and the loss falls."""
    rule = build(cls, network).float()
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    losses = []

    class Losses(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            losses.extend(v for name, v in trainer.callback_metrics.items() if name == "train/loss")

        on_train_end = on_train_epoch_start

    Trainer(max_epochs=4, callbacks=[Losses()], enable_model_summary=False, **options).fit(
        rule, DigitsDataModule(subset_size=400)
    )
    assert len(losses) == 4
    assert losses[-1] < losses[0]


@pytest.mark.slow
@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_corinfomax_learns_the_real_fashion_mnist(capsys):
    recipe = ["--config", str(CONFIGS / "fashion_mnist/corinfomax.yaml"), "--data.init_args.mirror", str(DEBIAN)]
    short = ["--trainer.max_epochs", "1", "--data.init_args.subset_size", "20000"]
    assert main(["fit", *recipe, *short, *QUIET]) == 0
    assert accuracy(capsys) >= 75
