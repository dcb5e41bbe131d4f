"""Oracle: trajectories of target propagation that no published file beside them shows.

Made here from the equations with torch's automatic differentiation and nothing of the package.
"""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bioplausible.commands.verify.replay import replay
from bioplausible.errors import UserError
from tests.helpers import GOLDEN_RULES
from tests.oracles.test_feedback_recordings_made_here import save

FUNCTIONS = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid, "linear": lambda a: a, "elu": F.elu}
LOSSES = {
    "cross entropy, mean over samples": lambda o, y: F.cross_entropy(o, y),
    "half squared error summed over outputs, mean over samples": lambda o, y: (o - y).square().sum(1).mean() / 2,
    "mean squared error over all outputs and samples": lambda o, y: (o - y).square().mean(),
    "cross entropy, summed over samples, for the first target": lambda o, y: F.cross_entropy(o, y, reduction="sum"),
    "half squared error summed over outputs and samples, for the first target": lambda o, y: (o - y).square().sum() / 2,
}
CE = "cross entropy, mean over samples"
PUBLISHED = {
    "noise": "noise{i}: standard normal draws (batch x d of the corrupted layer i+1)",
    "order": "gradients with the old weights, feedback step, forward step",
    "recon": "mean over samples and units",
    "output_activation": "linear",
}


class Draw:
    def __init__(self):
        self.g = torch.Generator().manual_seed(11)

    def __call__(self, *shape):
        return torch.randn(*shape, generator=self.g, dtype=torch.float64)


def record(path, variant, sizes, f="tanh", f_b="tanh", loss=CE, σ=0.1, η=0.5, lr=0.2, lr_fb=0.02, first=0, spare=True):
    """Difference target propagation of variant dtp, lee or drl; first: feedback steps before each batch's targets."""
    draw, L, act, back = Draw(), len(sizes) - 1, FUNCTIONS[f], FUNCTIONS[f_b]
    scale = 1 / σ**2 if variant == "drl" else 1 / max(σ, 0.02) ** 2
    meta = {"rule": "difference_target_propagation", "variant": variant, "layer_sizes": sizes, "activation": f}
    meta |= {"loss": loss, "lr": lr, "lr_fb": lr_fb, "target_step": η, "sigma": σ, "feedback_activation": f_b}
    meta |= PUBLISHED | {"scale": "1/sigma^2" if variant == "drl" else "1/max(sigma, 0.02)^2"}
    W = [None] + [draw(sizes[k], sizes[k - 1]) / sizes[k - 1] ** 0.5 for k in range(1, L + 1)]
    b = [None] + [draw(d) / 3 for d in sizes[1:]]
    V = [None] + [draw(sizes[k], sizes[k + 1]) / 2 for k in range(1, L)]  # V[k]: from layer k + 1 to k
    c = [None] + [draw(sizes[k]) / 3 for k in range(1, L)]
    with_feedback = range(1, L - 1 if variant == "lee" else L)

    def named():
        kept = with_feedback if not spare else range(1, L)
        return {
            **{f"W{k - 1}": W[k].clone() for k in range(1, L + 1)},
            **{f"b{k - 1}": b[k].clone() for k in range(1, L + 1)},
            **{f"Wfb{k}": V[k].clone() for k in kept},
            **{f"bfb{k}": c[k].clone() for k in kept},
        }

    def layer(k, r):
        a = r @ W[k].t() + b[k]
        return act(a) if k < L else a

    def G(k, u, V, c):
        return back(u @ V[k].t() + c[k])

    def learn_feedback(r, noise):
        losses = {}
        for k in with_feedback:
            Vk, ck = V[k].clone().requires_grad_(), c[k].clone().requires_grad_()
            own, own_c = {**dict(enumerate(V)), k: Vk}, {**dict(enumerate(c)), k: ck}
            u = noisy = r[k] + σ * noise[k]
            if variant == "drl":
                for j in range(k + 1, L + 1):
                    u = layer(j, u)
                for j in range(L - 1, k, -1):
                    u = G(j, u, V, c) + r[j] - G(j, r[j + 1], V, c)
                guess = G(k, u, own, own_c) + r[k] - G(k, r[k + 1], own, own_c)
            else:
                guess = G(k, layer(k + 1, noisy), own, own_c)
            losses[k] = scale * (guess - noisy).square().mean()
            losses[k].backward()
            V[k], c[k] = V[k] - lr_fb * Vk.grad, c[k] - lr_fb * ck.grad
        return {f"reconstruction_loss{k}": v.detach() for k, v in losses.items()}

    x, y, init, steps = draw(3, 4, sizes[0]), torch.randint(sizes[-1], (3, 4), generator=draw.g), named(), []
    for s in range(3):
        shown, r, target = {}, [x[s]], F.one_hot(y[s], sizes[-1]).double()
        for k in range(1, L + 1):
            r.append(layer(k, r[-1]))
        for q in range(first):
            noise = {k: draw(4, sizes[k]) for k in with_feedback}
            shown |= {f"first_noise{q}_{k - 1}": ξ for k, ξ in noise.items()}
            learn_feedback(r, noise)
        o = r[L].clone().requires_grad_()
        cost = LOSSES[loss](o, target)
        (g,) = torch.autograd.grad(cost, o)
        t = [*r[:L], r[L] - η * g]
        for k in range(L - 1, 0, -1):
            if variant == "lee" and k == L - 1:
                t[k] = r[k] - η * g @ W[L]
            else:
                t[k] = r[k] + G(k, t[k + 1], V, c) - G(k, r[k + 1], V, c)
        gradients = []
        for k in range(1, L + 1):
            leaves = [W[k].clone().requires_grad_(), b[k].clone().requires_grad_()]
            a = r[k - 1] @ leaves[0].t() + leaves[1]
            own = LOSSES[loss](a, target) if variant == "lee" and k == L else None
            own = ((act(a) if k < L else a) - t[k]).square().sum(1).mean() if own is None else own
            gradients.append(torch.autograd.grad(own, leaves))
        noise = {k: draw(4, sizes[k]) for k in (range(1, L) if spare else with_feedback)}
        shown |= {f"noise{k - 1}": ξ for k, ξ in noise.items()} | learn_feedback(r, noise)
        for k, (gW, gb) in enumerate(gradients, start=1):
            W[k], b[k] = W[k] - lr * gW, b[k] - lr * gb
            shown |= {f"grad_W{k - 1}": gW, f"grad_b{k - 1}": gb, f"state{k - 1}": r[k], f"target{k - 1}": t[k]}
        steps.append({**shown, **named(), "loss": cost, "logits": r[L]})
    return save(path, meta, x, y, init, steps)


