"""Oracle: what a wiring computes, from its definition, written out slowly or by automatic differentiation."""

from itertools import product

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bioplausible.functional import blank, rows, silence
from bioplausible.network import (
    Connection,
    Convolution,
    Dense,
    Identity,
    Inhibition,
    InverseCorrelation,
    Lateral,
    Local,
    Pooling,
)
from bioplausible.rules import Backpropagation, CorInfoMax, EquilibriumPropagation
from tests.helpers import NETWORKS, Depthwise, build

# ------------------------------------------------------------------------------------------------ any wiring, generated


KERNELS = {"convolution": Convolution, "local": Local, "depthwise": Depthwise}


KINDS = ["dense", "dense from images", "identity", *KERNELS]


def of_kinds(*kinds):
    """Runs a test for each kind of wiring: among all that is drawn one of them might be missing."""
    return pytest.mark.parametrize("kind", kinds)


@st.composite
def wirings(draw, kind):
    """Draws a float64 connection of any geometry, joined as layers 1 and 2, with weights of its own on the way back."""
    torch.manual_seed(draw(st.integers(0, 1000)))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    if kind == "identity":
        connection = Identity(shape)
    elif kind.startswith("dense"):
        pre_shape = shape if kind == "dense from images" else shape[:1]
        connection = Dense(pre_shape, draw(st.integers(1, 5)), feedback="learned")
    else:
        kernel, stride, padding = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(0, 3))
        sides = [(side + 2 * padding - kernel) // stride + 1 for side in shape[1:]]
        assume(min(sides) >= 1)
        pooled = draw(st.sampled_from([None, "average", "max"]))
        pool = None if pooled is None else Pooling(pooled, draw(st.integers(1, min(3, *sides))))
        channels = draw(st.integers(1, 3))
        geometry = (kernel, stride, padding) if kind == "depthwise" else (channels, kernel, stride, padding)
        connection = KERNELS[kind](shape, *geometry, pool=pool, feedback="learned")
    connection = connection.double()
    if connection.bias is not None:
        torch.nn.init.normal_(connection.bias)
    connection.pre, connection.post = 1, 2
    return connection


def activities(connection, n=3):
    """Returns a presynaptic activity, a postsynaptic one, and one before pooling."""
    shapes = (connection.pre_shape, connection.post_shape, connection.unpooled_shape)
    return tuple(torch.randn(n, *shape, dtype=torch.float64) for shape in shapes)


def without_bias(connection, pre):
    drive = connection.feedforward(pre)
    return drive if connection.bias is None else drive - connection.bias_of_positions()


def assert_equal_products(a, b):
    """Checks that two inner products of the same tensors agree to 1e-12."""
    scale = max(1.0, float(a.abs().sum()))
    assert abs(float(a.sum()) - float(b.sum())) < 1e-12 * scale


@of_kinds(*KINDS)
@given(data=st.data())
@torch.no_grad()
def test_what_goes_back_is_the_adjoint_of_what_goes_forward(kind, data):
    connection = data.draw(wirings(kind))
    r, z, _ = activities(connection)
    assert without_bias(connection, r).shape == z.shape
    assert connection.adjoint(z, at=r).shape == r.shape
    assert_equal_products(without_bias(connection, r) * z, r * connection.adjoint(z, at=r))
    if connection.weight is None:
        return
    # V, through the winners of W * r, or through its own
    other = connection.unpooled(z, connection.winners(r))
    V = connection.feedback_weight
    assert_equal_products(connection.transform(V, r) * other, r * connection.feedback(z, at=r))
    connection.winners_of = "feedback"
    assert_equal_products(connection.pooled(connection.transform(V, r))[0] * z, r * connection.feedback(z, at=r))


@of_kinds("dense", "dense from images", *KERNELS)
@given(data=st.data())
def test_the_hebbian_product_is_the_derivative_by_the_weights(kind, data):
    """n ⟨W, ⟨z ⋆ r⟩⟩ = ⟨Q(W * r), z⟩, and ⟨z ⋆ r⟩ is the gradient of the right side, a mean over samples."""
    connection = data.draw(wirings(kind))
    r, z, _ = activities(connection)
    n, parameters = len(r), [connection.weight, connection.bias]
    gradients = torch.autograd.grad((connection.feedforward(r) * z).sum() / n, parameters)
    with torch.no_grad():
        found = connection.correlate(z, r)
        assert_equal_products(n * connection.weight * found, without_bias(connection, r) * z)
        torch.testing.assert_close(found, gradients[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(connection.bias_update(z), gradients[1], rtol=1e-12, atol=1e-12)


@of_kinds("dense", "dense from images", *KERNELS)
@given(data=st.data())
@torch.no_grad()
def test_two_phases_are_contrasted_each_with_winners_of_its_own(kind, data):
    connection = data.draw(wirings(kind))
    (r, z, _), (s, y, _), (a, _, _), (b, _, _) = (activities(connection) for _ in range(4))
    expected = connection.correlate(z, r) - connection.correlate(y, s)
    at_others = connection.correlate(z, r, at=a, by="feedback") - connection.correlate(y, s, at=b, by="feedback")
    for connection.product_dtype in (None, torch.float64):  # two ways to compute the same
        found = connection.contrast((z, r), (y, s))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        found = connection.contrast((z, r), (y, s), at=(a, b), by="feedback")
        torch.testing.assert_close(found, at_others, rtol=1e-12, atol=1e-12)


@of_kinds(*KINDS)
@pytest.mark.parametrize("inference", [False, True])
@given(data=st.data())
def test_overrides_equal_what_automatic_differentiation_finds(kind, inference, data):
    connection = data.draw(wirings(kind))
    with torch.inference_mode(inference), torch.set_grad_enabled(False):
        r, _, z = activities(connection)
        W = connection.weight
        back = Connection.transform_adjoint(connection, W, z)
        torch.testing.assert_close(connection.transform_adjoint(W, z), back, rtol=1e-12, atol=1e-12)
        if W is not None:
            found = Connection.correlation(connection, z, r)
            torch.testing.assert_close(connection.correlation(z, r), found, rtol=1e-12, atol=1e-12)
            assert found.shape == W.shape
    assert not back.requires_grad


def test_the_default_way_back_is_differentiable():
    """So that observers can differentiate what a wiring of a user's own sends back."""
    connection = Depthwise((2, 4, 4), 3).double()
    z = torch.randn(3, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    u = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((connection.adjoint(z, at=u) * u).sum(), z)
    torch.testing.assert_close(gradient, connection.transform(connection.weight, u))


# ---------------------------------------------------------------------------------- the definitions, written out slowly


def positions(side, kernel, stride, padding):
    return range((side + 2 * padding - kernel) // stride + 1)


def taps(connection):
    """Yields where each tap of each position's kernel looks: (i, j, u, v, row, column), those outside left out."""
    geometry = connection.kernel, connection.stride, connection.padding
    _, height, width = connection.pre_shape
    kernel, stride, padding = geometry
    places = positions(height, *geometry), positions(width, *geometry)
    for i, j, u, v in product(*places, range(kernel), range(kernel)):
        row, column = stride * i + u - padding, stride * j + v - padding
        if 0 <= row < height and 0 <= column < width:
            yield i, j, u, v, row, column


def kernel_at(connection, weight, i, j, u, v):
    """Returns the weights (channels × channels_pre) of one tap at one position."""
    if isinstance(connection, Convolution):
        return weight[:, :, u, v]
    columns, kernel = connection.unpooled_shape[2], connection.kernel
    patch = weight[i * columns + j].view(weight.shape[1], -1, kernel, kernel)
    return patch[:, :, u, v]


def slow_transform(connection, weight, r):
    found = r.new_zeros(len(r), *connection.unpooled_shape)
    for i, j, u, v, row, column in taps(connection):
        found[:, :, i, j] += r[:, :, row, column] @ kernel_at(connection, weight, i, j, u, v).t()
    return found


def slow_adjoint(connection, weight, z):
    found = z.new_zeros(len(z), *connection.pre_shape)
    for i, j, u, v, row, column in taps(connection):
        found[:, :, row, column] += z[:, :, i, j] @ kernel_at(connection, weight, i, j, u, v)
    return found


def slow_correlation(connection, z, r):
    found = torch.zeros_like(connection.weight.detach())
    for i, j, u, v, row, column in taps(connection):  # a view: written into
        kernel_at(connection, found, i, j, u, v).add_(z[:, :, i, j].t() @ r[:, :, row, column] / len(r))
    return found


def slow_winners(pool, z):
    """Returns by sample, channel and window where the winner is, the first one in row-major order."""
    n, channels, height, width = z.shape
    found = {}
    for s, c, i, j in product(*map(range, (n, channels, height // pool.size, width // pool.size))):
        best = None
        for u, v in product(range(pool.size), repeat=2):
            at = (s, c, i * pool.size + u, j * pool.size + v)
            if best is None or z[at] > z[best]:
                best = at
        found[s, c, i, j] = best
    return found


def slow_pool(pool, z):
    n, channels, height, width = z.shape
    size = pool.size
    found = z.new_zeros(n, channels, height // size, width // size)
    if pool.kind == "max":
        for place, winner in slow_winners(pool, z).items():
            found[place] = z[winner]
        return found
    for i, j in product(range(height // size), range(width // size)):
        found[:, :, i, j] = z[:, :, i * size : (i + 1) * size, j * size : (j + 1) * size].sum((2, 3)) / size**2
    return found


def slow_unpool(pool, s, z):
    """Returns Qᵀ s with the winners of z."""
    found = torch.zeros_like(z)
    if pool.kind == "max":
        for place, winner in slow_winners(pool, z).items():
            found[winner] = s[place]
        return found
    for i, j, u, v in product(range(s.shape[2]), range(s.shape[3]), *[range(pool.size)] * 2):
        found[:, :, i * pool.size + u, j * pool.size + v] = s[:, :, i, j] / pool.size**2
    return found


@of_kinds("convolution", "local")
@given(data=st.data())
@settings(max_examples=40)
@torch.no_grad()
def test_convolutions_local_layers_and_pooling_are_what_their_definitions_say(kind, data):
    connection = data.draw(wirings(kind))
    r, z, before = activities(connection, n=2)
    W, pool = connection.weight, connection.pool
    drive = slow_transform(connection, W, r)
    torch.testing.assert_close(connection.transform(W, r), drive, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(connection.transform_adjoint(W, before), slow_adjoint(connection, W, before))
    torch.testing.assert_close(connection.correlation(before, r), slow_correlation(connection, before, r))
    pooled = drive if pool is None else slow_pool(pool, drive)
    torch.testing.assert_close(connection.feedforward(r), pooled + connection.bias.view(-1, 1, 1))
    spread = z if pool is None else slow_unpool(pool, z, drive)
    torch.testing.assert_close(connection.adjoint(z, at=r), slow_adjoint(connection, W, spread))
    torch.testing.assert_close(connection.correlate(z, r), slow_correlation(connection, spread, r))


@torch.no_grad()
def test_a_dense_layer_flattens_channel_by_channel_row_by_row():
    connection = Dense((2, 3, 4), 5).double()
    r, z = torch.randn(3, 2, 3, 4, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    W = connection.weight.view(5, 2, 3, 4)
    torch.testing.assert_close(connection.feedforward(r), torch.einsum("ochw,nchw->no", W, r) + connection.bias)
    torch.testing.assert_close(connection.adjoint(z, at=r), torch.einsum("ochw,no->nchw", W, z))
    torch.testing.assert_close(connection.correlate(z, r).view_as(W), torch.einsum("no,nchw->ochw", z, r) / 3)


@torch.no_grad()
def test_a_tie_in_max_pooling_goes_to_the_first_in_row_major_order():
    pool = Pooling("max", 2)
    z = torch.tensor([[[[1.0, 1, 0, 2], [1, 1, 2, 2], [0, 3, 5, 5], [3, 3, 5, 4]]]])
    drive, winners = pool.forward(z)
    assert drive.tolist() == [[[[1, 2], [3, 5]]]]
    back = pool.adjoint(torch.tensor([[[[1.0, 2], [3, 4]]]]), winners, 4, 4)
    assert back.tolist() == [[[[1, 0, 0, 2], [0, 0, 0, 0], [0, 3, 4, 0], [0, 0, 0, 0]]]]
    for layout in (torch.contiguous_format, torch.channels_last):  # and so for silent images of any layout
        silent = torch.zeros(2, 3, 5, 4).contiguous(memory_format=layout)
        drive, winners = pool.forward(silent)
        assert (pool.adjoint(torch.ones_like(drive), winners, 5, 4)[:, :, 0:4:2, 0:4:2] == 1).all()
        assert pool.adjoint(torch.ones_like(drive), winners, 5, 4).sum() == drive.numel()


def winners_searched(connection, monkeypatch):
    """Returns a list that grows with each search for the winners of max pooling."""
    searched = []
    pooled = connection.pooled
    monkeypatch.setattr(connection, "pooled", lambda z: searched.append(z) or pooled(z))
    return searched


@torch.no_grad()
def test_winners_at_an_activity_are_found_once_while_weights_are_held(monkeypatch):
    rule = build(Backpropagation, [[1, 8, 8], {"conv": 2, "kernel": 3, "pool": "max"}, 3])
    network, (first, _) = rule.network, rule.network.connections
    searched = winners_searched(first, monkeypatch)
    r, z = torch.randn(4, 1, 8, 8).double(), torch.randn(4, 2, 3, 3).double()
    with network.weights_held():
        first.feedforward(r)
        within = first.adjoint(z, at=r), first.correlate(z, r)
        assert len(searched) == 1
        copy = r.clone()
        first.adjoint(z, at=copy)
        assert len(searched) == 2  # another tensor
        copy.neg_()
        turned = first.adjoint(z, at=copy)
        assert len(searched) == 3  # the same tensor, but not what it held
    after = first.adjoint(z, at=r), first.correlate(z, r)
    assert len(searched) == 5  # weights may have changed since
    for a, b in zip(within, after, strict=True):
        assert torch.equal(a, b)
    assert torch.equal(turned, first.adjoint(z, at=-r))
    assert not torch.equal(turned, after[0])


def test_a_feedforward_rules_step_searches_for_winners_once_a_layer(monkeypatch):
    rule = build(Backpropagation, [[1, 12, 12], *[{"conv": 2, "kernel": 3, "pool": "max"}] * 2, 3])
    searched = [winners_searched(c, monkeypatch) for c in rule.network.connections[:2]]
    optimizer = torch.optim.SGD(rule.parameters(), lr=0.1)
    for batches in (1, 2):
        rule.learn(torch.randn(4, 1, 12, 12).double(), torch.eye(4, 3).double(), optimizer)
        assert [len(found) for found in searched] == [batches, batches]


# ------------------------------------------------------------------------------------------------ verbs of a relaxation


def laid_out(like, values, flat=silence):
    """Returns values as relaxations store them."""
    return flat(like, values.shape[1:]).copy_(values)


@of_kinds(*KINDS)
@pytest.mark.parametrize("winners_of", ["feedforward", "feedback"])
@given(data=st.data(), scale=st.sampled_from([1.0, -0.3]))
@torch.no_grad()
def test_the_verbs_of_a_relaxation_equal_the_methods(kind, winners_of, data, scale):
    connection = data.draw(wirings(kind))
    if connection.weight is not None:
        connection.winners_of = winners_of
    for n in (3, 8):
        r, z, _ = (laid_out(torch.zeros(n, 1, dtype=torch.float64), a) for a in activities(connection, n))
        start, below = laid_out(r, torch.randn_like(z)), laid_out(r, torch.randn_like(r))
        wires, voltage = connection.wires(), start.clone()
        wires.add_feedforward_(voltage, r, scale)
        close = {"rtol": 1e-12, "atol": 1e-12}
        torch.testing.assert_close(voltage, start + scale * without_bias(connection, r), **close)
        # through the winners that the drive has noted, or that are looked for
        looked_for = connection.wires()
        looked_for.find_winners(r)
        for found in (wires, looked_for):
            voltage = below.clone()
            found.add_feedback_(voltage, z, r, scale)
            torch.testing.assert_close(voltage, below + scale * connection.feedback(z, at=r), **close)
            found.set_feedback_(voltage, z, r)
            torch.testing.assert_close(voltage, connection.feedback(z, at=r), **close)
        # each drive notes them anew
        other = laid_out(r, torch.randn_like(r))
        drive = start.clone()
        wires.add_feedforward_(drive, other)
        torch.testing.assert_close(drive, start + without_bias(connection, other), **close)
        wires.set_feedback_(voltage, z, other)
        torch.testing.assert_close(voltage, connection.feedback(z, at=other), **close)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("feedback", ["tied", "learned"])
@torch.no_grad()
def test_a_clamped_network_computes_what_the_network_does(network, feedback):
    rule = build(EquilibriumPropagation, network, feedback=feedback)
    for c in rule.network.connections:
        if c.bias is not None:
            torch.nn.init.normal_(c.bias)
    net, L = rule.network, rule.network.L
    for n in (3, 8):
        x = torch.randn(n, *net.shapes[0], dtype=torch.float64)
        clamped = net.clamp(x)
        assert [a.shape for a in clamped.rest()] == [(n, *shape) for shape in net.shapes]
        assert not any(a.any() for a in clamped.rest()[1:])
        r, s, start = ([x, *(laid_out(x, torch.randn_like(a)) for a in clamped.rest()[1:])] for _ in range(3))
        close = {"rtol": 1e-12, "atol": 1e-12}
        for k in range(1, L + 1):
            torch.testing.assert_close(clamped.drive(k, r), net.drive(k, r), **close)
            voltage = start[k].clone()
            voltage.add_(clamped.constant[k], alpha=0.3)
            clamped.add_drive_(k, voltage, r, 0.3)
            torch.testing.assert_close(voltage, start[k] + 0.3 * net.drive(k, r), **close)
            assert (k in clamped.driven) == any(c.pre > 0 for c in net.into(k))
        for k in range(1, L + 1):
            voltage = start[k].clone()
            clamped.add_feedback_(k, voltage, s, r, 0.3)
            torch.testing.assert_close(voltage, start[k] + 0.3 * net.feedback(k, s, at=r), **close)
            if k < L:
                clamped.set_feedback_(k, voltage, s, r)
                torch.testing.assert_close(voltage, net.feedback(k, s, at=r), **close)
        found = net.clamp(x)
        found.find_winners(r)
        for k in range(1, L):
            found.set_feedback_(k, start[k], s, r)
            torch.testing.assert_close(start[k], net.feedback(k, s, at=r), **close)
        below = net.clamp(x, L - 1)  # the output left out: nothing comes back from it
        assert len(below.rest()) == L
        voltage = start[L - 1].clone()
        below.add_feedback_(L - 1, voltage, s, r)
        assert torch.equal(voltage, start[L - 1])


@pytest.mark.parametrize("network", [name for name in NETWORKS if name != "soft pool"])  # no linear map
@torch.no_grad()
def test_feedback_is_the_sum_of_all_connections_out_of_a_layer(network):
    """⟨Σ_k drive_k, s_k⟩ without constants = ⟨r_j, Σ_j feedback_j⟩, with V = W: each connection goes back once."""
    net = build(EquilibriumPropagation, network).network
    r = [torch.randn(3, *shape, dtype=torch.float64) for shape in net.shapes]
    s = [torch.randn_like(a) for a in r]
    forward = sum((s[c.post] * without_bias(c, r[c.pre])).sum() for c in net.connections if c.pre > 0)
    back = sum((r[k] * net.feedback(k, s, at=r)).sum() for k in range(1, net.L + 1))
    torch.testing.assert_close(forward, back, rtol=1e-12, atol=1e-12)
    drives = sum((s[k] * net.drive(k, r)).sum() for k in range(1, net.L + 1))
    each = sum((s[c.post] * c.feedforward(r[c.pre])).sum() for c in net.connections)
    torch.testing.assert_close(drives, each, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------------------------------------------------- lateral


@pytest.mark.parametrize("shape", [(4,), (4, 3, 2)], ids=["flat", "image"])
@pytest.mark.parametrize("cls", [InverseCorrelation, Inhibition])
@torch.no_grad()
def test_lateral_weights_join_the_channels_of_each_position(cls, shape):
    lateral = cls(4).double()
    r = torch.randn(5, *shape, dtype=torch.float64)
    lateral.weight.add_(torch.randn(4, 4, dtype=torch.float64))  # not symmetric, so that a transpose shows
    M = lateral.weight if cls is InverseCorrelation else (lateral.weight + lateral.weight.t()) / 2
    expected, correlation = torch.zeros_like(r), torch.zeros(4, 4, dtype=torch.float64)
    places = [(i, j) for i in range(3) for j in range(2)] if len(shape) == 3 else [()]
    for n in range(5):
        for place in places:
            at = (n, slice(None), *place)
            expected[at] = M @ r[at]
            correlation += torch.outer(r[at], r[at]) / 5 / len(places)
    torch.testing.assert_close(lateral(r), expected)
    torch.testing.assert_close(lateral.correlate(r, 0.7), 0.7 * correlation)
    voltage = laid_out(r, torch.ones_like(r))
    lateral.wires().add_lateral_(voltage, laid_out(r, r), -0.3)
    torch.testing.assert_close(voltage, 1 - 0.3 * expected)
    assert isinstance(lateral, Lateral)


@torch.no_grad()
def test_lateral_weights_learn_from_the_mean_over_positions():
    r = torch.rand(5, 4, 3, 2, dtype=torch.float64)
    on_images, on_rows = (InverseCorrelation(4, epsilon=0.1).double() for _ in range(2))
    on_rows.weight.copy_(on_images.weight)
    on_images.learn_(r, 0.9)
    on_rows.learn_(rows(r), 0.9)
    torch.testing.assert_close(on_images.weight, on_rows.weight)
    assert rows(r)[7].tolist() == r[1, :, 0, 1].tolist()  # sample by sample, row by row


@pytest.mark.parametrize("network", NETWORKS)
@torch.no_grad()
def test_a_clamped_network_adds_its_lateral_weights(network):
    net = build(CorInfoMax, network).network
    clamped = net.clamp(torch.randn(3, *net.shapes[0], dtype=torch.float64))
    r = [laid_out(clamped.x, torch.randn_like(a)) for a in clamped.rest()]
    for k in range(1, net.L + 1):
        voltage = r[k].clone()
        clamped.laterals[k].add_lateral_(voltage, r[k], 0.3)
        torch.testing.assert_close(voltage, r[k] + 0.3 * net.laterals[k](r[k]))


# ------------------------------------------------------------------------------------------------- projected errors


@of_kinds("dense", "dense from images", "convolution", "local")
@given(data=st.data(), classes=st.integers(1, 4))
@torch.no_grad()
def test_a_projection_carries_the_signal_at_every_position(kind, data, classes):
    connection = data.draw(wirings(kind))
    D, signal = connection.draw_projection(classes).double(), torch.randn(3, classes, dtype=torch.float64)
    found = connection.project(D, signal)
    if isinstance(connection, Dense):
        assert D.shape == (classes, connection.weight.shape[1])
        expected = (signal @ D).view(3, *connection.pre_shape)
    else:
        expected = signal.new_zeros(3, *connection.pre_shape)
        for i, j, u, v, row, column in taps(connection):
            expected[:, :, row, column] += signal @ kernel_at(connection, D, i, j, u, v)
    torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_a_convolutions_projection_is_the_same_at_all_inner_positions():
    connection = Convolution((2, 8, 8), 3, 3, padding=1)
    found = connection.project(connection.draw_projection(4), torch.randn(3, 4))
    inner = found[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(inner, inner[:, :, :1, :1].expand_as(inner))
    assert not torch.allclose(found[:, :, 0], found[:, :, 1])


@torch.no_grad()
def test_a_wiring_without_a_form_for_other_channels_projects_by_a_matrix():
    connection = Depthwise((2, 4, 4), 3)
    D, signal = connection.draw_projection(3), torch.randn(5, 3)
    assert D.shape == (3, 32)
    torch.testing.assert_close(connection.project(D, signal), (signal @ D).view(5, 2, 4, 4))


# ----------------------------------------------------------------------------------------------- initial weights


@pytest.mark.parametrize(
    ("connection", "fan_in", "fan_out"),
    [
        (lambda **options: Dense((3, 4, 4), 100, **options), 48, 100),
        (lambda **options: Convolution((8, 9, 9), 16, 3, **options), 72, 144),
        (lambda **options: Local((8, 9, 9), 16, 3, **options), 72, 144),
    ],
    ids=["dense", "convolution", "local"],
)
@pytest.mark.parametrize("initialization", ["xavier", "kaiming", "linear"])
@torch.no_grad()
def test_weights_start_uniform_by_their_fans(connection, fan_in, fan_out, initialization):
    made = connection(initialization=initialization, feedback="learned")
    bound = {"xavier": (6 / (fan_in + fan_out)) ** 0.5, "kaiming": (6 / fan_in) ** 0.5, "linear": fan_in**-0.5}
    for weights in (made.weight, made.feedback_weight):
        assert 0.98 * bound[initialization] < float(weights.abs().max()) <= bound[initialization]
        assert float(weights.std()) == pytest.approx(bound[initialization] / 3**0.5, rel=0.05)
    assert float(made.bias.abs().max()) <= (0 if initialization == "xavier" else fan_in**-0.5)
    assert (made.bias != 0).any() == (initialization != "xavier")
    assert not torch.equal(made.weight, made.feedback_weight)


def test_images_lie_with_their_channels_last():
    assert blank(torch.zeros(2, 1), (3, 4, 5)).stride() == (60, 1, 15, 3)
    for channels in (1, 2):  # an image of one channel lies both ways, and so does a kernel for it
        connection = Convolution((channels, 6, 7), 3, 3, pool=Pooling("max"))
        drive = connection.feedforward(torch.randn(2, channels, 6, 7))
        assert drive.shape == (2, 3, 2, 2)
        assert drive.stride() == (12, 1, 6, 3)
