"""A sweep is checked as a whole before its first trial: what ``fit`` would refuse is refused at the start."""

import os
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning.loggers.logger import DummyLogger

from bioplausible.__main__ import main
from bioplausible.commands.recipes import recipes
from bioplausible.commands.sweep import checks, on_ray
from bioplausible.commands.sweep.settings import OWN, flat, require_single, settings
from bioplausible.commands.sweep.study_file import read_study
from bioplausible.commands.sweep.variants import study_trials, variants
from bioplausible.errors import UserError
from tests.helpers import CONFIGS

RECIPE = ["--config", str(CONFIGS / "digits/backpropagation.yaml")]
SCORED = {"data.validation_split": 0.1, "trainer.max_epochs": 1}


def refused(capsys, *args):
    """Runs a sweep that is refused, and returns the sentence."""
    assert main(["sweep", *args]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def write(content):
    Path("study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return ["--study", "study.yaml"]


def compares(options=None, grid=None, **further):
    """Returns a study of one recipe."""
    return {"recipes": {"digits/backpropagation": {"options": options or {}, "grid": grid or {}}}, **further}


def searches(space, sampler="random", options=None):
    return {
        "recipes": {"digits/backpropagation": {"space": space, "options": options or {}}},
        "options": SCORED,
        "search": {"trials": 2, "sampler": sampler},
    }


@pytest.mark.parametrize("name", OWN)
def test_what_the_sweep_sets_itself_is_refused_wherever_it_stands(name, capsys):
    group, _, within = name.partition(".")
    forms = {name: "x", **({group: {within: "x"}} if within else {})}
    for key, value in forms.items():
        studies = [
            compares({key: value}),
            compares(options={}, grid={key: [value]}),
            compares() | {"options": {key: value}},
            searches({key: {"choice": [value]}}),
            searches({"model.loss": {"choice": ["cross_entropy"]}}, options={key: value}),
        ]
        said = [refused(capsys, *write(content), "--list") for content in studies]
        said.append(refused(capsys, *RECIPE, "--grid", f"{key}={value}", "--list"))
        assert all(f"{name}" in one and "which the sweep itself sets" in one for one in said)
        assert all(OWN[name] in one for one in said)


TWICE = {
    "options": compares({"model.loss": "cross_entropy", "model.init_args.loss": "cross_entropy"}),
    "options and grid": compares({"model.loss": "cross_entropy"}, {"model.init_args.loss": ["cross_entropy"]}),
    "all options and a recipe's": compares({"model.loss": "cross_entropy"})
    | {"options": {"model.init_args.loss": "cross_entropy"}},
    "a class and its settings": compares(
        {"model.optimizer": {"class_path": "SGD", "init_args": {"lr": 0.1}}, "model.optimizer.lr": 0.2}
    ),
    "a class in two spellings": compares({"model": "Backpropagation", "model.class_path": "Backpropagation"}),
    "in a group": compares({"trainer": {"max_epochs": 1}, "trainer.max_epochs": 2}),
    "space": searches({"model.loss": {"choice": ["cross_entropy"]}, "model.init_args.loss": {"choice": ["mse"]}}),
    "space and options": searches(
        {"model.loss": {"choice": ["cross_entropy"]}}, options={"model.init_args.loss": "mean_squared_error"}
    ),
}


@pytest.mark.parametrize("content", TWICE.values(), ids=TWICE)
def test_two_spellings_of_one_option_are_refused(content, capsys):
    said = refused(capsys, *write(content), "--list")
    assert " is given " in said
    assert "leave one of them out" in said


def test_and_in_a_grid(capsys):
    grid = ["--grid", "model.loss=cross_entropy", "--grid", "model.init_args.loss=cross_entropy,mean_squared_error"]
    assert "model.loss is given by model.loss and by model.init_args.loss" in refused(capsys, *RECIPE, *grid, "--list")


OF_THE_IMAGES = {
    "the data set": ("data", ["DigitsDataModule", "MNISTDataModule"], "(data)"),
    "by its class": ("data.class_path", ["DigitsDataModule", "MNISTDataModule"], "(data)"),
    "with settings": ("data", [{"class_path": "DigitsDataModule", "init_args": {"validation_split": 0.2}}], "(data"),
    "settings": ("data.init_args", [{"batch_size": 10}, {"validation_split": 0.2}], "(data.validation_split)"),
    "a subset": ("data.init_args.subset_size", [100, 200], "(data.subset_size)"),
    "its folder": ("data.data_dir", ["here", "there"], "(data.data_dir)"),
    "of a user's own": ("data.fold", [1, 2], "(data.fold)"),
    "batches": ("trainer.limit_val_batches", [1, 2], "(trainer.limit_val_batches)"),
    "batches in a group": ("trainer", [{"limit_val_batches": 1}], "(trainer.limit_val_batches)"),
}


@pytest.mark.parametrize(("key", "values", "said"), OF_THE_IMAGES.values(), ids=OF_THE_IMAGES)
def test_a_search_draws_nothing_that_says_which_images_score_a_trial(key, values, said, capsys):
    error = refused(capsys, *write(searches({key: {"choice": values}})), "--list")
    assert "trials would be scored by different images" in error
    assert said in error


def test_but_how_it_trains_on_them(capsys):
    assert main(["sweep", *write(searches({"data.batch_size": {"choice": [10, 20]}})), "--list"]) == 0
    assert "--data.batch_size" in capsys.readouterr().out


WRONG = {
    "an unknown option": ({"model.los": "cross_entropy"}, [], "no option los: did you mean loss?"),
    "of the trainer": ({"trainer.max_epoch": 1}, [], "did you mean --trainer.max_epochs?"),
    "an unknown class": ({"model.optimizer": "Adm"}, [], "There is no class Adm: did you mean Adam?"),
    "another value": ({"model.loss": "hinge"}, [], "model.loss is hinge: choose "),
    "a value that the rule refuses": ({"model": "CorInfoMax", "model.epsilon": -1}, [], "epsilon is -1"),
    "a value that the data refuse": ({"data.batch_size": 0}, [], "batch_size is 0"),
    "precision": ({"trainer.precision": 16}, [], "precision is 16: choose"),
    "a rate that no optimizer takes": ({"model.optimizer.lr": -1}, [], "Invalid learning rate: -1"),
    "a rate without effect": (
        {"model": "CorInfoMax", "model.optimizer.lr": 0.5},
        [],
        "it would do nothing",
    ),
    "an unknown observer": ({}, ["Aligment"], "There is no class Aligment: did you mean Alignment?"),
    "an observer's option": (
        {},
        [{"class_path": "Alignment", "init_args": {"every": 3}}],
        "Alignment has no option every: did you mean every_n_steps?",
    ),
    "an observer's value": ({}, [{"class_path": "Alignment", "init_args": {"every_n_steps": 0}}], "every_n_steps is 0"),
}


@pytest.mark.parametrize(("options", "observers", "said"), WRONG.values(), ids=WRONG)
def test_what_fit_refuses_is_refused_before_the_first_trial(options, observers, said, capsys, monkeypatch):
    """With the trial's name, by --list and by the sweep itself, which writes nothing."""
    monkeypatch.setattr(on_ray, "train", lambda *_: pytest.fail("a trial was trained"))
    study = write(compares(options, observers=observers))
    for listed in (["--list"], ["--out", "out"]):
        error = refused(capsys, *study, *listed)
        assert said in error
        assert error.startswith("error: digits/")
        assert " can't be trained: " in error
    assert not Path("out").exists()
    if not observers:
        grid = [word for key, value in options.items() for word in ("--grid", f"{key}={value}")]
        assert said in refused(capsys, *RECIPE, *grid, "--list")


@pytest.mark.parametrize("sampler", ["random", "bayesian"])
def test_a_search_is_checked_before_it_begins(sampler, capsys):
    """Also what a Bayesian one may draw later: each choice, and both ends of each range."""
    choices = ["cross_entropy", "mean_squared_error", "binary_cross_entropy", "hinge"]
    for space, said in (
        ({"model.loss": {"choice": choices}, "data.batch_size": {"choice": [1, 2]}}, "model.loss is hinge: choose "),
        ({"data.batch_size": {"integer": [0, 1]}, "model.loss": {"choice": ["cross_entropy"]}}, "batch_size is 0"),
    ):
        content = searches(space, sampler)
        content["search"]["trials"] = 12
        error = refused(capsys, *write(content), *(["--list"] if sampler == "random" else []))
        assert said in error
        assert "digits/backpropagation/trial=" in error


def test_each_variant_is_parsed_once(monkeypatch, capsys):
    """Seeds make no difference to what is refused, and a study of the package has up to a hundred."""
    asked, parsed = [], checks.parsed
    monkeypatch.setattr(checks, "parsed", lambda arguments: asked.append(arguments) or parsed(arguments))
    content = compares(grid={"model.loss": ["cross_entropy", "mean_squared_error"]}, seeds=[0, 1, 2])
    assert main(["sweep", *write(content), "--list"]) == 0
    assert len(asked) == 2
    assert len(capsys.readouterr().out.splitlines()) == 6


@pytest.mark.parametrize("name", ["layer_sizes", "network"])
def test_ends_of_the_network_that_are_left_to_the_data_are_filled_in(name, capsys):
    entry = 20 if name == "layer_sizes" else {"dense": 20}
    other = {"layer_sizes": "network", "network": "layer_sizes"}[name]
    content = compares({f"model.{name}": [entry], f"model.{other}": None})
    assert main(["sweep", *write(content), "--list"]) == 0
    content = compares({f"model.{name}": [10 if name == "layer_sizes" else {"dense": 10}], f"model.{other}": None})
    assert "can't be trained: " in refused(capsys, *write(content), "--list")


class Elsewhere(DummyLogger):
    """A logger that leaves no files, whose options are those of the ones that do."""

    def __init__(self, save_dir: str = ".", name: str = "", version: str = "") -> None:
        super().__init__()


LEFT_OUT = {
    "no logger": ({"logger": False}, "its recipe sets trainer.logger"),
    "several loggers": ({"logger": ["CSVLogger", "RunLogger"]}, "its recipe sets trainer.logger"),
    "one without files": ({"logger": "tests.commands.test_sweep_checks.Elsewhere"}, "its recipe sets trainer.logger"),
    "no test": ({"limit_test_batches": 0}, "leaves the test split out"),
    "no run": ({"fast_dev_run": True}, "leaves the test split out"),
}


@pytest.mark.parametrize(("trainer", "said"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_a_recipe_that_leaves_no_run_to_compare_is_refused(trainer, said, capsys):
    recipe = yaml.safe_load((CONFIGS / "digits/backpropagation.yaml").read_text())
    recipe["trainer"] |= trainer
    Path("mine.yaml").write_text(yaml.safe_dump(recipe))
    assert said in refused(capsys, "--config", "mine.yaml", "--list")


def test_a_seed_that_fit_does_not_take(capsys):
    for args in ([*RECIPE, "--seeds", f"0,{2**32}"], write(compares(seeds=[2**32]))):
        assert f"{2**32 - 1}" in refused(capsys, *args, "--list")


def test_the_check_leaves_generators_threads_and_output_alone(capsys, monkeypatch):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    threads = torch.get_num_threads()
    assert main(["sweep", *RECIPE, "--grid", "threads=1", "--grid", "model=CorInfoMax", "--list"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert shlex.split(line)[-2:] == ["--trainer.enable_progress_bar", "false"]
    assert torch.get_num_threads() == threads
    assert "PL_GLOBAL_SEED" not in os.environ


@pytest.mark.sampled
@pytest.mark.parametrize("path", sorted((recipes() / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_studies_of_the_package_pass(path):
    study = read_study(path)
    checks.require_trainable(study_trials(variants(study), len(study.seeds)))


# --------------------------------------------------------------------------------------------------------- the settings

NAMES = st.sampled_from(["model", "trainer", "data", "loss", "optimizer", "lr"])
CONTENTS = st.recursive(
    st.integers(), lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3), max_leaves=6
).filter(lambda content: isinstance(content, dict))


@given(CONTENTS)
def test_a_setting_has_one_place_however_it_is_written(content):
    """Nested, with ``init_args``, or with dots: and what is written twice is found."""
    long = {key: _long(value) for key, value in content.items()}
    dotted = dict.fromkeys(settings(content), 0)
    assert sorted(settings(long)) == sorted(settings(content)) == sorted(settings(dotted))
    require_single(content, "here", content)
    for place in dotted:
        with pytest.raises(UserError, match="given by"):
            require_single([*content, f"{place}.init_args"], "here", {**content, f"{place}.init_args": 0})


@given(CONTENTS)
def test_without_groups_the_settings_are_the_same(content):
    assert sorted(settings(flat(content, "here"))) == sorted(settings(content))


def _long(value):
    return {"init_args": {key: _long(below) for key, below in value.items()}} if isinstance(value, dict) else value
