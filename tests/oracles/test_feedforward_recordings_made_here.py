"""Oracle: trajectories of feedforward rules and predictive coding that no published file beside them shows.

Made here from the equations with torch's automatic differentiation and nothing of the package.
"""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bioplausible.commands.verify.recording import Recording
from bioplausible.commands.verify.replay import replay

SHAPE = [2, 9, 9]
POOL = {"max": F.max_pool2d, "avg": F.avg_pool2d, None: lambda z, size: z}
F_OF_U = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "linear": lambda u: u}
LOSSES = {
    "cross entropy, mean over samples": lambda a, y: -(y * a.log_softmax(1)).sum() / len(a),
    "mean squared error over all outputs and samples": lambda a, y: (a - y).square().mean(),
    "half squared error summed over outputs and samples": lambda a, y: (a - y).square().sum() / 2,
    "half squared error summed over outputs, mean over samples": lambda a, y: (a - y).square().sum() / 2 / len(a),
}


def convolution(channels, kernel, stride, padding, pool, order=None):
    geometry = {"kernel": kernel, "stride": stride, "padding": padding, "pool": pool, "pool_size": 2}
    return {"kind": "conv", "out_channels": channels, **geometry, **({} if order is None else {"order": order})}


class Layers:
    """Layers W, b whose maps differentiate themselves."""

    def __init__(self, meta, seed):
        self.meta, self.layers = meta, meta["architecture"]
        self.g = torch.Generator().manual_seed(seed)
        self.W, self.b = [], []
        r = self.draw(1, *SHAPE)
        for i, layer in enumerate(self.layers):
            if layer["kind"] == "conv":
                shape = [layer["out_channels"], r.shape[1], layer["kernel"], layer["kernel"]]
            else:
                shape = [layer["out_features"], r[0].numel()]
            self.W.append(self.draw(*shape) / math.prod(shape[1:]) ** 0.5)
            self.b.append(self.draw(shape[0]) / 3)
            r = self.pooled(i, r)
        self.x = self.draw(3, 4, *SHAPE)
        self.y = torch.randint(self.layers[-1]["out_features"], (3, 4), generator=self.g)

    def draw(self, *shape):
        return torch.randn(*shape, generator=self.g, dtype=torch.float64)

    def transform(self, i, W, r):
        layer = self.layers[i]
        if layer["kind"] == "dense":
            return r.flatten(1) @ W.t()
        return F.conv2d(r, W, stride=layer["stride"], padding=layer["padding"])

    def pooled(self, i, r, W=None):
        """Q(W * r + b)."""
        layer = self.layers[i]
        z = self.transform(i, self.W[i] if W is None else W, r)
        z = z + self.b[i].view(-1, *[1] * (z.ndim - 2))
        return z if layer["kind"] == "dense" else POOL[layer["pool"]](z, layer["pool_size"])

    def f(self, i):
        return F_OF_U[self.meta["activation"] if i < len(self.layers) - 1 else self.meta["output_activation"]]

    def descend(self, gradients):
        for name, of in (("W", self.W), ("b", self.b)):
            of[:] = [w - self.meta["lr"] * gradients[f"grad_{name}{i}"] for i, w in enumerate(of)]

    def weights(self):
        return {f"{n}{i}": w.numpy() for n, of in (("W", self.W), ("b", self.b)) for i, w in enumerate(of)}

    def save(self, path, init, steps):
        arrays = {f"init/{key}": value for key, value in init.items()}
        arrays |= {f"step{s}/{key}": np.asarray(v) for s, step in enumerate(steps) for key, v in step.items()}
        np.savez(path, meta=json.dumps(self.meta), x=self.x.numpy(), y=self.y.numpy(), **arrays)


def gradient(function, at, cotangent):
    at = at.clone().requires_grad_()
    return torch.autograd.grad(function(at), at, cotangent)[0]


