"""Intervals and tests, against SciPy, R's documented examples and formulas."""

import csv
import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bioplausible.__main__ import main
from bioplausible.commands.report.comparisons import matrix, pairs
from bioplausible.commands.report.reading import find_runs
from bioplausible.commands.report.significance import Estimate, holm, no_welch, of_seeds, p_text, paired, welch
from bioplausible.commands.report.tables import group
from tests.helpers import make_run

# Student (1908), Biometrika 6: hours of sleep gained by ten patients with either drug
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
VALUES = st.lists(st.floats(0, 100), min_size=3, max_size=12)


def by_seed(values):
    return dict(enumerate(values))


def test_the_numbers_that_every_textbook_has_of_students_sleepers():
    found = paired(by_seed(FIRST), by_seed(SECOND))
    assert (found.difference, found.t, found.p) == pytest.approx((-1.58, -4.0621, 0.002833), rel=1e-4)
    apart = welch(Estimate.of(FIRST), Estimate.of(SECOND))
    assert (apart.difference, apart.t, apart.p) == pytest.approx((-1.58, -1.8608, 0.07939), rel=1e-4)
    assert Estimate.of(SECOND).mean - Estimate.of(SECOND).interval == pytest.approx(0.8976775, rel=1e-6)
    assert str(found) == "−1.58, p = 0.003"


@given(VALUES, VALUES)
def test_welch_is_scipys_of_the_values_themselves(a, b):
    one, other = Estimate.of(a), Estimate.of(b)
    found = welch(one, other)
    if one.std == other.std == 0:
        assert found is None
        assert no_welch(one, other) == "no test: nothing varies"
    elif min(np.ptp(a), np.ptp(b)) > 1e-3:
        expected = stats.ttest_ind(a, b, equal_var=False)
        assert (found.t, found.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-6, abs=1e-12)
        assert no_welch(one, other) == ""


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=3, max_size=12))
def test_paired_is_the_test_of_the_differences_against_zero(values):
    a, b = zip(*values, strict=True)
    found = paired(by_seed(a), by_seed(b))
    differences = [x - y for x, y in values]
    if np.ptp(differences) < 5e-5:  # of two that TensorBoard may round
        assert found is None or np.ptp(differences) > 0
        return
    n, spread = len(values), np.std(differences, ddof=1)
    assert found.t == pytest.approx(np.mean(differences) / (spread / math.sqrt(n)), rel=1e-5, abs=1e-9)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.t), n - 1), rel=1e-5)


def test_seeds_are_paired_by_their_numbers_and_others_do_not_count():
    one = {10: 1.0, 20: 2.5, 30: 4.0, 70: 99.0}
    other = {30: 3.5, 10: 0.8, 20: 1.0, 80: -50.0}
    expected = stats.ttest_rel([1.0, 2.5, 4.0], [0.8, 1.0, 3.5])
    assert paired(one, other).p == pytest.approx(expected.pvalue)
    assert paired(one, {10: 0.8, 20: 1.0, 80: 3.0}) is None  # two in common
    assert paired({}, {}) is None


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_differences_that_are_all_equal_but_for_rounding_are_no_proof(shift):
    one = {seed: float(np.float32(0.9 + seed / 1000)) * 100 for seed in range(5)}
    other = {seed: float(np.float32(0.9 + seed / 1000 - shift / 100)) * 100 for seed in range(5)}
    assert paired(one, other) is None


@given(VALUES)
def test_an_interval_is_scipys(values):
    one = Estimate.of(values)
    if one.std > 1e-9:
        low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
        assert (one.mean - one.interval, one.mean + one.interval) == pytest.approx((low, high), rel=1e-6, abs=1e-9)
    assert Estimate.of(values[:1]).interval is None
    assert Estimate(1.0, None, 10).interval is None


def test_an_interval_holds_the_true_mean_in_nineteen_of_twenty_cases():
    draw = np.random.default_rng(0)
    found = [Estimate.of(list(draw.normal(90, 2, 4))) for _ in range(2000)]
    assert 0.935 < np.mean([abs(one.mean - 90) < one.interval for one in found]) < 0.965


def test_holm_is_that_of_the_textbook():
    """R's p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm"), and one that takes the larger one before over."""
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.2))
def test_holm_rejects_as_its_steps_do(p, alpha):
    """From the smallest p on, the k-th of m is compared with alpha / (m − k + 1), until one is not below."""
    rejected = set()
    for k, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if p[i] * (len(p) - k) > alpha:
            break
        rejected.add(i)
    assert {i for i, q in enumerate(holm(p)) if q <= alpha} == rejected
    shuffled = list(range(len(p)))
    random.Random(0).shuffle(shuffled)
    assert holm([p[i] for i in shuffled]) == [holm(p)[i] for i in shuffled]


