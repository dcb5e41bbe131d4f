"""Oracle: what dual propagation proves, with the figures measured of it as bounds."""

import itertools

import pytest
import torch

from bioplausible import Backpropagation, DualPropagation, UserError
from bioplausible.rules.dual_propagation import visits
from tests.helpers import NETWORKS, SIZES, batch, build, updates

ALL_NETWORKS = pytest.mark.parametrize("network", NETWORKS)
ORDERS = ["backward", "forward", "forward_backward"]
PAIRS = [(0.0, 0.8), (0.25, 0.1), (0.5, 0.5), (0.7, 2.0), (1.0, 0.3)]
"""α and β."""


def both(network, f, **options):
    """Returns the updates of dual propagation and those of backpropagation with the same weights."""
    torch.manual_seed(3)
    rule = build(DualPropagation, network, activation_function=f, **options)
    bp = build(Backpropagation, network, activation_function=f, loss=rule.loss)
    with torch.no_grad():
        for c in rule.network.connections:
            if c.bias is not None:
                c.bias.uniform_(-0.3, 0.3)
    bp.load_state_dict(rule.state_dict())
    x, _, y = batch(network)
    return updates(rule, rule.settle(x, y)), updates(bp, bp.settle(x, y))


def distance(found, expected):
    """Returns how far one rule's updates are from the other's, relative to the other's norm."""
    difference = torch.cat([(found[name] - expected[name]).flatten() for name in expected])
    return float(difference.norm() / torch.cat([u.flatten() for u in expected.values()]).norm())


def rounding(β, update):
    """2e-16 was measured once, of a small net: the rounding of states, a difference of which is divided by β."""
    return 4e-16 * max(1, float(update.abs().max())) / min(β, 0.5)


@pytest.mark.parametrize(("α", "β"), PAIRS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("network", [name for name in NETWORKS if name not in ("max pool", "soft pool")])
def test_a_linear_network_learns_as_by_backpropagation_whatever_alpha_and_beta(network, order, α, β):
    found, expected = both(network, "linear", alpha=α, beta=β, order=order)
    for name, update in expected.items():
        assert (found[name] - update).abs().max() < rounding(β, update), name
        assert update.abs().max() > 1e-3


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "mean_squared_error"])
def test_max_pooling_and_every_loss_too_while_the_winners_stay(loss):
    found, expected = both("max pool", "linear", loss=loss, beta=1e-6)
    assert distance(found, expected) < 1e-8


ERRORS = {0.5: (4.0, 9.5e-3), 0.0: (2.0, 9e-2), 1.0: (2.0, 9e-2)}
"""By α: how much of the error half a β leaves, and how large it was at β = 0.8, of another net."""


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("α", ERRORS)
def test_the_error_is_of_order_beta_squared_in_the_middle_and_of_order_beta_at_the_ends(α, order):
    """Of a tanh net, after one backward sweep as after many: that suffices."""
    factor, measured = ERRORS[α]
    errors = [distance(*both(SIZES, "tanh", alpha=α, beta=β, order=order)) for β in (0.8, 0.4, 0.2, 0.1)]
    for larger, smaller in itertools.pairwise(errors):
        assert larger / smaller == pytest.approx(factor, rel=0.15)
    assert measured / 4 < errors[0] < measured * 4


@pytest.mark.parametrize("α", [0.0, 0.5, 1.0])
def test_one_backward_sweep_suffices(α):
    """Twenty sweeps more bring it no closer to backpropagation than by a third."""
    once = distance(*both(SIZES, "tanh", alpha=α, order="backward"))
    often = distance(*both(SIZES, "tanh", alpha=α, order="forward_backward", sweeps=20))
    assert once < 1.5 * often


@ALL_NETWORKS
def test_smooth_networks_of_every_kind_tend_to_backpropagation(network):
    first, second = (distance(*both(network, "tanh", beta=β)) for β in (0.02, 0.01))
    assert first < 1e-4
    assert first / second == pytest.approx(4, rel=0.05)