class Feedforward(Layers):
    """Feedback alignment, sign symmetry and direct feedback alignment: r_k = f(Q(W_k * r_{k−1} + b_k))."""

    def feedback(self, i, stored):
        variant, W = self.meta["variant"], self.W[i]
        if variant == "usf":
            return self.meta["scale"][i] * W.sign()
        return stored[i].abs() * W.sign() if variant in ("frsf", "brsf") else stored[i]

    def activity(self, i, z):
        """f(Q(z + b)) of z = W * r."""
        z, layer = z + self.b[i].view(-1, *[1] * (z.ndim - 2)), self.layers[i]
        return self.f(i)(z if layer["kind"] == "dense" else POOL[layer["pool"]](z, layer["pool_size"]))

    def gradients(self, r, g, used):
        """What W and b descend, with the output's error g and the feedback weights in use."""
        found, error = {}, g
        for i in reversed(range(len(self.layers))):
            δ = gradient(lambda z, i=i: self.activity(i, z), self.transform(i, self.W[i], r[i]), g)  # before pooling
            found[f"grad_W{i}"] = gradient(lambda W, i=i: self.transform(i, W, r[i]), self.W[i], δ)
            found[f"grad_b{i}"] = δ.transpose(0, 1).flatten(1).sum(1)
            if i > 0:
                spread = error.view(*error.shape, *[1] * (δ.ndim - 2)).expand(-1, -1, *δ.shape[2:])
                sent = spread if self.meta["variant"] == "dfa" else δ
                g = gradient(lambda r, i=i: self.transform(i, used[i], r), r[i], sent)
        return found

    def record(self, path):
        variant, layers = self.meta["variant"], range(len(self.layers))
        classes = self.layers[-1]["out_features"]
        shapes = {i: [classes, *self.W[i].shape[1:]] if variant == "dfa" else self.W[i].shape for i in layers[1:]}
        stored = {i: self.draw(*shape) for i, shape in shapes.items()}
        if variant == "frsf":
            stored = {i: w.abs() for i, w in stored.items()}
        init = self.weights()
        if variant in ("fa", "frsf", "dfa"):
            init |= {f"Wfa{i}": w.numpy() for i, w in stored.items()}
        steps = []
        for s in range(3):
            if variant == "brsf":
                stored = {i: self.draw(*shape) for i, shape in shapes.items()}
            used = {i: self.feedback(i, stored) for i in layers[1:]}
            r = [self.x[s]]
            for i in layers:
                r.append(self.activity(i, self.transform(i, self.W[i], r[i])))
            output = r[-1].clone().requires_grad_()
            loss = LOSSES[self.meta["loss"]](output, F.one_hot(self.y[s], classes).double())
            found = self.gradients(r, torch.autograd.grad(loss, output)[0], used)
            self.descend(found)
            shown = {f"Wfa{i}": w for i, w in used.items()} if variant in ("usf", "brsf") else {}
            steps.append({**self.weights(), **found, **shown, "logits": r[-1], "loss": loss.detach()})
        self.save(path, init, steps)


class PredictiveCoding(Layers):
    """Rosenbaum 2022, errors FixedPred or Strict, v_k = Q(W_k * f(v_{k−1}) + b_k)."""

    def rate(self, i, v):
        """f(v_i), f(v_0) := x."""
        return F_OF_U[self.meta["activation"]](v) if i > 0 else v

    def prediction(self, i, v):
        """m_{i+1}(v_i)."""
        return self.pooled(i, self.rate(i, v))

    def forward(self, x):
        v = [x]
        for i in range(len(self.layers)):
            v.append(self.prediction(i, v[-1]))
        return v

    def errors(self, v, predictions, y):
        """ε_1 … ε_L by layer, from 1 on: prediction − value, at the output ∂C/∂prediction."""
        output = predictions[-1].clone().requires_grad_()
        (ε_L,) = torch.autograd.grad(LOSSES[self.meta["loss"]](output, y), output)
        return [None, *(m - a for m, a in zip(predictions[:-1], v[1:-1], strict=True)), ε_L]

    def gradients(self, pre, ε):
        found = {}
        for i in range(len(self.layers)):
            found[f"grad_W{i}"] = gradient(lambda W, i=i: self.pooled(i, self.rate(i, pre[i]), W), self.W[i], ε[i + 1])
            found[f"grad_b{i}"] = ε[i + 1].transpose(0, 1).flatten(1).sum(1)
        return found

    def record(self, path):
        meta, L = self.meta, len(self.layers)
        fixed = meta["error_type"] == "FixedPred"
        init, steps = self.weights(), []
        for s in range(3):
            y = F.one_hot(self.y[s], self.layers[-1]["out_features"]).double()
            μ = self.forward(self.x[s])
            v = list(μ)
            for _ in range(meta["inference_steps"]):
                ε, at = self.errors(v, self.predictions(v, μ), y), μ if fixed else v
                v = [v[0], *(self.moved(k, v, at, ε) for k in range(1, L)), v[L]]
            if meta["stale"] is False:
                ε = self.errors(v, self.predictions(v, μ), y)
            found = self.gradients(μ if fixed else v, ε)
            self.descend(found)
            states = {f"state{i}": v[i + 1] for i in range(L if fixed else L - 1)}
            shown = {f"{name}{i}": of[i + 1] for name, of in (("error", ε), ("feedforward", μ)) for i in range(L)}
            last = {"loss": LOSSES[meta["loss"]](μ[-1], y), "logits_after": self.forward(self.x[s])[-1]}
            steps.append({**self.weights(), **found, **states, **shown, **last})
        self.save(path, init, steps)

    def predictions(self, v, μ):
        L = len(self.layers)
        return μ[1:] if self.meta["error_type"] == "FixedPred" else [self.prediction(i, v[i]) for i in range(L)]

    def moved(self, k, v, at, ε):
        """v_k + η ( ε_k − J_{k+1}ᵀ ε_{k+1} )."""
        return v[k] + self.meta["eta"] * (ε[k] - gradient(lambda a: self.prediction(k, a), at[k], ε[k + 1]))