def test_p_is_never_nought():
    assert [p_text(p) for p in (0.5, 0.0496, 0.001, 0.00099, 0.0)] == [
        *("p = 0.500", "p = 0.050", "p = 0.001", "p < 0.001", "p < 0.001"),
    ]


# ------------------------------------------------------------------------------------------------------- of the report

ACCURACIES = {
    0.5: {0: 0.90, 10: 0.92, 20: 0.91, 30: 0.93},
    0.6: {0: 0.88, 10: 0.905, 20: 0.89, 30: 0.911},
    0.7: {10: 0.70, 20: 0.95, 30: 0.80},
    0.8: {0: 0.5, 10: 0.6},
}


@pytest.fixture
def groups():
    for beta, accuracies in ACCURACIES.items():
        for seed, accuracy in accuracies.items():
            make_run(Path(f"logs/{beta}/version_{seed}"), accuracy, seed, beta=beta)
    return group(find_runs([Path("logs")]))


def test_all_pairs_of_a_table_are_tested_together(groups):
    found = {(p.one.first.options["model.beta"], p.other.first.options["model.beta"]): p for p in pairs(groups)}
    assert len(found) == 6
    expected = {}
    for (a, b), pair in found.items():
        seeds = sorted(ACCURACIES[a].keys() & ACCURACIES[b].keys())
        assert pair.n == len(seeds)
        if 0.8 in (a, b):
            assert (pair.test, pair.p) == (None, None)
        else:
            expected[a, b] = stats.ttest_rel(*([ACCURACIES[x][seed] for seed in seeds] for x in (a, b))).pvalue
            assert pair.test.p == pytest.approx(expected[a, b], rel=1e-4)
    smallest, middle, largest = sorted(expected, key=expected.get)
    assert found[smallest].p == pytest.approx(3 * expected[smallest], rel=1e-4)
    assert found[middle].p == pytest.approx(min(1, 2 * expected[middle]), rel=1e-4)
    assert found[largest].p == pytest.approx(max(expected[largest], min(1, 2 * expected[middle])), rel=1e-4)


def test_the_matrix_reads_row_minus_column_and_prints_no_test_of_two_seeds(groups):
    rows = matrix(groups)
    assert [row["rule"] for row in rows] == [f"EquilibriumPropagation, beta={beta}" for beta in ACCURACIES]
    difference = "{}1.85*, p = 0.002 (n = 4)"
    assert stats.ttest_rel(*(list(ACCURACIES[x].values()) for x in (0.5, 0.6))).pvalue * 3 == pytest.approx(
        0.001736, 1e-3
    )
    assert (rows[0]["2"], rows[1]["1"]) == (difference.format("+"), difference.format("−"))
    assert rows[0]["3"].startswith("+10.33, p = ")
    assert [rows[3][name] for name in "1234"] == [*["no test (n = 2)"] * 2, "no test (n = 1)", ""]
    assert main(["report", "logs"]) == 0
    for file in ("report.md", "index.html"):
        text = Path("report", file).read_text()
        assert "corrected after Holm" in text
        assert "no test (n = 2)" in text
    with Path("report/comparisons.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["n"] for line in lines] == ["4", "3", "2", "3", "2", "1"]
    first = lines[0]
    assert float(first["difference"]) == pytest.approx(1.85, abs=1e-3)
    assert float(first["p_holm"]) == pytest.approx(3 * float(first["p"]), rel=1e-4)
    assert [line["p"] for line in lines if int(line["n"]) < 3] == [""] * 3


def test_where_no_pair_has_three_seeds_in_common_no_test_is_printed():
    for beta, seeds in ((0.5, (0, 10, 20)), (0.6, (10, 20, 30))):
        for seed in seeds:
            make_run(Path(f"logs/{beta}/version_{seed}"), 0.9 + seed / 1000 * beta, seed, beta=beta)
    assert main(["report", "logs"]) == 0
    for file in ("report.md", "index.html"):
        assert "Holm" not in Path("report", file).read_text()
    assert not list(Path("report/tables").glob("*comparisons*"))
    with Path("report/comparisons.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert (line["n"], line["p"], line["difference"]) == ("2", "", "")


def test_an_estimate_of_other_seeds_than_its_row_says_so():
    assert [of_seeds(Estimate(88.124, 0.3, 2), n) for n in (2, 3)] == ["88.12 ± 0.30", "88.12 ± 0.30 (n = 2)"]
    assert of_seeds(None, 3) == ""
