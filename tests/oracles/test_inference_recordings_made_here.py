"""Oracle: recordings of predictive coding's further forms, made here in NumPy of their formulas."""

import json

import numpy as np
import pytest

from bioplausible.__main__ import main
from bioplausible.commands.verify.replay import replay
from tests.helpers import GOLDEN_RULES

F = {
    "tanh": (np.tanh, lambda v: 1 - np.tanh(v) ** 2),
    "relu": (lambda v: np.maximum(v, 0), lambda v: (v > 0).astype(float)),
    "sigmoid": (lambda v: 1 / (1 + np.exp(-v)), lambda v: np.exp(-v) / (1 + np.exp(-v)) ** 2),
}


def softmax(u):
    e = np.exp(u - u.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


class Made:
    """A net in NumPy, v_k = a_k W_k f(v_{k−1}) + b_k (+ v_{k−1}), and the arrays of a recording of its steps."""

    def __init__(self, meta, batch=4, steps=3, seed=0):
        self.meta, draw = {**meta, "batch": batch, "steps": steps, "dtype": "float64"}, np.random.default_rng(seed)
        self.d = meta["layer_sizes"]
        self.L, self.n = len(self.d) - 1, batch
        self.f, self.df = F[meta["activation"]]
        self.cross_entropy = meta["loss"].startswith("cross")
        mu, self.skip = meta.get("parameterisation") == "mupc", meta.get("skip", False)
        N = self.d[1]
        hidden = 1 / np.sqrt(N * self.L) if self.skip else 1 / np.sqrt(N)
        self.a = [1 / np.sqrt(self.d[0]), *[hidden] * (self.L - 2), 1 / (N * (meta.get("gamma") or 1))]
        self.a = self.a if mu else [1.0] * self.L
        scale = 1.0 if mu else 0.6
        self.W = [draw.normal(size=(self.d[k + 1], self.d[k])) * scale for k in range(self.L)]
        self.b = [draw.normal(size=d) * 0.1 for d in self.d[1:]] if meta.get("bias", True) else None
        self.x = draw.normal(size=(steps, batch, self.d[0]))
        self.y = draw.integers(self.d[-1], size=(steps, batch))
        self.arrays = {"x": self.x, "y": self.y}
        self.note_weights("init")

    def note_weights(self, when):
        self.arrays |= {f"{when}/W{i}": W.copy() for i, W in enumerate(self.W)}
        self.arrays |= {f"{when}/b{i}": b.copy() for i, b in enumerate(self.b or [])}

    def is_residual(self, k):
        return self.skip and 1 < k < self.L

    def rates(self, v):
        return [v[0], *map(self.f, v[1:])]

    def predicted(self, k, v):
        drive = self.a[k - 1] * self.rates(v)[k - 1] @ self.W[k - 1].T
        drive = drive + self.b[k - 1] if self.b else drive
        return drive + v[k - 1] if self.is_residual(k) else drive

    def feedforward(self, x, e=None):
        v = [x]
        for k in range(1, self.L + 1):
            v.append(self.predicted(k, v) + (0 if e is None or k == self.L else e[k]))
        return v

    def back(self, k, e, v):
        """f′(v_k) ⊙ a W_{k+1}ᵀ e_{k+1} (+ e_{k+1})."""
        sent = self.a[k] * e[k + 1] @ self.W[k] * self.df(v[k])
        return sent + e[k + 1] if self.is_residual(k + 1) else sent

    def output_error(self, o, y):
        return y - (softmax(o) if self.cross_entropy else o)

    def cost(self, o, y):
        return -(y * np.log(softmax(o))).sum() if self.cross_entropy else ((y - o) ** 2).sum() / 2

    def learn(self, e, v, rate):
        f_v = self.rates(v)
        for k in range(1, self.L + 1):
            self.W[k - 1] = self.W[k - 1] + rate * self.a[k - 1] * e[k].T @ f_v[k - 1]
            if self.b:
                self.b[k - 1] = self.b[k - 1] + rate * e[k].sum(0)

    def errors(self, v, y):
        e = [None, *(v[k] - self.predicted(k, v) for k in range(1, self.L))]
        return [*e, self.output_error(self.predicted(self.L, v), y)]

    def energy(self, e, o, y):
        return sum((a**2).sum() for a in e[1 : self.L]) / 2 + self.cost(o, y)

    def record(self, step):
        y = np.eye(self.d[-1])[self.y[step]]
        found = (self.of_errors if self.meta["rule"].startswith("error") else self.of_values)(self.x[step], y)
        self.arrays |= {f"step{step}/{key}": value for key, value in found.items()}
        self.note_weights(f"step{step}")

    def of_values(self, x, y):
        """Of Song's library, where sums over samples are descended, or of jpc, where means are."""
        m, mean = self.meta, self.n if "parameterisation" in self.meta else 1
        v, energies, η, T = self.feedforward(x), [], m["eta"], m["inference_steps"]
        found = {f"feedforward{k - 1}": v[k] for k in range(1, self.L + 1)} if mean > 1 else {}
        for t in range(T):
            e = self.errors(v, y)
            energies.append(self.energy(e, self.predicted(self.L, v), y) / mean)
            moved = [v[k] + η / mean * (self.back(k, e, v) - e[k]) for k in range(1, self.L)]
            if mean == 1 and (m["update_weights_at"] == "all" or t == T - 1):
                self.learn(e, v, m["lr"])
            v = [x, *moved, v[-1]]
            if t and not energies[t] < energies[t - 1]:
                η *= m.get("eta_discount", 1.0)
        self.halved = η < m["eta"]
        if mean > 1:
            self.learn(self.errors(v, y), v, m["lr"] / self.n)
        return {**found, **{f"state{k - 1}": v[k] for k in range(1, self.L)}, "energy": np.array(energies)}

    def of_errors(self, x, y):
        """Of jpc, whose output error moves unpunished."""
        m, e = self.meta, [np.zeros((self.n, d)) for d in self.d]
        energies, η = [], m["eta"] / self.n

        def passes():
            v = self.feedforward(x, e)
            o = v[self.L] - e[self.L]
            δ = [None] * self.L + [self.output_error(o, y)]
            for k in range(self.L - 1, 0, -1):
                δ[k] = self.back(k, δ, v)
            return v, o, δ

        for _ in range(m["inference_steps"]):
            _, o, δ = passes()
            energies.append(self.energy(e, o, y) / self.n)
            e = [e[0], *(e[k] + η * (δ[k] - e[k]) for k in range(1, self.L)), e[self.L] - η * δ[self.L]]
        v, _, δ = passes()
        self.learn(δ, v, m["lr"] / self.n)
        return {**{f"error{k - 1}": e[k] for k in range(1, self.L + 1)}, "energy": np.array(energies)}


def meta_of(stem):
    with np.load(GOLDEN_RULES / f"{stem}.npz") as file:
        return json.loads(str(file["meta"]))


SONG, MU, EPC = map(meta_of, ("ipc_3layer_tanh", "mupc_5layer_tanh_skips", "epc_4layer_tanh"))
LAST = meta_of("pc_3layer_tanh_update_last")
CROSS_ENTROPY = {"loss": "cross entropy"}
CASES = {
    "incremental": {**SONG},
    "incremental, sigmoid, discount": {**SONG, "activation": "sigmoid", "eta": 2.2, "eta_discount": 0.5},
    "incremental, deep, relu": {**SONG, "activation": "relu", "layer_sizes": [5, 8, 6, 7, 3], "inference_steps": 9},
    "incremental, cross entropy": {**SONG, "loss": "cross entropy, summed over samples"},
    "incremental, one step": {**SONG, "inference_steps": 1},
    "incremental, two steps": {**SONG, "inference_steps": 2, "eta_discount": 0.5},
    "last": {**LAST},
    "last, discount": {**LAST, "eta": 1.4, "eta_discount": 0.7, "inference_steps": 8},
    "mupc": {**MU},
    "mupc, no skips, cross entropy": {
        **MU,
        **CROSS_ENTROPY,
        "layer_sizes": [6, 5, 5, 5, 4],
        "activation": "relu",
        "skip": False,
    },
    "mupc, one hidden layer": {**MU, "layer_sizes": [6, 5, 4]},
    "mupc, gamma": {**MU, "gamma": 3.0, "lr": 9.0},
    "standard, skips": {**MU, "parameterisation": "sp", "eta": 0.4, "lr": 0.1},
    "standard, biases": {**MU, "parameterisation": "sp", "eta": 0.4, "lr": 0.1, "bias": True, "skip": False},
    "epc": {**EPC},
    "epc, relu, cross entropy": {**EPC, **CROSS_ENTROPY, "activation": "relu"},
    "epc, scaled, skips": {**EPC, "parameterisation": "mupc", "skip": True, "eta": 1.0, "lr": 2.0},
}


def made(case, **options):
    recording = Made({**CASES[case], **options})
    halved = False
    for step in range(3):
        recording.record(step)
        halved |= getattr(recording, "halved", False)
    assert halved == ("discount" in case)
    return recording


@pytest.mark.parametrize("case", CASES)
def test_a_recording_made_of_the_formulas_is_replayed(case, tmp_path):
    recording = made(case)
    np.savez(tmp_path / "made.npz", meta=json.dumps(recording.meta), **recording.arrays)
    differences = replay(tmp_path / "made.npz")
    assert {d.place.split("[")[0] for d in differences} == {key for key in recording.arrays if key.startswith("step")}
    assert max(d.error for d in differences) <= 1e-10


@pytest.mark.parametrize("case", ["incremental", "mupc", "epc", "last"])
def test_what_is_made_here_is_what_was_recorded_there(case):
    """The formulas from the recorded weights and batches lead to the recorded arrays."""
    stem = {"incremental": "ipc_3layer_tanh", "mupc": "mupc_5layer_tanh_skips", "epc": "epc_4layer_tanh"}
    with np.load(GOLDEN_RULES / f"{stem.get(case, 'pc_3layer_tanh_update_last')}.npz") as file:
        arrays = dict(file)
    recording = Made(json.loads(str(arrays.pop("meta"))))
    recording.x, recording.y = arrays["x"], arrays["y"]
    recording.W = [arrays[f"init/W{i}"] for i in range(recording.L)]
    recording.b = [arrays[f"init/b{i}"] for i in range(recording.L)] if recording.b else None
    for step in range(3):
        recording.record(step)
    for key, value in arrays.items():
        if key.startswith("step"):
            np.testing.assert_allclose(recording.arrays[key], value, rtol=1e-11, atol=1e-13, err_msg=key)


REFUSED = {
    "update_weights_at": ("incremental", {"update_weights_at": "last"}),
    "no such moment": ("incremental", {"update_weights_at": "first"}),
    "eta_discount": ("incremental", {"eta_discount": 1.5}),
    "loss": ("incremental", {"loss": "half squared error, mean over samples"}),
    "order": ("incremental", {"order": "values first, then weights"}),
    "energy": ("incremental", {"energy": "energy[t]: after step t"}),
    "node": ("incremental", {"node": "activities: r_k = f(W r_{k-1} + b)"}),
    "output_activation": ("incremental", {"output_activation": "tanh"}),
    "eta": ("incremental", {"eta": [0.1, 0.1]}),
    "an entry": ("incremental", {"dropout": 0.5}),
    "adam": ("incremental", {"optimizer": "adam"}),
    "parameterisation": ("mupc", {"parameterisation": "ntp"}),
    "gamma of none": ("standard, skips", {"gamma": 2.0}),
    "mean": ("mupc", {"energy": "sum over samples; energy[t] before step t"}),
    "skip": ("mupc", {"skip": 1}),
    "unequal widths": ("epc", {"layer_sizes": [6, 5, 4, 6, 4], "skip": True}),
    "bias": ("epc", {"bias": True}),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_what_is_not_understood_is_refused_in_one_sentence(mistake, tmp_path, capsys):
    case, changes = REFUSED[mistake]
    recording = made(case)
    np.savez(tmp_path / "made.npz", meta=json.dumps({**recording.meta, **changes}), **recording.arrays)
    assert main(["verify", str(tmp_path / "made.npz")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("case", ["incremental", "mupc", "epc"])
@pytest.mark.parametrize("change", ["another array", "one missing", "energies of T + 1"])
def test_arrays_that_are_not_compared_are_refused(case, change, tmp_path, capsys):
    recording = made(case)
    arrays = recording.arrays
    for step in range(3):
        if change == "another array":
            arrays[f"step{step}/Wfb1"] = arrays["init/W1"]
        elif change == "one missing":
            del arrays[f"step{step}/energy"]
        else:
            arrays[f"step{step}/energy"] = np.append(arrays[f"step{step}/energy"], 0.0)
    np.savez(tmp_path / "made.npz", meta=json.dumps(recording.meta), **arrays)
    assert main(["verify", str(tmp_path / "made.npz")]) == (1 if "T + 1" in change else 2)
    assert capsys.readouterr()
