"""Oracle: closed forms of the rules on a network that is one layer, where nothing settles but the output."""

import pytest
import torch

from bioplausible import (
    Backpropagation,
    CorInfoMax,
    DirectFeedbackAlignment,
    DirectRandomTargetProjection,
    IncrementalPredictiveCoding,
    LearningRule,
    NudgedPredictiveCoding,
    PredictiveCoding,
    UserError,
)
from tests.helpers import updates


@pytest.fixture
def _filled(monkeypatch):
    """Memory that nobody has written to holds NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_filled")
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
@torch.no_grad()
def test_predictive_coding_learns_from_the_output_error(loss):
    """e_L = y − W x − b, or y − softmax(W x + b)."""
    rule = PredictiveCoding([6, 3], loss=loss, target_range=(0, 1)).double()
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


REFUSED = [
    (Backpropagation, {"activation_function": "tanh"}, "activation_function is tanh, which has no effect"),
    (CorInfoMax, {"feedback_learning_rates": 0.2}, "feedback_learning_rates is 0.2, which has no effect"),
    (PredictiveCoding, {"stale_errors": True}, "stale_errors is True, which has no effect"),
    (
        PredictiveCoding,
        {"inference_steps": 20, "step_size": 0.2},
        r"inference_steps is 20 and step_size is 0.2, which have no effect without a hidden layer: leave them out, or"
        r" at their defaults \(50 and 0.1\)\.$",
    ),
    (IncrementalPredictiveCoding, {"step_size": 0.2}, "step_size is 0.2, which has no effect"),
    (
        IncrementalPredictiveCoding,
        {"update_weights_at": "last", "inference_steps": 4},
        "inference_steps is 4, which has no effect without a hidden layer where only the last one learns",
    ),
    (
        DirectFeedbackAlignment,
        {"projection": "output", "signal": "error_sign"},
        r"projection is output and signal is error_sign, which have no effect without a hidden layer: leave them out,"
        r" or at their defaults \(input and error\)\.$",
    ),
]


@pytest.mark.parametrize(("cls", "options", "said"), REFUSED, ids=str)
def test_what_only_hidden_layers_depend_on_is_refused(cls, options, said):
    """All of it in one sentence, as by layers as by an entry for each."""
    for network in ({"layer_sizes": [6, 3]}, {"network": [[1, 2, 3], 3]}):
        with pytest.raises(UserError, match=said):
            cls(**network, **options)
    cls([6, 5, 3], **options)


def test_what_is_left_at_its_default_or_empty_is_no_option_given():
    """A saved configuration names every option, and a list by layer has no entry where no layer is."""
    CorInfoMax([6, 3], feedback_learning_rates=[])
    CorInfoMax([6, 3], feedback_learning_rates=None)
    Backpropagation([6, 3], activation_function="relu")
    DirectRandomTargetProjection([6, 3])
    PredictiveCoding([6, 3], inference="errors", free_output_error=True, inference_steps=7, step_size=0.3)


def test_a_rule_of_ones_own_names_what_its_hidden_layers_depend_on():
    class Own(Backpropagation):
        of_hidden_layers = Backpropagation.of_hidden_layers | {"mine"}

        def __init__(self, layer_sizes=None, mine=1.0, **options):
            super().__init__(layer_sizes, **options)

    assert issubclass(Own, LearningRule)
    Own([6, 5, 3], mine=2.0)
    Own([6, 3])
    with pytest.raises(UserError, match=r"mine is 2\.0, which has no effect without a hidden layer"):
        Own([6, 3], mine=2.0)
