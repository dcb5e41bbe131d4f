"""The comparison with other codes times what learns the same, and says so where one does not or can't run."""

import os
import re
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.peers import comparison
from tests.benchmarks.peers.__main__ import main
from tests.benchmarks.peers.agreement import SAME, Agreement
from tests.benchmarks.peers.comparison import CODES, problem_of
from tests.benchmarks.peers.ours import Ours
from tests.benchmarks.peers.plain_torch import PlainTorch
from tests.benchmarks.peers.problem import Problem
from tests.benchmarks.peers.process import HERE, NotRunError, Process, cores, python_of
from tests.benchmarks.peers.worker import ADAM_BATCHES, learned
from tests.helpers import ROOT

FOLDER = ROOT / "tests/benchmarks/peers"
PEERS = {script: recipe for recipe, scripts in CODES.items() for script in scripts if script not in HERE}


@pytest.fixture(scope="module")
def problem():
    return problem_of("backpropagation", batches=ADAM_BATCHES)


@pytest.fixture(scope="module")
def ours(problem):
    return learned(Ours, problem)[0]


def test_plain_torch_learns_what_ours_does(problem, ours):
    agreement = Agreement.of(ours, learned(PlainTorch, problem)[0])
    assert agreement.same
    assert agreement.sizes == pytest.approx((1, 1), abs=1e-4)


@pytest.mark.parametrize(("script", "recipe"), PEERS.items())
def test_a_peer_learns_what_ours_does(script, recipe, tmp_path):
    """Those whose environment is there: `make benchmark-peers` sets them up."""
    problem = problem_of(recipe, batches=ADAM_BATCHES)
    problem.save(tmp_path / "problem.npz")
    environments = Path(os.environ.get("PEERS", ROOT / "build/peers"))
    try:
        process = Process(python_of(script, environments), script, tmp_path / "problem.npz", tmp_path)
    except NotRunError as reason:
        if re.search("environment is not there|No module named", str(reason)):
            pytest.skip(f"{script}: {reason}")
        raise
    try:
        assert process.versions.keys() > {script}
        assert min(process.time(3)) > 0
        agreement = Agreement.of(learned(Ours, problem)[0], process.learned())
    finally:
        process.close()
    assert agreement.same
    assert agreement.sizes == pytest.approx((1, 1), abs=1e-4)


class OtherTargets(PlainTorch):
    def batch(self, x, y):
        return super().batch(x, np.roll(y, 1, axis=1))


class Ascends(PlainTorch):
    def __init__(self, problem, optimizer):
        super().__init__(problem, optimizer)
        self.optimizer.param_groups[0]["maximize"] = True


class LearnsNothing(PlainTorch):
    def step(self, x, y):
        pass


class FirstLayerAlone(PlainTorch):
    def __init__(self, problem, optimizer):
        super().__init__(problem, optimizer)
        self.model[2].requires_grad_(False)


class NotANumber(PlainTorch):
    def step(self, x, y):
        super().step(x * torch.nan, y)


@pytest.mark.parametrize("wrong", [OtherTargets, Ascends, LearnsNothing, FirstLayerAlone, NotANumber])
def test_what_learns_something_else_is_not_the_same(wrong, problem, ours):
    agreement = Agreement.of(ours, learned(wrong, problem)[0])
    assert not agreement.same
    assert str(agreement).startswith("**no**")


@given(
    angle=st.floats(0, np.pi),
    scale=st.floats(0.1, 10),
    turned=st.sampled_from(["sgd W_1", "sgd b_1", "adam W_1", "adam b_1"]),
    seed=st.integers(0, 99),
)
def test_one_parameter_that_turns_is_enough(angle, scale, turned, seed):
    draws = np.random.default_rng(seed)
    shapes = {f"{kind} {name}": shape for kind in ("sgd", "adam") for name, shape in (("W_1", (3, 4)), ("b_1", (3,)))}
    ours = {name: draws.normal(size=shape) for name, shape in shapes.items()}
    theirs = {name: scale * a for name, a in ours.items()}
    a, b = ours[turned], draws.normal(size=shapes[turned])
    b -= a * (a * b).sum() / (a * a).sum()
    b *= np.linalg.norm(a) / np.linalg.norm(b)
    theirs[turned] = scale * (np.cos(angle) * a + np.sin(angle) * b)
    agreement = Agreement.of(ours, theirs)
    expected = (np.cos(angle), 1) if turned.startswith("sgd") else (1, np.cos(angle))
    assert (agreement.cosine, agreement.adam) == pytest.approx(expected, abs=1e-9)
    assert agreement.sizes == pytest.approx((scale, scale))
    if abs(np.cos(angle) - SAME) > 1e-6:
        assert agreement.same == (np.cos(angle) > SAME)


def test_sizes_are_those_of_the_parameter_that_grows_least_and_most():
    ours = {f"{kind} {name}": np.ones(3) for kind in ("sgd", "adam") for name in ("W_1", "b_1")}
    assert Agreement.of(ours, {**ours, "sgd b_1": np.full(3, 20.0)}).sizes == pytest.approx((1, 20))


def test_other_parameters_are_not_compared(ours):
    with pytest.raises(ValueError, match="other parameters"):
        Agreement.of(ours, {name: a for name, a in ours.items() if name != "sgd b_2"})
    with pytest.raises(ValueError, match="other parameters"):
        Agreement.of(ours, {**ours, "sgd W_1": ours["sgd W_1"].T})


