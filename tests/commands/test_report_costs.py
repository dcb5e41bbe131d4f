"""Accuracy against cost, and after equal cost, from runs made here."""

import csv
from pathlib import Path

import pytest
import yaml
from torch.utils.tensorboard import SummaryWriter

from bioplausible.__main__ import main
from bioplausible.commands.report.costs import COSTS, after_equal_cost, comparable, cost_figure
from bioplausible.commands.report.reading import find_runs, read_run
from bioplausible.commands.report.tables import Group, group
from tests.helpers import make_run

BP = "fashion_mnist/backpropagation"


def add_costs(folder, each, accuracies, tested=None):
    """Logs an accuracy after each epoch, or so many of them, and what the epochs cost."""
    board = SummaryWriter(str(folder))
    for epoch, accuracy in enumerate(accuracies):
        step = (epoch + 1) * 10 - 1
        if tested is None or epoch < tested:
            board.add_scalar("test_each_epoch/accuracy", accuracy, step, walltime=100 + 7 * epoch)
        board.add_scalar("cost/core_seconds", each * (epoch + 1), step, walltime=100 + 7 * epoch)
        board.add_scalar("cost/teraoperations", each * (epoch + 1) / 2, step, walltime=100 + 7 * epoch)
    board.close()


def make_two_settings():
    """Backpropagation costs 10 s an epoch, equilibrium propagation 30 s; of two epochs, seeds 0 and 1."""
    for seed in (0, 1):
        make_run(Path(f"logs/ep/{seed}"), 0.9, seed, epochs=2, planned=2)
        add_costs(Path(f"logs/ep/{seed}"), 30.0, [0.80 + seed / 100, 0.90])
        make_run(Path(f"logs/bp/{seed}"), 0.8, seed, recipe=BP, epochs=3, planned=3)
        add_costs(Path(f"logs/bp/{seed}"), 15.0, [0.5, 0.6, 0.7 + seed / 100])


def test_at_equal_cost_accuracies_lie_between_those_of_the_epochs():
    make_two_settings()
    groups = group([read_run(path) for path in sorted(Path("logs").glob("*/*"))])
    assert [one.first.rule for one in groups] == ["Backpropagation", "EquilibriumPropagation"]
    seconds, operations = after_equal_cost(groups)
    assert (seconds.quantity, seconds.budget) == ("cost/core_seconds", 45)  # backpropagation's whole training
    assert (operations.quantity, operations.budget) == ("cost/teraoperations", 22.5)
    for one in (seconds, operations):  # at 1.5 epochs of the slow one
        assert [reached.mean for reached in one.reached] == pytest.approx([70.5, 85.25])
        assert one.reached[1].std == pytest.approx(0.5 / 2**0.5)
    assert seconds.whole == [45, 60]


def test_seeds_that_cost_otherwise_are_compared_at_the_cheapest_run_and_drawn_at_their_mean_cost():
    for seed, (slow, fast) in enumerate(((30.0, 10.0), (40.0, 20.0))):
        make_run(Path(f"logs/ep/{seed}"), 0.9, seed, epochs=2, planned=2)
        add_costs(Path(f"logs/ep/{seed}"), slow, [0.80 + seed / 100, 0.90])
        make_run(Path(f"logs/bp/{seed}"), 0.8, seed, recipe=BP, epochs=3, planned=3)
        add_costs(Path(f"logs/bp/{seed}"), fast, [0.5, 0.6, 0.7])
    groups = group([read_run(path) for path in sorted(Path("logs").glob("*/*"))])
    seconds, _ = after_equal_cost(groups)
    # the cheapest run costs 30, but the slow one's second seed ends its first epoch at 40
    assert (seconds.budget, seconds.whole) == (40, [45, 70])
    assert [reached.mean for reached in seconds.reached] == pytest.approx([(70 + 60) / 2, (80 + 10 / 3 + 81) / 2])
    axis, of_operations = cost_figure(groups, "").axes
    fast, slow = axis.lines
    assert (list(fast.get_xdata()), list(slow.get_xdata())) == ([15, 30, 45], [35, 70])
    assert fast.get_ydata() == pytest.approx([50, 60, 70])
    assert list(of_operations.lines[0].get_xdata()) == [7.5, 15, 22.5]


