"""What needs no network is said at once: before torch and Lightning, which take seconds to import."""

import subprocess
import sys

import pytest

CALL = """
import sys
from bioplausible.__main__ import main
try:
    status = main(sys.argv[1:])
except SystemExit as ended:
    status = ended.code
heavy = {"torch", "pytorch_lightning", "lightning_fabric", "torchmetrics", "numpy", "scipy", "sklearn", "matplotlib"}
print(status, *sorted(heavy & sys.modules.keys()), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("--help", 0, "usage: python -m bioplausible COMMAND"),
        ("--version", 0, "bioplausible "),
        ("recipes", 0, "digits/corinfomax "),
        ("recipes digits/corinfomax", 0, "class_path: CorInfoMax"),
        ("recipes nonsense", 2, "There is no recipe nonsense"),
        ("verify --help", 0, "usage: python -m bioplausible verify"),
        ("verify nothing.npz", 2, "There is no recorded trajectory at nothing.npz"),
        ("report --help", 0, "usage: python -m bioplausible report"),
        ("report", 2, "RUN_DIR"),
        ("benchmark --help", 0, "usage: python -m bioplausible benchmark"),
        ("benchmark nothing.yaml", 2, "There is no recipe nothing.yaml"),
        ("nonsense", 2, "There is no command nonsense"),
    ],
)
def test_without_torch_and_lightning(command, status, said):
    ended = subprocess.run([sys.executable, "-c", CALL, *command.split()], capture_output=True, text=True, check=False)
    assert said in ended.stdout + ended.stderr
    assert ended.stderr.splitlines()[-1] == str(status)
