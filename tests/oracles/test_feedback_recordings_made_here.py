"""Oracle: trajectories of direct projections and of Kolen–Pollack learning that no published file beside them shows.

Made here from the equations with torch's automatic differentiation and nothing of the package.
"""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bioplausible.commands.verify.replay import replay
from bioplausible.errors import UserError

F_OF_U = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "none": lambda u: u}
BCE, CE = "binary cross entropy, mean over samples and outputs", "cross entropy, mean over samples"
MSE = "mean squared error over all outputs and samples"
LOSSES = {  # of the output after its activation
    BCE: lambda ŷ, y: F.binary_cross_entropy(ŷ, y),
    CE: lambda o, y: F.cross_entropy(o, y),
    MSE: lambda ŷ, y: F.mse_loss(ŷ, y),
}
CONVOLUTIONS = [
    {"kind": "conv", "out_channels": 3, "kernel": 3, "stride": 1, "padding": 1, "pool": "max", "pool_size": 2},
    {"kind": "conv", "out_channels": 2, "kernel": 3, "stride": 2, "padding": 1, "pool": None, "pool_size": 2},
    {"kind": "dense", "out_features": 6},
    {"kind": "dense", "out_features": 3},
]
CONVOLUTIONS[0]["order"] = "conv, tanh, pool (= conv, pool, tanh)"
CASES = {
    "DRTP, convolutions": ("DRTP", CONVOLUTIONS, "tanh", "sigmoid", BCE),
    "DFA, convolutions": ("DFA", CONVOLUTIONS, "tanh", "none", CE),
    "sDFA": ("sDFA", None, "relu", "sigmoid", BCE),
    "sDFA, squared error": ("sDFA", None, "sigmoid", "tanh", MSE),
    "DFA": ("DFA", None, "relu", "sigmoid", BCE),
}
RULES = {
    "DRTP": "direct_random_target_projection",
    "sDFA": "sign_direct_feedback_alignment",
    "DFA": "direct_feedback_alignment",
}
FEEDBACK = "Wdir{i}: classes x shape of layer i+1 after its activation, before pooling; replaces dC/dr there; NOT "
FEEDBACK += "divided by the batch size"


def save(path, meta, x, y, init, steps):
    arrays = {f"init/{key}": value.detach().numpy() for key, value in init.items()}
    for s, step in enumerate(steps):
        arrays |= {f"step{s}/{key}": value.detach().numpy().copy() for key, value in step.items()}
    said = {"batch": 4, "steps": 3, "dtype": "float64", "optimizer": "sgd", "source": "made here"}
    np.savez(path, meta=json.dumps({**meta, **said}), x=x.numpy(), y=y.numpy(), **arrays)
    return path


def record_projection(path, variant, layers, f, output_f, loss, lr=0.1):
    g = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    meta = {"rule": RULES[variant], "variant": variant, "activation": f, "output_activation": output_f}
    if layers is None:
        layers, shape = [{"kind": "dense", "out_features": d} for d in (6, 5, 3)], [9]
        meta["layer_sizes"] = [9, 6, 5, 3]
    else:
        shape = [2, 6, 6]
    meta |= {"input_shape": shape, "architecture": layers, "loss": loss, "lr": lr, "feedback": FEEDBACK}

    def transform(layer, W, b, r):
        if layer["kind"] == "dense":
            return F.linear(r.flatten(1), W, b)
        return F.conv2d(r, W, b, stride=layer["stride"], padding=layer["padding"])

    W, b, D, r = [], [], [], draw(1, *shape)
    for i, layer in enumerate(layers):
        conv = layer["kind"] == "conv"
        d, fan = (layer["out_channels"], [r.shape[1], 3, 3]) if conv else (layer["out_features"], [r[0].numel()])
        W.append(draw(d, *fan) / np.prod(fan) ** 0.5)
        b.append(draw(d) / 3)
        r = transform(layer, W[-1], b[-1], r)
        if i < len(layers) - 1:
            D.append(draw(layers[-1]["out_features"], *r.shape[1:]) / 3)
        r = F.max_pool2d(r, 2) if conv and layer["pool"] else r
    init = {f"{n}{i}": w.clone() for n, of in (("W", W), ("b", b), ("Wdir", D)) for i, w in enumerate(of)}
    x, y, steps = draw(3, 4, *shape), torch.randint(3, (3, 4), generator=g), []
    for s in range(3):
        target = F.one_hot(y[s], 3).double()
        leaves = [w.clone().requires_grad_() for w in [*W, *b]]
        r, before_pooling = x[s], []
        for i, layer in enumerate(layers):
            # detached: nothing goes down from layer to layer
            a = transform(layer, leaves[i], leaves[len(W) + i], r.detach())
            r = F_OF_U[f if i < len(layers) - 1 else output_f](a)
            before_pooling.append(r)
            r = F.max_pool2d(r, 2) if layer.get("pool") else r
        cost = LOSSES[loss](r, target)
        error = (r.softmax(1) if loss == CE else r).detach() - target
        signal = {"DRTP": target, "sDFA": error.sign(), "DFA": error}[variant]
        total = cost + sum((h * torch.tensordot(signal, d, 1)).sum() for h, d in zip(before_pooling, D, strict=False))
        gradients = torch.autograd.grad(total, leaves)
        for w, gradient in zip([*W, *b], gradients, strict=True):
            w -= lr * gradient
        shown = {f"W{i}": w for i, w in enumerate(W)} | {f"b{i}": w for i, w in enumerate(b)}
        shown |= {f"grad_{n}": v for n, v in zip(shown, gradients, strict=True)}
        steps.append({k: v.detach().clone() for k, v in {**shown, "loss": cost, "output": r}.items()})
    return save(path, meta, x, y, init, steps)


