"""What needs no network is said at once: before torch and Lightning, which take seconds to import."""

import gc
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from bioplausible.__main__ import main
from bioplausible.commands.command_list import NAMES
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
        ("verify nothing.npz", 2, "There is no recorded trajectory at nothing.npz"),
        ("look nothing", 2, "There is no run or checkpoint nothing"),
        ("look", 2, "RUN"),
        ("report", 2, "RUN_DIR"),
        ("benchmark nothing.yaml", 2, "There is no recipe nothing.yaml"),
        ("fit --trainer.max_epochs 3 -h", 0, "usage: python -m bioplausible fit"),
        ("completion fish", 2, "choose from"),
        ("sweep", 2, "sweep needs --config RECIPE or --study FILE"),
        ("sweep --study digits --seeds 1", 2, "--seeds and --grid go with --config"),
        ("nonsense", 2, "There is no command nonsense"),
        *((f"{name} --help", 0, f"usage: python -m bioplausible {name}") for name in NAMES),
    ],
)
def test_without_torch_and_lightning(command, status, said):
    ended = subprocess.run([sys.executable, "-c", CALL, *command.split()], capture_output=True, text=True, check=False)
    assert said in ended.stdout + ended.stderr
    assert ended.stderr.splitlines()[-1] == str(status)


FIT = """
import sys
from bioplausible.__main__ import main
if main(["fit", "--trainer.max_steps", "1", "--trainer.limit_test_batches", "1", "--data.subset_size", "40"]):
    sys.exit("fit failed")
needless = {"sklearn", "pandas", "scipy.stats", "scipy.optimize"}
print("needless:", *sorted(needless & sys.modules.keys()))
"""


def test_a_short_run_imports_no_statistics():
    """Neither scikit-learn for its digits nor scipy.signal for TorchMetrics: half a second of three."""
    ended = subprocess.run([sys.executable, "-c", FIT], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "needless:"


LATER = """
import os, sys, threading, traceback
from bioplausible.commands.fast_imports import fast_imports
with fast_imports():
    import torchmetrics
assert "scipy.stats" not in sys.modules

def use(first):
    if first == "hamming":
        import scipy.signal
        old = scipy.signal.hamming
        assert old(5).tolist() == scipy.signal.windows.hamming(5).tolist()
    elif first == "name":
        from scipy.signal import welch
    elif first == "part":
        import scipy.signal.windows
        scipy.signal.windows.hann(3)
    elif first == "threads":
        import scipy.signal
        found = []
        threads = [threading.Thread(target=lambda: found.append(scipy.signal.butter(2, 0.1))) for _ in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert len(found) == 8
    import scipy
    from scipy import signal
    assert signal is scipy.signal is sys.modules["scipy.signal"]
    assert signal.hamming is not None and signal.butter(2, 0.1)
    assert not hasattr(signal, "nonsense")
    assert type(signal) is type(sys)
    return " ".join(sorted(name for name in dir(signal) if not name.startswith("__")))

for first in sys.argv[1:]:
    process = os.fork()
    if process == 0:
        try:
            said = use(first)
        except BaseException:
            said = traceback.format_exc()
        with open(first, "w") as file:
            file.write(said)
        os._exit(0)
    os.waitpid(process, 0)
"""
FIRST = ["hamming", "name", "part", "threads"]


@pytest.fixture(scope="module")
def first_uses(tmp_path_factory):
    """The folder with what was seen after each first use of scipy.signal, in a process that had not used it before."""
    folder = tmp_path_factory.mktemp("first-uses")
    subprocess.run([sys.executable, "-c", LATER, *FIRST], cwd=folder, check=True)
    return folder


@pytest.mark.parametrize("first", FIRST)
def test_scipy_signal_is_what_it_always_is_once_it_is_used(first, first_uses):
    import scipy.signal
    import torchmetrics  # noqa: F401 - gives it the name hamming

    expected = sorted(name for name in dir(scipy.signal) if not name.startswith("__"))
    assert (first_uses / first).read_text() == " ".join(expected)


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


@pytest.mark.parametrize(("command", "package"), [("fit", "torch"), ("report .", "yaml"), ("fit", "pytorch_lightning")])
def test_a_package_that_is_not_installed_is_named_in_one_sentence(command, package):
    """As in a checkout that nobody installed: the error's own way into a sentence needs Lightning."""
    call = f"import sys; sys.modules[{package!r}] = None; sys.modules['lightning_fabric'] = None\n{CALL}"
    done = subprocess.run([sys.executable, "-c", call, *command.split()], capture_output=True, text=True)
    assert f"error: {package} is not installed: pip install what bioplausible needs" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("2")


def test_a_module_of_a_user_s_own_that_is_missing_is_not_this_package_s(tmp_path, monkeypatch, capsys):
    (tmp_path / "own_rule.py").write_text("import nothing_of_this_name\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["fit", "--model", "own_rule.Rule"]) == 2
    said = capsys.readouterr().err
    assert "No module named 'nothing_of_this_name'" in said
    assert "pip install" not in said
