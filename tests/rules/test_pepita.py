"""Oracle: PEPITA from its equations, and what it proves, with the figure measured of it as a bound."""

import pytest
import torch
import torch.nn.functional as F

from bioplausible import PEPITA, Backpropagation, UserError
from bioplausible.rules import LearningRule
from tests.helpers import NETWORKS, batch, build, updates
from tests.rules.test_direct_projections import POOLED_WITH_SKIP, potential

ALL_NETWORKS = pytest.mark.parametrize("network", [*NETWORKS, *POOLED_WITH_SKIP])
F_OF_U = {"relu": torch.relu, "tanh": torch.tanh}
LOUD = {"projection_scale": 1.0}
"""With which the second pass differs from the first by more than rounding."""


def layers_of(name):
    return POOLED_WITH_SKIP.get(name) or NETWORKS[name]


def two_passes(rule, f, x, y, masks=None):
    """Returns of both passes r_0 … r_L and the neurons before pooling, and the two errors."""
    network, passes, errors, r0 = rule.network, [], [], x
    for _ in range(2):
        r, neurons = [r0], [None]
        for k in range(1, network.L + 1):
            a = potential(network, k, r)
            if k == network.L:
                r.append(a)
                break
            pool, h = network.into(k)[0].pool, F_OF_U[f](a)
            pooled = network.drive(k, r)
            r.append(F_OF_U[f](pooled) * (1 if masks is None else masks[k - 1]))
            if masks is not None:
                m = masks[k - 1]
                if pool is not None:
                    spread = F.interpolate(m, scale_factor=pool.size, mode="nearest")
                    m = torch.ones_like(h[:1])
                    m[..., : spread.shape[2], : spread.shape[3]] = spread
                h = h * m
            neurons.append(h)
        passes.append((r, neurons))
        errors.append(r[-1].softmax(1) - y)
        r0 = x + (errors[0] @ rule.F.t()).view_as(x)
    return passes, errors


@ALL_NETWORKS
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("f", F_OF_U)
def test_each_layer_learns_from_how_its_neurons_changed_from_one_pass_to_the_other(network, f, dropout):
    """Of hidden layer k: the gradient by W_k of ⟨a'_k, r_k − r'_k⟩, all else held; of the output, e'."""
    layers = layers_of(network)
    rule = build(PEPITA, layers, activation_function=f, dropout=dropout, **LOUD)
    x, _, y = batch(layers)
    found, masks = updates(rule, rule.settle(x, y)), rule.draw_masks() if dropout else None
    with torch.no_grad():
        ((_, before), (r, after)), (_, e) = two_passes(rule, f, x, y, masks)
    names = {id(p): name for name, p in rule.named_parameters()}
    assert found.keys() == set(names.values())
    for k in range(1, rule.network.L + 1):
        own = [c.weight for c in rule.network.into(k) if c.weight is not None]
        change = e if k == rule.network.L else before[k] - after[k]
        cost = (potential(rule.network, k, r) * change).sum() / len(x)
        for p, gradient in zip(own, torch.autograd.grad(cost, own), strict=True):
            torch.testing.assert_close(found[names[id(p)]], -gradient, rtol=1e-9, atol=1e-13)
            assert gradient.abs().max() > 1e-5


@torch.no_grad()
@pytest.mark.parametrize("network", ["convolution", "max pool", "average pool", "two dense"])
def test_the_published_convolutions_go_the_other_way_and_divide_twice(network):
    ours = build(PEPITA, network, **LOUD)
    published = build(PEPITA, network, published_convolution=True, **LOUD)
    published.load_state_dict(ours.state_dict())
    x, _, y = batch(network)
    phases = ours.settle(x, y)
    found, other = updates(published, published.settle(x, y)), updates(ours, phases)
    for c in ours.network.connections:
        name = f"network.wiring.{c.post}.weight"
        if c.post == ours.network.L:
            e = phases["first"].output.softmax(1) - y
            expected = -e.t() @ phases["second"].activity[c.pre].flatten(1) / len(x)
            assert not torch.allclose(found[name], other[name], rtol=1e-6)
        elif len(c.post_shape) > 1:
            expected = -other[name] / (c.unpooled_shape[1] * c.unpooled_shape[2]) / len(x)
        else:
            expected = other[name]
        torch.testing.assert_close(found[name], expected, rtol=1e-12, atol=1e-15)


