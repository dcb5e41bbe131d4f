"""A connection whose weights act scaled: as one of other weights, whose Hebbian product is scaled once more."""

import copy

import pytest
import torch

from bioplausible import Backpropagation, FeedbackAlignment
from tests.helpers import NETWORKS, batch, build


@pytest.mark.parametrize("cls", [Backpropagation, FeedbackAlignment])
@pytest.mark.parametrize("network", NETWORKS)
@torch.no_grad()
def test_scaled_weights_act_as_the_product_does(network, cls):
    scaled = build(cls, network, activation_function="tanh")
    x, _, _ = batch(network)
    plain = copy.deepcopy(scaled)
    for i, (c, other) in enumerate(zip(scaled.network.weighted, plain.network.weighted, strict=True)):
        c.scale = 0.3 + 0.2 * i
        other.weight.mul_(c.scale)
        if not c.is_tied:
            other.feedback_weight.mul_(c.scale)
    r = plain.activity(x)
    for a, b in zip(scaled.activity(x), r, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    clamped, others = scaled.network.clamp(x), plain.network.clamp(x)
    for k in range(1, scaled.network.L + 1):
        torch.testing.assert_close(clamped.drive(k, r), others.drive(k, r), rtol=1e-12, atol=1e-14)
    s = [torch.randn_like(a) for a in r]
    for k in range(1, scaled.network.L):
        expected = plain.network.feedback(k, s, at=r)
        torch.testing.assert_close(scaled.network.feedback(k, s, at=r), expected, rtol=1e-12, atol=1e-14)
        room = clamped.rest()[k]
        clamped.add_feedback_(k, room, s, r)
        torch.testing.assert_close(room, expected, rtol=1e-12, atol=1e-14)
    for c, other in zip(scaled.network.weighted, plain.network.weighted, strict=True):
        found, product = c.correlate(s[c.post], r[c.pre]), other.correlate(s[c.post], r[c.pre])
        torch.testing.assert_close(found, c.scale * product, rtol=1e-12, atol=1e-14)
        both = [(s[c.post], r[c.pre]), (r[c.post], s[c.pre])]
        torch.testing.assert_close(c.contrast(*both), c.scale * other.contrast(*both), rtol=1e-12, atol=1e-14)
        back = c.adjoint(s[c.post], r[c.pre])
        torch.testing.assert_close(back, other.adjoint(s[c.post], r[c.pre]), rtol=1e-12, atol=1e-14)
