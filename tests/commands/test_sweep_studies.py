"""Studies: the package's train, and what one compares is drawn and tabled as it was measured."""

import csv
import math
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import fmean, stdev

import pytest
import torch
import yaml

from bioplausible.__main__ import main
from bioplausible.commands import command_line
from bioplausible.commands.recipes import recipes
from bioplausible.commands.report.reading import read_run
from bioplausible.commands.sweep import sections
from bioplausible.commands.sweep.running import NOTE
from bioplausible.commands.sweep.sections import _draw_curves, _draw_points, study_section
from bioplausible.commands.sweep.study_file import read_study
from bioplausible.commands.sweep.variants import study_trials, variants
from bioplausible.data.published import PublishedDataModule
from bioplausible.observers import Alignment
from bioplausible.observers.figures import new_figure
from tests.helpers import scalars

STUDIES = sorted((recipes() / "studies").glob("*.yaml"))


@pytest.mark.sampled
@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_of_the_package_trains_and_logs_what_it_draws(path, monkeypatch):
    """The first trial of each, for three batches of random images in its data's shape."""

    def load(self, train):
        g = torch.Generator().manual_seed(0)
        return torch.rand(60, *self.image_shape, generator=g), torch.randint(self.num_classes, (60,), generator=g)

    monkeypatch.setattr(PublishedDataModule, "load", load)
    monkeypatch.setattr(PublishedDataModule, "prepare_data", lambda self: None)
    # three batches are less than its interval, and a default changed late isn't seen by parsers that are built
    monkeypatch.setattr(Alignment, "every_n_steps", property(lambda self: 1, lambda self, value: None), raising=False)
    assert path.read_text().startswith("# ")
    study = read_study(path)
    trials = study_trials(variants(study, Path("out")), len(study.seeds))
    assert len(trials) == len(study.seeds) * len(variants(study))
    assert [trial.what["seed"] for trial in trials[: len(trials) // len(study.seeds)]] == [study.seeds[0]] * (
        len(trials) // len(study.seeds)
    )
    recipe = yaml.safe_load(study.recipes[0].path.read_text())
    steps = [name for name in recipe["model"]["init_args"] if name.endswith("_steps")]
    shorter = [word for name in steps for word in (f"--model.init_args.{name}", "2")]
    limits = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "3", "--trainer.log_every_n_steps", "1"]
    limits += ["--data.subset_size", "null"]  # of all images, of which there are fewer here
    assert main(["fit", *trials[0].arguments, *shorter, *limits]) == 0
    logged = scalars(Path(trials[0].folder))
    for y in study.figure.y:
        assert [name for name in logged if fnmatchcase(name, y)], y
    for name in study.figure.pictures:
        assert (Path(trials[0].folder) / "figures" / f"{name}.png").is_file()


