"""Oracle: trajectories of kinds that no published file beside them shows, made here from the papers' equations.

With torch's automatic differentiation and nothing of the package: what layer k receives from above is the gradient of
r_{k+1} · Q(V * r_k) by r_k, and what W learns the gradient of r_k · Q(W * r_{k−1}) by W.
"""

import json
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bioplausible.commands.verify.recording import Recording
from bioplausible.commands.verify.replay import replay

POOL = {"max": F.max_pool2d, "avg": F.avg_pool2d, None: lambda z, size: z}
F_OF_U = {
    "clip(u)": lambda u: u.clamp(0, 1),
    "clip(u/2)": lambda u: (u / 2).clamp(0, 1),
    "sigmoid(4u-2)": lambda u: torch.sigmoid(4 * u - 2),
    "linear": lambda u: u,
}
NETWORKS = {
    "pooled": (
        [1, 8, 8],
        [
            {"kind": "conv", "out_channels": 3, "kernel": 3, "stride": 1, "padding": 1, "pool": "max", "pool_size": 2},
            {"kind": "conv", "out_channels": 4, "kernel": 3, "stride": 1, "padding": 1, "pool": "avg", "pool_size": 2},
            {"kind": "dense", "out_features": 5},
        ],
    ),
    "mixed": (  # stride 2, an odd pool, even kernel without pool, two dense layers
        [2, 9, 9],
        [
            {"kind": "conv", "out_channels": 3, "kernel": 3, "stride": 2, "padding": 1, "pool": None, "pool_size": 2},
            {"kind": "conv", "out_channels": 4, "kernel": 3, "stride": 1, "padding": 1, "pool": "max", "pool_size": 2},
            {
                "kind": "conv",
                "out_channels": 5,
                "kernel": 2,
                "stride": 1,
                "padding": 0,
                "pool": None,
                "pool_size": None,
            },
            {"kind": "dense", "out_features": 6},
            {"kind": "dense", "out_features": 4},
        ],
    ),
}


