"""Backpropagation written in plain torch, as its tutorials do: the floor of what a step can take there."""

import numpy as np
import torch
from torch import nn

from tests.benchmarks.peers.problem import Arrays, Problem
from tests.benchmarks.peers.worker import Learner, main


class PlainTorch(Learner):
    """Two linear layers with ReLU between them, cross entropy, ``backward`` and torch's own optimizer."""

    packages = ("torch",)

    def __init__(self, problem: Problem, optimizer: str) -> None:
        w = {name: torch.from_numpy(array) for name, array in problem.weights.items()}
        self.model = nn.Sequential(self.linear(w["W_1"]), nn.ReLU(), self.linear(w["W_2"]))
        names = {"0.weight": w["W_1"], "0.bias": w["b_1"], "2.weight": w["W_2"], "2.bias": w["b_2"]}
        self.model.load_state_dict(names, strict=False)
        parameters = self.model.parameters()
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD(parameters, lr=1)
        if optimizer == "adam":
            self.optimizer = torch.optim.Adam(self.model.parameters(), lr=problem.rate, fused=True)
        self.loss: nn.Module = nn.CrossEntropyLoss()

    def linear(self, weight: torch.Tensor) -> nn.Linear:
        """Returns a layer of the weight's shape."""
        return nn.Linear(weight.shape[1], weight.shape[0])

    def batch(self, x: np.ndarray, y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(x), torch.from_numpy(y.argmax(1))

    def step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        self.loss(self.model(x), y).backward()
        self.optimizer.step()

    def weights(self) -> Arrays:
        state = self.model.state_dict()
        return {
            f"{kind}_{k}": state[f"{2 * k - 2}.{name}"].numpy().copy()
            for k in (1, 2)
            for kind, name in (("W", "weight"), ("b", "bias"))
        }


if __name__ == "__main__":
    main(PlainTorch)
