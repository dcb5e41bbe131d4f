"""Oracle: trajectories of PEPITA and of burstprop that no published file beside them shows.

Made here from the equations with torch alone and nothing of the package.
"""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bioplausible.commands.verify.replay import replay
from bioplausible.errors import UserError
from tests.helpers import GOLDEN_RULES

F_OF_U = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
ONCE = "mask{i}: 0 or 1/keep, the same in both passes, recorded activities include it"
AGAIN = (
    "mask{i}: 0 or 1/keep, the same in both passes; the difference of activities is multiplied by the mask ONCE MORE"
)


def conv(channels, pool, order="conv, relu, pool", **options):
    layer = {"kind": "conv", "out_channels": channels, "kernel": 3, "stride": 1, "padding": 1, "pool": pool}
    return {**layer, "pool_size": 2, "order": order, **options}


PEPITA_CASES = {
    "dense, no dropout": (None, "relu", None, None),
    "dense, keep 1": (None, "relu", 1.0, ONCE),
    "dense, tanh, dropout": (None, "tanh", 0.6, ONCE),
    "dense, dropout once more": (None, "relu", 0.5, AGAIN),
    "two convolutions": ([conv(3, "max"), conv(4, None, "conv, relu", stride=2), 5], "relu", None, None),
    "convolution, no pool": ([conv(3, None, "conv, tanh"), 4], "tanh", None, None),
    "convolution with a remainder": ([conv(3, "max", padding=0, kernel=2), 4], "relu", None, None),
}


def save(path, meta, x, y, arrays, change):
    said = {"source": "made here", "batch": 4, "steps": 3, "dtype": "float64", "optimizer": "sgd"}
    arrays = {name: t.numpy().copy() for name, t in arrays.items()}
    np.savez(path, meta=json.dumps({**said, **meta, **dict(change)}), x=x.numpy(), y=y.numpy(), **arrays)
    return path


def drawing(seed):
    g = torch.Generator().manual_seed(seed)
    return g, lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)


def record_pepita(path, layers, f_name, keep, masks, lr=0.4, change=()):
    g, draw = drawing(6)
    f, images = F_OF_U[f_name], layers is not None
    shape, kinds = ([2, 8, 8], [*layers, 4]) if images else ([6], [7, 5, 4])

    def hidden(i, r, W):
        """Returns the neurons before pooling, and what the next layer gets."""
        if isinstance(kinds[i], int):
            return (h := f(r.flatten(1) @ W.t())), h
        h = f(F.conv2d(r, W, stride=kinds[i]["stride"], padding=kinds[i]["padding"]))
        return h, (F.max_pool2d(h, 2) if kinds[i]["pool"] else h)

    W, r, shapes = [], draw(1, *shape), []
    for i, layer in enumerate(kinds):
        if isinstance(layer, int):
            W.append(draw(layer, r[0].numel()) / r[0].numel() ** 0.5)
        else:
            W.append(draw(layer["out_channels"], r.shape[1], layer["kernel"], layer["kernel"]) / 3)
        if i < len(kinds) - 1:
            r = hidden(i, r, W[i])[1]
            shapes.append(r.shape[1:])
    Win = draw(int(np.prod(shape)), 4) / 2
    arrays = {"init/Win": Win, **{f"init/W{i}": w.clone() for i, w in enumerate(W)}}
    x, y = draw(3, 4, *shape), torch.randint(4, (3, 4), generator=g)
    for s in range(3):
        m = [(torch.rand(4, *sh, generator=g) < keep).double() / keep for sh in shapes] if masks else None
        r0, e, seen, passes = x[s], [], {}, []
        for name in ("first", "second"):
            r, h = [r0], []
            for i in range(len(W) - 1):
                neurons, layer = hidden(i, r[i], W[i])
                if m:
                    neurons = layer = layer * m[i]
                h.append(neurons), r.append(layer)
                seen[f"{name}{i}"] = neurons
            out = (r[-1].flatten(1) @ W[-1].t()).softmax(1)
            seen[f"output_{name}"] = out
            e.append(out - F.one_hot(y[s], 4))
            passes.append((r, h))
            r0 = x[s] + (e[0] @ Win.t()).view_as(x[s])
        ((_, h1), (r2, h2)) = passes
        for i in range(len(W)):
            if i == len(W) - 1:
                delta = -e[0 if images else 1].t() @ r2[i].flatten(1)
            elif isinstance(kinds[i], int):
                again = m[i] if masks and "ONCE MORE" in masks else 1
                delta = -((h1[i] - h2[i]) * again).t() @ r2[i].flatten(1)
            else:
                leaf, c = W[i].clone().requires_grad_(), kinds[i]
                a = F.conv2d(r2[i], leaf, stride=c["stride"], padding=c["padding"])
                # + the mean over samples and positions
                (delta,) = torch.autograd.grad((a * (h1[i] - h2[i])).sum() / (4 * a[0, 0].numel()), leaf)
            seen[f"delta_W{i}"] = delta
            W[i] = W[i] + lr / 4 * delta
            seen[f"W{i}"] = W[i].clone()
        seen |= {f"mask{i}": mask for i, mask in enumerate(m or [])}
        arrays |= {f"step{s}/{name}": t.detach() for name, t in seen.items()}
    meta = {"rule": "pepita", "activation": f_name, "output_activation": "softmax", "lr": lr, "bias": False}
    meta |= {"projection": "Win: d_0 x classes", "update": "W += lr/n * delta_W"}
    if images:
        meta |= {"conv_update": "mean over positions and samples, then divided by n once more", "input_shape": shape}
        meta |= {"last_layer": "error of the FIRST pass x pooled activity of the second pass"}
        meta["architecture"] = [{"kind": "dense", "out_features": k} if isinstance(k, int) else k for k in kinds]
    else:
        meta["layer_sizes"] = [*shape, *kinds]
    meta |= {"masks": masks, "keep": keep} if masks else {}
    return save(path, meta, x, y, arrays, change)


