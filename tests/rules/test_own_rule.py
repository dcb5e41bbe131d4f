"""A rule that a user wrote outside the package (tests/examples/) gets everything that the package's own rules get."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from bioplausible.__main__ import main
from tests.helpers import EXAMPLES, ROOT, command_line, differences, result, scalars

RUN = Path("lightning_logs/digits/direct_feedback_alignment/version_0")
FEW = ["--trainer.max_epochs", "2", "--data.init_args.subset_size", "230", "--trainer.enable_progress_bar", "false"]
FIT = ["fit", "--config", str(EXAMPLES / "direct_feedback_alignment.yaml"), *FEW]


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES))
    monkeypatch.syspath_prepend(EXAMPLES)


def test_the_readme_shows_the_example():
    readme = (ROOT / "README.md").read_text()
    code = (EXAMPLES / "direct_feedback_alignment.py").read_text()
    assert code.partition("\n\n")[2] in readme
    assert (EXAMPLES / "direct_feedback_alignment.yaml").read_text().partition("\n")[2] in readme


def test_it_trains_logs_and_writes_checkpoints_and_predictions(capsys):
    assert main(FIT) == 0
    assert f"run                  {RUN}" in capsys.readouterr().out
    logged = scalars(RUN)
    for name in ("train/accuracy", "val/loss", "test/accuracy", "throughput/samples_per_second"):
        assert name in logged
    assert logged["train/loss"][1][1] < logged["train/loss"][0][1]
    assert (RUN / "checkpoints/best.ckpt").is_file()
    for command in ("test", "validate", "predict"):
        assert main([command, "--ckpt_path", "last", "--trainer.enable_progress_bar", "false"]) == 0
    assert (RUN / "predictions.csv").is_file()


def test_it_resumes_to_the_same_bits(tmp_path):
    ends = []
    for kill in (None, 5, 13):
        folder = tmp_path / str(kill)
        folder.mkdir()
        assert command_line([*FIT, "--checkpoint_every_n_steps", "4"], folder, kill_before_step=kill) == (
            0 if kill is None else -9
        )
        if kill is not None:
            assert command_line(["fit", "--ckpt_path", "last"], folder) == 0
        ends.append(result(folder, RUN))
    for checkpoint, logged in ends[1:]:
        assert list(differences(ends[0][0], checkpoint)) == []
        assert logged == ends[0][1]


@pytest.mark.parametrize("wrong", [False, True])
def test_verify_replays_its_recordings(wrong, capsys):
    """The recording is made here with NumPy, sample by sample, from the paper's equations."""
    draw, sizes, lr = np.random.default_rng(0), [5, 4, 3, 2], 0.1
    W = [draw.normal(size=(post, pre)) for pre, post in pairwise(sizes)]
    b = [draw.normal(size=post) for post in sizes[1:]]
    D = [draw.normal(size=(d, sizes[-1])) for d in sizes[1:-1]]
    x, y = draw.random((2, 6, 5)), draw.integers(0, 2, (2, 6))

    def state():
        return {
            **{f"connections.{i}.weight": w.copy() for i, w in enumerate(W)},
            **{f"connections.{i}.bias": v.copy() for i, v in enumerate(b)},
            **{f"D_{k}": d.copy() for k, d in enumerate(D, start=1)},
        }

    meta = {"rule": "direct_feedback_alignment.DirectFeedbackAlignment", "layer_sizes": sizes, "lr": lr, "steps": 2}
    arrays = {f"init/{name}": value for name, value in state().items()}
    for step in range(2):
        dW, db = [np.zeros_like(w) for w in W], [np.zeros_like(v) for v in b]
        for image, label in zip(x[step], y[step], strict=True):
            r = [image]
            for i in range(3):
                a = W[i] @ r[-1] + b[i]
                r.append(np.tanh(a) if i < 2 else a)
            error = softmax(r[-1]) - np.eye(2)[label]
            deltas = [(1 - r[k] ** 2) * (D[k - 1] @ error) for k in (1, 2)] + [error]
            for i, delta in enumerate(deltas):
                dW[i] -= np.outer(delta, r[i]) / 6
                db[i] -= delta / 6
        for i in range(3):
            W[i] += lr * dW[i]
            b[i] += lr * db[i]
        arrays.update({f"step{step}/{name}": value for name, value in state().items()})
    if wrong:
        arrays["step1/connections.0.weight"][2, 1] *= 1 + 1e-6
    np.savez("mine.npz", meta=json.dumps(meta), x=x, y=y, **arrays)
    assert main(["verify", "mine.npz"]) == wrong
    assert ("DIFFERS" if wrong else "agrees") in capsys.readouterr().out
