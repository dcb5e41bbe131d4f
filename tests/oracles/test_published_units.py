"""Oracle: recipes of published equilibrium propagation, against the published equations with the published numbers.

The codes of Laborieux et al. (2021) and Scellier et al. (2023) climb Φ = Σ_k r_k · Q(W_k * r_{k−1} + b_k) − β ℓ without
a leak, ℓ with its ½. Here it is climbed as it stands there, by automatic differentiation, and SGD moves weights with
the published rates, decay and momentum. A recipe's numbers are in the package's units: with them its weights must come
out as these, times the leak.
"""

import pytest
import torch
import yaml
from torch.nn import functional as F

from bioplausible.commands.benchmark.recipe_files import recipe_rule
from tests.helpers import CONFIGS

LABORIEUX = {"lr": [0.25, 0.15, 0.1, 0.08, 0.05], "decay": 3e-4, "floor": 1e-5, "leak": 0.5, "linear": False}
STUDY = {"gains": [0.5] * 5, "beta": 0.25, "lr": [0.0625, 0.0375, 0.025, 0.02, 0.0125], "decay": 3e-4}
ASYNCHRONOUS = {"floor": 2e-6, "asynchronous": True}
RESIDUAL = {"lr": [0.03] * 13, "top": 6.0, "limit": 1.0, "nesterov": True}
PUBLISHED = {
    "cifar10/equilibrium_propagation_vgg5": {**LABORIEUX, "beta": 1.0, "readout": True},
    "cifar10/equilibrium_propagation_vgg5_squared_error": {**LABORIEUX, "beta": 0.5},
    **{
        f"{data}/equilibrium_propagation_vgg5_asynchronous": {**ASYNCHRONOUS, **STUDY}
        for data in ("cifar10", "cifar100", "fashion_mnist", "mnist")
    },
    "cifar10/equilibrium_propagation_vgg5_asynchronous_tuned": {
        **ASYNCHRONOUS,
        "gains": [0.4, 0.7, 0.6, 0.3, 0.4],
        "beta": 0.1,
        "lr": [0.03] * 5,
        "decay": 2.5e-4,
    },
    "cifar100/equilibrium_propagation_vgg5_asynchronous_tuned": {
        **ASYNCHRONOUS,
        "gains": [0.5, 0.4, 0.5, 0.8, 0.5],
        "beta": 0.25,
        "lr": [0.03, 0.04, 0.04, 0.04, 0.025],
        "decay": 3.5e-4,
    },
    "cifar10/equilibrium_propagation_resnet13": {**ASYNCHRONOUS, **RESIDUAL, "beta": 0.1, "decay": 2.5e-4},
    "cifar100/equilibrium_propagation_resnet13": {**ASYNCHRONOUS, **RESIDUAL, "beta": 0.15, "decay": 3.5e-4},
}
"""β, rates, decay, last rate, and what else is the source's own, as they stand in the sources."""
FREE, NUDGED, CLASSES = 6, 4, 5


class Published:
    """A network in the published units.

    Args:
        rule: its wiring, and its weights divided by the leak.
        numbers: the published ones.
    """

    def __init__(self, rule, numbers):
        self.beta, self.leak = numbers["beta"], numbers.get("leak", 1.0)
        self.readout, self.linear = numbers.get("readout", False), numbers.get("linear", True)
        self.asynchronous, self.top = numbers.get("asynchronous", False), numbers.get("top", 1.0)
        self.limit = numbers.get("limit")
        self.L = rule.network.L
        self.shapes = rule.network.shapes
        self.wires, groups = [], []
        for c in rule.network.connections:
            scale = 1.0 if self.is_read_out(c.post) else self.leak
            W, b = ((None if p is None else (p.detach() / scale).requires_grad_()) for p in (c.weight, c.bias))
            self.wires.append((c, W, b, scale))
            groups.append({"params": [p for p in (W, b) if p is not None], "lr": numbers["lr"][c.post - 1]})
        self.optimizer = torch.optim.SGD(
            groups, momentum=0.9, nesterov=numbers.get("nesterov", False), weight_decay=numbers["decay"]
        )

    def is_read_out(self, k):
        return self.readout and k == self.L

    def drive(self, c, W, b, r):
        if W.ndim == 2:
            return F.linear(r.flatten(1), W, b)
        a = F.conv2d(r, W, b, stride=c.stride, padding=c.padding)
        return a if c.pool is None else F.max_pool2d(a, 2)

    def Φ(self, r):
        settled = [wire for wire in self.wires if not self.is_read_out(wire[0].post)]
        return sum((r[c.post] * self.drive(c, W, b, r[c.pre])).sum() for c, W, b, _ in settled)

    def scores(self, r):
        ((c, W, b, _),) = [wire for wire in self.wires if self.is_read_out(wire[0].post)]
        return self.drive(c, W, b, r[c.pre])

    def relax(self, r, steps, y, beta):
        last = len(r) - 1
        groups = [range(1, last + 1, 2), range(2, last + 1, 2)] if self.asynchronous else [range(1, last + 1)]
        for _ in range(steps):
            for layers in groups:
                leaves = [r[0], *(a.detach().requires_grad_() for a in r[1:])]
                climbed = self.Φ(leaves)
                if self.readout:
                    climbed = climbed - beta * F.cross_entropy(self.scores(leaves), y, reduction="sum")
                else:
                    climbed = climbed - beta * (leaves[last] - y).square().sum() / 2
                slopes = torch.autograd.grad(climbed, leaves[1:])
                new = list(r)
                for k in layers:
                    u = slopes[k - 1] * self.leak
                    new[k] = u if k == last and self.linear else u.clamp(0, self.top)
                r = new
        return r

    def learn(self, x, y):
        last, n = self.L - 1 if self.readout else self.L, len(x)
        rest = [x, *(torch.zeros(n, *shape, dtype=x.dtype) for shape in self.shapes[1 : last + 1])]
        free = self.relax(rest, FREE, y, 0.0)
        phases = [self.relax(free, NUDGED, y, sign * self.beta) for sign in (1, -1)]
        for sign, r in zip((1, -1), phases, strict=True):
            loss = -sign * self.Φ(r) / (2 * self.beta * n)
            if self.readout:
                loss = loss + F.cross_entropy(self.scores([a.detach() for a in r]), y) / 2
            loss.backward()
        if self.limit is not None:
            torch.nn.utils.clip_grad_norm_([p for g in self.optimizer.param_groups for p in g["params"]], self.limit)
        self.optimizer.step()
        self.optimizer.zero_grad()


