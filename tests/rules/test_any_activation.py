"""Rules with a feedforward pass learn through any f, also one whose slope its value does not tell."""

import pytest
import torch
from torch.nn import functional as F

from bioplausible import (
    Backpropagation,
    CorInfoMax,
    CorInfoMaxEBD,
    CorInfoMaxSparse,
    DirectFeedbackAlignment,
    EquilibriumPropagation,
    FeedbackAlignment,
    PredictiveCoding,
)
from tests.helpers import batch, build, updates


@pytest.mark.parametrize("f", ["gelu", "hard_tanh", "elu"])
@pytest.mark.parametrize("cls", [Backpropagation, FeedbackAlignment])
@pytest.mark.parametrize("network", ["dense", "max pool", "average pool"])
def test_updates_are_the_gradients_where_feedback_is_tied(network, cls, f):
    rule = build(cls, network, activation_function=f, output_activation=f, loss="mean_squared_error")
    for c in rule.network.connections:
        c.tie_feedback()
        with torch.no_grad():
            c.weight.mul_(2)
    x, _, y = batch(network)
    found = updates(rule, rule.settle(x, y))
    loss = (rule.feedforward_output(x) - y).square().mean()
    for (name, p), g in zip(rule.named_parameters(), torch.autograd.grad(loss, list(rule.parameters())), strict=True):
        assert g.any(), p.shape
        torch.testing.assert_close(found[name], -g, rtol=1e-9, atol=1e-13)


def test_direct_feedback_passes_through_the_slope_at_each_layer():
    rule = build(DirectFeedbackAlignment, activation_function="gelu", output_activation="gelu")
    x, _, y = batch()
    δ = rule.settle(x, y)["feedforward"].internal["delta"]
    r = x
    for k, c in enumerate(rule.network.connections, start=1):
        a = F.linear(r, c.weight, c.bias).detach().requires_grad_()
        r = F.gelu(a)
        (slope,) = torch.autograd.grad(r.sum(), a)
        if k < 3:
            D = rule.get_buffer(f"D_{k + 1}")
            torch.testing.assert_close(δ[k - 1], slope * (rule.loss_gradient(rule(x), y) @ D))
        else:
            torch.testing.assert_close(δ[k - 1], slope * rule.loss_gradient(r, y))
        r = r.detach()


def clip(a):
    return a.clamp(0, 1)


def same(a):
    return a


PASSES = [
    (CorInfoMax, {}, [clip, clip, clip]),
    (CorInfoMaxSparse, {"dual_step_sizes": {1: 0.05, 3: 0.1}}, [F.relu, clip, F.relu]),
    (CorInfoMaxEBD, {}, [clip, clip, clip]),
    (EquilibriumPropagation, {"activation_function": "linear"}, [same, same, clip]),
    (EquilibriumPropagation, {"output_activation": "relu6"}, [clip, clip, F.relu6]),
    (EquilibriumPropagation, {"readout": True, "loss": "cross_entropy"}, [clip, clip, same]),
    (PredictiveCoding, {"activation_function": "gelu"}, [F.gelu, F.gelu, same]),
    (Backpropagation, {"activation_function": "tanh", "output_activation": "sigmoid"}, [F.tanh, F.tanh, F.sigmoid]),
]


@torch.no_grad()
@pytest.mark.parametrize(("cls", "options", "functions"), PASSES)
def test_updates_are_compared_with_a_feedforward_pass_through_each_layers_own_f(cls, options, functions):
    rule = build(cls, **options)
    x, _, _ = batch(n=20)
    r = x
    for c, f in zip(rule.network.chain, functions, strict=True):
        c.weight.mul_(3)  # so that what is cut off is cut off
        r = f(F.linear(r, c.weight, c.bias))
    torch.testing.assert_close(rule.feedforward_output(x), r)