STRIDED = [
    convolution(3, 3, 2, 1, None, "conv, f"),
    convolution(4, 3, 1, 1, "max", "conv, f, pool (= conv, pool, f)"),
    convolution(5, 2, 1, 0, None),
    {"kind": "dense", "out_features": 6},
    {"kind": "dense", "out_features": 3},
]
POOLED = [
    convolution(3, 3, 1, 1, "avg", "conv, pool, f"),
    convolution(4, 3, 1, 1, "max"),
    {"kind": "dense", "out_features": 4},
]


def fans(architecture, of):
    """c of each layer from its fans, as published."""
    channels, side, scale = SHAPE[0], SHAPE[1], []
    for layer in architecture:
        if layer["kind"] == "conv":
            area = layer["kernel"] ** 2
            fan_in, fan_out = channels * area, layer["out_channels"] * area
            side = (side + 2 * layer["padding"] - layer["kernel"]) // layer["stride"] + 1
            side, channels = side // 2 if layer["pool"] else side, layer["out_channels"]
        else:
            fan_in, fan_out = channels * side**2, layer["out_features"]
            channels, side = fan_out, 1
        scale.append(math.sqrt(2 / (fan_in + fan_out)) if of == "xavier" else 1 / math.sqrt(3 * fan_in))
    return scale


FEEDBACK = {
    "fa": ("feedback_alignment_conv", "Wfa replaces W on the way down"),
    "usf": ("sign_symmetry_conv", "Wfa = scale * sign(W), recomputed at every forward pass"),
    "brsf": ("sign_symmetry_conv", "Wfa = |fresh Kaiming draw| * sign(W), at every forward pass"),
    "frsf": ("sign_symmetry_conv", "init/Wfa = |M|; on the way down M * sign(W now)"),
    "dfa": (
        "direct_feedback_alignment_conv",
        "Wfa maps the output error (n x classes) to the layer's INPUT; convolutional: constant over output positions,"
        " then transposed convolution",
    ),
}


def feedforward(variant, f, loss, architecture, init):
    rule, feedback = FEEDBACK[variant]
    return Feedforward, {
        "rule": rule,
        "variant": variant,
        "activation": f,
        "output_activation": "linear",
        "loss": loss,
        "feedback": feedback,
        "init": init,
        "scale": fans(architecture, init),
        "architecture": architecture,
        "lr": 0.1,
    }


def coding(errors, f, loss, architecture, steps, eta, stale):
    return PredictiveCoding, {
        "rule": "pc_conv",
        "error_type": errors,
        "form": "values",
        "node": "v_k = pool(W f(v) + b), f(v_0) = x: before the activation",
        "activation": f,
        "output_activation": "linear",
        "loss": loss,
        "errors": "prediction - value (output: dLoss/dprediction)",
        "eta": eta,
        "inference_steps": steps,
        "stale": stale,
        "note": None,
        "architecture": architecture,
        "lr": 0.1,
    }


CROSS_ENTROPY, MEAN_SQUARED, SUMMED, MEAN_OF_SUM = LOSSES
MADE = {
    "fa_tanh_strided": feedforward("fa", "tanh", MEAN_SQUARED, STRIDED, "xavier"),
    "usf_kaiming_tanh": feedforward("usf", "tanh", CROSS_ENTROPY, POOLED, "kaiming"),
    "usf_xavier_strided": feedforward("usf", "relu", MEAN_OF_SUM, STRIDED, "xavier"),
    "brsf_kaiming_strided": feedforward("brsf", "tanh", SUMMED, STRIDED, "kaiming"),
    "frsf_sigmoid_strided": feedforward("frsf", "sigmoid", MEAN_SQUARED, STRIDED, "kaiming"),
    "dfa_tanh_strided": feedforward("dfa", "tanh", MEAN_SQUARED, STRIDED, "xavier"),
    "dfa_relu_pooled": feedforward("dfa", "relu", MEAN_OF_SUM, POOLED, "kaiming"),
    "fixed_full_strided": coding("FixedPred", "tanh", CROSS_ENTROPY, STRIDED, 5, 1.0, None),
    "fixed_partial_stale": coding("FixedPred", "tanh", CROSS_ENTROPY, POOLED, 2, 0.3, True),
    "fixed_partial_unsaid": coding("FixedPred", "relu", MEAN_SQUARED, STRIDED, 3, 0.3, None),
    "fixed_partial_fresh": coding("FixedPred", "sigmoid", SUMMED, STRIDED, 4, 0.3, False),
    "strict_stale_strided": coding("Strict", "tanh", SUMMED, STRIDED, 6, 0.1, True),
    "strict_fresh_pooled": coding("Strict", "relu", SUMMED, POOLED, 6, 0.1, False),
}


@pytest.mark.parametrize("name", MADE)
def test_replay_agrees(name, tmp_path):
    maker, meta = MADE[name]
    path = tmp_path / f"{name}.npz"
    repeated = {"input_shape": SHAPE, "optimizer": "sgd", "steps": 3, "batch": 4, "dtype": "float64"}
    maker({**meta, **repeated}, seed=3).record(path)
    differences = replay(path)
    recorded = {key for key in Recording(path).arrays if key.startswith("step")}
    assert {d.place.split("[")[0] for d in differences} == recorded
    assert max(d.error for d in differences) <= 1e-9
