"""What the report computes, against the same numbers computed here."""

import base64
import csv
import math
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.utils.tensorboard import SummaryWriter

from bioplausible.__main__ import main
from bioplausible.commands.report import sections, tables
from bioplausible.commands.report.curves import curves, png
from bioplausible.commands.report.reading import find_runs
from bioplausible.commands.report.runs import Run
from bioplausible.commands.report.significance import Estimate
from bioplausible.commands.report.tables import Group, group
from tests.helpers import make_run

SEEDS = {0: 0.90, 10: 0.913, 20: 0.92, 30: 0.886}


def made(accuracies=SEEDS):
    for seed, accuracy in accuracies.items():
        make_run(Path(f"logs/version_{seed}"), accuracy, seed)
    (one,) = group(find_runs([Path("logs")]))
    return one


def test_an_estimate_is_the_mean_and_the_standard_deviation_with_n_minus_1():
    values = [91.0, 88.5, 90.25, 93.0]
    found = Estimate.of(values)
    mean = sum(values) / 4
    assert found.mean == pytest.approx(mean)
    assert found.std == pytest.approx(math.sqrt(sum((v - mean) ** 2 for v in values) / 3))
    assert found.n == 4
    assert str(found) == f"{mean:.2f} ± {found.std:.2f}"
    assert str(Estimate.of([91.0])) == "91.00"
    assert Estimate.of([91.0]).std is None


def test_each_panel_is_called_what_it_shows(monkeypatch):
    one, shown = made({0: 0.9}), {}

    def drawn(groups, names, title):
        shown.update({name: (label, factor) for name, label, factor in names})

    monkeypatch.setattr(sections, "curves", drawn)
    for run in one.runs:
        run.curves["alignment/layer_3_from_1_cosine"] = {9: 0.5}
    sections.in_sections([one])
    assert shown == {
        "train/accuracy": ("training accuracy (%)", 100),
        "val/accuracy": ("validation accuracy (%)", 100),
        "test_each_epoch/accuracy": ("test accuracy (%)", 100),
        "alignment/layer_2_angle": ("forward–feedback angle, layer 2 (degrees)", 1),
        "alignment/layer_3_from_1_cosine": ("cosine with backpropagation, layer 3 from 1", 1),
    }


def test_a_curve_is_the_mean_over_seeds_and_its_band_one_standard_deviation_with_n_minus_1():
    runs = made()
    for i, run in enumerate(runs.runs):
        run.curves["train/accuracy"] = {9: 0.5 + 0.1 * i**2, 19: 0.6 - 0.05 * i}
    figure = curves([runs], [("train/accuracy", "training accuracy (%)", 100.0)], "title")
    axis = figure.axes[0]
    (line,) = axis.lines
    (band,) = axis.collections
    per_step = {
        9: [50 + 10 * i**2 for i in range(4)],
        19: [60 - 5 * i for i in range(4)],
    }
    assert line.get_xdata().tolist() == [9, 19]
    assert line.get_ydata().tolist() == pytest.approx([statistics.mean(v) for v in per_step.values()])
    corners = band.get_paths()[0].vertices
    for step, values in per_step.items():
        at = corners[corners[:, 0] == step][:, 1]
        mean, std = statistics.mean(values), statistics.stdev(values)
        assert at.min() == pytest.approx(mean - std)
        assert at.max() == pytest.approx(mean + std)


def test_what_is_logged_of_single_batches_is_drawn_as_means_and_what_is_logged_each_epoch_is_not():
    """230 cosines are drawn as 58 means of four, the first of two; 121 accuracies of 120 epochs stay as they are."""
    one = made({0: 0.9, 1: 0.9})
    cosine, accuracy = "alignment/layer_2_cosine", "train/accuracy"
    for i, run in enumerate(one.runs):
        run.epochs = 120
        run.curves[cosine] = {100 * s: (-1.0) ** s + 0.001 * s * (i + 1) for s in range(230)}
        run.curves[accuracy] = {200 * s: 0.001 * s for s in range(1, 122)}
    figure = curves([one], [(name, name, 1.0) for name in (cosine, accuracy)], "title")
    (averaged,), (whole,) = (axis.lines for axis in figure.axes)
    assert averaged.get_xdata().tolist() == list(range(100, 22901, 400))
    four = [0.0015 * (4 * j + 3.5) for j in range(57)]  # the mean over two seeds too; the alternating signs cancel
    assert averaged.get_ydata().tolist() == pytest.approx([0.0015 * 0.5, *four])
    assert whole.get_xdata().tolist() == list(range(200, 24201, 200))
    assert whole.get_ydata().tolist() == pytest.approx([0.001 * s for s in range(1, 122)])


