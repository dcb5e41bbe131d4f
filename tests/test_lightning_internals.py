"""Private parts of Lightning, torch and TensorBoard: the installed versions have each, and one module uses them."""

import ast
import importlib
import inspect
import logging
import operator
import pkgutil
import re
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.optim import SGD, lr_scheduler

import bioplausible
from bioplausible import lightning_internals as internals
from bioplausible.commands.quiet import CHATTY_LOGGERS, NEEDLESS_WARNINGS

PACKAGE = Path(bioplausible.__file__).parent
FILES = {str(file.relative_to(PACKAGE)): ast.parse(file.read_text()) for file in sorted(PACKAGE.rglob("*.py"))}
OF_TRAINER = {re.split(r"\W+", name.partition("Trainer().")[2])[0] for name in internals.REQUIRED} - {""}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


# ------------------------------------------------------------------------------------- what the installed versions have


@pytest.mark.parametrize("name", internals.REQUIRED)
def test_the_installed_versions_have(name):
    left, of_instance, attributes = name.partition("()")
    options = {"accelerator": "cpu", "logger": False} if left == "pytorch_lightning.Trainer" else {}
    if left.startswith("pytorch_lightning.loggers.") and of_instance:
        options = {"save_dir": "logs"}
    try:
        found = pkgutil.resolve_name(left)
        if of_instance:
            operator.attrgetter(attributes.removeprefix("."))(found(**options))
    except (AttributeError, ImportError) as error:
        versions = ", ".join(f"{package} {version(package)}" for package in ("pytorch-lightning", "torch"))
        pytest.fail(f"{name} is missing in {versions} ({error}); the package needs it: {internals.REQUIRED[name]}")


@pytest.mark.parametrize("name", ["best_model_path", "last_model_path", "kth_best_model_path", "best_k_models"])
def test_the_state_of_model_checkpoint_holds(name):
    assert name in ModelCheckpoint().state_dict()


def test_a_scheduler_counts_what_is_listed():
    state = lr_scheduler.StepLR(SGD([torch.zeros(1)]), 1).state_dict()
    counted = {name for name in state if is_private(name)} | {"last_epoch"}
    assert counted <= internals.SCHEDULER_BOOKS  # some of them belong to older or newer torch
    assert {"last_epoch", "_step_count", "_last_lr"} <= counted & state.keys()


def test_a_scheduler_names_those_within():
    optimizer = SGD([torch.zeros(1)])
    parts = [lr_scheduler.ConstantLR(optimizer), lr_scheduler.ConstantLR(optimizer)]
    assert internals.SCHEDULERS_WITHIN in lr_scheduler.SequentialLR(optimizer, parts, [1]).state_dict()
    assert internals.SCHEDULERS_WITHIN in lr_scheduler.ChainedScheduler(parts).state_dict()


@pytest.mark.parametrize("name", CHATTY_LOGGERS)
def test_lightning_logs_as(name):
    module = importlib.import_module(name)
    loggers = [getattr(module, "log", None), module.__dict__.get("rank_zero_module", module).__dict__.get("log")]
    assert logging.getLogger(name) in loggers


@cache
def texts() -> str:
    """All strings in the source of what warns, an f-string's values as ``value``."""
    found = []
    for package in ("pytorch_lightning", "torchmetrics", "torch.utils._pytree", "jsonargparse"):
        source = Path(importlib.import_module(package).__file__)
        for file in source.parent.rglob("*.py") if source.name == "__init__.py" else [source]:
            for node in ast.walk(ast.parse(file.read_text())):
                parts = node.values if isinstance(node, ast.JoinedStr) else [node]
                if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                    found.append("".join(p.value if isinstance(p, ast.Constant) else "value" for p in parts))
    return without_values("\n\n".join(found))


def without_values(text: str) -> str:
    """Lightning puts values into backticks."""
    return re.sub(r"`\w+`", "`value`", text)


@pytest.mark.parametrize("pattern", NEEDLESS_WARNINGS)
def test_somebody_warns(pattern):
    assert re.search(without_values(pattern), texts(), re.IGNORECASE)


# ---------------------------------------------------------------------------------------- that one module alone uses it


def foreign_private_names(tree: ast.AST) -> set[str]:
    """Returns the private names that some code takes from elsewhere: from modules, and as attributes."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("bioplausible"):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
        elif isinstance(node, ast.Attribute):
            names = [] if ast.unparse(node).startswith("config.") else [node.attr]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("attr"):
            names = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        else:
            continue
        found |= {name for name in names if is_private(name) or name in OF_TRAINER}
    return found


def own_names(tree: ast.AST) -> set[str]:
    """Returns the names that some code gives itself: functions, variables, and attributes of self."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            found.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    return found


OWN = {name for tree in FILES.values() for name in own_names(tree)}
MANUAL = {"_exit"}
"""Names that begin so though their manual promises them: that of os in Python's."""


@pytest.mark.parametrize("file", FILES)
def test_no_other_module_uses_private_names_of_others(file):
    if file != "lightning_internals.py":
        assert foreign_private_names(FILES[file]) - OWN - MANUAL == set()


def test_each_private_name_of_the_module_is_required():
    listed = {part for name in internals.REQUIRED for part in re.split(r"\W+", name)}
    own = own_names(FILES["lightning_internals.py"])
    assert foreign_private_names(FILES["lightning_internals.py"]) - own - listed == set()


def test_each_private_method_of_lightning_that_is_overridden_is_required():
    listed = {name.rpartition(".")[2] for name, reason in internals.REQUIRED.items() if reason.startswith("overridden")}
    overridden = set()
    for module in pkgutil.walk_packages([str(PACKAGE)], "bioplausible."):
        if module.name.endswith("__main__"):
            continue
        for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if cls.__module__.startswith("bioplausible."):
                others = [base for base in cls.__mro__ if base.__module__.startswith(("pytorch_lightning.", "torch."))]
                names = {name for name in vars(cls) if is_private(name)} - {"_abc_impl"}
                overridden |= {name for name in names if any(name in vars(base) for base in others)}
    assert overridden == listed


def test_the_module_uses_nothing_of_the_package():
    imports = [node for node in ast.walk(FILES["lightning_internals.py"]) if isinstance(node, ast.ImportFrom)]
    assert not [node.module for node in imports if (node.module or "bioplausible").startswith("bioplausible")]
