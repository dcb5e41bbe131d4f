"""A training step of a copy of a rule: to be timed or counted before training, without a trace in what is learned."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch

from bioplausible.training.optimization import build_optimizer


@contextmanager
def copied_step(rule: Any, batch_size: int) -> Iterator[Callable[[], Any]]:
    """Yields a training step of a copy of a rule, on random numbers of its own; no random state changes.

    Args:
        rule: a :class:`bioplausible.rules.LearningRule` that no Trainer holds: the Trainer would be copied too.
        batch_size: samples a batch.
    """
    with torch.random.fork_rng(devices=[]), _same_numbers():
        torch.manual_seed(0)
        copy = deepcopy(rule)
        weight = next(copy.parameters())
        x = torch.rand(batch_size, *copy.network.shapes[0], dtype=weight.dtype).to(weight.device)
        target = copy.one_hot(torch.randint(copy.network.sizes[-1], (batch_size,)), x.dtype).to(weight.device)
        optimizer = build_optimizer(copy.optimizer, copy.parameter_groups())
        yield lambda: copy.learn(x, target, optimizer)


@contextmanager
def _same_numbers() -> Iterator[None]:
    """Lets Python's and NumPy's generators go on as if nothing had been drawn: a rule of one's own may use them."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
