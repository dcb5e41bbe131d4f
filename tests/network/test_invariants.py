"""Invariants: what a rule computes on one network follows from what it computes on another, or from symmetry."""

import inspect
from dataclasses import replace
from functools import partial
from math import prod

import pytest
import torch
from torch.nn import functional as F

from bioplausible import (
    PEPITA,
    CorInfoMax,
    CorInfoMaxEBD,
    DifferenceTargetPropagation,
    DirectFeedbackAlignment,
    ErrorBroadcastDecorrelation,
    FeedbackAlignment,
    ForwardForward,
    LocalDifferenceReconstruction,
    NudgedPredictiveCoding,
)
from bioplausible.network import Connection, Convolution, Dense, Local, Pooling
from bioplausible.rules.target_propagation import TargetPropagation
from tests.helpers import NETWORKS, VARIANTS, Depthwise, batch, build, updates

ALL_VARIANTS = pytest.mark.parametrize("variant", VARIANTS)
ALL_NETWORKS = pytest.mark.parametrize("network", NETWORKS)
CLOSE = {"rtol": 1e-10, "atol": 1e-13}


def make(variant, network, **options):
    """Returns a rule of a variant, with the correlations that it can track."""
    cls, its_own = VARIANTS[variant]
    options = {**its_own, **options}
    if issubclass(cls, CorInfoMax):
        options |= {"track_correlations": True, "track_correlations_every_n_steps": 1, "forgetting_factor": 0.9}
    if cls is NudgedPredictiveCoding:
        options["beta"] = 0.5  # by which rounding is divided
    torch.manual_seed(0)
    rule = build(cls, network, **options)
    with torch.no_grad():
        for c in rule.network.connections:
            if c.bias is not None:
                c.bias.uniform_(0.0, 0.3)
    if isinstance(rule, TargetPropagation):  # noise that all samples and units share knows no order and no place
        rule.noise = lambda phase, like, *stream: torch.full_like(like, 0.7)
    if isinstance(rule, ForwardForward):  # the same for the same sample, wherever it is in the batch
        rule.draw_negative = lambda x, target: (target.argmax(1) + 1) % target.shape[1]
    return rule


def is_statistic(name):
    """Whether a weight is a mean over positions: lateral weights and correlations."""
    return name.startswith(("network.lateral", "correlations"))


def of_units(name):
    """Whether a weight has a row for each unit (channels × rows × columns × …): R of error broadcast, m of peers, Q."""
    return name.startswith(("error_correlations", "mean_activity", "Q."))


def keeps_statistics(rule):
    """Whether a rule's state follows the batch besides its weights."""
    of_peers = bool(getattr(rule, "peer_normalization", 0))
    return bool(rule.network.laterals) or hasattr(rule, "error_correlations") or of_peers


def weights_of(rule):
    """Returns all weights and buffers of a rule by name, its counters left out."""
    tensors = {**dict(rule.named_parameters()), **dict(rule.named_buffers())}
    return {name: t.detach() for name, t in tensors.items() if not name.endswith("means.totals")}


@torch.no_grad()
def settle_and_learn(rule, x, y):
    """Returns a batch's phases, the updates by name, and what stands in B, R and the like after it."""
    phases = rule.settled(rule.network.as_input(x), y)
    found = updates(rule, phases)
    if keeps_statistics(rule):
        rule.update_state(phases, rule.optimizer(rule.parameter_groups()))
    return phases, found, weights_of(rule)


