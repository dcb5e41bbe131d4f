"""Search: what is drawn, what a study may say, what it finds, and that the test split stays unseen."""

import csv
import math
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bioplausible.__main__ import main
from bioplausible.commands import command_line
from bioplausible.commands.report import page
from bioplausible.commands.sweep import on_ray
from bioplausible.commands.sweep.recipe_text import configuration
from bioplausible.commands.sweep.running import LOG, NOTE, OUTCOME, SECONDS, is_finished
from bioplausible.commands.sweep.search import candidates, known_trials, write_results
from bioplausible.commands.sweep.sections import draw_search, search_section
from bioplausible.commands.sweep.space import Distribution, read_space
from bioplausible.commands.sweep.study_file import read_study
from bioplausible.data import DigitsDataModule
from bioplausible.errors import UserError
from bioplausible.observers.figures import new_figure
from tests.helpers import CONFIGS

CORINFOMAX = {
    "space": {
        "model.epsilon": {"loguniform": [0.05, 0.5]},
        "model.feedforward_learning_rates": {"loguniform": [0.5, 4.0], "times": [1.0, 0.7]},
    }
}
BACKPROPAGATION = {
    "options": {"model.loss": "cross_entropy"},
    "space": {"model.optimizer.init_args.lr": {"loguniform": [1e-4, 1e-2]}},
}
CONTENT = {
    "recipes": {"digits/corinfomax": CORINFOMAX, "digits/backpropagation": BACKPROPAGATION},
    "seeds": [0, 10],
    "options": {"data.validation_split": 0.1, "trainer.max_epochs": 1},
    "search": {"trials": 3, "sampler": "random", "seed": 0},
}

GRID = {
    "recipes": {
        "digits/corinfomax": {
            "space": {"data.batch_size": {"choice": [20, 40]}, "model.epsilon": {"choice": [0.1, 0.2]}}
        },
        "digits/backpropagation": {"space": {"data.batch_size": {"choice": [10, 20]}}},
    },
    "seeds": [0],
    "search": {"sampler": "grid"},
}
BY_GRID = {"search": {"sampler": "grid"}}


def study(**changed):
    """Writes a study, with some of it changed, and reads it."""
    Path("study.yaml").write_text(yaml.safe_dump({**CONTENT, **changed}, sort_keys=False))
    return read_study(Path("study.yaml"))


# ------------------------------------------------------------------------------------------------------------ the draws


DRAWN = [{"a": 0.6044, "b": 637}, {"a": 0.09213, "b": 547}, {"a": 0.7718, "b": 806}]


@given(
    st.sampled_from(["uniform", "loguniform", "integer"]),
    st.integers(1, 10**6),
    st.integers(1, 10**6),
    st.floats(0, 1, exclude_max=True),
)
def test_what_is_drawn_lies_in_its_range(kind, low, width, u):
    drawn = Distribution(kind, low, low + width).at(u)
    assert low <= drawn <= low + width
    assert type(drawn) is (int if kind == "integer" else float)


def test_ranges_are_drawn_from_as_their_names_say():
    """Quarters of uniform numbers are quarters of the range, of its logarithm, of the whole numbers, of the choices."""
    quarters = [0.0, 0.25, 0.5, 0.75, math.nextafter(1, 0)]
    assert [Distribution("uniform", 1, 5).at(u) for u in quarters] == [1, 2, 3, 4, 5]
    assert [Distribution("loguniform", 1e-4, 1).at(u) for u in quarters] == [1e-4, 1e-3, 1e-2, 1e-1, 1]
    assert [Distribution("integer", 1, 4).at(u) for u in quarters] == [1, 2, 3, 4, 4]
    choice = Distribution("choice", 0, 3, ("a", None, [1], 2.5))
    assert [choice.value(choice.at(u)) for u in quarters] == ["a", None, [1], 2.5, 2.5]


def test_draws_are_the_same_on_every_machine():
    space = read_space({"a": {"uniform": [0, 1]}, "b": {"integer": [1, 1000]}}, "here")
    assert [space.draw(0, "digits/corinfomax", n) for n in range(3)] == DRAWN
    assert space.draw(1, "digits/corinfomax", 0) != DRAWN[0]
    assert space.draw(0, "digits/backpropagation", 0) != DRAWN[0]


