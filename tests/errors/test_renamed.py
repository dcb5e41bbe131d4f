"""Names of earlier versions are refused with the one that holds now."""

import inspect
import pkgutil
from pathlib import Path

import pytest

from bioplausible.__main__ import main
from bioplausible.errors.renamed import CLASS_PATHS, OPTIONS, old_name
from bioplausible.resume.checkpoint_files import RUN_CONFIG, AtomicCheckpointIO, read_checkpoint
from tests.helpers import CONFIGS, FEW, all_rules


def refusal(capsys, *args: str) -> str:
    assert main(["fit", *args]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("error: ")


def recipe(name: str, more: str = "") -> list[str]:
    """Returns the arguments that train with a recipe of the digits to which some YAML was added."""
    text = (CONFIGS / f"digits/{name}.yaml").read_text()
    Path("recipe.yaml").write_text(text.replace("  init_args:\n", f"  init_args:\n    {more}\n", 1))
    return ["--config", "recipe.yaml"]


RENAMED_OPTIONS = [
    ("equilibrium_propagation", "symmetric_nudge", "three_phase"),
    ("contrastive_similarity_matching", "symmetric_nudge", "three_phase"),
    ("nudged_predictive_coding", "nudge", "beta"),
    ("nudged_predictive_coding", "random_nudge_sign", "random_beta_sign"),
]


@pytest.mark.parametrize(("rule", "old", "new"), RENAMED_OPTIONS)
def test_an_old_option_is_refused_with_its_new_name(rule, old, new, capsys):
    expected = f"{old} is now called {new}: write {new} instead."
    assert refusal(capsys, *recipe(rule, f"{old}: true")) == expected
    assert refusal(capsys, *recipe(rule, f"{old}: [not, a, bool]")) == expected
    for place in ("model", "model.init_args"):
        assert refusal(capsys, *recipe(rule), f"--{place}.{old}", "true") == expected


def test_an_old_option_of_a_rule_of_ones_own_is_refused_with_its_new_name(capsys, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("renamed_own.py").write_text(
        "from bioplausible import EquilibriumPropagation\nclass Own(EquilibriumPropagation): pass\n"
    )
    args = ["--model", "renamed_own.Own", "--model.layer_sizes", "[64, 10]", "--model.symmetric_nudge", "true"]
    assert refusal(capsys, *args) == "symmetric_nudge is now called three_phase: write three_phase instead."


def test_the_words_of_older_jsonargparse_are_known_too():
    cause = "Validation failed: Key 'symmetric_nudge' is not expected"
    said = f"Problem with given class_path 'bioplausible.EquilibriumPropagation':\n        {cause}\n"
    assert old_name(said) == ("symmetric_nudge", "three_phase")


@pytest.mark.parametrize("args", [["--model.nudge", "1"], ["--model.optimizer", "SGD", "--model.optimizer.nudge", "1"]])
def test_an_option_that_the_class_never_had_is_unknown(args, capsys):
    said = refusal(capsys, *recipe("corinfomax"), *args)
    assert "nudge" in said
    assert "now called" not in said


def test_new_options_are_there_and_old_ones_are_not():
    rules = {rule.__name__: rule for rule in all_rules()}
    for name, renamed in OPTIONS.items():
        options = inspect.signature(rules[name]).parameters
        for old, new in renamed.items():
            assert new in options
            assert old not in options


CLASSES = [
    (["--trainer.callbacks+", "{}"], "callbacks.Guard", "observers.Guard"),
    (["--trainer.callbacks+", "{}"], "callbacks.guard.Guard", "observers.guard.Guard"),
    (["--trainer.callbacks+", "{}"], "callbacks.CompileRelaxation", "training.compile_relaxation.CompileRelaxation"),
    (["--trainer.callbacks+", "{}"], "callbacks.stop_on_signal.StopOnSignal", "training.stop_on_signal.StopOnSignal"),
    (["--trainer.callbacks+", "{}"], "callbacks.checkpoint.EveryNSteps", "resume.checkpoint_callbacks.EveryNSteps"),
    (["--trainer.logger", "{}"], "loggers.RunLogger", "training.loggers.RunLogger"),
    (["--model.lr_scheduler", "{}"], "schedulers.PiecewisePower", "training.schedulers.PiecewisePower"),
    (["--data", "{}"], "benchmark.RandomImages", "commands.benchmark.random_images.RandomImages"),
]


@pytest.mark.parametrize(("args", "old", "new"), CLASSES)
def test_an_old_class_path_is_refused_with_its_new_one(args, old, new, capsys):
    args = [arg.format(f"bioplausible.{old}") for arg in args]
    new = f"bioplausible.{new}"
    assert pkgutil.resolve_name(new)
    expected = f"bioplausible.{old} is now called {new}: write {new} instead."
    assert refusal(capsys, *recipe("corinfomax"), *args) == expected


def test_an_old_class_path_in_a_file_is_refused_with_its_new_one(capsys):
    Path("more.yaml").write_text("trainer:\n  callbacks:\n    - class_path: bioplausible.callbacks.Settling\n")
    expected = "bioplausible.callbacks.Settling is now called bioplausible.observers.Settling"
    assert refusal(capsys, *recipe("corinfomax"), "--config", "more.yaml").startswith(expected)


def test_an_old_module_that_a_rule_of_ones_own_imports_is_refused_with_its_new_name(capsys, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("renamed_import.py").write_text("from bioplausible.connections import Dense\n")
    expected = "bioplausible.connections is now called bioplausible.network: write bioplausible.network instead."
    assert refusal(capsys, "--model", "renamed_import.Own") == expected


@pytest.mark.parametrize("old", CLASS_PATHS)
def test_new_paths_are_there_and_old_ones_are_not(old):
    assert pkgutil.resolve_name(CLASS_PATHS[old])
    with pytest.raises((ImportError, AttributeError)):
        pkgutil.resolve_name(old)


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("random_beta_sign", "random_nudge_sign"),
        ("bioplausible.training.loggers.RunLogger", "bioplausible.loggers.RunLogger"),
    ],
)
def test_a_checkpoint_of_an_earlier_version_is_refused(new, old, capsys):
    assert main(["fit", *recipe("nudged_predictive_coding"), *FEW, "--trainer.max_steps", "1"]) == 0
    (last,) = Path().rglob("last.ckpt")
    capsys.readouterr()
    given = ["--ckpt_path", str(last), "--model.nudge", "1"]
    assert refusal(capsys, *given) == "nudge is now called beta: write beta instead."

    checkpoint = read_checkpoint(last)
    assert new in checkpoint[RUN_CONFIG]
    checkpoint[RUN_CONFIG] = checkpoint[RUN_CONFIG].replace(new, old)
    AtomicCheckpointIO().save_checkpoint(checkpoint, "old.ckpt")
    assert refusal(capsys, "--ckpt_path", "old.ckpt") == (
        f"The checkpoint old.ckpt is of an earlier version, in which {new} was called {old}: use it with that version,"
        " or train anew."
    )