@pytest.mark.parametrize("case", PEPITA_CASES)
def test_pepita_replays(case, tmp_path):
    path = record_pepita(tmp_path / "made.npz", *PEPITA_CASES[case])
    assert max(d.error for d in replay(path)) < 1e-9


CHANGES = [
    ("dense, no dropout", {"bias": True}, "bias"),
    ("dense, no dropout", {"output_activation": "linear"}, "output_activation"),
    ("dense, no dropout", {"update": "W += lr * delta_W"}, "update"),
    ("dense, no dropout", {"projection": "Win: classes x d_0"}, "projection"),
    ("dense, no dropout", {"keep": 0.5}, "masks"),
    (
        "dense, no dropout",
        {"conv_update": "mean over positions and samples, then divided by n once more"},
        "last_layer",
    ),
    ("dense, tanh, dropout", {"keep": 0.7}, "0 and 1/keep"),
    ("dense, tanh, dropout", {"masks": "mask{i}: fresh in each pass"}, "masks"),
    ("two convolutions", {"conv_update": "sum over positions"}, "conv_update"),
    ("two convolutions", {"last_layer": "error of the SECOND pass"}, "last_layer"),
    ("two convolutions", {"decay": 0.1}, "decay"),
]


@pytest.mark.parametrize(("case", "change", "said"), CHANGES, ids=str)
def test_another_form_of_pepita_is_refused(case, change, said, tmp_path):
    path = record_pepita(tmp_path / "made.npz", *PEPITA_CASES[case], change=change)
    with pytest.raises(UserError, match=said):
        replay(path)


BURST_CASES = {
    "recurrent": (True, 0.0, 0.3, {}),
    "recurrent, fixed feedback, decay": (False, 0.02, 0.2, {}),
    "momentum": (True, 1e-3, None, {"momentum": 0.8}),
    "another baseline": (True, 0.1, None, {"p_baseline": 0.35}),
}


