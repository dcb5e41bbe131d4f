"""Oracle: trajectories recorded from the paper's published code."""

import pytest
import torch

from bioplausible.commands import verify
from bioplausible.functional import published_correlative_information, update_correlation_
from tests.helpers import GOLDEN

FILES = sorted(GOLDEN.glob("*.npz"))


def test_there_are_fourteen_recordings():
    assert len(FILES) == 14


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_replay_agrees(path):
    recording = verify.Recording(path)
    differences = verify.replay(path)
    compared = {d.place.split("[")[0] for d in differences}
    recorded = {key for key in recording.arrays if key.startswith("step")}
    assert compared == recorded
    assert recording.tolerance == (1e-6 if "adam" in path.stem else 1e-9)
    assert max(d.error for d in differences) <= recording.tolerance


@pytest.mark.parametrize("path", [p for p in FILES if "corinfomax" in p.stem], ids=lambda p: p.stem)
def test_correlations_and_information_follow_from_the_recorded_states(path):
    """The pure functions alone, without the rule: from the recorded states to the recorded R and information."""
    recording = verify.Recording(path)
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
