"""Oracle: direct random target projection, sign-DFA and DFA at a layer's output, from their definitions."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from bioplausible import DirectFeedbackAlignment, DirectRandomTargetProjection, UserError
from tests.helpers import NETWORKS, batch, build, updates

POOLED_WITH_SKIP = {
    f"{pool} pool, skip into it": [
        [2, 6, 6],
        {"conv": 3, "kernel": 3, "padding": 1, "pool": pool, "skip": {"from": 0, "stride": 2}},
        {"conv": 3, "kernel": 1, "skip": 1},
        4,
    ]
    for pool in ("average", "max")
}
ALL_NETWORKS = pytest.mark.parametrize("network", [*NETWORKS, *POOLED_WITH_SKIP])
SIGNALS = ["error", "error_sign", "target"]


def network_of(name):
    return POOLED_WITH_SKIP.get(name) or NETWORKS[name]


def awake(rule):
    with torch.no_grad():
        for c in rule.network.connections:
            if c.bias is not None:
                c.bias.uniform_(-0.3, 0.3)
    return rule


def potential(network, k, r):
    """Returns layer k's potential before pooling, where each position hears all that its window does."""
    main, *skips = network.into(k)
    a = main.transform(main.weight, r[main.pre])
    if main.bias is not None:
        a = a + main.bias.view(-1, *[1] * (a.ndim - 2))
    for c in skips:
        heard = c.feedforward(r[c.pre])
        a = a + (heard if main.pool is None else F.interpolate(heard, scale_factor=main.pool.size, mode="nearest"))
    return a


@ALL_NETWORKS
@pytest.mark.parametrize("signal", SIGNALS)
def test_each_layer_descends_its_own_product_with_the_projected_signal(network, signal):
    """Of hidden layer k: ⟨f(a_k), s D_k⟩ by its own weights, r below and s held; of the output: the loss."""
    layers = network_of(network)
    x, _, y = batch(layers)
    rule = awake(build(DirectFeedbackAlignment, layers, signal=signal, projection="output", activation_function="tanh"))
    found, n = updates(rule, rule.settle(x, y)), len(x)
    output = rule(x)
    error = (output.softmax(1) - y).detach()
    s = {"error": error, "error_sign": error.sign(), "target": y}[signal]
    names = {id(p): name for name, p in rule.named_parameters()}
    with torch.no_grad():
        r = rule.activity(x)
    for k in range(1, rule.network.L + 1):
        own = [p for c in rule.network.into(k) for p in c.parameters()]
        if k < rule.network.L:
            a = potential(rule.network, k, r)
            D = rule.get_buffer(f"D_{k}")
            assert D.shape == (y.shape[1], *a.shape[1:])
            cost = (a.tanh() * torch.einsum("nc,c...->n...", s, D)).sum() / n
        else:
            cost = F.cross_entropy(rule.network.drive(k, r), y)
        for p, gradient in zip(own, torch.autograd.grad(cost, own), strict=True):
            torch.testing.assert_close(found[names[id(p)]], -gradient, rtol=1e-10, atol=1e-13)
            assert gradient.abs().max() > 1e-5


@ALL_NETWORKS
def test_what_is_pooled_is_what_the_signal_reaches(network):
    """Max pooling of f(a) is f of max pooling, skips included: the state before pooling is the layer's own."""
    layers = network_of(network)
    x, _, _ = batch(layers)
    rule = awake(build(DirectRandomTargetProjection, layers))
    with torch.no_grad():
        r = rule.activity(x)
        for k in range(1, rule.network.L):
            pool = rule.network.into(k)[0].pool
            before = potential(rule.network, k, r).tanh()
            if pool is None or pool.kind == "max":
                torch.testing.assert_close(r[k], before if pool is None else F.max_pool2d(before, pool.size))


@ALL_NETWORKS
@torch.no_grad()
def test_with_targets_hidden_layers_need_nothing_of_what_lies_above(network):
    """Neither weights above nor the output change what they learn, by a single bit."""
    layers = network_of(network)
    x, _, y = batch(layers)
    rule = awake(build(DirectRandomTargetProjection, layers))
    before = updates(rule, rule.settle(x, y))
    layer = {name: int(name.split(".")[2].partition("_")[0]) for name in before}
    for k in range(rule.network.L, 1, -1):
        for c in rule.network.into(k):
            for p in c.parameters():
                p.add_(torch.rand_like(p))
        after = updates(rule, rule.settle(x, y))
        assert all(torch.equal(after[name], before[name]) for name in before if layer[name] < k)
        assert any(not torch.equal(after[name], before[name]) for name in before if layer[name] >= k)
    other = updates(rule, rule.settle(x, y.roll(1, 1)))
    assert all(not torch.equal(other[name], before[name]) for name in before)