def small(network):
    """Returns the same net with few channels and classes."""
    layers = []
    for k, entry in enumerate(network[1:-1], start=2):
        layers.append({**entry, "conv": k})
    last = network[-1]
    return [network[0], *layers, {**last, "dense": CLASSES} if isinstance(last, dict) else CLASSES]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_learns_as_the_published_equations_with_the_published_numbers(name):
    numbers, path = PUBLISHED[name], CONFIGS / f"{name}.yaml"
    network = yaml.safe_load(path.read_text())["model"]["init_args"]["network"]
    torch.manual_seed(0)
    rule = recipe_rule(path, network=small(network), free_steps=FREE, nudged_steps=NUDGED).double()
    with torch.no_grad():
        for c in rule.network.weighted:  # of a size at which states are neither silent nor cut off
            c.weight.mul_(1.5)
    published = Published(rule, numbers)
    optimizer = rule.optimizer(rule.parameter_groups())
    if "limit" in numbers:  # which is reached
        rule.gradient_norm_limit, published.limit = rule.gradient_norm_limit / 50, published.limit / 50
    draws = torch.Generator().manual_seed(1)
    for _ in range(3):
        x = torch.rand(3, *rule.network.shapes[0], generator=draws, dtype=torch.float64)
        y = torch.randint(CLASSES, (3,), generator=draws)
        target = F.one_hot(y, CLASSES).double()
        before = [c.weight.detach().clone() for c in rule.network.weighted]
        rule.learn(x, target, optimizer)
        published.learn(x, y if published.readout else target)
        moved = [not torch.equal(c.weight, w) for c, w in zip(rule.network.weighted, before, strict=True)]
        assert all(moved)
    for c, W, b, scale in published.wires:
        torch.testing.assert_close(c.weight.detach(), W.detach() * scale, rtol=1e-6, atol=1e-10)
        if b is not None:
            torch.testing.assert_close(c.bias.detach(), b.detach() * scale, rtol=1e-6, atol=1e-10)
    schedule = rule.lr_scheduler(optimizer)
    for group, lr, floor in zip(optimizer.param_groups, numbers["lr"], schedule.floors, strict=True):
        assert floor / group["initial_lr"] == pytest.approx(numbers["floor"] / lr)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if "vgg5" in name])
def test_a_recipes_weights_start_as_published(name):
    """Theirs times the leak: Laborieux et al. draw W and b from ±1/√fan_in, Scellier et al. b from half of that."""
    numbers = PUBLISHED[name]
    rule = recipe_rule(CONFIGS / f"{name}.yaml")
    L = rule.network.L
    for c in rule.network.connections:
        scale = 1.0 if numbers.get("readout") and c.post == L else numbers.get("leak", 1.0)
        W, b = (p.detach().abs().max() * c.weight[0].numel() ** 0.5 / scale for p in (c.weight, c.bias))
        gain = numbers["gains"][c.post - 1] if "gains" in numbers else 1.0
        assert float(W) == pytest.approx(gain, rel=0.01)
        most = 0.5 if "gains" in numbers else 1.0
        assert 0.6 * most < float(b) <= most * (1 + 1e-6)