@torch.no_grad()
@pytest.mark.parametrize("s", [0.1, 0.01, 0.001])
def test_two_linear_layers_tend_to_backpropagation(s):
    """With F = −s W_1⁺ W_2ᵀ, ΔW_1/s has an error of order s: 7.1 s was measured of another net."""
    torch.manual_seed(0)
    rule = build(PEPITA, [7, 5, 4], activation_function="linear")
    bp = build(Backpropagation, [7, 5, 4], activation_function="linear")
    for c, other in zip(rule.network.connections, bp.network.connections, strict=True):
        other.weight.copy_(c.weight), other.bias.zero_()
    W_1, W_2 = (c.weight for c in rule.network.connections)
    rule.F.copy_(-s * torch.linalg.pinv(W_1) @ W_2.t())
    x, _, y = batch([7, 5, 4])
    name = "network.wiring.1.weight"
    found, expected = updates(rule, rule.settle(x, y))[name] / s, updates(bp, bp.settle(x, y))[name]
    error = float((found - expected).norm() / expected.norm())
    assert 0.1 * s < error < 7.1 * s


@ALL_NETWORKS
@torch.no_grad()
def test_no_error_reaches_a_layer_but_through_the_input(network):
    """Where F is 0 the passes are the same, and the output alone learns, as the loss tells it."""
    layers = layers_of(network)
    rule = build(PEPITA, layers)
    rule.F.zero_()
    x, _, y = batch(layers)
    phases = rule.settle(x, y)
    found = updates(rule, phases)
    last = rule.network.chain[-1]
    assert all(not u.any() for name, u in found.items() if name != f"network.wiring.{last.post}.weight")
    r = phases["first"].activity
    product = (r[-1].softmax(1) - y).t() @ r[last.pre].flatten(1) / len(x)
    torch.testing.assert_close(found[f"network.wiring.{last.post}.weight"], -product)


@torch.no_grad()
def test_the_projection_is_uniform_and_as_large_as_it_says():
    rule = PEPITA([600, 20, 10], projection_scale=0.3)
    bound = 0.3 * (6 / 600) ** 0.5
    assert rule.F.shape == (600, 10)
    assert 0.99 * bound < rule.F.abs().max() <= bound
    assert rule.F.var() == pytest.approx(bound**2 / 3, rel=0.05)
    assert PEPITA([600, 20, 10]).F.abs().max() == pytest.approx(0.005, rel=0.01)
    assert "F" in rule.state_dict() and "F" not in dict(rule.named_parameters())  # noqa: PT018


@torch.no_grad()
def test_a_batch_has_one_mask_for_both_passes_and_all_samples_and_an_evaluation_none(monkeypatch):
    torch.manual_seed(0)
    rule = build(PEPITA, [7, 200, 300, 4], dropout=0.25, activation_function="sigmoid", **LOUD)
    x, _, y = batch([7, 200, 300, 4])
    masks = rule.draw_masks()
    assert [m.shape for m in masks] == [(1, 200), (1, 300)]
    for m in masks:
        assert set(m.unique().tolist()) == {0.0, 1 / 0.75}
        assert m.mean() == pytest.approx(1, abs=0.1)
    assert not torch.equal(masks[0][0], masks[1][0, :200])
    phases = rule.settle(x, y)
    for name in ("first", "second"):
        for r, m in zip(phases[name].activity[1:-1], masks, strict=True):
            assert torch.equal(r != 0, (m != 0).expand_as(r))
    assert all((r != 0).all() for r in rule.activity(x)[1:-1])
    torch.testing.assert_close(phases["first"].activity[1], rule.activity(x)[1] * masks[0])
    again = rule.draw_masks()
    assert all(torch.equal(a, b) for a, b in zip(masks, again, strict=True))
    monkeypatch.setattr(LearningRule, "step", property(lambda self: 1))
    assert not torch.equal(rule.draw_masks()[0], masks[0])
    monkeypatch.undo()
    rule.seed = 1
    assert not torch.equal(rule.draw_masks()[0], masks[0])
    assert build(PEPITA).draw_masks() == []


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"projection_scale": 0.0}, "projection_scale"),
        ({"projection_scale": -0.1}, "projection_scale"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"published_convolution": True}, "published_convolution"),
        ({"learning_rates": [0.1]}, "learning_rates"),
        ({"loss": "hinge"}, "loss"),
        ({"layer_sizes": [6, 3], "dropout": 0.1}, "no hidden layer"),
    ],
    ids=str,
)
def test_bad_options_are_refused_by_name(options, name):
    with pytest.raises(UserError, match=name):
        PEPITA(**{"layer_sizes": [6, 5, 3], **options})


def test_layers_may_have_rates_of_their_own():
    groups = PEPITA([6, 5, 4, 3], learning_rates=[0.1, 0.2, 0.3]).parameter_groups()
    assert [(g["name"], g["lr"], len(g["params"])) for g in groups] == [(f"layer_{k}", k / 10, 1) for k in (1, 2, 3)]
    assert len(PEPITA([6, 5, 4, 3]).parameter_groups()) == 1
