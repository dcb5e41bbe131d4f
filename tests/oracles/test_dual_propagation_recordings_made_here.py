"""Oracle: trajectories of dual propagation that no published file beside them shows.

Made here from the equations, with torch's automatic differentiation for the adjoints and nothing of the package.
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

F_OF_U = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "linear": lambda u: u}
CE, SE = "cross entropy, summed over samples", "squared error (no half), summed"
CONVOLUTIONS = [
    {"kind": "conv", "out_channels": 3, "kernel": 3, "stride": 1, "padding": 1, "pool": "max", "pool_size": 2},
    {"kind": "conv", "out_channels": 4, "kernel": 3, "stride": 1, "padding": 1, "pool": "max", "pool_size": 2},
    {"kind": "conv", "out_channels": 5, "kernel": 2, "stride": 1, "padding": 0, "pool": "avg", "pool_size": 2},
    {"kind": "dense", "out_features": 4},
]
SEQUENCES = {
    "fwK": lambda L, K: list(range(1, L + 1)) * K,
    "bwK": lambda L, K: list(range(L, 0, -1)),
    "fwbwK": lambda L, K: (
        [*range(L, 1, -1), *[*range(1, L), *range(L, 0, -1)] * (K - 1), 1]  # L … 2, (1 … L−1, L … 1)^(K−1), 1
    ),
}
CASES = {
    "Lagrangian, backward, convolutions": ("lagrangian", "bwK", 7, CONVOLUTIONS, "relu", CE, 1.0, 0.5),
    "Lagrangian, forward, convolutions": ("lagrangian", "fwK", 5, CONVOLUTIONS, "relu", SE, 0.5, 0.1),
    "Lagrangian, both ways, convolutions": ("lagrangian", "fwbwK", 3, CONVOLUTIONS, "tanh", CE, 0.3, 0.5),
    "RAOVR, both ways, convolutions": ("raovr", "fwbwK", 2, CONVOLUTIONS, "relu", CE, 0.5, 0.2),
    "Lagrangian, one sweep both ways": ("lagrangian", "fwbwK", 1, None, "sigmoid", SE, 0.7, 0.4),
    "Lagrangian, forward": ("lagrangian", "fwK", 2, None, "tanh", CE, 0.0, 0.6),
    "RAOVR, forward, squared error": ("raovr", "fwK", 4, None, "tanh", SE, 0.2, 0.1),
    "RAOVR, backward": ("raovr", "bwK", 1, None, "linear", CE, 1.0, 0.3),
}


def transform(layer, W, r):
    """Returns Q(W * r)."""
    if layer is None or layer["kind"] == "dense":
        return r.flatten(1) @ W.flatten(1).t()
    a = F.conv2d(r, W, stride=layer["stride"], padding=layer["padding"])
    return {"max": F.max_pool2d, "avg": F.avg_pool2d}[layer["pool"]](a, 2)


def record(path, form, sequence, passes, layers, f_name, loss, alpha, beta, lr=0.3, change=()):
    g = torch.Generator().manual_seed(4)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    f, sizes = F_OF_U[f_name], [6, 7, 6, 5, 4]
    shape, kinds = (6, [None] * 4) if layers is None else ([2, 12, 12], layers)
    W, r = [], draw(1, *np.atleast_1d(shape))
    for layer, (p, q) in zip(kinds, pairwise(sizes), strict=True):
        if layers is None:
            W.append(draw(q, p) / p**0.5)
        elif layer["kind"] == "conv":
            W.append(draw(layer["out_channels"], r.shape[1], layer["kernel"], layer["kernel"]) / 3)
        else:
            W.append(draw(layer["out_features"], r[0].numel()) / 2)
        r = transform(layer, W[-1], r)
    L, b = len(W), [draw(len(w)) / 3 for w in W]
    x, y = draw(3, 4, *np.atleast_1d(shape)), torch.randint(4, (3, 4), generator=g)
    arrays = {f"init/{n}{i}": w.numpy().copy() for n, of in (("W", W), ("b", b)) for i, w in enumerate(of)}

    def drive(k, r):
        a = transform(kinds[k - 1], W[k - 1], r[k - 1])
        return a + b[k - 1].view(-1, *[1] * (a.ndim - 2))

    def gradient(o, target):
        return o.softmax(1) - target if loss == CE else 2 * (o - target)

    for s in range(3):
        target, r = F.one_hot(y[s], 4).double(), [x[s]]
        for k in range(1, L + 1):
            a = drive(k, r)
            r.append(f(a) if k < L else a)
        plus, minus, at_start = [*r], [*r], gradient(r[L], target)
        plus_share, minus_share = (1 - alpha, alpha) if form == "lagrangian" else (alpha, 1 - alpha)
        mean = lambda k: alpha * plus[k] + (1 - alpha) * minus[k]  # noqa: B023, E731
        for k in SEQUENCES[sequence](L, passes):
            a = drive(k, [mean(j) for j in range(L + 1)])
            if k == L:
                nudge = at_start if form == "lagrangian" else gradient(a, target)
                plus[L], minus[L] = a - plus_share * beta * nudge, a + minus_share * beta * nudge
                continue
            at = plus[k].clone().requires_grad_()  # the winners at s⁺ before the visit
            (φ,) = torch.autograd.grad(transform(kinds[k], W[k], at), at, plus[k + 1] - minus[k + 1])
            plus[k], minus[k] = f(a + plus_share * φ), f(a - minus_share * φ)
        means, seen = [mean(k) for k in range(L + 1)], {}
        for i in range(L):
            pull, leaf = plus[i + 1] - minus[i + 1], W[i].clone().requires_grad_()
            (product,) = torch.autograd.grad(transform(kinds[i], leaf, means[i]), leaf, pull)
            seen[f"grad_W{i}"] = -product / (4 * beta)
            seen[f"grad_b{i}"] = -pull.flatten(2).sum(2).mean(0) / beta if pull.ndim > 2 else -pull.mean(0) / beta
        for i in range(L):
            W[i], b[i] = W[i] - lr * seen[f"grad_W{i}"], b[i] - lr * seen[f"grad_b{i}"]
        for n, of in (("feedforward", r[1:]), ("plus", plus[1:]), ("minus", minus[1:]), ("W", W), ("b", b)):
            seen |= {f"{n}{i}": t for i, t in enumerate(of)}
        arrays |= {f"step{s}/{name}": t.numpy().copy() for name, t in seen.items()}
    meta = {"rule": "dual_propagation", "variant": form, "source": "made here", "activation": f_name}
    meta |= {"layer_sizes": sizes if layers is None else None, "architecture": layers}
    meta |= {"input_shape": None if layers is None else shape, "output_activation": "linear", "loss": loss}
    meta |= {"alpha": alpha, "beta": beta, "inference_sequence": sequence, "passes": passes, "lr": lr}
    meta |= {"optimizer": "sgd", "order": None if layers is None else "conv, pool, activation"}
    meta |= {
        "gradient": "mean over samples, divided by beta",
        "batch": 4,
        "steps": 3,
        "dtype": "float64",
        **dict(change),
    }
    np.savez(path, meta=json.dumps(meta), x=x.numpy(), y=y.numpy(), **arrays)
    return path


@pytest.mark.parametrize("case", CASES)
def test_dual_propagation_replays(case, tmp_path):
    path = record(tmp_path / "made.npz", *CASES[case])
    assert max(d.error for d in replay(path)) < 1e-9


CHANGES = [
    ({"variant": "adversarial"}, "variant"),
    ({"output_activation": "softmax"}, "output_activation"),
    ({"inference_sequence": "bw"}, "inference_sequence"),
    ({"order": "conv, activation, pool"}, "order"),
    ({"gradient": "mean over samples"}, "gradient"),
    ({"loss": "half squared error summed over outputs"}, "loss"),
    ({"passes": 2.5}, "sweeps"),
    ({"alpha": [0.5]}, "alpha"),
    ({"beta": 0.0}, "beta"),
    ({"lr": [0.3]}, "lr"),
    ({"states": "warm"}, "states"),
    ({"input_shape": [7], "layer_sizes": [6, 7, 6, 5, 4]}, "input_shape"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES, ids=str)
def test_another_form_of_dual_propagation_is_refused(change, said, tmp_path):
    case = CASES["Lagrangian, forward" if "input_shape" in change else "Lagrangian, forward, convolutions"]
    path = record(tmp_path / "made.npz", *case, change=change)
    with pytest.raises(UserError, match=said):
        replay(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("dualprop_lagrangian_4layer_relu_alpha1_fwbw", {"alpha": 0.0}),
        ("dualprop_lagrangian_4layer_relu_alpha1_fwbw", {"beta": 0.11}),
        ("dualprop_lagrangian_4layer_relu_alpha1_fwbw", {"inference_sequence": "fwK", "passes": 3}),
        ("dualprop_lagrangian_4layer_relu_alpha1_fwbw", {"variant": "raovr"}),
        ("dualprop_lagrangian_3layer_relu_alpha_half", {"passes": 2}),
        ("dualprop_lagrangian_3layer_relu_alpha_half", {"inference_sequence": "bwK"}),
        ("dualprop_lagrangian_3layer_relu_alpha_half", {"loss": SE}),
        ("dualprop_raovr_3layer_relu_alpha_half", {"variant": "lagrangian"}),
        ("dualprop_raovr_3layer_relu_alpha_half", {"lr": 0.31}),
    ],
    ids=str,
)
def test_a_recording_that_says_another_option_than_it_had_differs(name, change, tmp_path):
    with np.load(GOLDEN_RULES / f"{name}.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "other.npz", **{**arrays, "meta": json.dumps(json.loads(str(arrays["meta"])) | change)})
    assert max(d.error for d in replay(tmp_path / "other.npz")) > 1e-6
