"""Oracle: closed forms of the rules on a network that is one layer, where nothing settles but the output."""

import pytest
import torch

from bioplausible import NudgedPredictiveCoding, PredictiveCoding
from tests.helpers import updates


@pytest.fixture
def _filled(monkeypatch):
    """Memory that nobody has written to holds NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_filled")
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
@pytest.mark.parametrize("stale", [False, True])
@torch.no_grad()
def test_predictive_coding_learns_from_the_output_error(loss, stale):
    """e_L = y − W x − b, or y − softmax(W x + b)."""
    rule = PredictiveCoding([6, 3], loss=loss, target_range=(0, 1), stale_errors=stale).double()
    x, y = torch.rand(4, 6, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0]]
    error = y - (rule(x).softmax(1) if loss == "cross_entropy" else rule(x))
    found = updates(rule, rule.settle(x, y))
    torch.testing.assert_close(found["network.wiring.1.weight"], error.t() @ x / 4, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found["network.wiring.1.bias"], error.mean(0), rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("_filled")
@pytest.mark.parametrize("beta", [0.001, 0.5])
@torch.no_grad()
def test_pc_nudge_learns_from_the_equilibrium(beta):
    """e = β (y − v) with v = (μ + β y)/(1 + β), so (2/β) Σ e = 2 Σ (y − μ)/(1 + β)."""
    rule = NudgedPredictiveCoding([6, 3], beta=beta, inference_steps=300).double()
    x, y = torch.rand(4, 6, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0]]
    error = 2 * (y - rule(x)) / (1 + beta)
    found = updates(rule, rule.settle(x, y))
    torch.testing.assert_close(found["network.wiring.1.weight"], error.t() @ x, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(found["network.wiring.1.bias"], error.sum(0), rtol=1e-9, atol=1e-11)
