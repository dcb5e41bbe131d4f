"""A rule that a user wrote outside the package (tests/examples/) gets everything that the package's own rules get."""

import ast
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from bioplausible.__main__ import main
from bioplausible.training.randomness import generator
from tests.helpers import EXAMPLES, NETWORKS, ROOT, batch, build, command_line, differences, result, scalars, updates

RUN = Path("lightning_logs/digits/brain_prop/version_0")
FEW = ["--trainer.max_epochs", "2", "--data.init_args.subset_size", "230", "--trainer.enable_progress_bar", "false"]
FIT = ["fit", "--config", str(EXAMPLES / "brainprop.yaml"), *FEW]


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES))
    monkeypatch.syspath_prepend(EXAMPLES)


def test_the_documentation_shows_the_example():
    documented = (ROOT / "docs/rules.md").read_text()
    code = (EXAMPLES / "brainprop.py").read_text()
    assert code.partition("\n\n")[2] in documented
    assert (EXAMPLES / "brainprop.yaml").read_text().partition("\n")[2] in documented


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


def test_it_reaches_90_percent_on_digits(capsys):
    config = ["--config", str(EXAMPLES / "brainprop.yaml")]
    assert main(["fit", *config, "--trainer.max_epochs", "12", "--trainer.enable_progress_bar", "false"]) == 0
    assert float(capsys.readouterr().out.split("test accuracy")[1].split("%")[0]) >= 90