def test_nobody_is_credited_with_an_epoch_that_costs_more_than_all_may_spend():
    """A first epoch of 100 s is not what was reached after the cheapest whole training, 30 s: it is compared at 100."""
    for name, recipe, each in (("ep", "fashion_mnist/equilibrium_propagation", 100.0), ("bp", BP, 10.0)):
        make_run(Path(f"logs/{name}/0"), 0.9, 0, recipe=recipe, epochs=3, planned=3)
        add_costs(Path(f"logs/{name}/0"), each, [0.70, 0.80, 0.90])
    for one, budget in zip(after_equal_cost(group(find_runs([Path("logs")]))), (100, 50), strict=True):
        assert one.budget == budget
        assert [reached.mean for reached in one.reached] == pytest.approx([90, 70])  # backpropagation as it ended


def test_what_a_run_cost_after_its_last_accuracy_is_no_budget():
    """Backpropagation cost 40, but its accuracy is known up to 20: at 40 it is not."""
    for name, recipe, each, tested in (("ep", "fashion_mnist/equilibrium_propagation", 20.0, 4), ("bp", BP, 10.0, 2)):
        make_run(Path(f"logs/{name}/0"), 0.9, 0, recipe=recipe, epochs=4, planned=4)
        add_costs(Path(f"logs/{name}/0"), each, [0.60, 0.70, 0.80, 0.90], tested)
    seconds, _ = after_equal_cost(group(find_runs([Path("logs")])))
    assert (seconds.budget, seconds.whole) == (20, [40, 80])
    assert [reached.mean for reached in seconds.reached] == pytest.approx([70, 60])


def test_a_setting_whose_accuracy_and_cost_share_no_step_has_no_curve():
    make_two_settings()
    groups = group([read_run(path) for path in sorted(Path("logs").glob("*/*"))])
    for run in groups[0].runs:
        run.curves["cost/core_seconds"] = {step + 1: cost for step, cost in run.curves["cost/core_seconds"].items()}
    assert [one.quantity for one in after_equal_cost(groups)] == ["cost/teraoperations"]
    figure = cost_figure(groups, "")
    assert [len(axis.lines) for axis in figure.axes] == [1, 2]


def test_the_report_says_it_in_a_table_and_a_figure():
    make_two_settings()
    assert main(["report", "logs", "--out", "out"]) == 0
    text = Path("out/report.md").read_text()
    assert "test accuracy after 45 seconds of one core (%)" in text
    (line,) = [line for line in text.splitlines() if line.endswith("| 60 | 85.25 ± 0.35 | 30 | 85.25 ± 0.35 |")]
    assert line.startswith("| EquilibriumPropagation")
    assert "accuracy against cost" in text
    assert "after 45 seconds of one core" in Path("out/index.html").read_text()
    assert len(list(Path("out/tables").glob("*-costs.tex"))) == 1
    with Path("out/costs.csv").open() as file:
        found = {(row["rule"].partition(",")[0], row["cost"]): row for row in csv.DictReader(file)}
    assert found.keys() == {(r, c) for r in ("Backpropagation", "EquilibriumPropagation") for c in COSTS.values()}
    row = found["EquilibriumPropagation", "10¹² operations"]
    numbers = [float(row[name]) for name in ("whole_training", "budget", "reached_mean", "reached_std", "n")]
    assert numbers == pytest.approx([30, 22.5, 85.25, 0.5 / 2**0.5, 2], rel=1e-5)
    assert (row["data"], row["score"]) == ("FashionMNIST", "test accuracy")


@pytest.mark.parametrize("said", ["processor: another\n", "threads: 4\n"])
def test_seconds_of_different_processors_or_numbers_of_threads_are_not_compared(said):
    make_two_settings()
    assert [one.quantity for one in after_equal_cost(group(find_runs([Path("logs")])))] == list(COSTS)
    noted = Path("logs/bp/0/environment.yaml")
    noted.write_text(noted.read_text() + said)
    groups = group(find_runs([Path("logs")]))
    (operations,) = after_equal_cost(groups)
    assert operations.quantity == "cost/teraoperations"
    (axis,) = cost_figure(groups, "").axes
    assert axis.get_xlabel() == "10¹² operations"


