"""Oracle: autograd of each layer's own loss, written from the equations; and what must not matter to a layer."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bioplausible import ForwardForward, UserError
from bioplausible.__main__ import main
from tests.helpers import GOLDEN_RULES, NETWORKS, batch, build, updates

ALL_NETWORKS = pytest.mark.parametrize("network", NETWORKS)
FORMS = {
    "published by Hinton": {},
    "peers": {"peer_normalization": 0.7},
    "peers through f": {"peer_normalization": 0.7, "peer_slope": "activation", "activation_function": "gelu"},
    "mean and norm": {"goodness": "mean", "normalization": "norm", "threshold": 0.3, "label_value": 2.0},
    "any activation": {"activation_function": "tanh", "threshold": 2.0},
    "by goodness": {"prediction": "goodness", "activation_function": "gelu"},
    "read from the first": {"read_from": 1},
}
FUNCTIONS = {"relu": torch.relu, "tanh": torch.tanh, "gelu": F.gelu}


def normalized(r, options):
    h = r.flatten(1)
    if options.get("normalization") == "norm":
        scale = h.norm(dim=1, keepdim=True) + 1e-4
    else:
        scale = h.square().mean(1, keepdim=True).sqrt() + 1e-8
    return (h / scale).view(r.shape)


def put(x, label, options):
    """Returns the input with a label in its first values, sample by sample."""
    found = x.clone()
    for image, entries in zip(found, label, strict=True):
        image.view(-1)[: len(entries)] = options.get("label_value", 1.0) * entries
    return found


class Slope1(torch.autograd.Function):
    """ReLU's values, with a derivative of 1 everywhere."""

    @staticmethod
    def forward(_, a):
        return a.relu()

    @staticmethod
    def backward(_, g):
        return g


def gradients(rule, x, y, negative, options):
    """Returns the gradient of each layer's own loss, and of the classifier's, by autograd; and m after the batch."""
    network, classes = rule.network, y.shape[1]
    f = FUNCTIONS[options.get("activation_function", "relu")]
    wrong = torch.eye(classes, dtype=x.dtype)[negative]
    neutral = torch.full_like(y, 1 / classes)
    r = {name: [put(x, label, options)] for name, label in (("pos", y), ("neg", wrong), ("neutral", neutral))}
    found, means = {}, {}
    for k in range(1, network.L):
        loss = 0.0
        for name, below in r.items():
            a = network.drive(k, [normalized(s, options).detach() for s in below])
            h = f(a)
            if name != "neutral":
                squares = h.flatten(1).square()
                G = squares.mean(1) if options.get("goodness") == "mean" else squares.sum(1)
                logit = G - options.get("threshold", float(h[0].numel()))
                loss = loss + F.binary_cross_entropy_with_logits(
                    logit, torch.full_like(logit, float(name == "pos")), reduction="sum"
                ) / (2 * len(x))
            if name == "pos" and "peer_normalization" in options:
                through = h if options.get("peer_slope") == "activation" else Slope1.apply(a)
                m = 0.9 * rule.get_buffer(f"mean_activity_{k}") + 0.1 * through.mean(0)
                means[k] = m.detach()
                loss = loss + options["peer_normalization"] * (m.mean() - m).square().mean()
            below.append(h.detach())
        own = [p for c in network.into(k) for p in c.parameters()]
        found.update(zip(own, torch.autograd.grad(loss, own), strict=True))
    if options.get("prediction") != "goodness":
        passed = [normalized(s, options) for s in r["neutral"]]
        output = network.drive(network.L, passed)
        for k, C in rule.classifier.items():
            output = output + passed[int(k)].flatten(1) @ C.t()
        own = [p for c in network.into(network.L) for p in c.parameters()] + list(rule.classifier.values())
        found.update(zip(own, torch.autograd.grad(F.cross_entropy(output, y), own), strict=True))
    return found, means


@ALL_NETWORKS
@pytest.mark.parametrize("form", FORMS)
def test_updates_are_the_gradients_of_each_layers_own_loss(form, network):
    options = FORMS[form]
    rule = build(ForwardForward, network, **options)
    with torch.no_grad():
        for p in rule.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x, _, y = batch(network)
    negative = rule.draw_negative(x, y)
    expected, means = gradients(rule, x, y, negative, options)
    with torch.no_grad():
        phases = rule.settle(x, y)
    found = updates(rule, phases)
    for name, p in rule.named_parameters():
        assert expected[p].any(), name
        torch.testing.assert_close(found[name], -expected[p], rtol=1e-10, atol=1e-14, msg=name)
    rule.update_state(phases, None)
    for k, m in means.items():
        torch.testing.assert_close(rule.get_buffer(f"mean_activity_{k}"), m, rtol=1e-12, atol=0)


