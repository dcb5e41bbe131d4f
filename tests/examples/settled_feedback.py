"""Feedback weights that settle before the forward ones move: a rule of one's own of several steps a batch."""

from bioplausible import LearningRule, Phase


class SettledFeedback(LearningRule):
    """Feedback alignment in whose every batch V learns first, from noise, and then W from the errors through V.

    V takes ``feedback_steps`` steps, each with noise ξ of its own for every sample: ΔV_k ∝ ⟨(W_k ξ − V_k ξ) ξ⟩, which
    is 0 where V = W. Then W takes one: ΔW_k ∝ −⟨δ_k r_{k−1}⟩, Δb_k ∝ −mean(δ_k), with δ_L = r_L − y and
    δ_k = V_{k+1}ᵀ δ_{k+1} where r_k > 0.
    """

    def __init__(self, feedback_steps: int = 5, **options):
        super().__init__(**options)
        self.feedback_steps = feedback_steps
        self.network = self.build_network(feedback="learned")

    def activity(self, x):
        r = [x]
        for k in range(1, self.network.L):
            r.append(self.network.drive(k, r).relu())
        return [*r, self.network.drive(self.network.L, r)]

    def forward(self, x):
        return self.activity(x)[-1]

    def settle(self, x, target):
        r = self.activity(x)
        return {"feedforward": Phase(r, internal={"target": [target]})}

    def updates(self, phases):
        for t in range(self.feedback_steps):
            yield self.feedback_updates(phases["feedforward"], t)  # V as the step before left it
        yield self.local_updates(phases)

    def feedback_updates(self, phase, t):
        for c in self.network.weighted:
            if not c.is_tied:
                ξ = self.draws(phase, c.post, t).normal(*c.pre_shape, dtype=phase.output.dtype)
                yield c.feedback_weight, c.correlation(c.transform(c.weight - c.feedback_weight, ξ), ξ)

    def local_updates(self, phases):
        r, (target,) = phases["feedforward"].activity, phases["feedforward"].internal["target"]
        δ = [*r[:-1], r[-1] - target]
        for k in range(self.network.L - 1, 0, -1):
            δ[k] = self.network.feedback(k, δ, at=r) * (r[k] > 0)
        for c in self.network.connections:
            if c.weight is not None:
                yield c.weight, -c.correlate(δ[c.post], r[c.pre])
            if c.bias is not None:
                yield c.bias, -c.bias_update(δ[c.post])