@pytest.mark.parametrize("network", [name for name in NETWORKS if name != "dense"])
def test_it_runs_on_any_network(network):
    """The updates of all choices together are backpropagation's of the loss, ½ ‖q − y‖²."""
    from brainprop import BrainProp

    rule = build(BrainProp, network)
    x, _, target = batch(network)
    chosen = []
    for choice in range(4):
        rule.choose = lambda q, choice=choice: rule.one_hot(torch.full((len(q),), choice), q.dtype)
        chosen.append(updates(rule, rule.settle(x, target)))
    loss = rule.sample_losses(rule(x), target).mean()
    for name, g in zip(
        chosen[0], torch.autograd.grad(loss, [rule.get_parameter(name) for name in chosen[0]]), strict=True
    ):
        torch.testing.assert_close(sum(found[name] for found in chosen), -g, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("wrong", [False, True])
def test_verify_replays_its_recordings(wrong, capsys):
    """The recording is made here with NumPy, sample by sample, from the paper's equations."""
    draw, sizes, lr, temperature = np.random.default_rng(0), [5, 4, 3, 4], 0.1, 2.0
    W = [draw.normal(size=(post, pre)) for pre, post in pairwise(sizes)]
    b = [draw.normal(size=post) for post in sizes[1:]]
    x, y = draw.random((2, 6, 5)), draw.integers(0, 4, (2, 6))

    def state():
        return {
            **{f"network.wiring.{k}.weight": w.copy() for k, w in enumerate(W, start=1)},
            **{f"network.wiring.{k}.bias": v.copy() for k, v in enumerate(b, start=1)},
        }

    meta = {"rule": "brainprop.BrainProp", "layer_sizes": sizes, "lr": lr, "steps": 2, "temperature": temperature}
    arrays = {f"init/{name}": value for name, value in state().items()}
    for step in range(2):
        dW, db = [np.zeros_like(w) for w in W], [np.zeros_like(v) for v in b]
        noise = -torch.empty(4).exponential_(generator=generator(0, step)).log().double().numpy()
        for image, label in zip(x[step], y[step], strict=True):
            r = [image]
            for i in range(3):
                a = W[i] @ r[-1] + b[i]
                r.append(np.maximum(a, 0) if i < 2 else a)
            choice = int((r[3] + temperature * noise).argmax())
            surprise = (choice == label) - r[3][choice]
            g = np.eye(4)[choice]
            for i in (2, 1, 0):
                dW[i] += surprise * np.outer(g, r[i]) / 6
                db[i] += surprise * g / 6
                g = (r[i] > 0) * (W[i].T @ g)
        for i in range(3):
            W[i] += lr * dW[i]
            b[i] += lr * db[i]
        arrays.update({f"step{step}/{name}": value for name, value in state().items()})
    if wrong:
        arrays["step1/network.wiring.1.weight"][2, 1] *= 1 + 1e-6
    np.savez("mine.npz", meta=json.dumps(meta), x=x, y=y, **arrays)
    assert main(["verify", "mine.npz"]) == wrong
    assert ("DIFFERS" if wrong else "agrees") in capsys.readouterr().out


def test_a_wiring_of_ones_own_is_short_and_documented():
    code = (EXAMPLES / "depthwise_convolution.py").read_text()
    (cls,) = (node for node in ast.parse(code).body if isinstance(node, ast.ClassDef))
    assert cls.end_lineno - cls.lineno + 1 <= 15
    assert code.partition("\n\n")[2] in (ROOT / "docs/wiring.md").read_text()


@pytest.mark.parametrize("rule", ["EquilibriumPropagation", "PredictiveCoding", "CorInfoMax", "brainprop.BrainProp"])
def test_rules_train_with_a_wiring_of_ones_own_from_the_command_line(rule):
    Path("mine.yaml").write_text(f"""
model:
  class_path: {rule}
  init_args:
    network:
      - [1, 8, 8]
      - {{conv: 6, kernel: 3, padding: 1}}
      - {{class_path: depthwise_convolution.DepthwiseConvolution, init_args: {{stride: 2}}}}
      - 10
data:
  class_path: DigitsDataModule
  init_args:
    validation_split: 0.1
""")
    assert main(["fit", "--config", "mine.yaml", "--checkpoint_every_n_steps", "5", *FEW]) == 0
    (run,) = Path("lightning_logs").rglob("version_0")
    (_, first), (_, last) = scalars(run)["train/loss"]
    assert last < first
    checkpoints = run / "checkpoints"
    early, late = (
        torch.load(path, weights_only=True)["state_dict"]["network.wiring.2.weight"]
        for path in (next(checkpoints.glob("step=*")), checkpoints / "last.ckpt")
    )
    assert early.shape == (6, 1, 3, 3)
    assert not torch.equal(early, late)
    assert main(["test", "--ckpt_path", "last", "--trainer.enable_progress_bar", "false"]) == 0
    entry = torch.load(checkpoints / "last.ckpt", weights_only=True)["hyper_parameters"]["network"][2]
    assert entry["class_path"] == "depthwise_convolution.DepthwiseConvolution"


def test_a_wiring_of_ones_own_takes_pool_skip_and_gain_at_the_command_line():
    """They stand beside its class, as the documentation has it, and are the layer's and not the class's."""
    entry = {"class_path": "depthwise_convolution.DepthwiseConvolution", "init_args": {"stride": 2}}
    entry |= {"pool": "average", "skip": {"from": 1, "stride": 4}, "gain": 0.5}
    network = [[1, 8, 8], {"conv": 6, "kernel": 3, "padding": 1}, entry, 10]
    model = {"class_path": "EquilibriumPropagation", "init_args": {"network": network}}
    Path("mine.yaml").write_text(yaml.safe_dump({"model": model, "data": "DigitsDataModule"}))
    assert main(["fit", "--config", "mine.yaml", *FEW]) == 0
    (run,) = Path("lightning_logs").rglob("version_0")
    saved = yaml.safe_load((run / "config.yaml").read_text())["model"]["init_args"]["network"]
    assert saved[2] == entry
    weights = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert weights["network.wiring.2_from_1.weight"].shape == (6, 6, 1, 1)
    assert weights["network.wiring.3.weight"].shape == (10, 6 * 2 * 2)  # half as many rows and columns, then half again
    assert main(["test", "--ckpt_path", "last", "--trainer.enable_progress_bar", "false"]) == 0


@pytest.mark.parametrize("key", ["kernel", "beta"])
def test_what_stands_beside_a_wirings_class_and_is_not_the_layers_is_refused(key, capsys):
    entry = {"class_path": "depthwise_convolution.DepthwiseConvolution", key: 3}
    model = {"class_path": "EquilibriumPropagation", "init_args": {"network": [[1, 8, 8], entry, 10]}}
    Path("mine.yaml").write_text(yaml.safe_dump({"model": model, "data": "DigitsDataModule"}))
    assert main(["fit", "--config", "mine.yaml", *FEW]) == 2
    assert f"has the key {key}: class_path takes init_args, pool, skip, gain." in capsys.readouterr().err