def test_a_problem_is_its_recipes(tmp_path):
    problem = problem_of("predictive_coding", batches=3)
    problem.save(tmp_path / "problem.npz")
    read = Problem.load(tmp_path / "problem.npz")
    assert (read.rate, read.iterations, read.step_size, tuple(read.target_range)) == (0.001, 50, 0.1, (0.03, 0.97))
    assert read.recipe == "predictive_coding"
    assert {name: a.shape for name, a in read.weights.items()} == {
        "W_1": (500, 784),
        "b_1": (500,),
        "W_2": (10, 500),
        "b_2": (10,),
    }
    assert all(a.dtype == np.float32 for a in [*read.weights.values(), read.images, read.targets])
    assert (read.images == problem.images).all()
    assert (read.targets == problem.targets).all()
    assert read.soften(read.targets[0]).sum(1) == pytest.approx(np.full(20, 0.97 + 9 * 0.03))
    assert "V_2" in problem_of("feedback_alignment", batches=1).weights


@pytest.mark.thorough
def test_the_table_has_ours_whole_training_and_plain_torch(capsys):
    assert main(["backpropagation", "--cores", "1", "--rounds", "1", "--batches", "2"]) == 0
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("|")][2:]
    assert [row[0] for row in rows] == ["**bare step**", "**whole `fit`**", "plain torch"]
    assert rows[2][2].startswith("yes: 1.00000")
    for row in rows:
        assert f"torch {torch.__version__.partition('+')[0]}" in row[1]
        assert len(row) == 5
        assert all(float(number) > 0 for cell in row[3:] for number in re.findall(r"[\d.]+", cell))
        assert re.fullmatch(r"[\d.]+ \([\d.]+\)", row[3])
    assert rows[0][4] == "1.00 (1.00)"
    assert "Load average" in out


ANSWERS = "import json, sys\nprint(json.dumps({'its package': '1.0'}), flush=True)\n"
PEERS_THAT_FAIL = {
    "another": f"""
import os, sys, numpy as np
assert not [name for name in os.environ if name.endswith("_NUM_THREADS")]
assert len(os.sched_getaffinity(0)) == 1
ours = np.load(sys.argv[-2].rpartition("/")[0] + "/ours.npz")
np.savez(sys.argv[-1], **{{name: -ours[name] for name in ours}})
{ANSWERS}
for line in sys.stdin:
    print([1.0, 2.0], flush=True)
""",
    "broken": "raise SystemExit('it does not even start')",
    "dying": f"{ANSWERS}input()\nprint([1.0, 2.0], flush=True)\ninput()\nsys.exit('it is no more')",
    "ragged": f"import sys, numpy as np\nnp.savez(sys.argv[-1], sgd=np.ones(3))\n{ANSWERS}input()",
}


@pytest.mark.thorough
def test_a_peer_that_fails_says_why_and_the_others_are_timed(tmp_path, monkeypatch, capsys):
    for name, text in PEERS_THAT_FAIL.items():
        python = tmp_path / name / "bin/python"
        python.parent.mkdir(parents=True)
        python.with_suffix(".py").write_text(text)
        python.write_text(f'#!/bin/sh\nexec {sys.executable} {python.with_suffix(".py")} "$@"\n')
        python.chmod(0o755)
    monkeypatch.setitem(comparison.CODES, "backpropagation", ("ours", *PEERS_THAT_FAIL, "absent"))
    arguments = ["backpropagation", "--environments", str(tmp_path), "--cores", "1", "--rounds", "3", "--batches", "1"]
    assert main(arguments) == 1
    lines = capsys.readouterr().out.splitlines()
    said = {line.split(" | ")[0].strip("| "): line for line in lines if line.startswith("|")}
    assert "**no**: -1.00000" in said["another"]
    assert "1.00 (2.00)" in said["another"]
    assert "its package 1.0" in said["another"]
    assert "not run: it does not even start" in said["broken"]
    assert "not run: it is no more" in said["dying"]
    assert "not run: it has other parameters" in said["ragged"]
    assert "not run: its environment is not there: `make benchmark-peers` sets it up" in said["absent"]
    assert said["**bare step**"].endswith("| 1.00 (1.00) |")


def test_cores_are_given_back():
    before = os.sched_getaffinity(0)
    with cores(1):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
    with suppress(KeyboardInterrupt), cores(1):
        raise KeyboardInterrupt
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "choose from predictive_coding"),
        (["--cores", "0"], "cores is [0]"),
        (["--cores", "1", "100000"], "cores is [1, 100000]"),
        (["--rounds", "0"], "at least 1"),
        (["--batches", "0"], "at least 1"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("script", PEERS)
def test_every_peers_environment_is_pinned(script):
    lines = (FOLDER / f"requirements-{script}.txt").read_text().splitlines()
    names = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", name) for name in names)
    assert [name for name in names if name.partition("==")[0] == script]


def test_the_readme_tells_of_the_pinned_versions():
    told = (ROOT / "tests/benchmarks/README.md").read_text()
    for script in PEERS:
        (pinned,) = re.findall(rf"^{script}==(.+)$", (FOLDER / f"requirements-{script}.txt").read_text(), re.M)
        assert f"| {script} | {script} {pinned}, " in told


def test_make_sets_up_every_peers_environment():
    (listed,) = re.findall(r"^benchmark-peers: .*,([\w ]+)\)$", (ROOT / "Makefile").read_text(), re.M)
    assert set(listed.split()) == set(PEERS)