@ALL_NETWORKS
@torch.no_grad()
def test_nothing_comes_from_above(network):
    """A layer's update does not change with any weight above it, to the bit; nor does any with the classifier's."""
    rule = build(ForwardForward, network)
    x, _, y = batch(network)
    before = updates(rule, rule.settle(x, y))
    names = {id(p): name for name, p in rule.named_parameters()}
    for k in range(rule.network.L, 1, -1):
        for c in rule.network.into(k):
            for p in c.parameters():
                p.add_(torch.randn_like(p))
        after = updates(rule, rule.settle(x, y))
        for c in rule.network.connections:
            for p in c.parameters():
                if c.post < k:
                    assert torch.equal(after[names[id(p)]], before[names[id(p)]]), (k, names[id(p)])


@pytest.mark.parametrize("labels", ["wrong", "any"])
def test_negative_labels_are_uniform(labels):
    """Wrong ones are never right; of any, one in d_L is."""
    rule = build(ForwardForward, [12, 6, 10], negative_labels=labels)
    x, y = torch.rand(20_000, 12, dtype=torch.float64), torch.arange(20_000) % 10
    drawn = rule.draw_negative(x, rule.one_hot(y, x.dtype))
    shift = (drawn - y) % 10
    counts = torch.bincount(shift, minlength=10)
    expected = [0, *[20_000 / 9] * 9] if labels == "wrong" else [2000] * 10
    assert (counts[0] == 0) == (labels == "wrong")
    assert all(abs(int(count) - e) < 5 * max(e, 1) ** 0.5 for count, e in zip(counts, expected, strict=True))