def test_seconds_of_a_run_that_went_on_on_another_processor_are_not_compared():
    make_two_settings()
    noted = Path("logs/bp/0/resumed.yaml")
    entry = {"step": 10, "changed": {}, "environment": {"torch": "9.9"}}
    noted.write_text(yaml.safe_dump([entry]))
    assert [one.quantity for one in after_equal_cost(group(find_runs([Path("logs")])))] == list(COSTS)
    noted.write_text(yaml.safe_dump([entry, {"step": 20, "changed": {}, "environment": {"processor": "another"}}]))
    (operations,) = after_equal_cost(group(find_runs([Path("logs")])))
    assert operations.quantity == "cost/teraoperations"
    assert main(["report", "logs", "--out", "out"]) == 0
    runs = yaml.safe_load(Path("out/made_with.yaml").read_text())["runs"]
    (said,) = [run["resumed_in"] for run in runs if "resumed_in" in run]
    assert [(each.get("torch"), each.get("processor")) for each in said][1] == ("9.9", "another")
    assert "processor: another" in Path("out/index.html").read_text()


def test_seconds_of_a_run_that_began_in_another_folder_on_another_processor_are_not_compared():
    make_two_settings()
    noted = Path("logs/bp/0/resumed.yaml")
    entry = {"step": 10, "checkpoint": "other/last.ckpt", "changed": {}, "before": [{"processor": "another"}]}
    noted.write_text(yaml.safe_dump([entry]))
    (run,) = [run for run in find_runs([Path("logs")]) if run.path == noted.parent]
    assert [each.get("processor") for each in (run.environment, *run.resumed_in)] == ["another", None]
    assert comparable([Group([run])]) == ["cost/teraoperations"]
    assert main(["report", "logs", "--out", "out"]) == 0
    runs = yaml.safe_load(Path("out/made_with.yaml").read_text())["runs"]
    (made,) = [made for made in runs if "resumed_in" in made]
    assert made["environment"]["processor"] == "another"
    assert "processor" not in made["resumed_in"][0]


def test_without_cost_nothing_is_said_of_it_and_with_some_only_nothing_is_compared():
    make_two_settings()
    make_run(Path("logs/bp/2"), 0.8, 2, recipe=BP, epochs=3, planned=3)  # logged no cost
    groups = group([read_run(path) for path in sorted(Path("logs").glob("*/*"))])
    assert after_equal_cost(groups) == []
    assert main(["report", "logs", "--out", "out"]) == 0
    assert "at the cost of the cheapest" not in Path("out/report.md").read_text()


@pytest.mark.parametrize("resumed", [False, True])
def test_training_logs_what_it_cost_so_far(resumed):
    args = ["fit", "--config", "digits/equilibrium_propagation", "--trainer.callbacks", "[Cost]", "--threads", "1"]
    args += ["--trainer.limit_test_batches", "0"]
    if resumed:
        assert main([*args, "--trainer.max_epochs", "1"]) == 0
        assert main(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "2"]) == 0
    else:
        assert main([*args, "--trainer.max_epochs", "2"]) == 0
    (run,) = find_runs([Path("lightning_logs")])
    curves = run.curves
    seconds, operations = (list(curves[f"cost/{name}"].values()) for name in ("core_seconds", "teraoperations"))
    assert len(seconds) == len(operations) == 2
    assert 0 < seconds[0] < seconds[1]
    assert operations[1] == pytest.approx(2 * operations[0])
    # 64-200-10: the free phase's products W₁x, then W₂r₁ and W₂ᵀr₂ an iteration, and at least as much nudged
    recipe = run.config["model"]["init_args"]
    iterations = recipe["free_steps"] + recipe["nudged_steps"]
    least = 2 * (64 * 200 + 2 * 200 * 10 * iterations) * 1294 / 1e12
    assert least < operations[0] < 4 * least


def test_counting_changes_nothing_that_is_learned():
    args = ["fit", "--config", "digits/equilibrium_propagation", "--trainer.max_epochs", "1", "--threads", "1"]
    assert main(args) == 0
    assert main([*args, "--trainer.callbacks", "[Cost]"]) == 0
    one, other = find_runs([Path("lightning_logs")])
    for name in ("train/accuracy", "train/loss", "val/loss", "test/loss"):
        assert one.curves[name] == other.curves[name]
