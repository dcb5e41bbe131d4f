"""The bare step of a rule of this package: settling, updates, optimizer."""

from pathlib import Path

import numpy as np
import torch

from bioplausible.commands.benchmark.recipe_files import recipe_rule
from tests.benchmarks.peers.problem import Arrays, Problem
from tests.benchmarks.peers.worker import Learner, main

CONFIGS = Path(__file__).parents[3] / "configs/fashion_mnist"
NAMES = {
    "W_1": "network.wiring.1.weight",
    "b_1": "network.wiring.1.bias",
    "W_2": "network.wiring.2.weight",
    "b_2": "network.wiring.2.bias",
    "V_2": "network.wiring.2._feedback_weight",
}


class Ours(Learner):
    """The recipe's rule, with the optimizer that it builds."""

    packages = ("bioplausible", "torch")

    def __init__(self, problem: Problem, optimizer: str) -> None:
        self.rule = recipe_rule(CONFIGS / f"{problem.recipe}.yaml")
        given = {NAMES[name]: torch.from_numpy(array) for name, array in problem.weights.items()}
        missing, unexpected = self.rule.load_state_dict(given, strict=False)
        assert not unexpected
        assert not [name for name in missing if name.startswith("network.")]
        groups = self.rule.parameter_groups()
        self.optimizer = self.rule.optimizer(groups) if optimizer == "adam" else torch.optim.SGD(groups, lr=1)

    def batch(self, x: np.ndarray, y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(x), torch.from_numpy(y)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.rule.learn(x, y, self.optimizer)

    def weights(self) -> Arrays:
        state = self.rule.state_dict()
        return {name: state[NAMES[name]].numpy() for name in ("W_1", "b_1", "W_2", "b_2")}


if __name__ == "__main__":
    main(Ours)
