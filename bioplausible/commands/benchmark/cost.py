"""What the bare step of a rule costs: operations, time, memory."""

import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, cast

import torch
from torch.profiler import ProfilerActivity, profile

from bioplausible.lightning_internals import memory_changes
from bioplausible.rules import LearningRule
from bioplausible.training.products import Product, Products


@dataclass(frozen=True)
class Cost:
    """What one training batch of a rule costs.

    Attributes:
        operations: floating-point operations in matrix products and convolutions.
        products: milliseconds that these take alone, at their shapes, on this machine.
        step: milliseconds of the bare rule: settling, updates, optimizer.
        memory: bytes that the step holds at most beyond weights, lateral matrices, optimizer state and the batch.
    """

    operations: int
    products: float
    step: float
    memory: int


def timed(work: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """Returns the milliseconds of one call, the mean over some repeats."""
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats * 1e3


def cost(rule: LearningRule, batch_size: int, rounds: int = 7) -> Cost:
    """Measures a rule's bare step and its products and convolutions alone, in turns, and returns the fastest of each.

    Args:
        rule: any rule.
        batch_size: samples a batch.
        rounds: how often each is measured.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rule = rule.to(device)
    network = rule.network
    x = torch.rand(batch_size, *network.shapes[0], device=device)
    target = rule.one_hot(torch.randint(network.sizes[-1], (batch_size,), device=device), x.dtype)
    optimizer = rule.optimizer(cast(Any, rule.parameter_groups()))

    def step() -> None:
        rule.learn(x, target, optimizer)

    step()  # the optimizer makes its state
    with Products() as products:
        step()
    repeats = max(2, round(60 / max(timed(step, 3, device), 0.1)))
    works = {product: product.work(device) for product in products.counts}
    steps: list[float] = []
    alone: dict[Product, list[float]] = {product: [] for product in works}
    with torch.no_grad():
        for _ in range(rounds):
            steps.append(timed(step, repeats, device))
            for product, work in works.items():
                once = timed(work, 1, device)
                alone[product].append(timed(work, min(20, max(2, round(10 / max(once, 0.1)))), device))
    optimizer.zero_grad()  # or the last step's gradients, which are given up, would hide those of the one measured
    return Cost(
        products.operations,
        sum(products.counts[product] * min(times) for product, times in alone.items()),
        min(steps),
        peak_memory(step, device),
    )


def peak_memory(step: Callable[[], None], device: torch.device) -> int:
    """Returns the bytes that a step holds at most beyond what was there before."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() - before
    gc.collect()  # or what was left before is given back meanwhile, and the step seems to hold less
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # or its profiler tells on stderr when it starts and stops
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    return max(accumulate(memory_changes(profiler), initial=0))