def record_burstprop(path, learn, decay, lr_r, options, change=()):
    g, draw = drawing(7)
    sizes, lr = [6, 7, 6, 5, 4], [4.0, 3.0, 2.0, 1.0]
    p, momentum, L = options.get("p_baseline", 0.2), options.get("momentum", 0.0), 4
    W = [draw(b, a) / a**0.5 for a, b in pairwise(sizes)]
    b = [draw(d) / 3 for d in sizes[1:]]
    V = [None, *(draw(a, b) / a**0.5 for a, b in pairwise(sizes[1:]))]
    R = [draw(d, d) / 5 for d in sizes[1:-1]]
    named = lambda: {  # noqa: E731
        **{f"W{i}": w.clone() for i, w in enumerate(W)},
        **{f"b{i}": w.clone() for i, w in enumerate(b)},
        **{f"Wfb{i}": w.clone() for i, w in enumerate(V) if i},
        **({f"R{i}": w.clone() for i, w in enumerate(R)} if lr_r else {}),
    }
    arrays = {f"init/{name}": t for name, t in named().items()}
    x, y, speed = draw(3, 4, 6), torch.randint(4, (3, 4), generator=g), {}
    for s in range(3):
        r = [x[s]]
        for w, c in zip(W, b, strict=True):
            r.append((r[-1] @ w.t() + c).sigmoid())
        up, target = {L: p * r[L]}, F.one_hot(y[s], 4)
        with_target = {L: p * ((target - r[L]) * (1 - r[L]) + 1) * r[L]}
        grown = {}
        for k in range(L - 1, 0, -1):
            m, m_t = up[k + 1] @ V[k].t(), with_target[k + 1] @ V[k].t()
            h = m.sigmoid() * r[k]
            taken = h @ R[k - 1].t() if lr_r else 0
            u = m * (1 - r[k]) - taken
            up[k], with_target[k] = u.sigmoid() * r[k], (m_t * (1 - r[k]) - taken).sigmoid() * r[k]
            grown[k] = u.t() @ h
        seen = {}
        for i in range(L):
            δ = up[i + 1] - with_target[i + 1]
            gradients = {"W": δ.t() @ r[i], "b": δ.sum(0)}
            seen |= {f"grad_{n}{i}": v for n, v in gradients.items()}
            step = {n: momentum * speed.get((n, i), 0) + v for n, v in gradients.items()}
            speed |= {(n, i): v for n, v in step.items()}
            W[i], b[i] = (1 - decay) * W[i] - lr[i] * step["W"], b[i] - lr[i] * step["b"]
            if i and learn:
                V[i] = (1 - decay) * V[i] - lr[i] * step["W"].t()
        for k, product in grown.items():
            R[k - 1] = R[k - 1] + (lr_r or 0) * product
        for i in range(L):
            seen |= {f"state{i}": r[i + 1], f"burst{i}": up[i + 1], f"burst_target{i}": with_target[i + 1]}
        arrays |= {f"step{s}/{name}": t for name, t in {**seen, **named()}.items()}
    meta = {
        "rule": "burstprop",
        "layer_sizes": sizes,
        "activation": "sigmoid",
        "output_activation": "sigmoid",
        "lr": lr,
    }
    meta |= {"weight_decay": decay, "p_baseline": p, "learn_feedback": learn, "recurrent_input": bool(lr_r)}
    meta |= {"lr_recurrent": lr_r, **options}
    meta["gradient"] = "summed over samples; decay multiplies W, V directly (not times lr), not the biases"
    return save(path, meta, x, y, arrays, change)


@pytest.mark.parametrize("case", BURST_CASES)
def test_burstprop_replays(case, tmp_path):
    path = record_burstprop(tmp_path / "made.npz", *BURST_CASES[case])
    assert max(d.error for d in replay(path)) < 1e-9


BURST_CHANGES = [
    ({"activation": "relu"}, "activation"),
    ({"output_activation": "linear"}, "output_activation"),
    ({"gradient": "mean over samples"}, "gradient"),
    ({"optimizer": "adam"}, "optimizer"),
    ({"recurrent_input": False}, "recurrent_input"),
    ({"p_baseline": [0.2]}, "p_baseline"),
    ({"lr": [1.0]}, "learning_rates"),
    ({"noise": 0.1}, "noise"),
]


@pytest.mark.parametrize(("change", "said"), BURST_CHANGES, ids=str)
def test_another_form_of_burstprop_is_refused(change, said, tmp_path):
    path = record_burstprop(tmp_path / "made.npz", *BURST_CASES["recurrent"], change=change)
    with pytest.raises(UserError, match=said):
        replay(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("burstprop_3layer_learned_feedback", {"learn_feedback": False}),
        ("burstprop_3layer_learned_feedback", {"weight_decay": 0.04}),
        ("burstprop_3layer_learned_feedback", {"p_baseline": 0.21}),
        ("burstprop_3layer_fixed_feedback", {"learn_feedback": True}),
        ("burstprop_3layer_fixed_feedback", {"lr": [4.0, 3.0, 1.1]}),
        ("pepita_3layer_numpy_dropout", {"masks": ONCE}),
        ("pepita_2layer_dropout", {"masks": AGAIN}),
        ("pepita_2layer_dropout", {"activation": "tanh"}),
        ("pepita_conv", {"lr": 0.4}),
    ],
    ids=str,
)
def test_a_recording_that_says_another_option_than_it_had_differs(name, change, tmp_path):
    with np.load(GOLDEN_RULES / f"{name}.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "other.npz", **{**arrays, "meta": json.dumps(json.loads(str(arrays["meta"])) | change)})
    assert max(d.error for d in replay(tmp_path / "other.npz")) > 1e-6
