"""The paragraph that says what a table comes to, from runs made up here, against the table."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bioplausible.__main__ import main
from bioplausible.commands.report.comparisons import pairs
from bioplausible.commands.report.logs import Log
from bioplausible.commands.report.runs import Run
from bioplausible.commands.report.tables import group
from bioplausible.commands.report.verdict import verdict
from tests.helpers import CONFIGS, make_run

BACKPROPAGATION, KOLEN_POLLACK, EQUILIBRIUM, FEEDBACK = (
    yaml.safe_load((CONFIGS / f"digits/{name}.yaml").read_text())
    for name in ("backpropagation", "kolen_pollack", "equilibrium_propagation", "feedback_alignment")
)


def runs_of(config, accuracies, seconds=2.0, cost=None, epochs=3, model=(), trainer=(), environment=()):
    """Returns a finished run of so many percent a seed, whose epochs took so many seconds each."""
    found = []
    for seed, percent in accuracies.items():
        whole = {**config, "seed_everything": seed, "trainer": {**config["trainer"], **dict(trainer)}}
        whole["model"] = {**config["model"], "init_args": {**config["model"]["init_args"], **dict(model)}}
        ends = [10 * (epoch + 1) - 1 for epoch in range(epochs)]
        curves = {"train/accuracy": dict.fromkeys(ends, 0.5), "test/accuracy": {10 * epochs: percent / 100}}
        curves["val/accuracy"] = {end: percent / 100 * (k + 1) / epochs for k, end in enumerate(ends)}
        if cost is not None:
            curves["cost/core_seconds"] = {end: cost * (k + 1) / epochs for k, end in enumerate(ends)}
        log = Log(curves, {} if seconds is None else {end: seconds * k for k, end in enumerate(ends)})
        path = Path(f"{config['model']['class_path']}{dict(model)}/{seed}")
        found.append(Run(path, config=whole, environment=dict(environment), log=log, epochs=epochs, steps_per_epoch=10))
    return found


def said(*runs):
    return verdict(group([run for some in runs for run in some]))


TWO = {0: 90.0, 1: 91.0}
FOUR = {0: 90.0, 1: 91.0, 2: 90.5, 3: 90.2}


def above(accuracies, points, noise=(0.1, 0.0, 0.05, -0.1)):
    return {seed: value + points + e for (seed, value), e in zip(accuracies.items(), noise, strict=False)}


def test_with_two_seeds_it_says_who_is_ahead_by_how_much_and_that_no_test_is_made():
    found = said(runs_of(BACKPROPAGATION, TWO), runs_of(KOLEN_POLLACK, above(TWO, 1, (0, 0)), seconds=5.0))
    assert str(found) == (
        "KolenPollack has the highest test accuracy, 91.50 ± 0.71 % (2 seeds). That is 1.00 points above"
        " Backpropagation, which has 90.50 ± 0.71 % (2 seeds). No test is made: it takes 3 seeds in common, and they"
        " have 2. It may be chance. Its training took 15 seconds by the clock, 2.5 times the least; the cheapest,"
        " Backpropagation, took 6."
    )


def test_with_more_seeds_it_says_whether_that_is_significant():
    found = said(runs_of(BACKPROPAGATION, FOUR), runs_of(KOLEN_POLLACK, above(FOUR, 1)))
    assert re.search(
        r"The difference is significant \(paired t-test over 4 seeds, corrected after Holm, p (<|=) 0.0\d\d\)\.$",
        found.lead,
    )
    wild = above(FOUR, 0.3, (1.5, -2.0, 2.0, -1.4))
    found = said(runs_of(BACKPROPAGATION, FOUR), runs_of(KOLEN_POLLACK, wild))
    assert "The difference is not significant (paired t-test over 4 seeds, corrected after Holm, p = 0." in found.lead


def test_what_counts_is_the_corrected_p():
    """Alone the difference is significant, and among three tests not: that is what the correction is for."""
    first, second = runs_of(BACKPROPAGATION, FOUR), runs_of(KOLEN_POLLACK, above(FOUR, 1, (0.9, -0.6, 0.5, -0.2)))
    (pair,) = pairs(group([*first, *second]))
    assert pair.test.p < 0.05 < 2 * pair.test.p
    assert "The difference is significant" in said(first, second).lead
    third = runs_of(EQUILIBRIUM, above(FOUR, 0, (1.0, -1.0, 0.8, -0.9)))
    lead = said(first, second, third).lead
    assert "The difference is significant" not in lead
    assert "The difference is not significant" in lead


def test_of_several_others_it_counts_those_that_it_is_significantly_above():
    rivals = [runs_of(BACKPROPAGATION, FOUR), runs_of(KOLEN_POLLACK, above(FOUR, 3))]
    rivals.append(runs_of(EQUILIBRIUM, above(FOUR, 2.5, (2.0, -2.0, 2.0, -2.0))))
    found = said(*rivals)
    assert "KolenPollack is significantly above 1 of the 2 others, not above EquilibriumPropagation." in found.lead
    assert "The difference is not significant" in found.lead  # of the second, which is that one
    found = said(*rivals[:2], runs_of(EQUILIBRIUM, above(FOUR, 2, (0, 0.1, 0, 0.05))))
    assert found.lead.endswith("KolenPollack is significantly above all 2 others.")


def test_what_is_printed_alike_is_a_tie():
    found = said(runs_of(BACKPROPAGATION, TWO), runs_of(KOLEN_POLLACK, {0: 91.0, 1: 90.003}, seconds=4.0))
    assert found.lead == "KolenPollack and Backpropagation tie at 90.50 % test accuracy."
    assert found.cost == "Their training took 6 to 12 seconds by the clock; the cheapest, Backpropagation, took 6."
    low = runs_of(EQUILIBRIUM, above(TWO, -1, (0, 0)))
    found = said(runs_of(BACKPROPAGATION, TWO), runs_of(KOLEN_POLLACK, {0: 91.0, 1: 90.0}), low)
    assert "tie at 90.50 % test accuracy, ahead of EquilibriumPropagation with 89.50 ± 0.71 % (2 seeds)." in found.lead
    assert "No test is made" in found.lead
    sure = runs_of(EQUILIBRIUM, above(FOUR, -5))
    mixed = {0: 91.0, 1: 90.0, 2: 90.2, 3: 90.5}
    found = said(runs_of(BACKPROPAGATION, FOUR), runs_of(KOLEN_POLLACK, mixed), sure)
    assert found.lead.endswith("Each of them is significantly above EquilibriumPropagation.")


def test_a_setting_alone_wins_nothing():
    found = said(runs_of(BACKPROPAGATION, {0: 90.0}))
    assert (
        found.lead
        == "Backpropagation has a test accuracy of 90.00 % (one seed); there is nothing here to compare it with."
    )
    assert found.cost == "Its training took 6 seconds by the clock."
    assert found.cautions == ""


def test_where_the_common_seeds_say_the_contrary_it_says_so():
    """The mean over all seeds is not that over those which both have."""
    many = {**above(FOUR, -1), 4: 99.0, 5: 99.0, 6: 99.0}
    found = said(runs_of(BACKPROPAGATION, FOUR), runs_of(KOLEN_POLLACK, many))
    assert found.lead.startswith("KolenPollack has the highest")
    assert (
        "But over the 4 seeds that both have, Backpropagation is 0.99 points ahead, which is significant ("
        in found.lead
    )
    low = runs_of(EQUILIBRIUM, above(FOUR, -5, (0.2, 0.3, -0.1, 0.0)))
    found = said(runs_of(BACKPROPAGATION, FOUR), runs_of(KOLEN_POLLACK, many), low)
    assert "KolenPollack is significantly above 1 of the 2 others, not above Backpropagation." in found.lead


def test_that_some_pairs_could_not_be_tested_is_said():
    tested = [runs_of(BACKPROPAGATION, FOUR), runs_of(KOLEN_POLLACK, above(FOUR, 3))]
    low = above(FOUR, -5, (0.2, 0.3, -0.1, 0.0))
    assert "could be tested" not in said(*tested, runs_of(EQUILIBRIUM, low)).lead
    found = said(*tested, runs_of(EQUILIBRIUM, {seed: low[seed] for seed in (0, 1)}))
    assert found.lead.endswith(
        "of the 2 others, not above EquilibriumPropagation. Not all of these pairs could be tested."
    )


def test_a_difference_that_does_not_vary_has_no_test():
    found = said(runs_of(BACKPROPAGATION, FOUR), runs_of(KOLEN_POLLACK, {s: v + 1 for s, v in FOUR.items()}))
    assert found.lead.endswith("No test is made: the difference is the same for every seed.")


def test_cost_is_what_the_observer_measured_where_it_did():
    cheap = runs_of(BACKPROPAGATION, TWO, cost=10.0)
    found = said(cheap, runs_of(KOLEN_POLLACK, above(TWO, 1, (0, 0)), cost=40.0))
    assert found.cost == (
        "Its training took 40 seconds of one core, 4 times the least; the cheapest, Backpropagation, took 10. After 13"
        " seconds of one core Backpropagation is ahead, with 90.50 % validation accuracy."  # 40 / 3, the other's epoch
    )
    found = said(cheap, runs_of(KOLEN_POLLACK, above(TWO, 1, (0, 0)), cost=8.0))
    assert found.cost == "Its training took 8 seconds of one core, the least of all."
    found = said(cheap, runs_of(KOLEN_POLLACK, above(TWO, 1, (0, 0)), cost=10.01))
    assert found.cost.startswith("Its training took 10 seconds of one core, as little as any.")
    found = said(cheap, runs_of(KOLEN_POLLACK, above(TWO, 1, (0, 0)), seconds=None))
    assert found.cost == "What training cost is not known: not every run logged the time of two epochs."


@pytest.mark.parametrize("other", [{"processor": "b", "threads": 1}, {"processor": "a", "threads": 4}])
def test_seconds_of_different_processors_or_numbers_of_threads_are_not_compared(other):
    def both(environment, **given):
        one = runs_of(BACKPROPAGATION, TWO, environment={"processor": "a", "threads": 1}, **given)
        return said(one, runs_of(KOLEN_POLLACK, above(TWO, 1, (0, 0)), environment=environment, **given)).cost

    unknown = "What training cost is not known: the runs differ in processor or number of threads."
    assert both(other) == both(other, cost=10.0) == unknown
    assert both({"processor": "a", "threads": 1}).startswith("Its training took 6 seconds by the clock")
    assert both({"processor": "a", "threads": 1}, cost=10.0).startswith("Its training took 10 seconds of one core")


def test_what_else_differs_is_said():
    plain = runs_of(BACKPROPAGATION, TWO)
    higher = above(TWO, 1, (0, 0))
    assert said(plain, runs_of(KOLEN_POLLACK, higher)).cautions == ""
    found = said(plain, runs_of(KOLEN_POLLACK, higher, epochs=5, trainer={"limit_test_batches": 2}))
    assert found.cautions == "They differ in more than rule and rates: 3 to 5 epochs, limit_test_batches."
    found = said(plain, runs_of(KOLEN_POLLACK, higher, environment={"processor": "another"}))
    assert found.cautions == "They differ in more than rule and rates: processor or threads."
    found = said(plain, runs_of(EQUILIBRIUM, higher), runs_of(EQUILIBRIUM, TWO, model={"beta": 0.123}))
    assert found.lead.startswith("EquilibriumPropagation (beta=1.0) has the highest")
    assert found.cautions.startswith("There are 2 settings of EquilibriumPropagation: choose among them by validation")


PERCENT = st.integers(0, 400).map(lambda quarter: quarter / 4)


@given(st.lists(st.dictionaries(st.integers(0, 4), PERCENT, min_size=1), min_size=1, max_size=4))
def test_whatever_the_numbers_are_it_agrees_with_the_table(accuracies):
    configs = (BACKPROPAGATION, KOLEN_POLLACK, EQUILIBRIUM, FEEDBACK)
    groups = group([run for config, some in zip(configs, accuracies, strict=False) for run in runs_of(config, some)])
    found = verdict(groups)
    best = max(groups, key=lambda one: one.accuracy.mean)
    printed = [f"{one.accuracy.mean:.2f}" for one in groups]
    leaders = [one for one, text in zip(groups, printed, strict=True) if text == f"{best.accuracy.mean:.2f}"]
    assert ("tie at" in found.lead) == (len(leaders) > 1)
    head = found.lead.partition(" % ")[0]
    if len(leaders) <= 3:
        assert all(one.first.rule in head for one in leaders)
    assert f"{best.accuracy.mean:.2f}" in head
    others = [one for one in groups if one not in leaders]
    tests = [p for p in pairs(groups) if p.test and (p.one in leaders) != (p.other in leaders)]
    assert ("Holm" in found.lead or "significantly" in found.lead) == bool(tests)
    if others and not tests:
        assert "No test is made" in found.lead
    sure = {
        id(p.other if p.one is best else p.one)
        for p in tests
        if best in (p.one, p.other) and p.p < 0.05 and (p.test.difference > 0) == (p.one is best)
    }
    counted = re.search(r"significantly above (all|none|\d+)( of the)? (\d+) others", found.lead)
    if counted and len(leaders) == 1:
        count = {"all": len(others), "none": 0}.get(counted[1]) if not counted[1].isdigit() else int(counted[1])
        assert [count, int(counted[3])] == [len(sure), len(others)]
    assert bool(counted) == (bool(tests) and len(others) > 1)
    assert ("The difference is significant" in found.lead) <= bool(sure)


def test_page_and_markdown_begin_with_it_and_several_sections_are_listed_first():
    for seed in (0, 10):
        make_run(Path(f"logs/ep/version_{seed}"), 0.9, seed)
        make_run(Path(f"logs/bp/version_{seed}"), 0.8, seed, recipe="fashion_mnist/backpropagation")
    lead = "EquilibriumPropagation has the highest test accuracy, 90.00 ± 0.00 % (2 seeds)."
    assert main(["report", "logs"]) == 0
    page, text = Path("report/index.html").read_text(), Path("report/report.md").read_text()
    assert page.count(lead) == text.count(lead) == 1
    assert page.index(lead) < page.index("90.00 ± 0.00</td>")
    assert text.index(lead) < text.index("| rule |")
    make_run(Path("logs/digits/version_0"), 0.7, 0, recipe="digits/backpropagation")
    assert main(["report", "logs"]) == 0
    page = Path("report/index.html").read_text()
    assert page.count(lead) == 2
    assert page.index(lead) < page.index("<nav")
