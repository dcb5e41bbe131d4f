"""End to end: does it learn?"""

from pathlib import Path

import pytest

from bioplausible.__main__ import main
from tests.conftest import CONFIGS

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
QUIET = ["--trainer.enable_progress_bar", "false"]


def accuracy(capsys) -> float:
    return float(capsys.readouterr().out.split("test accuracy")[1].split("%")[0])


def test_the_default_run_reaches_96_percent(capsys):
    assert main(["fit", *QUIET]) == 0
    assert accuracy(capsys) >= 96


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_corinfomax_learns_the_real_fashion_mnist(capsys):
    recipe = ["--config", str(CONFIGS / "fashion_mnist/corinfomax.yaml"), "--data.init_args.mirror", str(DEBIAN)]
    short = ["--trainer.max_epochs", "1", "--data.init_args.subset_size", "20000"]
    assert main(["fit", *recipe, *short, *QUIET]) == 0
    assert accuracy(capsys) >= 75
