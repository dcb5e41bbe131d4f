"""Small networks of every rule, and one training step without a Trainer."""

import inspect

import torch

from bioplausible import rules
from bioplausible.rules import LearningRule

SIZES = [7, 6, 5, 4]


def all_rules() -> list[type[LearningRule]]:
    """Every rule that the package exports: a new one is tested without touching the tests."""
    return [
        cls
        for cls in vars(rules).values()
        # Mapping[…] is an instance of type to Python 3.10, but type() knows better
        if issubclass(type(cls), type) and issubclass(cls, LearningRule) and not inspect.isabstract(cls)
    ]


def build(cls: type[LearningRule], sizes=SIZES, **options) -> LearningRule:
    """Returns a small float64 network of a rule."""
    if "dual_step_sizes" in inspect.signature(cls.__init__).parameters:
        options.setdefault("dual_step_sizes", {1: 0.05, len(sizes) - 1: 0.1})
    return cls(list(sizes), **options).double()


def batch(sizes=SIZES, n=6, seed=0):
    """Returns inputs, classes and one-hot targets."""
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(n, sizes[0], generator=g, dtype=torch.float64)
    y = torch.randint(sizes[-1], (n,), generator=g)
    return x, y, torch.nn.functional.one_hot(y, sizes[-1]).double()


@torch.no_grad()
def updates(rule: LearningRule, phases) -> dict[str, torch.Tensor]:
    """Returns the local update of each parameter by its name."""
    names = {id(p): name for name, p in rule.named_parameters()}
    return {names[id(p)]: u.clone() for p, u in rule.local_updates(phases)}
