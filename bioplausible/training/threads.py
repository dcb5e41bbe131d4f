"""How many threads a rule is fastest with."""

import os
import time
from collections.abc import Callable
from typing import Any

import torch

from bioplausible.training.copied_step import copied_step

SECONDS = 0.4
"""That each number of threads is tried for."""

GAIN = 0.9
"""Part of one thread's time that more of them may take at most: they wait for one another once anything else runs."""


def threads_given() -> int | None:
    """Returns the number of threads that the environment asks for; None where it leaves the choice."""
    return torch.get_num_threads() if os.environ.get("OMP_NUM_THREADS") else None


def fastest_threads(rule: Any, batch_size: int) -> int:
    """Returns with how many threads a training step of a rule is fastest here and now: one, or torch's default.

    Steps of a copy are timed, on random numbers of their own: nothing that is learned, and no random state, changes.

    Args:
        rule: a :class:`bioplausible.rules.LearningRule`.
        batch_size: samples a batch.
    """
    most = torch.get_num_threads()
    if most == 1:
        return 1
    with copied_step(rule, batch_size) as step:
        try:
            seconds = {n: _seconds(n, step) for n in (1, most)}
        finally:
            torch.set_num_threads(most)
    return most if seconds[most] < GAIN * seconds[1] else 1


def _seconds(threads: int, step: Callable[[], Any]) -> float:
    """Returns the median time of a step with so many threads."""
    torch.set_num_threads(threads)
    step()
    times: list[float] = []
    start = now = time.perf_counter()
    while len(times) < 3 or now - start < SECONDS:
        step()
        times.append(time.perf_counter() - now)
        now += times[-1]
        if now - start > 10 * SECONDS:  # a step of seconds tells enough once
            break
    return sorted(times)[len(times) // 2]