CASES = {
    "DTP": ("dtp", [6, 7, 6, 5, 4], {}),
    "DTP, small noise, relu": ("dtp", [5, 6, 7, 3], {"f": "relu", "f_b": "relu", "σ": 0.01, "lr_fb": 0.002}),
    "DTP, feedback first": ("dtp", [5, 6, 7, 3], {"first": 2}),
    "DTP, one hidden layer": ("dtp", [5, 6, 3], {}),
    "Lee": ("lee", [6, 8, 7, 6, 5, 4], {"f_b": "relu", "σ": 0.01, "lr_fb": 0.002}),
    "Lee, without what is not used": ("lee", [6, 7, 6, 5, 4], {"f_b": "relu", "spare": False}),
    "DRL": ("drl", [6, 7, 6, 5, 4], {}),
    "DRL, sigmoid and linear": ("drl", [6, 7, 6, 5, 4], {"f": "sigmoid", "f_b": "linear", "σ": 0.3}),
    "DRL, half squared error": (
        "drl",
        [6, 7, 5, 4],
        {"loss": "half squared error summed over outputs, mean over samples", "first": 1},
    ),
    "DTP, mean squared error": ("dtp", [6, 7, 5, 4], {"loss": "mean squared error over all outputs and samples"}),
}


@pytest.mark.parametrize("case", CASES)
def test_difference_target_propagation_replays(case, tmp_path):
    variant, sizes, options = CASES[case]
    assert max(d.error for d in replay(record(tmp_path / "made.npz", variant, sizes, **options))) < 1e-9