def test_the_studies_of_the_package_are_known_by_name(capsys):
    assert main(["sweep", "--study", "neural_step_size", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * 6 * 5
    assert "--model.step_size 0.015" in lines[0]
    assert main(["recipes"]) == 0
    assert "studies/" not in capsys.readouterr().out


RATES = [0.001, 0.01]
STUDY = {
    "title": "Rates on digits",
    "recipes": {
        "digits/backpropagation": {
            "name": "backprop",
            "grid": {"model.optimizer.init_args.lr": RATES},
        },
        "digits/feedback_alignment": {
            "grid": {"model.optimizer.init_args.lr": {"choice": RATES}},
        },
    },
    "seeds": [0, 10],
    "options": {"trainer.max_epochs": 2, "data.subset_size": 200},
    "test_each_epoch": True,
    "figure": {"x": "model.optimizer.init_args.lr", "y": ["test/accuracy", "train/loss"]},
}


def study(**changed):
    Path("study.yaml").write_text(yaml.safe_dump({**STUDY, **changed}, sort_keys=False))
    return read_study(Path("study.yaml"))


def test_what_a_study_compares_has_its_names_folders_and_arguments():
    found = variants(study(), Path("out"))
    assert [variant.name for variant in found] == [
        "backprop, lr=0.001",
        "backprop, lr=0.01",
        "digits/feedback_alignment, lr=0.001",
        "digits/feedback_alignment, lr=0.01",
    ]
    trial = found[1].trials[1]
    assert trial.name == "digits/backpropagation/seed=10,lr=0.01"
    words = list(zip(trial.arguments, trial.arguments[1:], strict=False))
    for pair in (
        ("--trainer.max_epochs", "2"),
        ("--model.optimizer.init_args.lr", "0.01"),
        ("--trainer.callbacks+", "EachEpochTest"),
    ):
        assert pair in words
    other = variants(study(test_each_epoch=False), Path("out"))[1].trials[1]
    assert other.what != trial.what  # its folder is not this one's


def test_factors_give_lists_and_stand_on_the_axis():
    grid = {"model.feedforward_learning_rates": {"choice": [0.1, 0.5], "times": [1.0, 0.7]}}
    x = {"x": "model.feedforward_learning_rates"}
    found = variants(study(recipes={"digits/corinfomax": {"grid": grid}}, figure=x))
    assert [variant.values for variant in found] == [{x["x"]: 0.1}, {x["x"]: 0.5}]
    texts = [one.trials[0].what["options"][x["x"]] for one in found]
    assert [yaml.safe_load(text) for text in texts] == [[0.1, 0.07], [0.5, 0.35]]


@pytest.fixture
def trained():
    """A study whose trials have been trained in this process."""
    found = variants(study(), Path("out"))
    for trial in study_trials(found, 2):
        assert command_line.run(["fit", *trial.arguments]) == 0
        (Path(trial.folder) / NOTE).write_text(yaml.safe_dump(trial.what))
    return found


def test_a_long_legend_takes_no_height_from_the_panels(trained, monkeypatch):
    heights = []

    def measured(figure):
        figure.draw_without_rendering()
        heights.append(min(axis.get_window_extent().height for axis in figure.axes))
        return ""

    monkeypatch.setattr(sections, "png", measured)
    many = [replace(trained[0], recipe=replace(trained[0].recipe, name=f"rule {i}")) for i in range(24)]
    for variants_shown in (trained, many):
        study_section(study(), variants_shown)
    assert heights[1] > 0.9 * heights[0]


def test_table_figure_and_report_are_what_was_measured(trained, capsys):
    runs = [[read_run(Path(trial.folder)) for trial in variant.trials] for variant in trained]
    assert all(run.finished for of_variant in runs for run in of_variant)
    section = study_section(study(), trained)
    for row, variant, of_variant in zip(section.rows, trained, runs, strict=True):
        test = [100 * run.last("test/accuracy") for run in of_variant]
        loss = [run.last("train/loss") for run in of_variant]
        assert row == {
            "variant": variant.name,
            "n": 2,
            "test/accuracy (%)": f"{fmean(test):.2f} ± {stdev(test):.2f}",
            "train/loss": f"{fmean(loss):.2f} ± {stdev(loss):.2f}",
        }

    _, (axis,) = new_figure(1)
    _draw_points(axis, "model.optimizer.init_args.lr", "test/accuracy", trained, runs)
    lines = [container.lines[0] for container in axis.containers]
    for line, of_recipe in zip(lines, (runs[:2], runs[2:]), strict=True):
        assert list(line.get_xdata()) == RATES
        means = [100 * fmean(run.last("test/accuracy") for run in of_variant) for of_variant in of_recipe]
        assert list(line.get_ydata()) == pytest.approx(means)
    assert [container.get_label() for container in axis.containers] == ["backprop", "digits/feedback_alignment"]

    _, (axis,) = new_figure(1)  # numbers in another order than the axis has them
    _draw_points(axis, "model.optimizer.init_args.lr", "test/accuracy", trained[::-1], runs[::-1])
    for container, line in zip(axis.containers, lines[::-1], strict=True):
        assert container.lines[0].get_xydata().tolist() == line.get_xydata().tolist()

    _, (axis,) = new_figure(1)
    _draw_points(axis, "recipe", "test/accuracy", trained, runs)
    assert [label.get_text() for label in axis.get_xticklabels()] == [variant.name for variant in trained]
    assert list(axis.containers[0].lines[0].get_xdata()) == [0, 1, 2, 3]

    _, (axis,) = new_figure(1)
    _draw_points(axis, "recipe", "test/accuracy", trained, [runs[0], runs[1][:1], *runs[2:]])
    lower, upper = axis.containers[0].lines[1]
    spreads = [stdev(100 * run.last("test/accuracy") for run in of_variant) for of_variant in runs]
    spreads[1] = math.nan  # of one seed none is known
    found = (upper.get_ydata() - lower.get_ydata()) / 2
    assert found.tolist() == pytest.approx(spreads, nan_ok=True)

    _, (axis,) = new_figure(1)
    _draw_curves(axis, "epoch", "test_each_epoch/accuracy", trained, runs)
    for line, of_variant in zip(axis.get_lines(), runs, strict=True):
        assert list(line.get_xdata()) == [1, 2]
        last = 100 * fmean(run.last("test_each_epoch/accuracy") for run in of_variant)
        assert line.get_ydata()[-1] == pytest.approx(last)
        assert last == pytest.approx(100 * fmean(run.last("test/accuracy") for run in of_variant))

    length = (max(runs[0][0].curves["train/accuracy"]) + 1) // 2  # steps of an epoch
    for of_variant in runs:
        for run in of_variant:  # 150 cosines of single batches in two epochs
            run.curves["alignment/layer_2_cosine"] = {length * s / 75 - 1: 0.01 * s for s in range(1, 151)}
    _, (axis,) = new_figure(1)
    _draw_curves(axis, "epoch", "alignment/layer_2_cosine", trained, runs)
    for line in axis.get_lines():
        assert list(line.get_xdata()) == pytest.approx([s / 75 for s in range(3, 151, 3)], abs=1e-6)
        assert list(line.get_ydata()) == pytest.approx([0.01 * (s - 1) for s in range(3, 151, 3)])

    assert main(["sweep", "--study", "study.yaml", "--out", "out"]) == 0  # all is finished: Ray is not started
    assert "8 trials, 8 of them finished before" in capsys.readouterr().out
    page, text = Path("out/report/index.html").read_text(), Path("out/report/report.md").read_text()
    for part in ("Rates on digits", "backprop, lr=0.001", section.rows[0]["test/accuracy (%)"]):
        assert part in page
        assert part in text
    assert text.index("## Rates on digits") < text.index("## Digits")
    assert Path("out/report/figures/01.png").stat().st_size > 1000
    with Path("out/report/study.csv").open() as file:
        numbers = list(csv.DictReader(file))
    for row, variant, of_variant in zip(numbers, trained, runs, strict=True):
        losses, tests = ([run.last(name) for run in of_variant] for name in ("train/loss", "test/accuracy"))
        assert (row["variant"], row["train/loss_n"], row["test/accuracy_n"]) == (variant.name, "2", "2")
        found = [float(row[name]) for name in ("test/accuracy_mean", "train/loss_mean", "train/loss_std")]
        assert found == pytest.approx([100 * fmean(tests), fmean(losses), stdev(losses)], rel=1e-5)
    assert main(["report", "out", "--out", "out/report"]) == 0
    assert not Path("out/report/study.csv").exists()  # of no study


def test_what_no_run_logs_has_an_empty_column(trained):
    given = study(figure={"y": ["train/los", "train/*"]})
    assert [row["train/los"] for row in study_section(given, trained).rows] == [""] * 4
    assert all(row["train/accuracy (%)"] and row["train/loss"] for row in study_section(given, trained).rows)


def test_a_study_without_finished_runs_has_a_table_without_numbers():
    section = study_section(study(), variants(study(), Path("out")))
    assert [(row["n"], row["test/accuracy (%)"], row["train/loss"]) for row in section.rows] == [(0, "", "")] * 4
    assert section.pictures == []
    assert section.numbers[0]["test/accuracy_mean"] == ""
    assert section.numbers[0]["test/accuracy_n"] == 0


GRID = {"grid": {"model.beta": [1.0]}}
BAD = {
    "x": {"figure": {"x": "model.beta"}},
    "x of one recipe": {"recipes": {"digits/corinfomax": GRID, "mnist/corinfomax": {}}, "figure": {"x": "model.beta"}},
    "y": {"figure": {"y": "test/accuracy"}},
    "figure": {"figure": {"z": []}},
    "observers": {"observers": "Alignment"},
    "test_each_epoch": {"test_each_epoch": "yes"},
    "grid": {"recipes": {"digits/corinfomax": {"grid": [1]}}, "figure": {}},
    "a single value": {"recipes": {"digits/corinfomax": {"grid": {"model.beta": 1.0}}}, "figure": {}},
    "no values": {"recipes": {"digits/corinfomax": {"grid": {"model.beta": []}}}, "figure": {}},
    "a distribution": {"recipes": {"digits/corinfomax": {"grid": {"model.beta": {"uniform": [0, 1]}}}}, "figure": {}},
    "a space": {"recipes": {"digits/corinfomax": {"space": {"model.beta": {"uniform": [0, 1]}}}}, "figure": {}},
    "the seed": {"recipes": {"digits/corinfomax": {"grid": {"seed_everything": [1]}}}, "figure": {}},
    "callbacks": {"options": {"trainer.callbacks+": "Alignment"}},
    "values twice": {"recipes": {"digits/corinfomax": {"grid": {"model.beta": [1.0, 1.0]}}}, "figure": {}},
    "test split in a search": {
        "recipes": {"digits/corinfomax": {"space": {"model.beta": {"uniform": [0, 1]}}}},
        "search": {"trials": 1},
    },
}


@pytest.mark.parametrize("changed", BAD.values(), ids=BAD.keys())
def test_a_study_that_is_wrong_gets_one_sentence(changed, capsys):
    Path("study.yaml").write_text(yaml.safe_dump({**STUDY, **changed}))
    assert main(["sweep", "--study", "study.yaml", "--list"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
