"""Feedback alignment with biotorch's linear layers."""

import biotorch.layers.fa
import numpy as np
import torch
from torch import nn

from tests.benchmarks.peers.plain_torch import PlainTorch
from tests.benchmarks.peers.problem import Problem
from tests.benchmarks.peers.worker import main


class BioTorch(PlainTorch):
    """The plain network with biotorch's layers in it, and the mean squared error."""

    packages = ("biotorch", "torch")

    def __init__(self, problem: Problem, optimizer: str) -> None:
        super().__init__(problem, optimizer)
        with torch.no_grad():
            self.model[2].weight_backward.copy_(torch.from_numpy(problem.weights["V_2"]))
        self.loss = nn.MSELoss()

    def linear(self, weight: torch.Tensor) -> nn.Linear:
        return biotorch.layers.fa.Linear(weight.shape[1], weight.shape[0])

    def batch(self, x: np.ndarray, y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(x), torch.from_numpy(y)


if __name__ == "__main__":
    main(BioTorch)
