"""Draws for each sample; oracles are the same generator in Python's integers, and the distributions themselves."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bioplausible.training.randomness import SampleDraws, _mixed, _signed, mix

SEEDS = st.integers(0, 2**32 - 1)
STEPS = st.integers(0, 10**9)


@given(st.integers(0, 2**64 - 1), st.lists(st.integers(0, 2**62), min_size=1, max_size=9))
def test_tensors_are_mixed_as_integers_are(seed, positions):
    mixed = _mixed(torch.tensor(_signed(seed)), torch.tensor(positions))
    assert mixed.tolist() == [_signed(mix(seed, position)) for position in positions]


def of_all(draws):
    return {
        "single": draws.uniform(3, 2),
        "double": draws.uniform(3, 2, dtype=torch.float64),
        "normal": draws.normal(5),
        "double normal": draws.normal(5, dtype=torch.float64),
        "integers": draws.integers(9),
        "more integers": draws.integers(1000, 4),
    }


@given(SEEDS, STEPS, st.lists(st.integers(0, 10**6), min_size=1, max_size=40), st.data())
def test_a_sample_draws_the_same_in_any_company(seed, step, positions, data):
    stream = data.draw(st.lists(st.integers(0, 1000), max_size=3))
    some = data.draw(st.lists(st.integers(0, len(positions) - 1), min_size=1))
    at = torch.tensor(positions)
    whole = of_all(SampleDraws.at(seed, step, at, *stream))
    part = of_all(SampleDraws.at(seed, step, at[some], *stream))
    for name, drawn in whole.items():
        assert torch.equal(drawn[some], part[name]), name
    assert len(whole["integers"].shape) == 1


def test_shapes_and_types():
    drawn = of_all(SampleDraws.at(1, 2, torch.arange(4)))
    assert [tuple(t.shape) for t in drawn.values()] == [(4, 3, 2), (4, 3, 2), (4, 5), (4, 5), (4,), (4, 4)]
    single, double = torch.float32, torch.float64
    assert [t.dtype for t in drawn.values()] == [single, double, single, double, torch.int64, torch.int64]
    assert SampleDraws.at(1, 2, torch.arange(0)).normal(3).shape == (0, 3)


def test_what_tells_draws_apart():
    """Seed, step, position, and each number of the stream, one more 0 included."""
    at = torch.arange(200)
    keys = [
        SampleDraws.at(seed, step, at, *stream).keys
        for seed in (0, 1)
        for step in (0, 1)
        for stream in ((), (0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0))
    ]
    assert len(torch.cat(keys).unique()) == 200 * len(keys)


@pytest.mark.parametrize("axis", ["samples", "numbers", "steps"])
@pytest.mark.parametrize("kind", ["uniform", "normal", "integers"])
def test_they_have_their_distribution_and_do_not_depend_on_one_another(kind, axis):
    n = 20_000
    if axis == "samples":
        draws = [SampleDraws.at(0, 7, torch.arange(n))]
    elif axis == "numbers":
        draws = [SampleDraws.at(0, 7, torch.arange(1))]
    else:
        draws = [SampleDraws.at(0, step, torch.arange(1)) for step in range(n // 10)]
    size = n if axis == "numbers" else 1
    dtype = {"dtype": torch.float64}
    if kind == "integers":
        found = np.concatenate([d.integers(10, size).numpy().ravel() for d in draws])
        assert stats.chisquare(np.bincount(found, minlength=10)).pvalue > 1e-3
        assert set(found) == set(range(10))
    else:
        found = np.concatenate([getattr(d, kind)(size, **dtype).numpy().ravel() for d in draws])
        assert stats.kstest(found, "norm" if kind == "normal" else kind).pvalue > 1e-3
    for lag in (1, 2, 10):
        assert abs(np.corrcoef(found[lag:], found[:-lag])[0, 1]) < 4 / len(found) ** 0.5


def test_single_precision_stays_below_one():
    draws = SampleDraws.at(3, 0, torch.arange(1000)).uniform(1000)
    assert 0 <= float(draws.min()) < 1e-5
    assert 1 - 1e-5 < float(draws.max()) < 1