def changed(path, change=None, arrays_change=None):
    with np.load(path) as file:
        arrays = dict(file)
    meta = json.loads(str(arrays.pop("meta"))) | (change or {})
    np.savez(path, meta=json.dumps(meta), **{**arrays, **(arrays_change or {})})
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"variant": "gnt"}, "no rule of Gauss–Newton targets"),
        ({"variant": "sdtp"}, "variant"),
        ({"scale": "1/sigma"}, "scale"),
        ({"recon": "sum over units"}, "recon"),
        ({"order": "feedback step, gradients"}, "order"),
        ({"noise": "uniform"}, "noise"),
        ({"feedback_activation": "cube"}, "activation"),
        ({"target_step": [0.5]}, "target_step"),
        ({"loss": "half squared error summed over outputs, mean over samples"}, "variant lee"),
    ],
    ids=str,
)
def test_another_form_is_refused(change, said, tmp_path):
    path = record(tmp_path / "made.npz", "lee", [6, 7, 6, 5, 4])
    with pytest.raises(UserError, match=said):
        replay(changed(path, change))


@pytest.mark.parametrize("name", ["init/Wfb3", "init/bfb3", "step1/Wfb3", "step1/noise0", "step0/first_noise0_0"])
def test_what_no_step_depends_on_must_stay_what_it_is_and_noise_must_be_there(name, tmp_path):
    path = record(tmp_path / "made.npz", "lee", [6, 7, 6, 5, 4], first=1)
    with np.load(path) as file:
        arrays = dict(file)
    assert max(d.error for d in replay(path)) < 1e-9
    assert max(d.error for d in replay(changed(path, arrays_change={name: arrays[name] + 0.1}))) > 1e-6
    idle = "fb" in name
    lacks = {f"init/{name[-4:]}"} if idle else {key for key in arrays if key.endswith(name[5:])}
    np.savez(path, **{key: value for key, value in arrays.items() if key not in lacks})
    with pytest.raises(UserError, match=name[-4:] if idle else name[6:]):
        replay(path)


def test_lees_variant_needs_no_target_of_the_output_and_a_remark_changes_nothing(tmp_path):
    path = record(tmp_path / "made.npz", "lee", [6, 7, 6, 5, 4], f_b="relu")
    with np.load(path) as file:
        kept = {key: value for key, value in dict(file).items() if not key.endswith("/target3")}
    np.savez(path, **kept)
    changed(path, {"feedback_activation": "relu (the option is not passed on)"})
    assert max(d.error for d in replay(path)) < 1e-9
    np.savez(path, **{key: value for key, value in kept.items() if not key.endswith("/target2")})
    with pytest.raises(UserError, match="target2"):
        replay(path)


def test_a_direct_recording_has_its_fixed_layer_and_no_other_activation(tmp_path):
    for change, said in (({"feedback_activation": "tanh"}, "linear"), ({"variant": "rhl"}, "Whid")):
        path = tmp_path / "ddtp.npz"
        path.write_bytes((GOLDEN_RULES / "ddtp_linear_4layer.npz").read_bytes())
        with pytest.raises(UserError, match=said):
            replay(changed(path, change))


# -------------------------------------------------------------------------------------- local difference reconstruction

CONV = {"kind": "conv", "out_channels": 3, "kernel": 3, "stride": 1, "padding": 1, "pool": "max", "pool_size": 2}
CONV["order"] = "conv, elu, pool"
PLAIN = {"kind": "conv", "out_channels": 4, "kernel": 3, "stride": 2, "padding": 1, "pool": None, "pool_size": 2}
DENSE = [{"kind": "dense", "out_features": d} for d in (5, 4)]
BOTH = "elu (conv layers), linear (dense layers)"
SUM = "cross entropy, summed over samples, for the first target"
LOCAL = {
    "dense": ([6], [{"kind": "dense", "out_features": 7}, *DENSE], BOTH, SUM, True),
    "dense, sizes alone": ([6], [{"kind": "dense", "out_features": 7}, *DENSE], "linear", SUM, False),
    "dense, tanh": (
        [6],
        DENSE,
        "tanh",
        "half squared error summed over outputs and samples, for the first target",
        True,
    ),
    "convolutions": ([2, 8, 8], [CONV, PLAIN, DENSE[1]], BOTH, SUM, True),
    "convolutions, mean of the cross entropy": ([2, 8, 8], [CONV, DENSE[1]], "elu", CE, True),
    "convolutions, then dense layers": ([2, 8, 8], [CONV, *DENSE], BOTH, SUM, True),
}