def assert_lifted(small, big, lift, x, y, states=lambda k, r: r.flatten(1)):
    """Checks that a rule on one network is what it is on a larger one, whose weights are a linear function of its own.

    States are equal. Of weights that are gradients the small network's update is the adjoint of the function applied to
    the large one's: a sum over what is tied. Of statistics it is the mean.

    Args:
        small: the rule on one network.
        big: the rule on the other.
        lift: the large network's weight from the small one's, by the weight's name; None: the same.
        x: inputs.
        y: targets.
        states: the large network's state of layer k from the small one's, both as (n × d_k).
    """

    def adjoint(name, values):
        function = lift(name)
        if function is None:
            return values.reshape(start[name].shape)
        pulled = torch.func.vjp(function, start[name])[1](values.reshape(function(start[name]).shape))[0]
        if is_statistic(name):
            pulled /= len(values) // len(start[name])
        return pulled

    for name, c in small.network.wiring.items():
        big.network.wiring[name].scale = c.scale  # μPC counts a neuron's inputs, which a matrix of zeros has more of
    start, target = weights_of(small), weights_of(big)
    assert start.keys() == target.keys()
    with torch.no_grad():
        for name, weight in target.items():
            function = lift(name)
            weight.copy_((start[name] if function is None else function(start[name])).reshape(weight.shape))
    start = {name: weight.clone() for name, weight in start.items()}
    phases, found, after = settle_and_learn(small, x, y)
    big_phases, big_found, big_after = settle_and_learn(big, x, y)
    assert phases.keys() == big_phases.keys()
    for name, phase in phases.items():
        for k, (a, b) in enumerate(zip(phase.activity, big_phases[name].activity, strict=True)):
            torch.testing.assert_close(states(k, a), b.flatten(1), **CLOSE)
    assert found.keys() == big_found.keys()
    for name, update in found.items():
        assert update.any(), name
        torch.testing.assert_close(adjoint(name, big_found[name]), update, **CLOSE)
    for name in after:
        if is_statistic(name) or of_units(name):
            torch.testing.assert_close(adjoint(name, big_after[name]), after[name], **CLOSE)


# ------------------------------------------------------------------------------------ convolutions as dense layers


def toeplitz(c, W):
    """Returns the matrix (d_post × d_pre) of a connection: its response to each pixel alone, pooling included."""
    pixels = torch.eye(prod(c.pre_shape), dtype=W.dtype).view(-1, *c.pre_shape)
    if isinstance(c, Convolution):
        drive = F.conv2d(pixels, W, stride=c.stride, padding=c.padding)
    elif isinstance(c, Local):
        patches = F.unfold(pixels, c.kernel, stride=c.stride, padding=c.padding)
        drive = torch.einsum("pcf,dfp->dcp", W, patches).unflatten(2, c.unpooled_shape[1:])
    else:
        drive = pixels.flatten(1) @ W.t()
    return (drive if c.pool is None else F.avg_pool2d(drive, c.pool.size)).flatten(1).t()


def toeplitz_lift(rule):
    """Returns how each weight of a network becomes one of the network whose layers are flattened."""
    connections = {f"network.wiring.{name}": c for name, c in rule.network.wiring.items()}
    positions = [prod(shape[1:]) for shape in rule.network.shapes]

    def lift(name):
        prefix, _, kind = name.rpartition(".")
        if kind in ("weight", "_feedback_weight") and prefix in connections:
            return partial(toeplitz, connections[prefix])
        if kind == "bias":
            return lambda b: b.repeat_interleave(positions[connections[prefix].post])
        if is_statistic(name):
            k = int("".join(filter(str.isdigit, name)))
            k = k - 1 if "backward" in name else k  # the layer that is predicted
            return lambda M: torch.kron(M, torch.eye(positions[k], dtype=M.dtype))
        if name.startswith("feedback_biases."):
            return lambda c: c.repeat_interleave(positions[int(name.rpartition(".")[2])])
        if of_units(name) or name.startswith("classifier.") or name in ("H", "h"):
            return None
        if name.startswith("D_") and rule.projection == "output":  # a weight for each class and neuron
            return lambda D: D.flatten(1)
        if name.startswith("D_"):  # every position, before pooling, carries the same error
            c = rule.network.chain[int(name[2:]) - 1]
            classes = rule.network.sizes[-1]

            def project(D):
                without_pool = (
                    Convolution(c.pre_shape, classes, c.kernel, c.stride, c.padding) if c.post_shape[1:] else c
                )
                if isinstance(c, Local):
                    without_pool = Local(c.pre_shape, classes, c.kernel, c.stride, c.padding)
                return toeplitz(without_pool, D).unflatten(0, (classes, -1)).sum(1)

            return project
        assert name == "F"  # of the input, which stays as it is
        return None

    return lift