@torch.no_grad()
@pytest.mark.parametrize("signal", SIGNALS)
def test_on_dense_networks_both_projections_are_one(signal):
    rules = [
        build(DirectFeedbackAlignment, signal=signal, projection=p, loss="mean_squared_error")
        for p in ("input", "output")
    ]
    rules[1].load_state_dict(
        {k.replace("D_2", "D_1").replace("D_3", "D_2"): v for k, v in rules[0].state_dict().items()}
    )
    x, _, y = batch()
    one, two = (updates(rule, rule.settle(x, y)) for rule in rules)
    assert all(torch.equal(one[name], two[name]) for name in one)


def noted(seen, project, D, s):
    seen.append(s)
    return project(D, s)


@torch.no_grad()
@pytest.mark.parametrize("projection", ["input", "output"])
@pytest.mark.parametrize("loss", ["mean_squared_error", "cross_entropy", "binary_cross_entropy"])
def test_a_sign_does_not_know_how_large_an_error_is_and_an_error_does(projection, loss):
    """Each signal is the loss's gradient by the output, its sign, or the target; on images, where it is spread."""
    x, _, y = batch("convolution")
    found = {}
    for signal in SIGNALS:
        torch.manual_seed(0)
        options = {"signal": signal, "projection": projection, "loss": loss}
        rule = build(DirectFeedbackAlignment, "convolution", **options)
        seen = []
        if projection == "input":
            for k in range(1, rule.network.L):
                rule.above(k).project = partial(noted, seen, rule.above(k).project)
        found[signal] = rule.settle(x, y)["feedforward"].internal["delta"]
        output = rule(x)
        ŷ = {"mean_squared_error": output, "cross_entropy": output.softmax(1)}.get(loss, output.sigmoid())
        error = (ŷ - y) * (2 / 4 if loss == "mean_squared_error" else 1)
        for s in seen:
            torch.testing.assert_close(s, {"error": error, "error_sign": error.sign(), "target": y}[signal])
        torch.testing.assert_close(found[signal][-1], error)  # the output's is the true gradient always
    for one, two in (("error", "error_sign"), ("error", "target"), ("error_sign", "target")):
        assert not any(torch.allclose(a, b) for a, b in zip(found[one][:-1], found[two][:-1], strict=True))


def test_layers_have_rates_of_their_own_where_given_and_else_the_optimizers():
    rule = build(DirectRandomTargetProjection, learning_rates=[0.3, 0.2, 0.1])
    before = {name: p.detach().clone() for name, p in rule.named_parameters()}
    x, _, y = batch()
    found = updates(rule, rule.settle(x, y))
    rule.learn(x, y, torch.optim.SGD(rule.parameter_groups(), lr=9))
    for name, p in rule.named_parameters():
        lr = [0.3, 0.2, 0.1][int(name.split(".")[2]) - 1]
        torch.testing.assert_close(p.detach(), before[name] + lr * found[name])
    assert [set(group) for group in build(DirectRandomTargetProjection).parameter_groups()] == [{"params"}]
    mixed = build(DirectRandomTargetProjection, learning_rates=[None, 0.2, None]).parameter_groups()
    assert ["lr" in group for group in mixed] == [False, True, False]


BAD = [
    ({"signal": "reward"}, "signal"),
    ({"projection": "sideways"}, "projection"),
    ({"learning_rates": [0.1]}, "learning_rates"),
    ({"learning_rates": -0.1}, "learning_rates"),
    ({"loss": "hinge"}, "loss"),
]


@pytest.mark.parametrize(
    ("cls", "options", "name"),
    [*((DirectFeedbackAlignment, *bad) for bad in BAD), *((DirectRandomTargetProjection, *bad) for bad in BAD[1:])],
    ids=str,
)
def test_bad_options_are_refused_by_name(cls, options, name):
    with pytest.raises(UserError, match=name):
        cls([6, 5, 3], **options)
