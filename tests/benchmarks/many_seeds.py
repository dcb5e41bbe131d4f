"""Would S networks of one recipe, trained in one process with batched products, cost less than S runs?

    OMP_NUM_THREADS=1 python -m tests.benchmarks.many_seeds             # on a GPU: --device cuda

A prototype for dense networks of equilibrium propagation and CorInfoMax, with the recipes of configs/fashion_mnist:
every state and weight gets a first dimension for the network, and each product is a batched one. It takes the rule's
own step, which :func:`check` compares. Times are those of the bare step, of one network in milliseconds, in turns with
the rule's.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from bioplausible import CorInfoMax, EquilibriumPropagation
from bioplausible.functional import step_sizes
from bioplausible.rules import LearningRule

SIZES, BATCH, CLASSES = [784, 500, 10], 20, 10
COUNTS = (1, 2, 4, 8, 16)
ROUNDS = 11


def stacked(rules: list[LearningRule], name: str) -> dict[int, Tensor]:
    """Returns the weights of a name, such as ``weight``, of all networks (S × …) by layer."""
    found = {}
    for k in range(1, rules[0].network.L + 1):
        of_layer = [getattr(rule.network.connections[k - 1], name, None) for rule in rules]
        if of_layer[0] is not None:
            found[k] = torch.stack([weight.detach().clone() for weight in of_layer])
    return found


class Equilibrium:
    """Equilibrium propagation of S networks 784-500-10 at once."""

    def __init__(self, rules: list[LearningRule]) -> None:
        self.rates = {1: 0.07, 2: 0.03}
        self.W, self.b = stacked(rules, "weight"), stacked(rules, "bias")
        self.η = 0.5

    @staticmethod
    def rule(beta: float) -> EquilibriumPropagation:
        """Returns one network as the package trains it."""
        return EquilibriumPropagation(
            SIZES, beta=beta, random_beta_sign=False, free_steps=20, nudged_steps=4, step_size=0.5,
            learning_rates=[0.07, 0.03], optimizer=torch.optim.SGD,
        )  # fmt: skip

    def relax(self, steps: int, drive: Tensor, r: list[Tensor], y: Tensor | None, beta: Tensor) -> list[Tensor]:
        """Returns where activities (S × n × d_k) settle."""
        r1, r2 = r
        W2, b2, η = self.W[2], self.b[2][:, None], self.η
        W2T = W2.transpose(1, 2)
        for _ in range(steps):
            into1 = torch.baddbmm(drive, r2, W2)
            into2 = torch.baddbmm(b2, r1, W2T)
            if y is not None:
                into2 -= 2 * beta * (r2 - y)
            r1 = torch.lerp(r1, into1, η).clamp_(0, 1)
            r2 = torch.lerp(r2, into2, η).clamp_(0, 1)
        return [r1, r2]

    def learn(self, x: Tensor, y: Tensor, beta: Tensor) -> None:
        """Takes a step on batches (S × n × 784), each network with its own β (S × 1 × 1)."""
        n = x.shape[1]
        drive = torch.baddbmm(self.b[1][:, None], x, self.W[1].transpose(1, 2))
        rest = [x.new_zeros(len(x), n, d) for d in SIZES[1:]]
        free = self.relax(20, drive, rest, None, beta)
        nudged = self.relax(4, drive, free, y, beta)
        scale = 1 / (beta * n)
        change = [(p - f) * scale for p, f in zip(nudged, free, strict=True)]
        self.W[1].baddbmm_(change[0].transpose(1, 2), x, alpha=self.rates[1])
        contrast = torch.bmm((nudged[1] * scale).transpose(1, 2), nudged[0])
        contrast.baddbmm_((free[1] * scale).transpose(1, 2), free[0], alpha=-1)
        self.W[2].add_(contrast, alpha=self.rates[2])
        for k in (1, 2):
            self.b[k].add_(change[k - 1].sum(1), alpha=self.rates[k])


class Information:
    """CorInfoMax of S networks 784-500-10 at once."""

    λ, ε, g = 0.99999, 0.15, 0.3

    def __init__(self, rules: list[LearningRule]) -> None:
        self.rates, self.feedback_rate = {1: 0.3, 2: 0.22}, 0.07
        self.W = stacked(rules, "weight")
        self.V = stacked(rules, "feedback_weight")[2]  # (S × 10 × 500)
        self.B = {k: torch.stack([rule.network.laterals[k].weight.clone() for rule in rules]) for k in (1, 2)}
        falling = {"rule": "divide_by_slow_loop_index", "floor": 0.001, "decay": 0.01}
        self.free_sizes, self.nudged_sizes = (step_sizes(t, start=0.05, **falling) for t in (30, 10))

    @staticmethod
    def rule(beta: float) -> CorInfoMax:
        """Returns one network as the package trains it."""
        return CorInfoMax(
            SIZES, beta=beta, random_beta_sign=False, step_size_rule="divide_by_slow_loop_index",
            feedforward_learning_rates=[0.3, 0.22], feedback_learning_rates=[0.07], optimizer=torch.optim.SGD,
        )  # fmt: skip

    def relax(self, sizes: list[float], drive: Tensor, r: list[Tensor], y: Tensor | None, beta: Tensor) -> list[Tensor]:
        """Returns where activities (S × n × d_k) settle, layer after layer."""
        ε, g, γ = self.ε, self.g, (1 - self.λ) / self.λ
        r1, r2 = r
        u1, u2 = r1, r2
        W2T, V, B = self.W[2].transpose(1, 2), self.V, self.B
        for η in sizes:
            Δ1 = torch.add(drive, r1, alpha=g).baddbmm_(r2, V, alpha=1 / ε).baddbmm_(r1, B[1], alpha=2 * γ)
            u1 = torch.add(u1, Δ1.sub_(u1, alpha=g + 2 / ε), alpha=η)
            r1 = u1.clamp(0, 1)
            Δ2 = (r2 * g).baddbmm_(r1, W2T, alpha=1 / ε).baddbmm_(r2, B[2], alpha=γ).sub_(u2, alpha=g + 1 / ε + 1)
            if y is not None:
                Δ2 -= beta * (r2 - y)
            u2 = torch.add(u2, Δ2, alpha=η)
            r2 = u2.clamp(0, 1)
        return [r1, r2]

    def learn(self, x: Tensor, y: Tensor, beta: Tensor) -> None:
        """Takes a step on batches (S × n × 784), each network with its own β (S × 1 × 1)."""
        n, γ = x.shape[1], (1 - self.λ) / self.λ
        drive = torch.bmm(x, self.W[1].transpose(1, 2)).div_(self.ε)
        rest = [x.new_zeros(len(x), n, d) for d in SIZES[1:]]
        free = self.relax(self.free_sizes, drive, rest, None, beta)
        nudged = self.relax(self.nudged_sizes, drive, free, y, beta)
        scale, W2T = 1 / (beta * n), self.W[2].transpose(1, 2)
        e = [(r[1] - torch.bmm(r[0], W2T)) * scale for r in (nudged, free)]
        f = [(r[0] - torch.bmm(r[1], self.V)) * scale for r in (nudged, free)]
        self.W[1].baddbmm_(((nudged[0] - free[0]) * scale).transpose(1, 2), x, alpha=self.rates[1])
        contrast = torch.bmm(e[0].transpose(1, 2), nudged[0]).baddbmm_(e[1].transpose(1, 2), free[0], alpha=-1)
        self.W[2].add_(contrast, alpha=self.rates[2])
        contrast = torch.bmm(nudged[1].transpose(1, 2), f[0]).baddbmm_(free[1].transpose(1, 2), f[1], alpha=-1)
        self.V.add_(contrast, alpha=self.feedback_rate)
        for k in (1, 2):
            z = torch.bmm(nudged[k - 1], self.B[k])
            self.B[k].baddbmm_(z.transpose(1, 2), z, beta=1 / self.λ, alpha=-γ / (self.λ * n))


def problem(count: int, device: str) -> tuple[Tensor, Tensor, list[float]]:
    """Returns a batch of images (S × 20 × 784), one-hot classes and a sign of β for each network."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, BATCH, SIZES[0], generator=generator)
    y = torch.eye(CLASSES)[torch.randint(CLASSES, (count, BATCH), generator=generator)]
    return x.to(device), y.to(device), [1.0 if s % 2 else -1.0 for s in range(count)]