FLAT = {"identity skip": lambda d: [*d[:3], {"dense": d[3], "skip": 1}, d[4]]}
LINEAR = [name for name in NETWORKS if name not in ("dense", "max pool", "soft pool", "strided skip", "own wiring")]


@pytest.mark.parametrize("variant", [name for name in VARIANTS if not name.endswith("_sign")])
@pytest.mark.parametrize("network", LINEAR)
def test_a_convolution_is_a_dense_layer_with_a_toeplitz_matrix(variant, network):
    """Pooled by the average or not at all: the states are the dense rule's, ΔW sums over tied entries, B is a mean."""
    sparse = {"dual_step_sizes": {len(NETWORKS[network]) - 1: 0.1}} if "Sparse" in variant else {}
    if variant == "error broadcast and decorrelation, all terms":  # R^h acts as it is after the batch: a mean
        plain = inspect.signature(ErrorBroadcastDecorrelation).parameters
        sparse = {"entropy": None, **{name: plain[name].default for name in ("forgetting_factor", "epsilon")}}
    small = make(variant, network, **sparse)
    if network == "average pool" and (isinstance(small, PEPITA) or getattr(small, "projection", "input") == "output"):
        pytest.skip("each position before pooling learns by itself: the flat layer has none")
    flat = FLAT.get(network, list)(small.network.sizes)
    x, _, y = batch(network)
    assert_lifted(small, make(variant, flat, **sparse), toeplitz_lift(small), x, y)


@ALL_VARIANTS
@pytest.mark.parametrize("kind", ["conv", "local"])
def test_a_kernel_as_large_as_the_image_is_a_dense_layer(variant, kind):
    images = [[2, 3, 3], {kind: 5, "kernel": 3}, {kind: 4, "kernel": 1}, 3]
    x, _, y = batch(images)
    assert_lifted(make(variant, images), make(variant, [18, 5, 4, 3]), lambda name: None, x, y)


@ALL_VARIANTS
@pytest.mark.parametrize("pool", [None, "average", "max"])
def test_a_local_layer_whose_positions_are_alike_is_a_convolution(variant, pool):
    def network(kind):
        geometry = [{"kernel": 3, "padding": 1, "pool": pool}, {"kernel": 2, "stride": 2, "padding": 1, "pool": pool}]
        return [[2, 5, 6], *({kind: 3, **g} for g in geometry), 4]

    small, big = make(variant, network("conv")), make(variant, network("local"))

    def lift(name):
        weight = weights_of(big)[name]
        if weight.ndim != 3 or of_units(name):
            return None
        return lambda W: W.flatten(1).expand(len(weight), -1, -1)

    x, _, y = batch(network("conv"))
    assert_lifted(small, big, lift, x, y)


# --------------------------------------------------------------------------------------------------------- symmetries


@pytest.mark.sampled
@ALL_VARIANTS
@ALL_NETWORKS
def test_the_order_of_channels_does_not_matter(variant, network):
    """Permuting the hidden layers' channels, and all weights alike, permutes the states, and the updates of weights."""
    rule, other = make(variant, network), make(variant, network)
    net = rule.network
    # layers of as many channels are permuted alike, for the identity may join them; input and output are not
    by_size = {shape[0]: torch.arange(shape[0]).roll(1) for shape in net.shapes[1:-1]}
    order = [by_size[shape[0]] if 0 < k < net.L else torch.arange(shape[0]) for k, shape in enumerate(net.shapes)]

    def of_channels(W, dim, k, channels=None):
        """Permutes a dimension whose entries are channels, or channels and positions of layer k, channel by channel."""
        split = W.unflatten(dim, (len(order[k]), -1))
        return split.index_select(dim, order[k]).flatten(dim, dim + 1)

    def of_weight(c, W, post=True):
        first = 1 if isinstance(c, Local) else 0
        W = of_channels(W, first, c.post) if post else W
        return W if isinstance(c, Depthwise) and post else of_channels(W, first + 1, c.pre)

    def lift(name):
        prefix, _, kind = name.rpartition(".")
        if prefix.startswith("network.wiring"):
            c = net.wiring[prefix.rpartition(".")[2]]
            if kind == "bias":
                return lambda b: b[order[c.post]]
            return lambda W: W if W.ndim == 0 else of_weight(c, W)
        if is_statistic(name):
            k = int("".join(filter(str.isdigit, name)))
            k = k - 1 if "backward" in name else k
            return lambda M: M[order[k]][:, order[k]]
        if name.startswith("classifier."):
            return lambda C: of_channels(C, 1, int(name.rpartition(".")[2]))
        if of_units(name):
            return lambda R: R[order[int("".join(filter(str.isdigit, name)))]]
        if name.startswith("feedback_biases."):
            return lambda c: c[order[int(name.rpartition(".")[2])]]
        if name in ("F", "H", "h"):  # of input or output, whose channels stay in order
            return None
        assert name.startswith("D_")
        if rule.projection == "output":
            return lambda D: of_channels(D, 1, int(name[2:]))
        return lambda D: of_weight(net.chain[int(name[2:]) - 1], D, post=False)

    x, _, y = batch(network)
    assert_lifted(rule, other, lift, x, y, states=lambda k, r: r[:, order[k]].flatten(1))