class Published:
    """Equilibrium propagation and its relatives as Laborieux et al. 2021 and Scellier et al. 2023 write them."""

    def __init__(self, meta, seed):
        self.meta, self.layers = meta, meta["architecture"]
        self.g = torch.Generator().manual_seed(seed)
        self.L, self.readout = len(self.layers), "linear map" in meta.get("readout", "")
        self.top = self.L - self.readout
        r, self.W, self.b, self.V = self.uniform(1, *meta["input_shape"]), [], [], {}
        for i, layer in enumerate(self.layers):
            if layer["kind"] == "conv":
                shape = [layer["out_channels"], r.shape[1], layer["kernel"], layer["kernel"]]
            else:
                shape = [layer["out_features"], r[0].numel()]
            bound = 1.2 / np.sqrt(np.prod(shape[1:]))
            self.W.append((2 * self.uniform(*shape) - 1) * bound)
            self.b.append(self.uniform(shape[0]) / 2)
            if meta["rule"] == "ep_conv_vector_field" and 0 < i < self.top:
                self.V[i] = (2 * self.uniform(*shape) - 1) * bound
            r = self.pooled(i, self.W[i], r)
        self.velocity = {}

    def uniform(self, *shape):
        return torch.rand(*shape, generator=self.g, dtype=torch.float64)

    def pooled(self, i, W, r):
        """Q(W * r) into layer i + 1."""
        layer = self.layers[i]
        if layer["kind"] == "dense":
            return r.flatten(1) @ W.t()
        return POOL[layer["pool"]](F.conv2d(r, W, stride=layer["stride"], padding=layer["padding"]), layer["pool_size"])

    def drive(self, i, r):
        u = self.pooled(i, self.W[i], r)
        return u + self.b[i].view(-1, *[1] * (u.ndim - 2))

    def back(self, i, post, pre):
        """Wᵀ ⊛ Qᵀ post, or with V."""
        pre = pre.clone().requires_grad_()
        return torch.autograd.grad((post * self.pooled(i, self.V.get(i, self.W[i]), pre)).sum(), pre)[0]

    def product(self, i, W, post, pre):
        """⟨Qᵀ post ⋆ pre⟩, through W's winners."""
        W = W.clone().requires_grad_()
        return torch.autograd.grad((post * self.pooled(i, W, pre)).sum(), W)[0] / len(pre)

    def f(self, i):
        return F_OF_U[self.meta["activation" if i < self.L - 1 else "output_activation"]]

    def relax(self, x, start, steps, y=None, beta=0.0, held=None):
        r = [x, *start] if held is None else [x, *start[:-1], held]
        layers = list(range(self.top if held is None else self.top - 1))
        asynchronous = self.meta["update"].startswith("layers")
        for _ in range(steps):
            for at_once in (layers[::2], layers[1::2]) if asynchronous else (layers,):
                new = {}
                for i in at_once:
                    u = self.drive(i, r[i])
                    if i + 1 < self.top:
                        u = u + self.back(i + 1, r[i + 2], r[i + 1])
                    elif self.readout:
                        π = self.drive(self.L - 1, r[i + 1]).softmax(1)
                        u = u - beta * ((π - y) @ self.W[-1]).view_as(u) if beta else u
                    elif beta:
                        π = r[i + 1].softmax(1) if self.meta["loss"] == "cross entropy" else r[i + 1]
                        u = u - beta * (π - y)
                    new[i] = self.f(i)(u)
                for i, value in new.items():
                    r[i + 1] = value
        return r[1:]

    def descend(self, name, tensors, i, gradient, lr):
        gradient = gradient + self.meta.get("weight_decay", 0) * tensors[i]
        v = self.velocity[name, i] = self.meta.get("momentum", 0) * self.velocity.get((name, i), 0) + gradient
        tensors[i] = tensors[i] - lr * v

    def learn(self, x, free, plus, minus, s, targets):
        meta, lr = self.meta, self.meta["lr"]
        steps = []
        for i in range(self.top):
            free_pre, pre_plus, pre_minus = ([x, *r][i] for r in (free, plus, minus))

            def contrast(W, i=i, pre_plus=pre_plus, pre_minus=pre_minus):
                return self.product(i, W, plus[i], pre_plus) - self.product(i, W, minus[i], pre_minus)

            db = (plus[i] - minus[i]).flatten(2).sum(2) if plus[i].ndim > 2 else plus[i] - minus[i]
            steps.append(("b", self.b, i, -db.mean(0) / s, lr[i]))
            dW = contrast(self.W[i])
            if i in self.V and meta["same_update"]:
                dW = (dW + contrast(self.V[i])) / 2
                dV = dW
            elif meta["rule"] == "ep_conv_vector_field" and not meta["same_update"]:
                dW = self.product(i, self.W[i], plus[i] - minus[i], free_pre)
                if i in self.V:
                    dV = self.product(i, self.V[i], free[i], pre_plus) - self.product(i, self.V[i], free[i], pre_minus)
            steps.append(("W", self.W, i, -dW / s, lr[i]))
            if i in self.V:
                steps.append(("V", self.V, i, -dV / s, meta["lr_fb"][i - 1]))
        if self.readout:
            i = self.L - 1
            errors = [(self.drive(i, r[-1]).softmax(1) - y, r[-1]) for r, y in targets]
            dW = sum(self.product(i, self.W[i], e, r) for e, r in errors) / len(errors)
            steps += [
                ("W", self.W, i, dW, lr[i]),
                ("b", self.b, i, sum(e.mean(0) for e, _ in errors) / len(errors), lr[i]),
            ]
        for step in steps:
            self.descend(*step)

    def weights(self):
        named = {"W": dict(enumerate(self.W)), "b": dict(enumerate(self.b)), "Wfb": self.V}
        found = {f"{name}{i}": w.numpy() for name, of in named.items() for i, w in of.items()}
        if self.V:
            cosines = [F.cosine_similarity(self.W[i].flatten(), V.flatten(), dim=0) for i, V in self.V.items()]
            found["angles_deg"] = torch.stack(cosines).acos().rad2deg().numpy()
        return found

    def record(self, path, steps=3, n=4):
        meta = self.meta
        arrays = {f"init/{key}": value for key, value in self.weights().items()}
        x = self.uniform(steps, n, *meta["input_shape"])
        y = torch.randint(self.layers[-1]["out_features"], (steps, n), generator=self.g)
        rest = [torch.zeros_like(r) for r in self.silent(x[0])]
        for s in range(steps):
            target = F.one_hot(y[s], self.layers[-1]["out_features"]).double()
            states = self.batch(s, x[s], target, rest)
            arrays |= {f"step{s}/{key}": value.numpy() for key, value in states.items()}
            arrays |= {f"step{s}/{key}": value for key, value in self.weights().items()}
            if meta.get("warm_start"):
                rest = [states[f"second{i}"] for i in range(self.top)]
        np.savez(path, meta=json.dumps(meta), x=x.numpy(), y=y.numpy(), **arrays)

    def silent(self, x):
        r = [x]
        for i in range(self.top):
            r.append(self.drive(i, r[-1]))
        return r[1:]

    def batch(self, s, x, y, rest):
        meta = self.meta
        T1, T2 = meta["free_steps"], meta["nudged_steps"]
        free = self.relax(x, rest, T1)
        if "algorithm" in meta:
            ν, algorithm = meta["nudging"], meta["algorithm"]
            β = {"C": (-ν, ν), "P": (0, ν), "N": (-ν, 0)}[algorithm[0]]
            if algorithm.endswith("CpL"):
                first, second = (self.relax(x, free, T2, held=free[-1] - b * (free[-1] - y)) for b in β)
            else:
                first, second = (self.relax(x, free, T2, y, b) for b in β)
            phases = {"free": free, "first": first, "second": second}
            self.learn(x, free, second, first, β[1] - β[0], [])
            return {f"{name}{i}": r for name, rs in phases.items() for i, r in enumerate(rs)}
        β = meta["beta_per_step"][s]
        phases = {"free": free, "nudged": self.relax(x, free, T2, y, β)}
        minus, scale = free, β
        if meta["symmetric"]:
            minus = phases["antinudged"] = self.relax(x, free, T2, y, -β)
            scale = 2 * β
        found = {f"{name}{i}": r for name, rs in phases.items() for i, r in enumerate(rs)}
        if self.readout:
            found["logits_free"] = self.drive(self.L - 1, free[-1])
        nudged = [(r, y) for name, r in phases.items() if name != "free"]
        self.learn(x, free, phases["nudged"], minus, scale, nudged)
        return found


