"""Relaxations through torch.compile: the same results, and a word where there is no compiler."""

import shutil
from pathlib import Path

import pytest
import torch
from torch._inductor import config as inductor

from bioplausible.__main__ import main
from tests.helpers import CONFIGS, FEW

CALLBACK = ["--trainer.callbacks", "{class_path: bioplausible.observers.CompileRelaxation}"]
FIT = ["fit", *FEW, "--trainer.max_steps", "4", "--data.init_args.validation_split", "0"]
RULES = {
    "predictive_coding": ["inference_steps=3"],
    "equilibrium_propagation": ["free_steps=3", "nudged_steps=2"],
    "corinfomax": ["free_steps=2", "nudged_steps=2", "evaluation_steps=2"],
}


def weights(rule, *args):
    shutil.rmtree("lightning_logs", ignore_errors=True)
    short = [f"--model.init_args.{option}" for option in RULES[rule]]
    assert main([FIT[0], "--config", str(CONFIGS / f"digits/{rule}.yaml"), *FIT[1:], *short, *args]) == 0
    path = next(Path("lightning_logs").rglob("last.ckpt"))
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("rule", RULES)
def test_compiled_relaxations_train_to_the_same_weights(rule, capsys):
    plain, compiled = weights(rule), weights(rule, *CALLBACK)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert not torch._dynamo.utils.counters["graph_break"]  # each would cost more than compiling saves
    assert "uncompiled" not in capsys.readouterr().out
    for name, weight in plain.items():
        if "means" not in name:
            assert torch.allclose(weight, compiled[name], rtol=1e-4, atol=1e-5), name


def test_without_a_compiler_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(inductor, "force_disable_caches", True)
    weights("predictive_coding", *CALLBACK)
    out = capsys.readouterr().out
    assert out.count("run uncompiled") == 1


def test_a_rule_without_a_relaxation_is_refused(capsys):
    assert main(["fit", "--config", str(CONFIGS / "digits/backpropagation.yaml"), *FEW, *CALLBACK]) == 2
    assert "no relaxation" in capsys.readouterr().err