class Circular(Connection):
    """A convolution on a torus: a shifted image is as good as any."""

    def __init__(self, pre_shape, channels, kernel=3, stride=1, **options):
        self.stride, self.padding = stride, kernel // 2
        super().__init__(pre_shape, (channels, pre_shape[0], kernel, kernel), **options)

    def transform(self, weight, pre):
        return F.conv2d(F.pad(pre, [self.padding] * 4, mode="circular"), weight, stride=self.stride)

    def projection_shape(self, channels):
        return channels, *self.weight.shape[1:]


class GlobalAverage(Connection):
    """A dense layer of the mean over all positions."""

    def __init__(self, pre_shape, units, **options):
        super().__init__(pre_shape, (units, pre_shape[0]), **options)

    def transform(self, weight, pre):
        return pre.mean((2, 3)) @ weight.t()

    def projection_shape(self, channels):
        return channels, self.weight.shape[1]


@ALL_VARIANTS
@pytest.mark.parametrize("pool", ["average", "max"])
def test_a_shifted_image_shifts_all_states_and_no_update(variant, pool):
    if VARIANTS[variant][0] is ForwardForward:
        pytest.skip("the label lies in the first pixels, and does not move with the image")
    soft = pool == "max" and VARIANTS[variant][1].get("points", 1) > 2  # which refuse max pooling
    first = partial(Circular, channels=3, pool=Pooling("soft" if soft else pool))
    second = partial(Circular, channels=2, stride=2)
    rule = make(variant, [[2, 8, 8], first, second, partial(GlobalAverage, units=4), 4])
    again = make(variant, [[2, 8, 8], first, second, partial(GlobalAverage, units=4), 4])
    x, _, y = batch([[2, 8, 8], 4])

    def rolled(a, dims):
        step = 4 * a.shape[dims[1]] // 8 if a.ndim == 4 else 0
        return a.roll((step, -step), dims) if step else a

    if VARIANTS[variant][0] is CorInfoMaxEBD:
        for one in (rule, again):
            one.network.chain[2].weight.detach().abs_()  # a silent layer 3 would teach the output nothing
    for name, R in weights_of(again).items():
        if of_units(name):
            R.copy_(rolled(R, (1, 2)))
        if name.startswith("D_") and again.projection == "output":
            R.copy_(rolled(R, (2, 3)))
        if name == "F":  # of PEPITA, to the input
            R.copy_(rolled(R.view(2, 8, 8, 4), (1, 2)).reshape(R.shape))
    phases, found, after = settle_and_learn(rule, x, y)
    shifted, found_again, after_again = settle_and_learn(again, x.roll((4, -4), (2, 3)), y)
    for name, phase in phases.items():
        for a, b in zip(phase.activity, shifted[name].activity, strict=True):
            torch.testing.assert_close(rolled(a, (2, 3)), b, **CLOSE)
    for name, update in found.items():
        assert update.any(), name
        torch.testing.assert_close(rolled(update, (1, 2)) if of_units(name) else update, found_again[name], **CLOSE)
    for name in after:
        expected = rolled(after[name], (1, 2)) if of_units(name) else after[name]
        if name.startswith("D_") and rule.projection == "output":
            expected = rolled(expected, (2, 3))
        if name == "F":
            expected = rolled(expected.view(2, 8, 8, 4), (1, 2)).reshape(expected.shape)
        torch.testing.assert_close(expected, after_again[name], **CLOSE)