def test_more_trials_recipes_and_options_change_no_draw_before():
    few = {trial.name: trial.arguments for trial in known_trials(study())}
    space = {"model.leak": {"uniform": [0.1, 0.5]}, **CORINFOMAX["space"]}
    recipes = {"digits/predictive_coding": BACKPROPAGATION, **CONTENT["recipes"], "digits/corinfomax": {"space": space}}
    many = {t.name: t.arguments for t in known_trials(study(recipes=recipes, search={"trials": 5}))}
    for name, arguments in few.items():
        rest = list(many[name])
        if "corinfomax" in name:
            at = rest.index("--model.leak")
            del rest[at : at + 2]
        assert rest == arguments


def test_draws_are_independent_and_uniform():
    space = read_space({name: {"uniform": [0, 1]} for name in "ab"}, "here")
    drawn = torch.tensor([[space.draw(s, "r", n)[k] for k in "ab"] for s in range(20) for n in range(50)])
    assert abs(drawn.mean() - 0.5) < 0.02
    assert abs(drawn.std() - 12**-0.5) < 0.02
    assert abs(torch.corrcoef(drawn.T)[0, 1]) < 0.1


def test_lists_have_a_factor_or_a_distribution_each():
    space = read_space(
        {
            "rates": {"uniform": [1, 2], "times": [1.0, 0.5]},
            "sizes": [64, {"integer": [100, 200]}, {"choice": [10, 20]}],
            "kind": {"choice": [{"class_path": "torch.optim.Adam"}, "torch.optim.SGD"]},
        },
        "here",
    )
    assert list(space.distributions) == ["rates", "sizes[1]", "sizes[2]", "kind"]
    drawn = {"rates": 1.5, "sizes[1]": 120, "sizes[2]": 1, "kind": 1}  # of choices their places
    assert space.options(drawn) == {"rates": [1.5, 0.75], "sizes": [64, 120, 20], "kind": "torch.optim.SGD"}


def test_a_grid_has_every_combination_once():
    space = read_space(
        {"a": {"choice": ["x", None, [1]]}, "b": {"integer": [3, 4]}, "c": [{"choice": [0.1, 0.2]}, 7]}, "here"
    )
    tried = [space.options(space.combination(n)) for n in range(space.combinations)]
    assert tried == [{"a": a, "b": b, "c": [c, 7]} for a in ("x", None, [1]) for b in (3, 4) for c in (0.1, 0.2)]


# ----------------------------------------------------------------------------------------------------------- the trials


def test_every_recipe_has_the_same_number_of_trials_and_none_sees_the_test_split():
    trials = known_trials(study(), Path("out"), threads=1)
    assert [trial.name for trial in trials] == [
        f"digits/{rule}/trial={number},seed={seed}"
        for number in range(3)
        for rule in ("corinfomax", "backpropagation")
        for seed in (0, 10)
    ]
    for trial in trials:
        assert trial.arguments[trial.arguments.index("--trainer.limit_test_batches") + 1] == "0"
        assert trial.scored_by == "val/accuracy"
    pairs = {trial.name.partition(",")[0]: [] for trial in trials}
    for trial in trials:
        pairs[trial.name.partition(",")[0]].append({k: v for k, v in trial.what.items() if k != "seed"})
    assert all(a == b for a, b in pairs.values())  # seeds of the same values
    assert len({str(a) for a, _ in pairs.values()}) == len(pairs)