def record_local(path, shape, layers, said, loss, architecture, β=0.7, lr=0.2):
    draw, L = Draw(), len(layers)
    m, σ, lr_fb = [3, 2][: L - 1], [0.3, 0.2][: L - 1], [0.05, 0.2][: L - 1]
    kinds = [None] + [layer["kind"] for layer in layers]
    names = {"elu": ("elu", "elu"), "tanh": ("tanh", "tanh"), "linear": ("linear", "linear"), BOTH: ("elu", "linear")}[
        said
    ]
    f = [None] + [FUNCTIONS["linear" if k == L else names[kinds[k] == "dense"]] for k in range(1, L + 1)]
    W, b, V, c, shapes = [None], [None], [None], [None], [tuple(shape)]

    def before(k, r, w, bias):
        layer = layers[k - 1]
        if layer["kind"] == "dense":
            return F.linear(r.flatten(1), w, bias)
        return F.conv2d(r, w, bias, stride=layer["stride"], padding=layer["padding"])

    def up(k, r, w=None, bias=None):
        """Returns F_k(r), its switches, and the shape before pooling."""
        a = f[k](before(k, r, W[k] if w is None else w, b[k] if bias is None else bias))
        if layers[k - 1].get("pool"):
            return (*F.max_pool2d(a, 2, return_indices=True), a.shape[2:])
        return a, None, None

    def G(k, u, V, at):
        """Returns G_k(u) through the switches of an activity of layer k."""
        if kinds[k + 1] == "dense":
            return (f[k + 1](u) @ V.t() + c[k]).view(len(u), *shapes[k])
        _, switches, size = up(k + 1, at)
        if switches is not None:
            u = F.max_unpool2d(u, switches, 2, output_size=size)
        layer = layers[k]
        rest = [(d + 2 * layer["padding"] - 3) % layer["stride"] for d in shapes[k][1:]]
        return F.conv_transpose2d(
            f[k + 1](u), V, c[k], stride=layer["stride"], padding=layer["padding"], output_padding=rest
        )

    for k in range(1, L + 1):
        layer, d = layers[k - 1], shapes[-1]
        if layer["kind"] == "dense":
            inputs = int(np.prod(d))
            W.append(draw(layer["out_features"], inputs) / inputs**0.5)
            b.append(draw(len(W[-1])) / 3)
            V.append(draw(inputs, len(W[-1])) / 3), c.append(draw(inputs) / 3)
        else:
            W.append(draw(layer["out_channels"], d[0], 3, 3) / (9 * d[0]) ** 0.5)
            b.append(draw(len(W[-1])) / 3)
            V.append(draw(*W[-1].shape) / 4), c.append(draw(d[0]) / 3)
        shapes.append(tuple(up(k, torch.zeros(1, *d).double())[0].shape[1:]))
    V, c = [None, *V[2:]], [None, *c[2:]]  # V[k], c[k]: from layer k + 1 to k

    def named():
        return {
            **{f"W{k - 1}": W[k].clone() for k in range(1, L + 1)},
            **{f"b{k - 1}": b[k].clone() for k in range(1, L + 1)},
            **{f"Wfb{k}": V[k].clone() for k in range(1, L)},
            **{f"bfb{k}": c[k].clone() for k in range(1, L)},
        }

    meta = {"rule": "local_difference_reconstruction", "activation": said, "output_activation": "linear", "loss": loss}
    meta |= {"beta": β, "lr": lr, "lr_fb": lr_fb, "feedback_iterations": m, "sigma": σ}
    meta["noise"] = "standard normal: noise_in{i}_{q} on the input of layer i+1, noise_out{i}_{q} on its output, "
    meta["noise"] += "iteration q"
    meta["order"] = "feedback iterations layer by layer with the old forward weights, then one forward step"
    sizes = [shape[0], *(layer["out_features"] for layer in layers)] if "conv" not in kinds else None
    meta |= {"input_shape": shape, "architecture": layers if architecture else None, "layer_sizes": sizes}
    x, y, init, steps = draw(3, 4, *shape), torch.randint(4, (3, 4), generator=draw.g), named(), []
    for s in range(3):
        shown, r, target = {}, [x[s]], F.one_hot(y[s], 4).double()
        for k in range(1, L + 1):
            r.append(up(k, r[-1])[0])
        for k in range(1, L):
            losses = []
            for q in range(m[k - 1]):
                ξ, η = (σ[k - 1] * draw(*r[j].shape) for j in (k, k + 1))
                shown |= {f"noise_in{k}_{q}": ξ / σ[k - 1], f"noise_out{k}_{q}": η / σ[k - 1]}
                own = V[k].clone().requires_grad_()
                noisy = r[k] + ξ
                clean = G(k, r[k + 1], own, r[k])
                first = (ξ * (G(k, up(k + 1, noisy)[0], own, noisy) - clean)).sum()
                losses.append((-2 * first + (G(k, r[k + 1] + η, own, r[k]) - clean).square().sum()) / 4)
                V[k] = V[k] - lr_fb[k - 1] * torch.autograd.grad(losses[-1], own)[0]
            shown[f"feedback_loss{k}"] = torch.stack(losses).mean().detach()
        o = r[L].clone().requires_grad_()
        t = [*r[:L], r[L] - β * torch.autograd.grad(LOSSES[loss](o, target), o)[0]]
        for k in range(L - 1, 0, -1):
            t[k] = r[k] + G(k, t[k + 1], V[k], r[k]) - G(k, r[k + 1], V[k], r[k])
        for k in range(1, L + 1):
            leaves = [W[k].clone().requires_grad_(), b[k].clone().requires_grad_()]
            own = (up(k, r[k - 1], *leaves)[0] - t[k]).square().sum() / 8
            gW, gb = torch.autograd.grad(own, leaves)
            shown |= {f"state{k - 1}": r[k], f"target{k - 1}": t[k], f"forward_loss{k - 1}": own.detach()}
            leaves = W[k] - lr * gW, b[k] - lr * gb
            shown |= {f"W{k - 1}": leaves[0].detach(), f"b{k - 1}": leaves[1].detach()}
        W = [None] + [shown[f"W{k - 1}"] for k in range(1, L + 1)]
        b = [None] + [shown[f"b{k - 1}"] for k in range(1, L + 1)]
        steps.append({**shown, **named()})
    return save(path, meta, x, y, init, steps)