@torch.no_grad()
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("form", ["lagrangian", "raovr"])
def test_each_visit_is_its_equations(form, order):
    α, β = 0.3, 0.7
    rule = build(DualPropagation, alpha=α, beta=β, form=form, order=order, activation_function="tanh", sweeps=None)
    x, _, y = batch()
    W, b = [[None, *(getattr(c, n) for c in rule.network.chain)] for n in ("weight", "bias")]
    for bias in b[1:]:
        bias.uniform_(-0.5, 0.5)
    s, start = {0: x}, None
    for k in (1, 2, 3):
        s[k] = s[k - 1] @ W[k].t() + b[k]
        start = s[k]
        s[k] = s[k].tanh() if k < 3 else s[k]
    plus, minus = dict(s), dict(s)
    share = (1 - α, α) if form == "lagrangian" else (α, 1 - α)
    mean = lambda k: α * plus[k] + (1 - α) * minus[k]  # noqa: E731
    for k in itertools.chain(*rule.sweeps):
        a = mean(k - 1) @ W[k].t() + b[k]
        if k == 3:
            g = (start if form == "lagrangian" else a).softmax(1) - y
            plus[k], minus[k] = a - share[0] * β * g, a + share[1] * β * g
        else:
            φ = (plus[k + 1] - minus[k + 1]) @ W[k + 1]
            plus[k], minus[k] = (a + share[0] * φ).tanh(), (a - share[1] * φ).tanh()
    phases = rule.settle(x, y)
    nudged = phases["nudged"]
    assert list(phases) == ["feedforward", "nudged"]
    assert torch.equal(phases["feedforward"].output, rule(x))
    found = updates(rule, phases)
    for k in (1, 2, 3):
        torch.testing.assert_close(phases["feedforward"].activity[k], s[k])
        torch.testing.assert_close(nudged.internal["plus"][k - 1], plus[k])
        torch.testing.assert_close(nudged.internal["minus"][k - 1], minus[k])
        torch.testing.assert_close(nudged.activity[k], mean(k))
        pull = (plus[k] - minus[k]) / β
        torch.testing.assert_close(found[f"network.wiring.{k}.weight"], pull.t() @ mean(k - 1) / len(x))
        torch.testing.assert_close(found[f"network.wiring.{k}.bias"], pull.mean(0))
    assert nudged.beta == β


def test_layers_are_visited_in_the_published_orders():
    assert visits("backward", 4, None) == [[4, 3, 2, 1]]
    assert visits("forward", 3, None) == [[1, 2, 3]] * 3
    assert visits("forward", 3, 5) == [[1, 2, 3]] * 5
    assert visits("forward_backward", 3, 1) == [[3, 2, 1]]
    assert visits("forward_backward", 3, None) == [[3, 2], [1, 2, 3, 2, 1, 1]]
    assert visits("forward_backward", 3, 3) == [[3, 2], [1, 2, 3, 2, 1], [1, 2, 3, 2, 1, 1]]
    assert visits("forward_backward", 1, 2) == [[], [1, 1]]


@pytest.mark.parametrize(("order", "sweeps"), [("forward", 4), ("forward_backward", 3), ("backward", None)])
def test_what_moves_is_watched_and_left_to_the_observers(order, sweeps):
    """A single sweep does not settle, so it has no residual."""
    rule, seen = build(DualPropagation, order=order, sweeps=sweeps), []
    x, _, y = batch()
    rule.watch = lambda t, activity, η: seen.append((t, [a.clone() for a in activity]))
    phase = rule.settle(x, y)["nudged"]
    assert [t for t, _ in seen] == list(range((sweeps or 1) + 1))
    assert all(torch.equal(a, b) for a, b in zip(seen[0][1], rule.activity(x), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(seen[-1][1], phase.activity, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(seen[-2][1][1:], phase.previous, strict=False))
    assert len(phase.previous) == (3 if sweeps else 0)


def test_more_forward_sweeps_settle():
    """The target reaches the lowest layer in the L-th."""
    x, _, y = batch()
    residuals = []
    for sweeps in (3, 8, 30):
        torch.manual_seed(0)
        rule = build(DualPropagation, order="forward", sweeps=sweeps, beta=0.5, activation_function="tanh")
        residuals.append(float(rule.settle(x, y)["nudged"].residual()))
    assert residuals[0] > 100 * residuals[1] > 0
    assert residuals[2] < 1e-15
    few = build(DualPropagation, order="forward", sweeps=2)
    assert not updates(few, few.settle(x, y))["network.wiring.1.weight"].any()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"alpha": -0.1}, "alpha"),
        ({"alpha": 1.1}, "alpha"),
        ({"beta": 0.0}, "beta"),
        ({"beta": -0.5}, "beta"),
        ({"form": "adversarial"}, "form"),
        ({"order": "upward"}, "order"),
        ({"order": "forward", "sweeps": 0}, "sweeps"),
        ({"order": "forward", "sweeps": 1.5}, "sweeps"),
        ({"sweeps": 1}, "order: backward"),
        ({"output_activation": "sigmoid"}, "output_activation"),
        ({"loss": "hinge"}, "loss"),
    ],
    ids=str,
)
def test_bad_options_are_refused_by_name(options, name):
    with pytest.raises(UserError, match=name):
        DualPropagation([6, 5, 3], **options)