def test_trials_are_listed_without_ray(monkeypatch, capsys):
    expected = [trial.arguments for trial in known_trials(study(), Path("elsewhere"))]
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(on_ray, "train", None)
    assert main(["sweep", "--study", "study.yaml", "--out", "elsewhere", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [shlex.split(line.partition(" fit ")[2]) for line in lines] == expected
    assert not Path("elsewhere").exists()


def test_a_trial_is_trained_and_validated_and_never_looks_at_the_test_split(monkeypatch, capsys):
    trial = known_trials(study())[2]
    monkeypatch.setattr(DigitsDataModule, "test_dataloader", lambda self: pytest.fail("the test split was read"))
    assert main(["fit", *trial.arguments, "--trainer.limit_train_batches", "3"]) == 0
    said = capsys.readouterr().out
    assert "test accuracy        not run" in said
    assert "validation accuracy  none" not in said


def test_a_grid_tries_every_combination_of_each_recipe():
    """Also where one has more of them; the first ones of all recipes come first."""
    trials = known_trials(study(**GRID), Path("out"))
    assert [
        (trial.name, *shlex.join(trial.arguments).split("--data.batch_size ")[1].split()[:3]) for trial in trials
    ] == [
        ("digits/corinfomax/trial=0,seed=0", "20", "--model.epsilon", "0.1"),
        ("digits/backpropagation/trial=0,seed=0", "10", "--trainer.limit_test_batches", "0"),
        ("digits/corinfomax/trial=1,seed=0", "20", "--model.epsilon", "0.2"),
        ("digits/backpropagation/trial=1,seed=0", "20", "--trainer.limit_test_batches", "0"),
        ("digits/corinfomax/trial=2,seed=0", "40", "--model.epsilon", "0.1"),
        ("digits/corinfomax/trial=3,seed=0", "40", "--model.epsilon", "0.2"),
    ]


BAD = {
    "nothing": None,
    "a list": [1],
    "no recipes": {"search": {"trials": 1}},
    "no search": {"recipes": CONTENT["recipes"]},
    "unknown": {**CONTENT, "sampler": "random"},
    "no recipe": {**CONTENT, "recipes": {"digits/nothing": CORINFOMAX}},
    "recipes in a list": {**CONTENT, "recipes": ["digits/corinfomax"]},
    "no space": {**CONTENT, "recipes": {"digits/corinfomax": {}}},
    "seeds": {**CONTENT, "seeds": [0, 0]},
    "a seed": {**CONTENT, "seeds": 0},
    "a truth for a seed": {**CONTENT, "seeds": [True]},
    "test": {**CONTENT, "search": {"trials": 1, "metric": "test/accuracy"}},
    "no trials": {**CONTENT, "search": {"trials": 0}},
    "sampler": {**CONTENT, "search": {"trials": 1, "sampler": "sobol"}},
    "sampler's seed": {**CONTENT, "search": {"trials": 1, "seed": -1}},
    "options": {**CONTENT, "options": ["trainer.max_epochs"]},
    "the test split": {**CONTENT, "options": {**CONTENT["options"], "trainer.limit_test_batches": 1.0}},
    "seed among the options": {**CONTENT, "options": {**CONTENT["options"], "seed_everything": 1}},
    "logger": {**CONTENT, "options": {**CONTENT["options"], "trainer.logger.init_args.name": "x"}},
    "no validation split": {**CONTENT, "options": {"data.validation_split": 0}},
    "its own validation split is none": {
        "recipes": {"mnist/backpropagation": BACKPROPAGATION},
        "search": {"trials": 1},
    },
    **{
        f"space {space}": {**CONTENT, "recipes": {"digits/corinfomax": {"space": space}}}
        for space in (
            {},
            {"model.epsilon": 0.1},
            {"model.epsilon": [0.1, 0.2]},
            {"model.epsilon": {"normal": [0, 1]}},
            {"model.epsilon": {"uniform": [0, 1], "choice": [1]}},
            {"model.epsilon": {"uniform": [1, 0]}},
            {"model.epsilon": {"uniform": [0]}},
            {"model.epsilon": {"uniform": [0, float("nan")]}},
            {"model.epsilon": {"uniform": [False, True]}},
            {"model.epsilon": {"loguniform": [0, 1]}},
            {"model.epsilon": {"integer": [0, 1.5]}},
            {"model.epsilon": {"choice": []}},
            {"model.epsilon": {"uniform": [0, 1], "times": []}},
            {"model.epsilon": {"choice": ["a"], "times": [1]}},
            {"model.epsilon": [{"uniform": [1, 0]}]},
            {"seed_everything": {"integer": [0, 9]}},
            {"data.init_args.validation_split": {"uniform": [0.1, 0.2]}},
        )
    },
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_a_study_that_is_wrong_gets_one_sentence(content, capsys):
    Path("study.yaml").write_text(yaml.safe_dump(content))
    assert main(["sweep", "--study", "study.yaml", "--list"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(("error: study.yaml", "error: mnist/", "error: digits/"))
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({**GRID, "search": {"sampler": "grid", "trials": 4}}, "every combination once: leave out trials"),
        ({**GRID, "search": {"sampler": "grid", "seed": 0}}, "draws nothing: leave out seed"),
        ({**GRID, "search": {"sampler": "gird"}}, "sampler is 'gird': choose random, bayesian, grid"),
        (
            {
                "recipes": {"digits/backpropagation": {"space": {"data.batch_size": {"choice": [10, 20, 10]}}}},
                **BY_GRID,
            },
            "data.batch_size has a value twice",
        ),
        (
            {"recipes": {"digits/backpropagation": {"space": {"data.batch_size": {"integer": [1, 10001]}}}}, **BY_GRID},
            "digits/backpropagation has 10001 combinations",
        ),
        (BY_GRID, "digits/corinfomax: model.epsilon is a range, and a grid"),
        ({"search": {"sampler": "random"}}, "search has no trials"),
    ],
)
def test_what_a_grid_can_not_have_and_the_other_samplers_need_gets_one_sentence(changed, said):
    with pytest.raises(UserError, match=said):
        study(**changed)


@pytest.mark.parametrize("others", [["--seeds", "0"], ["--grid", "a=1"], ["--config", "digits/corinfomax"]])
def test_a_study_says_all(others, capsys):
    study()
    assert main(["sweep", "--study", "study.yaml", *others]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_study_that_is_not_there_gets_one_sentence(capsys):
    assert main(["sweep", "--study", "nothing.yaml"]) == 2
    assert capsys.readouterr().err.startswith("error: nothing.yaml can't be read (No such file")


def test_a_recipe_may_lie_beside_the_study():
    Path("folder").mkdir()
    Path("folder/mine.yaml").write_text((CONFIGS / "digits/backpropagation.yaml").read_text())
    Path("folder/study.yaml").write_text(yaml.safe_dump({**CONTENT, "recipes": {"mine.yaml": BACKPROPAGATION}}))
    trials = known_trials(read_study(Path("folder/study.yaml")))
    assert trials[0].name == "folder/mine/trial=0,seed=0"
    assert trials[0].arguments[1] == str(Path("folder/mine.yaml").resolve())


# -------------------------------------------------------------------------------------------------------- what it finds


def finish(trial, accuracy, best=1.0):
    """Leaves in a trial's folder what its training would."""
    folder = Path(trial.folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NOTE).write_text(yaml.safe_dump(trial.what))
    (folder / SECONDS).write_text("12.5\n")
    if accuracy is None:
        (folder / LOG).write_text("error: It went wrong.\n")
    else:
        (folder / OUTCOME).write_text(yaml.safe_dump({"accuracy": accuracy, "best_accuracy": best}))


def test_the_best_mean_of_the_last_epoch_over_all_seeds_is_chosen():
    tried = candidates(study(search={"trials": 7}), Path("out"), 1)
    found = [(0.7, 0.8), (0.99, 0.5), (0.9, 0.61), (0.61, 0.9), (1.0, None), None, None]
    for candidate in tried:
        if candidate.kind == "digits/corinfomax" and found[candidate.number]:
            for trial, accuracy in zip(candidate.trials, found[candidate.number], strict=True):
                finish(trial, accuracy, best=1 - 0.01 * candidate.number)
    for killed in tried[11].trials:
        finish(killed, None)
        (Path(killed.folder) / LOG).write_text("")  # with Ray's worker, before it said anything
    for trial in tried[12].trials:
        finish(trial, 1.0)
        (Path(trial.folder) / OUTCOME).write_text("{accuracy: 1.0, best_accuracy: 1.0, stopped_after: 1}")
    best = write_results(tried, study(search={"trials": 7}), Path("out"))
    assert best["digits/corinfomax"].number == 2  # the first of two equal ones; by its best epoch it would be 0
    assert best["digits/backpropagation"] is None
    assert not Path("out/best/digits/backpropagation.yaml").exists()
    recipe = yaml.safe_load(Path("out/best/digits/corinfomax.yaml").read_text())
    assert recipe["model"]["init_args"]["epsilon"] == best["digits/corinfomax"].options["model.epsilon"]
    assert recipe["trainer"] == {"max_epochs": 50}
    with Path("out/trials.csv").open() as file:
        every = list(csv.DictReader(file))
    assert [row["status"] for row in every if (row["recipe"], row["trial"]) == (tried[11].kind, "5")] == [
        "failed: killed"
    ] * 2
    rows = [row for row in every if row["recipe"] == "digits/corinfomax"]
    assert [(row["trial"], row["seed"]) for row in rows] == [(str(n), s) for n in range(7) for s in ("0", "10")]
    assert [row["validation_accuracy"] for row in rows[:4]] == ["0.7", "0.8", "0.99", "0.5"]
    assert rows[2]["best_validation_accuracy"] == "0.99"
    assert [row["status"] for row in rows[8:12]] == ["finished", "failed: It went wrong.", "not started", "not started"]
    assert [row["seconds"] for row in rows[8:12]] == ["12.5", "12.5", "0.0", "0.0"]
    assert [row["status"] for row in rows[12:]] == ["stopped after epoch 1"] * 2
    for row in rows:
        (candidate,) = (c for c in tried if c.kind == row["recipe"] and str(c.number) == row["trial"])
        assert {key: yaml.safe_load(row[key]) for key in candidate.options} == candidate.options


def test_the_recipe_that_a_grid_leaves_says_how_many_combinations_there_were():
    given = study(**GRID)
    tried = candidates(given, Path("out"), 1)
    for candidate in tried:
        finish(candidate.trials[0], 0.9 if candidate.number == 3 else 0.5)
    write_results(tried, given, Path("out"))
    said = " ".join(Path("out/best/digits/corinfomax.yaml").read_text().replace("#", " ").split())
    assert "a grid search of study.yaml chose: trial 3 of 4 (4 finished)" in said
    assert search_section(given, tried).title == "Search: every combination, grid"


def test_the_report_shows_what_was_tried():
    given = study(search={"trials": 4})
    tried = candidates(given, Path("out"), 1)
    for candidate, accuracy in zip([c for c in tried if "corinfomax" in c.kind], (0.5, 0.4, 0.7), strict=False):
        for trial in candidate.trials:
            finish(trial, accuracy)
    for trial in tried[1].trials:
        finish(trial, 0.25)
        note = yaml.safe_dump({"accuracy": 0.25, "best_accuracy": 0.3, "stopped_after": 2})
        (Path(trial.folder) / OUTCOME).write_text(note)
    section = search_section(given, tried)
    assert [row["validation accuracy (%)"] for row in section.rows][:5] == [
        "50.00",
        "stopped early at 25.00",
        "40.00",
        "",
        "70.00",
    ]
    rate = tried[1].options["model.optimizer.init_args.lr"]
    assert section.rows[1]["options"] == f"model.loss=cross_entropy, model.optimizer.init_args.lr={rate}"
    page.write([], Path("report"), "sweep", [section])
    text = Path("report/index.html").read_text()
    assert "Search: 4 trials a recipe, random" in text
    assert "stopped early at 25.00" in text
    assert "stopped early at 25.00" in Path("report/report.md").read_text()
    assert Path("report/figures/01.png").stat().st_size > 1000


def test_the_curve_of_a_search_is_the_best_so_far():
    given = study(search={"trials": 4}, recipes={"digits/corinfomax": CORINFOMAX}, seeds=[0])
    tried = candidates(given, Path("out"), 1)
    for candidate, accuracy in zip(tried, (0.5, 0.4, None, 0.7), strict=True):
        finish(candidate.trials[0], accuracy)
    _, (axis,) = new_figure(1)
    draw_search(axis, tried)
    best, points, stopped = axis.get_lines()
    assert list(best.get_xdata()) == list(points.get_xdata()) == [0, 1, 3]
    assert list(best.get_ydata()) == [50, 50, 70]
    assert list(points.get_ydata()) == [50, 40, 70]
    assert len(stopped.get_xdata()) == 0


def test_no_two_recipes_of_a_search_look_alike():
    """Twenty of them: there are eight colours in a panel's own cycle."""
    tried = [
        SimpleNamespace(kind=f"recipe {i}", number=0, accuracy=i / 20, trials=[SimpleNamespace(folder="nowhere")])
        for i in range(20)
    ]
    _, (axis,) = new_figure(1)
    draw_search(axis, tried)
    shown = axis.get_legend_handles_labels()[0]
    assert len({(each.get_color(), each.get_marker()) for each in shown}) == len(shown) == 20


def trained(arguments, name):
    """Trains three batches in this process and returns the weights, optimizer and schedule at their end."""
    own = [
        "--trainer.logger.init_args.save_dir",
        name,
        "--trainer.max_epochs",
        "1",
        "--trainer.limit_train_batches",
        "3",
    ]
    assert command_line.run(["fit", *arguments, *own, "--trainer.enable_progress_bar", "false"]) == 0
    (checkpoint,) = Path(name).rglob("last.ckpt")
    return torch.load(checkpoint, weights_only=False)


CHOICES = {
    "rates": ("digits/corinfomax", CORINFOMAX),
    "short names": ("digits/backpropagation", BACKPROPAGATION),
    "another optimizer": (
        "digits/backpropagation",
        {
            "options": {"model.optimizer.init_args.lr": 0.03},
            "space": {"model.optimizer": {"choice": ["torch.optim.SGD"]}},
        },
    ),
    "a class with its settings": (
        "digits/corinfomax",
        {"space": {"model.lr_scheduler": {"choice": [{"class_path": "StepLR", "init_args": {"step_size": 1}}]}}},
    ),
    "another network": (
        "digits/backpropagation",
        {"space": {"model.network": {"choice": [[[1, 8, 8], {"conv": 4, "kernel": 3}, 10]]}}},
    ),
    "a list of layers": ("digits/backpropagation", {"space": {"model.layer_sizes": [64, {"integer": [5, 50]}, 10]}}),
}


@pytest.mark.parametrize(("recipe", "entry"), CHOICES.values(), ids=CHOICES.keys())
def test_the_recipe_found_trains_as_its_trial_did(recipe, entry):
    """Bit for bit, at the same data and length."""
    found = study(recipes={recipe: entry}, search={"trials": 1}, seeds=[0], options={"data.validation_split": 0.2})
    tried = candidates(found, Path("out"), 1)
    finish(tried[0].trials[0], 0.5)
    write_results(tried, found, Path("out"))
    a = trained(tried[0].trials[0].arguments, "a")
    b = trained(["--config", f"out/best/{recipe}.yaml", "--data.validation_split", "0.2"], "b")
    assert a["state_dict"].keys() == b["state_dict"].keys()
    for name, weight in a["state_dict"].items():
        assert torch.equal(weight, b["state_dict"][name]), name
    assert a["optimizer_states"][0]["param_groups"] == b["optimizer_states"][0]["param_groups"]
    assert a["lr_schedulers"] == b["lr_schedulers"]


@pytest.mark.thorough
def test_a_search_is_run_gone_on_with_and_leaves_a_recipe():
    few = {"recipes": CONTENT["recipes"], "seeds": [0], "search": {"trials": 1}}
    trials = known_trials(study(**few), Path("out"))
    finish(trials[0], 0.5)
    assert is_finished(trials[0])
    assert main(["sweep", "--study", "study.yaml", "--out", "out", "--cpus", "1"]) == 0
    with Path("out/trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["finished"] * 2
    assert rows[0]["validation_accuracy"] == "0.5"
    assert rows[0]["seconds"] == "12.5"  # what was finished is not trained again
    assert 0 < float(rows[1]["validation_accuracy"]) <= 1
    assert float(rows[1]["seconds"]) > 1
    recipe = configuration(["--config", "out/best/digits/backpropagation.yaml"])
    assert recipe["model"]["init_args"]["optimizer"]["init_args"]["lr"] == float(
        rows[1]["model.optimizer.init_args.lr"]
    )
    study(**{**few, "search": {"trials": 1, "seed": 1}})
    assert main(["sweep", "--study", "study.yaml", "--out", "out"]) == 2  # another search's folder


def test_a_study_is_read_as_fit_reads_a_recipe():
    Path("study.yaml").write_text(yaml.safe_dump(CONTENT).replace("0.05", "5e-2"))
    assert read_study(Path("study.yaml")).recipes[1].space.distributions["model.epsilon"].low == 0.05
    Path("study.yaml").write_text("seeds: [0]\nseeds: [1]\n")
    with pytest.raises(UserError, match="is there twice"):
        read_study(Path("study.yaml"))