@pytest.mark.parametrize("case", LOCAL)
def test_local_difference_reconstruction_replays(case, tmp_path):
    assert max(d.error for d in replay(record_local(tmp_path / "made.npz", *LOCAL[case]))) < 1e-9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"activation": "elu (conv layers), tanh (conv layers)"}, "activation"),
        ({"activation": "elu of conv layers"}, "activation"),
        ({"layer_sizes": [6, 7, 5, 5]}, "layer_sizes"),
        ({"beta": [0.7]}, "beta"),
        ({"feedback_iterations": [3]}, "feedback_steps"),
        ({"feedback_iterations": [3, 4]}, "noise_in2_2"),
        ({"sigma": [0.3]}, "sigma"),
        ({"lr_fb": [0.3]}, "feedback_learning_rates"),
        ({"noise": "uniform"}, "noise"),
        ({"order": "all at once"}, "order"),
        ({"loss": "cross entropy"}, "loss"),
    ],
    ids=str,
)
def test_another_form_of_local_difference_reconstruction_is_refused(change, said, tmp_path):
    path = record_local(tmp_path / "made.npz", *LOCAL["dense"])
    with pytest.raises(UserError, match=said):
        replay(changed(path, change))


def test_sizes_and_shape_must_agree(tmp_path):
    path = record_local(tmp_path / "made.npz", *LOCAL["dense, sizes alone"])
    with pytest.raises(UserError, match="input_shape"):
        replay(changed(path, {"input_shape": [7]}))
