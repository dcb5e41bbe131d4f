"""How many threads a run computes with."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from bioplausible.__main__ import main
from bioplausible.rules import CorInfoMax
from bioplausible.training import threads
from tests.helpers import FEW, build


@pytest.fixture
def two_threads(monkeypatch):
    """A machine of two cores, whose user has not said how many threads to use."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("one", "two", "chosen"), [(1.0, 0.5, 2), (1.0, 0.95, 1), (1.0, 3.0, 1)])
def test_more_threads_must_be_worth_it(one, two, chosen, two_threads, monkeypatch):
    monkeypatch.setattr(threads, "_seconds", lambda n, step: {1: one, 2: two}[n])
    assert threads.fastest_threads(build(CorInfoMax), 4) == chosen
    assert torch.get_num_threads() == 2


def test_timing_changes_nothing_that_is_learned(two_threads, monkeypatch):
    rule, steps = build(CorInfoMax), []

    def seconds(n, step):
        steps.append(n)
        random.random(), np.random.rand(), torch.rand(1)  # as a rule of one's own may draw
        return float(bool(step()))

    monkeypatch.setattr(threads, "_seconds", seconds)
    before, state = {name: t.clone() for name, t in rule.state_dict().items()}, torch.get_rng_state()
    of_python, of_numpy = random.getstate(), np.random.get_state()[1].tolist()
    threads.fastest_threads(rule, 4)
    assert steps == [1, 2]
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == of_python
    assert np.random.get_state()[1].tolist() == of_numpy
    for name, tensor in rule.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_what_a_step_refuses_is_one_sentence_while_it_is_timed_too(two_threads, capsys):
    refused = ["--model", "Backpropagation", "--model.optimizer", "SGD", "--model.optimizer.nesterov", "true"]
    assert main(["fit", *FEW, *refused]) == 2
    assert "The optimizer can't be built (Nesterov momentum requires" in capsys.readouterr().err


@pytest.mark.thorough
def test_the_choice_is_said_saved_and_kept(two_threads, monkeypatch, capsys):
    monkeypatch.setattr(threads, "_seconds", lambda n, step: float(n))
    assert main(["fit", *FEW, "--trainer.max_epochs", "1"]) == 0
    assert "computes with one thread" in capsys.readouterr().out
    assert torch.get_num_threads() == 1
    config = next(Path().rglob("config.yaml"))
    assert yaml.safe_load(config.read_text())["threads"] == 1
    monkeypatch.setattr(threads, "_seconds", lambda n, step: 1 / n)  # now two would be faster
    for command, options in (("fit", ["--trainer.max_epochs", "2"]), ("test", [])):
        torch.set_num_threads(2)
        assert main([command, "--ckpt_path", "last", *options]) == 0
        assert torch.get_num_threads() == 1  # the order of sums, and with it the bits, depend on it
    assert main(["fit", *FEW, "--trainer.max_epochs", "1", "--threads", "2"]) == 0
    assert torch.get_num_threads() == 2
    torch.set_num_threads(2)
    assert main(["fit", *FEW, "--trainer.max_epochs", "1"]) == 0
    assert torch.get_num_threads() == 2


@pytest.mark.thorough
def test_the_environment_decides_where_it_says_so(two_threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(threads, "_seconds", lambda n, step: float(n))
    assert main(["fit", *FEW, "--trainer.max_epochs", "1"]) == 0
    assert torch.get_num_threads() == 2
    assert main(["fit", *FEW, "--threads", "0"]) == 2
