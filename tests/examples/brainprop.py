"""Attention-gated brain propagation (Pozzi, Bohté & Roelfsema 2020): a rule of one's own, in a file of one's own."""

import torch

from bioplausible import LearningRule, Phase
from bioplausible.training.randomness import generator


class BrainProp(LearningRule):
    """The network chooses a class, is rewarded if it is right, and every synapse hears how unexpected that was.

    The output, linear, is the reward q expected of each choice; hidden units are r_k = max(W_k r_{k−1} + b_k, 0). One
    class is chosen with probability softmax(q / temperature), and attention g goes down from it alone, through
    W_{k+1}ᵀ g_{k+1} and the units that are active. With d = reward − q of the choice, the same for all synapses:
    ΔW_k ∝ ⟨d g_k r_{k−1}⟩, Δb_k ∝ mean(d g_k).
    """

    def __init__(self, temperature: float = 0.2, **options):
        super().__init__(**options)
        self.temperature = temperature
        self.network = self.build_network()

    def activity(self, x):
        r = [x]
        for k in range(1, self.network.L):
            r.append(self.network.drive(k, r).relu())
        return [*r, self.network.drive(self.network.L, r)]

    def forward(self, x):
        return self.activity(x)[-1]

    def choose(self, q):
        # the same noise for all samples: it must not depend on which of them settle together
        noise = -torch.empty(q.shape[1]).exponential_(generator=generator(self.seed, self.step)).log()
        return self.one_hot((q + self.temperature * noise.to(q)).argmax(1), q.dtype)

    def settle(self, x, target):
        r, L = self.activity(x), self.network.L
        choice = self.choose(r[L])
        g = [*r[:L], choice]
        for k in range(L - 1, 0, -1):
            g[k] = self.network.feedback(k, g, at=r) * (r[k] > 0)
        surprise = (choice * (target - r[L])).sum(1)
        return {"feedforward": Phase(r, internal={"attention": g[1:], "surprise": [surprise]})}

    def local_updates(self, phases):
        r, heard = phases["feedforward"].activity, phases["feedforward"].internal
        for c in self.network.connections:
            g = heard["attention"][c.post - 1]
            gated = g * heard["surprise"][0].view(-1, *[1] * (g.ndim - 1))
            if c.weight is not None:
                yield c.weight, c.correlate(gated, r[c.pre])
            if c.bias is not None:
                yield c.bias, c.bias_update(gated)