@pytest.mark.parametrize("case", CASES)
def test_direct_projections_replay(case, tmp_path):
    path = record_projection(tmp_path / "made.npz", *CASES[case])
    assert max(d.error for d in replay(path)) < 1e-9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"variant": "DFA"}, "variant"),
        ({"layer_sizes": [9, 6, 6, 3]}, "layer_sizes"),
        ({"layer_sizes": None}, "layer_sizes"),
        ({"output_activation": "none"}, "output_activation"),
        ({"lr": [0.1]}, "lr"),
        ({"feedback": "Wdir, divided by the batch size"}, "feedback"),
    ],
)
def test_another_form_of_direct_projection_is_refused(change, said, tmp_path):
    path = record_projection(tmp_path / "made.npz", *CASES["sDFA"])
    with np.load(path) as file:
        arrays = dict(file)
    meta = json.loads(str(arrays.pop("meta"))) | change
    np.savez(path, meta=json.dumps(meta), **arrays)
    with pytest.raises(UserError, match=said):
        replay(path)


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("λ", [1.0, 0.9])
def test_kolen_pollack_replays(λ, again, tmp_path):
    g, sizes, lr = torch.Generator().manual_seed(5), [6, 5, 4, 3], 1.5
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    W, b = [draw(p, q) / 2 for q, p in pairwise(sizes)], [draw(p) / 3 for p in sizes[1:]]
    V = [draw(q, p) / 2 for q, p in pairwise(sizes[1:])]
    named = lambda: {  # noqa: E731
        **{f"W{i}": w.clone() for i, w in enumerate(W)},
        **{f"b{i}": w.clone() for i, w in enumerate(b)},
        **{f"Wfb{i}": w.clone() for i, w in enumerate(V, 1)},
    }
    x, y, init, steps = torch.rand(3, 4, 6, generator=g).double(), torch.randint(3, (3, 4), generator=g), named(), []
    for s in range(3):
        r = [x[s]]
        for i in range(3):
            r.append((r[i] @ W[i].t() + b[i]).sigmoid())
        δ = r[3] - F.one_hot(y[s], 3)
        for i in (2, 1, 0):
            product, sent = δ.t() @ r[i] / 4, δ @ V[i - 1].t() if i else None
            W[i] = λ * W[i] - lr * product
            b[i] = b[i] - lr * δ.mean(0) / (4 if again else 1)
            if i:
                V[i - 1] = λ * V[i - 1] - lr * product.t()
                δ = sent * r[i] * (1 - r[i])
        angle = [
            torch.rad2deg(torch.acos(F.cosine_similarity(W[i].flatten(), V[i - 1].t().flatten(), 0))) for i in (1, 2)
        ]
        steps.append({**named(), **{f"state{i}": a for i, a in enumerate(r[1:])}, "angles_deg": torch.stack(angle)})
    words = "mean over samples" + (", then divided by the batch size again" if again else "")
    meta = {"rule": "kolen_pollack", "layer_sizes": sizes, "activation": "sigmoid", "output_activation": "sigmoid"}
    meta |= {"loss": "binary cross entropy, summed over outputs", "lr": lr, "weight_decay_factor": λ, "order": "learn"}
    meta |= {"lr_mirror": None, "noise": None, "bias_gradient": words}
    path = save(tmp_path / "made.npz", meta, x, y, init, steps)
    assert max(d.error for d in replay(path)) < 1e-9
