"""The prototype of many networks at once takes the steps of the rules that it stands for."""

import pytest

from tests.benchmarks.many_seeds import Equilibrium, Information, check


@pytest.mark.parametrize("kind", [Equilibrium, Information])
def test_networks_trained_together_learn_what_each_learns_alone(kind):
    """β differs in sign from one to the next, so do their weights and batches."""
    assert check(kind, count=3) < 1e-5