@pytest.mark.parametrize("network", ["dense", "max pool", "strided skip"])
@pytest.mark.parametrize("read_from", [1, 2])
@torch.no_grad()
def test_by_goodness_the_output_is_the_goodness_of_each_label(network, read_from):
    rule = build(ForwardForward, network, prediction="goodness", read_from=read_from)
    x, _, y = batch(network)
    output = rule(x)
    for c in range(y.shape[1]):
        label = torch.eye(y.shape[1], dtype=x.dtype)[[c] * len(x)]
        r, _ = rule.pass_through(put(x, label, {}))
        expected = sum(rule.layer_goodness(r[k]) for k in range(read_from, rule.network.L))
        torch.testing.assert_close(output[:, c], expected, rtol=1e-12, atol=1e-12)
    assert not any(c.weight is not None for c in rule.network.into(rule.network.L))
    for i in range(len(x)):  # a prediction does not depend on the images beside it
        torch.testing.assert_close(rule(x[i : i + 1]), output[i : i + 1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("prediction", ["classifier", "goodness"])
@pytest.mark.parametrize("network", ["dense", "max pool", "identity skip"])
def test_layer_by_layer_each_learns_from_what_the_one_below_has_learned(prediction, network):
    """The oracle settles anew after each step, and steps one layer alone."""
    options = {"prediction": prediction, "activation_function": "gelu"}
    rule = build(ForwardForward, network, order="layer_by_layer", updates_per_batch=3, **options)
    other = build(ForwardForward, network, **options)
    other.load_state_dict(rule.state_dict())
    x, _, y = batch(network)
    rule.learn(x, y, torch.optim.SGD(rule.parameter_groups(), lr=0.1))
    with torch.no_grad():
        for k in range(1, other.network.L + (prediction == "classifier")):
            for _ in range(3):
                moved = dict(other.named_parameters())
                for name, update in updates(other, other.settle(x, y)).items():
                    of_layer = name.startswith((f"network.wiring.{k}.", f"network.wiring.{k}_from"))
                    if of_layer or (k == other.network.L and name.startswith("classifier")):
                        moved[name].add_(0.1 * update)
    torch.testing.assert_close(rule.state_dict(), other.state_dict(), rtol=1e-10, atol=1e-12)


def test_what_is_read_changes_nothing_that_hidden_layers_learn():
    x, _, y = batch()
    found = []
    for prediction in ("classifier", "goodness"):
        torch.manual_seed(0)
        rule = build(ForwardForward, prediction=prediction)
        found.append(updates(rule, rule.settle(x, y)))
    hidden = {name: u for name, u in found[0].items() if name in found[1]}
    assert len(hidden) == 4
    torch.testing.assert_close(hidden, found[1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("goodness", ["sum", "mean"])
@pytest.mark.parametrize("network", ["dense", "max pool"])
def test_the_default_threshold_is_the_goodness_of_a_mean_square_of_1(network, goodness):
    rule = build(ForwardForward, network, goodness=goodness)
    for k, θ in rule.threshold.items():
        signs = torch.randn(3, *rule.network.shapes[k]).sign()
        assert rule.layer_goodness(signs).tolist() == [θ] * 3


def test_loewes_classifier_has_the_width_of_unequal_layers():
    """The published one is too narrow or too wide where they differ."""
    rule = build(ForwardForward, [12, 6, 5, 7, 4])
    assert {name: tuple(C.shape) for name, C in rule.classifier.items()} == {"2": (4, 5)}
    assert rule.network.chain[-1].weight.shape == (4, 7)
    assert [group["name"] for group in rule.parameter_groups()] == [f"layer_{k}" for k in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layer_sizes": [7, 4]}, "ForwardForward has no hidden layer"),
        ({"layer_sizes": [3, 6, 4]}, "puts the label into the first 4 of 3 input values"),
        ({"layer_sizes": [3, 6, 1]}, "give it two classes"),
        ({"layer_sizes": None, "network": [7, 6, {"dense": 4, "gain": 3}]}, r"dense 4, gain 3\) has a gain"),
        ({"layer_sizes": None, "network": [7, 6, {"dense": 4, "gain": {"bias": 3}}]}, "start at 0: leave it out"),
        ({"updates_per_batch": 1.5}, "updates_per_batch is 1.5: give a whole number"),
        ({"read_from": 3}, r"read_from is 3: the hidden layers are 1 … 2"),
        ({"threshold": [1.0]}, "threshold has 1 entries"),
        ({"label_value": 0.0}, "label_value is 0.0"),
        ({"updates_per_batch": 0}, "updates_per_batch is 0"),
        ({"updates_per_batch": 10**7}, "updates_per_batch is 10000000: give a whole number between 1 and 1000000"),
        ({"peer_normalization": -1.0}, "peer_normalization is -1.0"),
        ({"peer_normalization": 0.1, "order": "layer_by_layer"}, "leave out order and updates_per_batch"),
        ({"peer_normalization": 0.1, "updates_per_batch": 2}, "leave out order and updates_per_batch"),
        ({"peer_slope": "activation"}, "peer_slope is that of peer_normalization, which is 0"),
        ({"prediction": "goodness", "learning_rates": [0.1] * 3}, "learning_rates has 3 entries"),
        ({"goodness": "max"}, "goodness is 'max': choose sum or mean"),
        ({"normalization": "layer"}, "normalization is 'layer': choose rms or norm"),
        ({"order": "backwards"}, "order is 'backwards'"),
        ({"negative_labels": "hard"}, "negative_labels is 'hard'"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(UserError, match=said):
        ForwardForward(**{"layer_sizes": [7, 6, 5, 4], **options})


# ------------------------------------------------------------------------------------ recordings like the published one


def recorded(path, μ, spoil=None, **changes):
    """Writes a recording of loewe's form by autograd of the sum of all losses, with unequal layers.

    Args:
        path: the file.
        μ: of peer normalisation.
        spoil: an array of the second step that is changed a little.
        changes: other entries of its meta.
    """
    published = np.load(GOLDEN_RULES / "ff_loewe_3layer.npz")
    meta = {**json.loads(str(published["meta"])), "layer_sizes": [14, 6, 5, 7], "peer_normalisation": μ, "steps": 2}
    meta |= changes
    g = torch.Generator().manual_seed(0)
    sizes, double = meta["layer_sizes"], {"dtype": torch.float64, "generator": g}
    W = [torch.randn(post, pre, **double) / 2 for pre, post in pairwise(sizes)]
    b = [0.1 * torch.randn(post, **double) for post in sizes[1:]]
    m, C = [torch.full((d,), 0.5, dtype=torch.float64) for d in sizes[1:]], torch.zeros(10, 12, dtype=torch.float64)
    x, y = torch.rand(2, 4, 14, **double), torch.randint(10, (2, 4), generator=g)
    arrays = {}

    def note(where):
        for i in range(3):
            arrays.update({f"{where}/W{i}": W[i], f"{where}/b{i}": b[i], f"{where}/mean_activity{i}": m[i]})
        arrays[f"{where}/Wclass"] = C

    note("init")
    for step in range(2):
        y_neg = (y[step] + torch.randint(1, 10, (4,), generator=g)) % 10
        moved = [t.detach().requires_grad_() for t in (*W, *b, C)]
        here = {"y_neg": y_neg}
        labels = [
            F.one_hot(y[step], 10).double(),
            F.one_hot(y_neg, 10).double(),
            torch.full((4, 10), 0.1, dtype=torch.float64),
        ]
        h = torch.cat([torch.cat([label, x[step][:, 10:]], 1) for label in labels])
        total, peers, read = 0.0, torch.zeros(1, dtype=torch.float64), []
        for i in range(3):
            a = F.linear(h / (h.square().mean(1, keepdim=True).sqrt() + 1e-8), moved[i], moved[3 + i])
            z = Slope1.apply(a)
            logit = z[:8].square().sum(1) - sizes[i + 1]
            here[f"loss{i}"] = F.binary_cross_entropy_with_logits(logit, torch.tensor([1.0] * 4 + [0.0] * 4).double())
            total = total + here[f"loss{i}"]
            if μ:
                mean = 0.9 * m[i] + 0.1 * z[:4].mean(0)
                m[i] = mean.detach()
                peer = (mean.mean() - mean).square().mean()
                peers, total = peers + peer.detach(), total + μ * peer
            h = z.detach()
            read += [h[8:] / (h[8:].square().mean(1, keepdim=True).sqrt() + 1e-8)] if i else []
        here["classification_loss"] = F.cross_entropy(torch.cat(read, 1) @ moved[6].t(), y[step])
        gradients = torch.autograd.grad(total + here["classification_loss"], moved)
        here["peer_loss"] = peers
        for i in range(3):
            here |= {f"grad_W{i}": gradients[i], f"grad_b{i}": gradients[3 + i]}
            W[i], b[i] = W[i] - meta["lr"] * gradients[i], b[i] - meta["lr"] * gradients[3 + i]
        C = C - meta["lr_classifier"] * gradients[6]
        arrays.update({f"step{step}/{name}": value for name, value in here.items()})
        note(f"step{step}")
    found = {name: value.detach().numpy() for name, value in arrays.items()}
    if spoil is not None:
        found[f"step1/{spoil}"] = found[f"step1/{spoil}"] * (1 + 1e-6) + 1e-9
    np.savez(path, meta=json.dumps(meta), x=x.numpy(), y=y.numpy(), **found)


@pytest.mark.parametrize("μ", [0.0, 0.03, 2.0])
def test_verify_replays_unequal_layers_and_peers(μ, capsys):
    recorded("mine.npz", μ)
    assert main(["verify", "mine.npz"]) == 0
    assert "agrees" in capsys.readouterr().out


@pytest.mark.parametrize(
    "spoil", ["W0", "b2", "Wclass", "mean_activity1", "loss2", "grad_W1", "grad_b0", "peer_loss", "classification_loss"]
)
def test_verify_sees_what_differs(spoil, capsys):
    recorded("mine.npz", 0.5, spoil)
    assert main(["verify", "mine.npz"]) == 1
    assert "DIFFERS" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"order": "layer by layer"}, "order"),
        ({"classes": 9}, "classes"),
        ({"peer_momentum": 0.5}, "peer_momentum 0.5"),
        ({"activation": "relu, twice"}, "activation"),
        ({"goodness": "max"}, "goodness"),
        ({"variant": "mine"}, "variant"),
        ({"updates_per_batch": 2}, "updates_per_batch"),
    ],
)
def test_verify_refuses_what_it_does_not_know(changes, said, capsys):
    recorded("mine.npz", 0.0)
    file = dict(np.load("mine.npz"))
    file["meta"] = json.dumps({**json.loads(str(file["meta"])), **changes})
    np.savez("mine.npz", **file)
    assert main(["verify", "mine.npz"]) == 2
    assert said in capsys.readouterr().err
