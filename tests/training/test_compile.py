"""Relaxations through torch.compile: the same results, and a word where there is no compiler."""

import copy
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from torch._inductor import config as inductor

from bioplausible import (
    ContrastiveSimilarityMatching,
    CorInfoMax,
    CorInfoMaxSparse,
    EquilibriumPropagation,
    NudgedPredictiveCoding,
    PredictiveCoding,
)
from bioplausible.__main__ import main
from bioplausible.observers import CompileRelaxation
from tests.helpers import CONFIGS, FEW, batch, build

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


NEEDS_COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


# the others' relaxations are compiled below, too
QUICK = "equilibrium_propagation"


@pytest.mark.thorough
@NEEDS_COMPILER
@pytest.mark.parametrize(
    "rule", [rule if rule == QUICK else pytest.param(rule, marks=pytest.mark.slow) for rule in RULES]
)
def test_compiled_relaxations_train_to_the_same_weights(rule, capsys):
    plain, compiled = weights(rule), weights(rule, *CALLBACK)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert not torch._dynamo.utils.counters["graph_break"]  # each would cost more than compiling saves
    assert "uncompiled" not in capsys.readouterr().out
    for name, weight in plain.items():
        if "means" not in name:
            assert torch.allclose(weight, compiled[name], rtol=1e-4, atol=1e-5), name


FEW_STEPS = {"free_steps": 2, "nudged_steps": 2}
# images of one pixel, whose strides don't tell how they are stored; a second layer of images in each
MAX_POOL = [
    [1, 7, 6],
    {"conv": 3, "kernel": 2, "padding": 1, "pool": "max"},
    {"conv": 3, "kernel": 3, "stride": 2},
    {"conv": 3, "kernel": 1, "skip": 2},
    5,
]
LOCAL = [[2, 6, 6], {"local": 3, "kernel": 2}, {"local": 2, "kernel": 2, "pool": "average"}, 5]
STRIDES = [
    [1, 6, 6],
    {"conv": 2, "kernel": 3, "padding": 1},
    {"conv": 3, "kernel": 3, "stride": 2, "padding": 1, "skip": {"from": 1, "stride": 2}},
    5,
]


@pytest.mark.sampled
@NEEDS_COMPILER
@pytest.mark.parametrize(
    ("cls", "options", "network", "phases"),
    [
        (
            EquilibriumPropagation,
            {"output_activation": "linear", "hold_output": True, "beta": 0.5, **FEW_STEPS},
            MAX_POOL,
            2,
        ),
        (
            EquilibriumPropagation,
            {"loss": "cross_entropy", "readout": True, "feedback": "learned", **FEW_STEPS},
            MAX_POOL,
            2,
        ),
        (ContrastiveSimilarityMatching, {"update_order": "asynchronous", **FEW_STEPS}, LOCAL, 2),
        (PredictiveCoding, {"inference_steps": 2}, MAX_POOL, 1),
        (PredictiveCoding, {"inference_steps": 2, "fixed_predictions": True}, STRIDES, 1),
        (NudgedPredictiveCoding, {"inference_steps": 2}, LOCAL, 1),
        (CorInfoMax, FEW_STEPS, STRIDES, 2),
        (CorInfoMaxSparse, FEW_STEPS, MAX_POOL, 2),
    ],
)
@torch.no_grad()
def test_relaxations_on_images_compile_to_one_graph_a_phase(cls, options, network, phases):
    rule = build(cls, network, **options)
    x, _, target = batch(network)
    plain = rule.settle(x, target)
    CompileRelaxation().setup(None, rule, "fit")
    graphs = []
    for _ in range(2):
        compiled = rule.settle(x, target)
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs == [phases + 1] * 2  # one more tries whether the compiler works; no batch compiles anew
    assert not torch._dynamo.utils.counters["graph_break"]
    for name, phase in plain.items():
        for a, b in zip(phase.activity, compiled[name].activity, strict=True):
            assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)


@NEEDS_COMPILER
@torch.no_grad()
def test_while_iterations_are_watched_nothing_is_compiled():
    rule = build(EquilibriumPropagation, **FEW_STEPS)
    x, _, target = batch()
    CompileRelaxation().setup(None, rule, "fit")
    seen = []
    rule.watch = lambda t, r, η: seen.append(t)
    rule.settle(x, target)
    assert seen == [0, 1, 2, 0, 1, 2]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_without_a_compiler_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(inductor, "force_disable_caches", True)
    weights("predictive_coding", *CALLBACK)
    out = capsys.readouterr().out
    assert out.count("run uncompiled") == 1


def test_a_rule_without_a_relaxation_is_refused(capsys):
    assert main(["fit", "--config", str(CONFIGS / "digits/backpropagation.yaml"), *FEW, *CALLBACK]) == 2
    assert "no relaxation" in capsys.readouterr().err


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda rule: pickle.loads(pickle.dumps(rule))], ids=["copy", "pickle"]
)
@torch.no_grad()
def test_a_copy_of_a_compiled_rule_is_tied_to_its_own_weights(copied, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)  # the tie is the same
    options = {"loss": "cross_entropy", "readout": True, **FEW_STEPS}
    rule, plain = (build(EquilibriumPropagation, **options) for _ in range(2))
    x, _, target = batch()
    CompileRelaxation().setup(None, rule, "fit")
    again = copied(rule)
    for parameter in again.parameters():
        parameter.mul_(0.5)
    plain.load_state_dict(again.state_dict())
    assert torch.equal(again(x), plain(x))
    learned = [rule.settle(x, target)["nudged"].output for rule in (again, plain)]
    assert torch.equal(*learned)


def test_a_rule_is_compiled_once_and_its_copy_anew(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function, **_: compiled.append(function) or function)
    rule = build(EquilibriumPropagation, **FEW_STEPS)
    for learner in (rule, rule, copy.deepcopy(rule)):
        CompileRelaxation().setup(None, learner, "fit")
    relaxations = [function for function in compiled if function is not torch.sin]
    assert [function.__self__ is rule for function in relaxations] == [True, False]
