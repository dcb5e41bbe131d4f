"""Direct feedback alignment (Nøkland 2016): a rule of one's own, in a file of one's own."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from bioplausible import LearningRule, Phase
from bioplausible.network import Dense


class DirectFeedbackAlignment(LearningRule):
    """The output's error reaches every hidden layer at once, through a fixed random matrix D_k of its own.

    r_k = tanh(W_k r_{k−1} + b_k),  δ_L = softmax(a_L) − y,  δ_k = (1 − r_k²) ⊙ D_k δ_L,
    ΔW_k ∝ −⟨δ_k r_{k−1}⟩,  Δb_k ∝ −mean(δ_k).
    """

    def __init__(self, layer_sizes: list[int], **options):
        super().__init__(layer_sizes, **options)
        self.connections = nn.ModuleList(Dense(pre, post) for pre, post in pairwise(layer_sizes))
        for k, d in enumerate(layer_sizes[1:-1], start=1):
            self.register_buffer(f"D_{k}", torch.randn(d, layer_sizes[-1]) / layer_sizes[-1] ** 0.5)

    def propagate(self, x):
        r = [x]
        for connection in self.connections[:-1]:
            r.append(connection.feedforward(r[-1]).tanh())
        return [*r, self.connections[-1].feedforward(r[-1])]

    def forward(self, x):
        return self.propagate(x)[-1]

    def settle(self, x, target):
        r = self.propagate(x)
        error = r[-1].softmax(1) - target
        hidden = [(1 - r[k] ** 2) * (error @ self.get_buffer(f"D_{k}").t()) for k in range(1, len(r) - 1)]
        return {"feedforward": Phase(r, internal={"delta": [*hidden, error]})}

    def local_updates(self, phases):
        phase = phases["feedforward"]
        for connection, delta, pre in zip(self.connections, phase.internal["delta"], phase.activity, strict=False):
            yield connection.weight, connection.correlate(-delta, pre)
            yield connection.bias, -delta.mean(0)

    def sample_losses(self, output, target):
        return F.cross_entropy(output, target, reduction="none")

    def class_probabilities(self, output):
        return output.softmax(1)