READOUT = {"loss": "cross entropy", "readout": "softmax of a linear map of the last state, outside the dynamics"}
SQUARED = {"loss": "half squared error summed over outputs", "readout": "last state"}
INSIDE = {"loss": "cross entropy", "readout": "last state", "output_activation": "linear"}
PLAIN = {
    "update": "all layers at once, r <- activation(dPhi/dr)",
    "free_steps": 12,
    "nudged_steps": 5,
    "beta_per_step": [0.5, -0.3, 0.4],
    "same_update": None,
    "lr_fb": None,
}
WARM = "states at the start of a free phase are the last second-phase states of the previous batch"
PHASES = {
    "C": "first: beta = -nudging, second: beta = +nudging, both from free",
    "P": "first: beta = 0, second: beta = +nudging, both from free",
    "N": "first: beta = -nudging, second: beta = 0, both from free",
}
ORDERS = {"sync": "all layers at once", "async": "layers 1, 3, 5 ... at once, then layers 2, 4 ... at once"}


def plain(f, loss, symmetric, network="pooled", rule="ep_conv", **more):
    layers = NETWORKS[network][1]
    meta = {"rule": rule, "activation": f, "output_activation": f, "symmetric": symmetric, **PLAIN, **loss, **more}
    if rule == "ep_conv_vector_field":
        feedback = len(layers) - (2 if loss is READOUT else 1)
        meta |= {"lr_fb": [0.25, 0.1, 0.2, 0.15][:feedback], "same_update": more.get("same_update", False)}
    return meta | {"lr": [0.3, 0.2, 0.15, 0.1, 0.05][: len(layers)], "network": network}