def test_a_single_seed_has_no_band():
    figure = curves([made({0: 0.9})], [("train/accuracy", "training accuracy (%)", 100.0)], "title")
    assert len(figure.axes[0].lines) == 1
    assert not figure.axes[0].collections


def test_a_figure_is_1200_pixels_wide():
    runs = made({0: 0.9})
    for names in (["train/accuracy"], ["train/accuracy", "throughput/samples_per_second"]):
        picture = base64.b64decode(png(curves([runs], [(name, name, 1.0) for name in names], "title")))
        assert int.from_bytes(picture[16:20], "big") == 1200


def test_a_mean_deviates_by_welchs_test(monkeypatch):
    """As by its formulas, of two standard errors and the degrees of freedom that Welch and Satterthwaite give them."""
    one = made()
    measured = Estimate.of([100 * a for a in SEEDS.values()])
    a, b = measured.std**2 / 4, 3.0**2 / 25
    degrees = (a + b) ** 2 / (a**2 / 3 + b**2 / 24)
    limit = stats.t.ppf(0.975, degrees)
    entry = {"data": one.first.data, "rule": one.first.rule, "layer_sizes": [784, 500, 10]}
    for errors in (0.5, 0.95, 1.05, 2.0):
        for sign in (1, -1):
            mean = measured.mean + sign * errors * limit * math.sqrt(a + b)
            monkeypatch.setattr(tables, "PUBLISHED", [{**entry, "mean": mean, "std": 3.0, "seeds": 25}])
            assert one.published == Estimate(mean, 3.0, 25)
            assert one.against_published.t == pytest.approx(-sign * errors * limit, rel=1e-5)
            assert one.against_published.p == pytest.approx(2 * stats.t.sf(errors * limit, degrees), rel=1e-4)
            assert one.deviates is (errors > 1)


@pytest.mark.parametrize(
    ("published", "seeds", "said"),
    [
        ({"seeds": 9}, 4, "no test: the published standard deviation is not known"),
        ({"seeds": 9, "std": None}, 4, "no test: the published standard deviation is not known"),
        ({"seeds": 2, "std": 1.0}, 4, "no test: published n = 2"),
        ({"seeds": 9, "std": 1.0}, 2, "no test: n = 2"),
        ({"seeds": 9, "std": 1.0}, 1, "no test: n = 1"),
        ({"seeds": 3, "std": 1.0}, 3, None),
    ],
)
def test_without_three_seeds_or_a_spread_there_is_no_test_and_it_is_said_why(published, seeds, said, monkeypatch):
    one = made(dict(list(SEEDS.items())[:seeds]))
    entry = {"data": one.first.data, "rule": one.first.rule, "layer_sizes": [784, 500, 10], "mean": 50.0}
    monkeypatch.setattr(tables, "PUBLISHED", [{**entry, **published}])
    assert (one.deviates is None) == (said is not None)
    assert main(["report", "logs", "--out", "out"]) == 0
    with Path("out/settings.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["welch_p"] == "", row["deviates"] == "") == (said is not None,) * 2
    for page in ("report.md", "index.html"):
        text = Path("out", page).read_text()
        assert (said or "p &lt; 0.001" if page == "index.html" else said or "p < 0.001") in text
        assert ("▲</td>" in text or "| ▲ |" in text) == (said is None)


def test_what_was_measured_last_counts_not_what_was_best():
    make_run(Path("logs/version_0"), 0.95, 0)
    board = SummaryWriter("logs/version_0")
    for step, accuracy in ((501, 0.90), (502, 0.80)):
        board.add_scalar("test/accuracy", accuracy, step)
    board.close()
    assert main(["report", "logs", "--out", "out"]) == 0
    with Path("out/settings.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["test_accuracy_mean"]) == 80
    with Path("out/runs.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert float(line["test_accuracy"]) == 80
    (run,) = find_runs([Path("logs")])
    assert run.last("train/accuracy") == pytest.approx(0.5 + 49 / 100)
    assert run.last("no/such") is None
    assert run.typical("test/accuracy") == pytest.approx(0.9)


def test_of_two_runs_with_one_seed_the_later_counts():
    make_run(Path("logs/b"), 0.90, 0)
    make_run(Path("logs/a"), 0.95, 0)
    (one,) = group(find_runs([Path("logs")]))
    assert one.accuracy.mean == pytest.approx(95)
    assert isinstance(one, Group)
    assert one.seeds == [0]


def test_seconds_per_epoch_are_a_median_and_speeds_are_means_over_runs():
    one = made()
    assert [run.seconds_per_epoch for run in one.runs] == pytest.approx([7.0] * 4, abs=1e-3)
    assert main(["report", "logs", "--out", "out"]) == 0
    with Path("out/settings.csv").open() as file:
        (row,) = csv.DictReader(file)
    speed = np.mean([1000 + seed for seed in SEEDS])
    assert float(row["samples_per_second"]) == pytest.approx(speed)
    assert float(row["steps_per_second"]) == pytest.approx(speed / 20)


def test_an_epoch_that_waited_does_not_count_for_the_others():
    make_run(Path("logs/version_0"), None, 0, epochs=1)
    board = SummaryWriter("logs/version_0")
    for epoch, time in enumerate((107, 114, 150, 158), start=2):
        board.add_scalar("train/accuracy", 0.5, 10 * epoch - 1, walltime=time)
    board.close()
    (run,) = find_runs([Path("logs")])
    assert run.seconds_per_epoch == pytest.approx(7.5, abs=1e-3)  # of 7, 7, 36 and 8


def test_a_checkpoint_that_is_tested_later_is_not_the_runs_result():
    make_run(Path("logs/tested"), 0.95, 0)
    make_run(Path("logs/not"), None, 10)
    for name in ("tested", "not"):
        board = SummaryWriter(f"logs/{name}")
        for step in (0, 250):  # what `test` logs of a checkpoint
            board.add_scalar("test/accuracy", 0.99, step)
        board.close()
    found = {run.path.name: run for run in find_runs([Path("logs")])}
    assert found["tested"].last("test/accuracy") == pytest.approx(0.95)
    assert found["tested"].finished
    assert found["not"].last("test/accuracy") is None
    assert found["not"].status == "not tested"


ADAM = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.001, "betas": [0.9, 0.999]}}
SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.0}}
STOP = {"class_path": "pytorch_lightning.callbacks.EarlyStopping", "init_args": {"monitor": "val/loss", "patience": 2}}
DECAY = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 1, "gamma": 0.9}}