def pair(kind: type, count: int, device: str) -> tuple[Callable[[], None], Callable[[], None], Callable[[], float]]:
    """Returns a step of S networks one after the other, the same step batched, and the weights' largest difference."""
    x, y, betas = problem(count, device)
    rules = []
    for s, beta in enumerate(betas):
        torch.manual_seed(s)
        rules.append(kind.rule(beta).to(device))
    optimizers = [rule.configure_optimizers() for rule in rules]
    together, beta = kind(rules), torch.tensor(betas, device=device)[:, None, None]

    def apart() -> None:
        for s, rule in enumerate(rules):
            rule.learn(x[s], y[s], optimizers[s])

    @torch.no_grad()
    def batched() -> None:
        together.learn(x, y, beta)

    def difference() -> float:
        own = stacked(rules, "weight")
        return max(float((own[k] - together.W[k]).abs().max() / own[k].abs().max()) for k in own)

    return apart, batched, difference


def check(kind: type, count: int, steps: int = 3, device: str = "cpu") -> float:
    """Returns how far the batched weights are from the rule's own after some steps, in parts of the largest weight."""
    apart, batched, difference = pair(kind, count, device)
    for _ in range(steps):
        apart()
        batched()
    return difference()


def milliseconds(step: Callable[[], None], steps: int, device: str) -> float:
    """Returns the time of a step: the processor's, of this thread, or on a GPU the clock's."""
    clock = time.perf_counter if device == "cuda" else time.thread_time
    start = clock()
    for _ in range(steps):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
    return (clock() - start) / steps * 1e3


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    device = parser.parse_args().device
    torch.set_num_threads(1)
    print("| rule | networks | apart, ms each | together, ms each | gain |\n| --- | --- | --- | --- | --- |")
    for kind in (Equilibrium, Information):
        for count in COUNTS:
            apart, batched, _ = pair(kind, count, device)
            for step in (apart, batched):
                milliseconds(step, 2, device)
            steps = max(1, 16 // count)
            rounds = [[milliseconds(step, steps, device) / count for step in (apart, batched)] for _ in range(ROUNDS)]
            own, batch = (statistics.median(times) for times in zip(*rounds, strict=True))
            gain = statistics.median(a / b for a, b in rounds)
            print(f"| {kind.__name__} | {count} | {own:.2f} | {batch:.2f} | {gain:.2f} |", flush=True)


if __name__ == "__main__":
    main()
