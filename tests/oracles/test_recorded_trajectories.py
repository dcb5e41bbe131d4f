"""Oracle: trajectories recorded from published code, on dense and on convolutional networks."""

import json
import re

import numpy as np
import pytest
import torch

from bioplausible.commands.verify.recording import Recording
from bioplausible.commands.verify.replay import replay
from bioplausible.functional import published_correlative_information, update_correlation_
from tests.helpers import GOLDEN, GOLDEN_NETWORKS, GOLDEN_RULES

DENSE = sorted(GOLDEN.glob("*.npz"))
CONVOLUTIONAL = sorted(GOLDEN_NETWORKS.glob("*.npz"))
BROADCAST = sorted(GOLDEN_RULES.glob("*ebd_*.npz"))
INFERENCE = sorted(GOLDEN_RULES.glob("*pc_*.npz"))
OF_FURTHER_RULES = sorted(GOLDEN_RULES.glob("*.npz"))


def test_the_recordings_are_there():
    assert len(DENSE) == 14
    assert len(CONVOLUTIONAL) == 23
    assert len(OF_FURTHER_RULES) >= 11
    assert len(INFERENCE) == 4


def require_agreement(path):
    """The replay compares every array with what was recorded, and finds no difference above the tolerance."""
    recording = Recording(path)
    differences = replay(path)
    compared = {d.place.split("[")[0] for d in differences}
    recorded = {key for key in recording.arrays if not key.startswith("init/") or "angles" in key}
    assert compared == recorded
    assert max(d.error for d in differences) <= 1e-9


@pytest.mark.parametrize("path", DENSE + CONVOLUTIONAL + OF_FURTHER_RULES, ids=lambda p: p.stem)
def test_replay_agrees(path):
    require_agreement(path)


def as_convolutions(path, folder):
    """Writes a recording of a dense network as one of 1 × 1 convolutions on 1 × 1 images, its output dense, as ever."""
    with np.load(path) as file:
        arrays = dict(file)
    meta = json.loads(str(arrays.pop("meta")))
    d_0, *hidden, d_L = meta.pop("layer_sizes")
    conv = {"kind": "conv", "kernel": 1, "stride": 1, "padding": 0, "pool": None, "pool_size": 2}
    meta["input_shape"] = [d_0, 1, 1]
    meta["architecture"] = [{**conv, "out_channels": d} for d in hidden] + [{"kind": "dense", "out_features": d_L}]
    written = {"x": arrays.pop("x")[..., None, None], "y": arrays.pop("y")}
    for key, value in arrays.items():
        name, i = re.fullmatch(r"(?:init|step\d)/([A-Za-z_]+)(\d*)", key).groups()
        if name == "Wfb":  # in the layout of W
            value = value.T
        if name in ("W", "Wfb", "Wfa", "free", "nudged", "antinudged", "state", "feedforward", "error") and int(
            i
        ) < len(hidden):
            value = value[..., None, None]
        if name == "Rerror" and int(i) < len(hidden):
            value = value[:, None, None]
        written[key] = value
    target = folder / path.name
    np.savez(target, meta=json.dumps(meta), **written)
    return target


@pytest.mark.parametrize("path", DENSE + BROADCAST + INFERENCE, ids=lambda p: p.stem)
def test_replay_through_1_by_1_convolutions_agrees(path, tmp_path):
    file = as_convolutions(path, tmp_path)
    shapes = Recording(file).rule().rule.network.shapes
    assert all(len(shape) == 3 for shape in shapes[:-1])
    require_agreement(file)


@pytest.mark.parametrize("path", [p for p in DENSE if "corinfomax" in p.stem], ids=lambda p: p.stem)
def test_correlations_and_information_follow_from_the_recorded_states(path):
    """The pure functions alone, without the rule: from the recorded states to the recorded R and information."""
    recording = Recording(path)
    R = {}
    for step in range(recording.meta["steps"]):
        state = {k: torch.from_numpy(v) for k, v in recording.after_step(step).items()}
        for name in ("free", "nudged"):
            for i in range(len(recording.meta["layer_sizes"]) - 1):
                r = state[f"{name}{i}"]
                estimate = R.setdefault((name, i), torch.eye(r.shape[1], dtype=torch.float64))
                update_correlation_(estimate, r, recording.meta["lambda_"])
                assert torch.allclose(estimate, state[f"R{name}{i}"], rtol=1e-12, atol=1e-14)
        error = state["free1"] - state["free0"] @ state["W1"].t()
        information = published_correlative_information(R["free", 1], error, recording.meta["epsilon"])
        assert torch.allclose(information, state["forward_info_free_pair0"], rtol=1e-12)
