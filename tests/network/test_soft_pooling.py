"""Soft pooling: Q z = Σ z e^z / Σ e^z of each window, and its derivatives in the place of max pooling's winners."""

import pytest
import torch

from bioplausible.network import Convolution, Pooling
from tests.helpers import VARIANTS, batch, build, updates

SHAPES = [((2, 3, 4, 6), 2), ((1, 2, 7, 5), 2), ((3, 1, 7, 8), 3)]
NETWORK = [
    [1, 8, 7],
    {"conv": 2, "kernel": 3, "padding": 1, "pool": "soft"},
    {"local": 3, "kernel": 2, "padding": 1, "pool": {"soft": 2}},
    4,
]


def images(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_it_is_each_windows_weighted_mean_and_passes_back_its_derivatives(shape, size):
    z = images(shape).requires_grad_()
    found, derivatives = Pooling("soft", size).forward(z)
    for i in range(shape[2] // size):
        for j in range(shape[3] // size):
            window = z[:, :, i * size : (i + 1) * size, j * size : (j + 1) * size].flatten(2)
            torch.testing.assert_close(found[:, :, i, j], (window * window.softmax(2)).sum(2))
    s = images(found.shape, 1)
    (slopes,) = torch.autograd.grad((found * s).sum(), z)
    torch.testing.assert_close(Pooling("soft", size).adjoint(s, derivatives, *shape[2:]), slopes)
    sums = Pooling("soft", size).sums(derivatives)
    torch.testing.assert_close(sums, torch.ones_like(sums))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["soft", "average"])
def test_it_is_holomorphic(kind):
    pool, z = Pooling(kind), torch.complex(images((2, 3, 5, 4)), images((2, 3, 5, 4), 1))
    assert pool.is_holomorphic
    assert not Pooling("max").is_holomorphic
    torch.testing.assert_close(pool.forward(z.real + 0j)[0].real, pool.forward(z.real)[0])
    direction, h = torch.complex(images(z.shape, 2), images(z.shape, 3)), 1e-6
    slopes = [(pool.forward(z + h * d)[0] - pool.forward(z - h * d)[0]) / (2 * h) for d in (direction, 1j * direction)]
    torch.testing.assert_close(slopes[1], 1j * slopes[0], rtol=1e-7, atol=1e-8)
    s = torch.complex(images(slopes[0].shape, 4), images(slopes[0].shape, 5))
    back = pool.adjoint(s, pool.forward(z)[1], 5, 4)
    torch.testing.assert_close((back * direction).sum(), (s * slopes[0]).sum(), rtol=1e-6, atol=1e-7)


@torch.no_grad()
def test_a_bias_passes_it_unchanged():
    c = Convolution([2, 6, 6], 3, 3, pool=Pooling("soft")).double()
    x = images((4, 2, 6, 6))
    before = c.feedforward(x)
    c.bias.add_(0.7)
    torch.testing.assert_close(c.feedforward(x), before + 0.7)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_every_rule_learns_through_it(variant):
    """And otherwise than through averages; backpropagation's update is autograd's."""
    cls, options = VARIANTS[variant]
    x, _, y = batch(NETWORK)
    torch.manual_seed(0)
    rule = build(cls, NETWORK, **options)
    for c in rule.network.connections:
        if c.bias is not None:
            c.bias.add_(0.3)  # no layer is silent
    average = build(cls, [NETWORK[0], *({**e, "pool": "average"} for e in NETWORK[1:3]), 4], **options)
    average.load_state_dict(rule.state_dict())
    found, other = (updates(r, r.settle(x, y)) for r in (rule, average))
    assert all(update.isfinite().all() for update in found.values())
    assert any(not torch.allclose(update, other[name]) for name, update in found.items())
    if variant == "Backpropagation":
        with torch.enable_grad():
            loss = rule.sample_losses(rule(x), y).mean()
            names, parameters = zip(*rule.named_parameters(), strict=True)
            for name, g in zip(names, torch.autograd.grad(loss, parameters), strict=True):
                torch.testing.assert_close(found[name], -g)