def algorithm(name, order, warm=True, network="pooled", **more):
    return {
        "rule": "coupled_learning_conv" if name.endswith("CpL") else "ep_conv",
        "algorithm": name,
        "activation": "clip(u)",
        "output_activation": "linear",
        "loss": "half squared error summed over outputs",
        "update": ORDERS[order],
        "warm_start": WARM if warm else None,
        "free_steps": 7,
        "nudged_steps": 4,
        "nudging": 0.3,
        "phases": PHASES[name[0]],
        "lr": [0.2, 0.15, 0.1, 0.1, 0.05][: len(NETWORKS[network][1])],
        "network": network,
        **more,
    }


MADE = {
    "readout_onesided_sigmoid": plain("sigmoid(4u-2)", READOUT, False),
    "readout_symmetric_half_mixed_decay": plain("clip(u/2)", READOUT, True, "mixed", momentum=0.5, weight_decay=0.02),
    "squared_onesided_half_mixed": plain("clip(u/2)", SQUARED, False, "mixed"),
    "squared_symmetric_sigmoid_momentum": plain("sigmoid(4u-2)", SQUARED, True, momentum=0.9, weight_decay=0.01),
    "inside_symmetric_mixed": plain("clip(u)", INSIDE, True, "mixed"),
    "vf_separate_symmetric_sigmoid": plain("sigmoid(4u-2)", SQUARED, True, rule="ep_conv_vector_field"),
    "vf_separate_onesided_half_readout": plain("clip(u/2)", READOUT, False, rule="ep_conv_vector_field"),
    "vf_separate_symmetric_half_mixed_decay": plain(
        "clip(u/2)", READOUT, True, "mixed", rule="ep_conv_vector_field", weight_decay=0.02
    ),
    "vf_same_onesided_half_mixed": plain(
        "clip(u/2)", READOUT, False, "mixed", rule="ep_conv_vector_field", same_update=True
    ),
    **{f"{name}_{order}": algorithm(name, order) for name in ("CEP", "PEP", "NEP") for order in ("sync", "async")},
    **{f"{name}_{order}": algorithm(name, order) for name in ("CCpL", "PCpL", "NCpL") for order in ("sync", "async")},
    "NEP_async_cold_mixed": algorithm("NEP", "async", warm=False, network="mixed"),
    "NCpL_async_mixed_momentum": algorithm("NCpL", "async", network="mixed", momentum=0.5, weight_decay=0.02),
}


def made(name, folder):
    meta = dict(MADE[name])
    shape, architecture = NETWORKS[meta.pop("network")]
    meta |= {"input_shape": shape, "architecture": architecture, "optimizer": "sgd", "name": name}
    meta |= {"steps": 3, "batch": 4, "dtype": "float64"}
    path = folder / f"{name}.npz"
    Published(meta, seed=51).record(path)  # with it many hidden units of every phase are neither 0 nor 1
    return path


@pytest.mark.parametrize("name", MADE)
def test_replay_agrees(name, tmp_path):
    recording = Recording(made(name, tmp_path))
    L = len(recording.meta["architecture"])
    hidden = [r for key, r in recording.arrays.items() if re.search(rf"(free|nudged|second)[0-{L - 2}]$", key)]
    assert all(((r > 0) & (r < 1)).mean() > 0.1 for r in hidden), "a recording of a silent network shows nothing"
    differences = replay(recording.path)
    assert max(d.error for d in differences) <= 1e-9
    assert {d.place.split("[")[0] for d in differences} >= {key for key in recording.arrays if key.startswith("step")}
