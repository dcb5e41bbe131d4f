"""What needs no network is said at once: before torch and Lightning, which take seconds to import."""

import gc
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from bioplausible.commands.fast_imports import fast_imports

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
        ("look --help", 0, "usage: python -m bioplausible look"),
        ("look nothing", 2, "There is no run or checkpoint nothing"),
        ("look", 2, "RUN"),
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


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_garbage_is_looked_for_after_imports_as_it_was_before(before, fails, monkeypatch):
    monkeypatch.setattr(gc, "isenabled", lambda: before)
    seen = []
    monkeypatch.setattr(gc, "disable", lambda: seen.append("disable"))
    monkeypatch.setattr(gc, "enable", lambda: seen.append("enable"))
    try:
        with fast_imports():
            assert seen == ["disable"]
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    assert seen == ["disable", *["enable"] * before]


def test_what_was_imported_is_no_garbage_and_nothing_else_is_kept(monkeypatch):
    monkeypatch.syspath_prepend(str(Path.cwd()))
    Path("made_for_this_test.py").write_text("content = [[] for _ in range(1000)]\n")
    kept, held = [], []
    for _ in range(2):
        held.append([[] for _ in range(1000)])
        before = gc.get_freeze_count()
        with fast_imports():
            import_module("made_for_this_test")
        kept.append(gc.get_freeze_count() - before)
    assert kept[0] > 1000
    assert kept[1] < 1000  # the second time nothing was imported