TILES = [
    [2, 8, 8],
    {"conv": 3, "kernel": 2, "stride": 2, "pool": "average"},
    {"conv": 2, "kernel": 2, "stride": 2, "skip": {"from": 1, "stride": 2}},
    4,
]


@ALL_VARIANTS
@pytest.mark.parametrize("pool", ["average", "max", None])
def test_twice_as_many_positions_double_gradients_and_leave_statistics(variant, pool):
    """With states tiled twice over positions that share no pixel; weights of the dense layer, which sees all, aside."""
    if VARIANTS[variant][0] is ForwardForward:
        pytest.skip("a layer's goodness is of all its positions together")
    if VARIANTS[variant][0] in (DifferenceTargetPropagation, LocalDifferenceReconstruction):
        pytest.skip("feedback learns from a mean over units, or before the forward step")
    one = [TILES[0], {**TILES[1], "pool": pool}, {**TILES[2]}, 4]
    rule, wide = make(variant, one), make(variant, [[2, 8, 16], *one[1:]])
    between = [name for name, weight in weights_of(rule).items() if weight.shape == weights_of(wide)[name].shape]
    with torch.no_grad():
        for name in between:
            weights_of(wide)[name].copy_(weights_of(rule)[name])

    def tiled(t, width=3):
        return torch.cat([t, t], dim=width) if t.ndim == 4 else t

    for name, R in weights_of(rule).items():
        if of_units(name):
            weights_of(wide)[name].copy_(tiled(R, width=2))

    x, _, y = batch(one)
    with torch.no_grad():
        phases = rule.settled(x, y)
        tiles = {
            name: replace(
                p,
                activity=[tiled(a) for a in p.activity],
                internal={key: [tiled(a) for a in value] for key, value in p.internal.items()},
            )
            for name, p in phases.items()
        }
        found, double = updates(rule, phases), updates(wide, tiles)
        if keeps_statistics(rule):
            for learner, reached in ((rule, phases), (wide, tiles)):
                learner.update_state(reached, learner.optimizer(learner.parameter_groups()))
    checked = []
    for name, update in found.items():
        if name.startswith(("network.wiring.1", "network.wiring.2")):
            torch.testing.assert_close(double[name], 2 * update, **CLOSE)
        else:
            continue
        checked.append(name)
    assert {"network.wiring.1.weight", "network.wiring.2.weight", "network.wiring.2_from_1.weight"} <= {*checked}
    for name, weight in weights_of(rule).items():
        if is_statistic(name) and int("".join(filter(str.isdigit, name))) < 3:
            torch.testing.assert_close(weights_of(wide)[name], weight, **CLOSE)
        elif of_units(name):
            torch.testing.assert_close(weights_of(wide)[name], tiled(weight, width=2), **CLOSE)


@ALL_VARIANTS
@ALL_NETWORKS
def test_a_batch_twice_learns_what_it_learns_once(variant, network):
    """All updates are means over samples; PC-Nudge's published one is a sum."""
    rule, again = make(variant, network), make(variant, network)
    x, _, y = batch(network)
    _, found, after = settle_and_learn(rule, x, y)
    _, twice, after_twice = settle_and_learn(again, torch.cat([x, x]), torch.cat([y, y]))
    for name, update in found.items():
        factor = 2 if isinstance(rule, NudgedPredictiveCoding) else 1
        torch.testing.assert_close(twice[name], factor * update, **CLOSE)
    for name in after:
        torch.testing.assert_close(after[name], after_twice[name], **CLOSE)


# ------------------------------------------------------------------------------------- feedback that is not the adjoint