def with_option(setting, name, value):
    return {**setting, "init_args": {**setting["init_args"], name: value}}


def titles(*settings):
    """Returns how runs that differ in optimizer, schedule and callbacks alone are named, in their order."""
    runs = []
    for i, (optimizer, schedule, callbacks, changed) in enumerate(settings):
        model = {"layer_sizes": [4, 3], "optimizer": optimizer, "lr_scheduler": schedule}
        config = {
            "seed_everything": 0,
            "model": {"class_path": "Backpropagation", "init_args": model},
            "data": {"class_path": "DigitsDataModule"},
            "trainer": {"callbacks": callbacks},
        }
        runs.append(Run(Path(str(i)), config=config, changed=changed))
    found = {one.first.path: one.title for one in group(runs)}
    return [found[run.path] for run in runs]


def test_settings_are_told_apart_by_what_differs_and_by_nothing_else():
    faster = with_option(ADAM, "lr", 0.01)
    assert titles((ADAM, None, [], []), (faster, None, [], [])) == [
        "Backpropagation, optimizer.lr=0.001",
        "Backpropagation, optimizer.lr=0.01",
    ]
    assert titles((ADAM, None, [], []), (faster, None, [], []), (SGD, DECAY, [], [])) == [
        "Backpropagation, optimizer=Adam, optimizer.lr=0.001",
        "Backpropagation, optimizer=Adam, optimizer.lr=0.01",
        "Backpropagation, optimizer=SGD, lr_scheduler=StepLR",
    ]
    assert titles(
        (ADAM, None, [STOP], []), (ADAM, None, [with_option(STOP, "patience", 3)], []), (ADAM, None, [], [])
    ) == [
        "Backpropagation, EarlyStopping=on, EarlyStopping.patience=2",
        "Backpropagation, EarlyStopping=on, EarlyStopping.patience=3",
        "Backpropagation",
    ]
    changed = "from step 5 lr=0.01 (0.001 before)"
    assert titles((ADAM, None, [], []), (ADAM, None, [], [changed])) == [
        "Backpropagation",
        f"Backpropagation, {changed}",
    ]


optimizers = st.one_of(
    st.builds(lambda lr, m: with_option(with_option(SGD, "lr", lr), "momentum", m), *[st.sampled_from([0.1, 0.2])] * 2),
    st.builds(lambda lr: with_option(ADAM, "lr", lr), st.sampled_from([0.1, 0.2])),
)
schedules = st.one_of(st.none(), st.builds(lambda g: with_option(DECAY, "gamma", g), st.sampled_from([0.5, 0.9])))
stops = st.one_of(st.just([]), st.builds(lambda p: [with_option(STOP, "patience", p)], st.integers(1, 2)))
settings = st.tuples(optimizers, schedules, stops, st.sampled_from([[], ["from step 5 beta=1 (2 before)"]]))


@given(st.lists(settings, min_size=2, max_size=5, unique_by=repr))
def test_no_two_settings_have_one_name(several):
    names = titles(*several)
    assert len(set(names)) == len(several)
    assert not any("{" in name or name.count("beta=1") > 1 for name in names)