@pytest.mark.parametrize("kind", ["uniform_sign", "fixed_random_sign", "batchwise_random_sign"])
@pytest.mark.parametrize("network", ["dense", "convolution", "local", "strided skip"])
@pytest.mark.parametrize("initialization", ["xavier", "kaiming", "linear"])
@torch.no_grad()
def test_sign_symmetric_feedback_has_the_signs_of_the_current_weights(kind, network, initialization):
    rule = build(FeedbackAlignment, network, feedback=kind, initialization=initialization)
    for weights in ("initial", "others"):
        for c in rule.network.weighted:
            if weights == "others":
                c.weight.copy_(torch.randn_like(c.weight))
                c.weight[0, 0] = 0
            if c.pre == 0:
                assert c.is_tied  # nothing goes back to the input
                continue
            fan_in, fan_out = c.fans(c.weight.shape)
            variance = {"xavier": 2 / (fan_in + fan_out), "kaiming": 2 / fan_in, "linear": 1 / (3 * fan_in)}
            deviation, V = variance[initialization] ** 0.5, c.feedback_weight
            assert torch.equal(V.sign(), c.weight.sign())
            if kind == "uniform_sign":
                torch.testing.assert_close(V.abs(), (c.weight != 0) * torch.full_like(V, deviation))
            else:
                assert V.abs().max() <= 3**0.5 * deviation
                assert not torch.isclose(V.abs(), c.weight.abs())[c.weight != 0].any()
    if kind == "fixed_random_sign":
        before = {name: t.clone() for name, t in rule.named_buffers()}
        rule.network.redraw_feedback(torch.Generator())
        assert all(torch.equal(before[name], t) for name, t in rule.named_buffers())


@torch.no_grad()
def test_batchwise_random_signs_draw_magnitudes_by_seed_and_step_alone():
    class Counted(FeedbackAlignment):
        step = 0

    def magnitudes(seed, step, before=0):
        torch.manual_seed(step + before)  # whatever else has been drawn
        rule = build(Counted, "convolution", feedback="batchwise_random_sign", initialization="kaiming")
        rule.seed, optimizer = seed, rule.configure_optimizers()
        x, _, y = batch("convolution")
        for rule.step in range(step - before, step + 1):
            rule.learn(x, y, optimizer)
        return {c.post: c._feedback_weight.clone() for c in rule.network.weighted if not c.is_tied}

    first = magnitudes(seed=3, step=5)
    for other in (magnitudes(seed=3, step=5, before=2), magnitudes(seed=3, step=5)):
        assert all(torch.equal(first[k], other[k]) for k in first)
    for other in (magnitudes(seed=3, step=6), magnitudes(seed=4, step=5)):
        assert all(not torch.isclose(first[k], other[k]).any() for k in first)
    for k, (fan_in, drawn) in {2: (27, first[2]), 3: (18, first[3])}.items():  # as W is drawn
        bound = (6 / fan_in) ** 0.5
        assert 0.9 * bound < float(drawn.abs().max()) <= bound, k
        assert float(drawn.mean()) == pytest.approx(0, abs=0.3 * bound)
    assert len({float(a.flatten()[0]) for a in first.values()}) == len(first)


@torch.no_grad()
def test_direct_feedback_is_the_same_at_all_inner_positions():
    network = [
        [1, 7, 7],
        {"conv": 3, "kernel": 3, "padding": 1},
        {"conv": 2, "kernel": 3, "padding": 1, "pool": "max"},
        4,
    ]
    rule = build(DirectFeedbackAlignment, network, activation_function="linear")
    x, _, y = batch(network)
    phase = rule.settle(x, y)["feedforward"]
    δ, error = phase.internal["delta"][0], phase.internal["delta"][-1]
    torch.testing.assert_close(error, rule(x).softmax(1) - y)
    D = rule.get_buffer("D_2")
    inner = torch.einsum("nc,cdij->nd", error, D)
    torch.testing.assert_close(δ[:, :, 1:-1, 1:-1], inner[:, :, None, None].expand(-1, -1, 5, 5))
    corner = torch.einsum("nc,cdij->nd", error, D[:, :, :2, :2])  # the kernels of four positions reach it
    torch.testing.assert_close(δ[:, :, 0, 0], corner)
    dense = phase.internal["delta"][1]
    torch.testing.assert_close(dense.flatten(1), error @ rule.get_buffer("D_3"))
    assert isinstance(rule.network.chain[-1], Dense)
