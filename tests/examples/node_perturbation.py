"""Node perturbation with complex activities: a rule of one's own that draws for each sample as it settles."""

import torch

from bioplausible import LearningRule, Phase


class NodePerturbation(LearningRule):
    """Noise moves all units a little, and each learns from whether that raised or lowered the loss.

    The activities are complex: z_k = tanh(a_k + i h ξ_k), the output linear, with noise ξ of every sample and unit.
    Their real parts are the clean pass. The imaginary part of the loss C = ½ Σ (z_L − y)² is h s, to O(h²), where s is
    how fast C changes in the noise's direction. All synapses hear this one number: ΔW_k ∝ −⟨s ξ_k r_{k−1}⟩,
    Δb_k ∝ −mean(s ξ_k). On average over the noise that is the gradient.
    """

    h = 1e-5

    def __init__(self, **options):
        super().__init__(**options)
        self.network = self.build_network()

    def drive(self, k, z):
        real, imaginary = [r.real for r in z], [r.imag for r in z]
        bias = self.network.drive(k, [torch.zeros_like(r) for r in real])  # belongs to the real part alone
        return torch.complex(self.network.drive(k, real), self.network.drive(k, imaginary) - bias)

    def activity(self, x):
        r = [x]
        for k in range(1, self.network.L):
            r.append(self.network.drive(k, r).tanh())
        return [*r, self.network.drive(self.network.L, r)]

    def forward(self, x):
        return self.activity(x)[-1]

    def settle(self, x, target):
        z, noise, L = [torch.complex(x, torch.zeros_like(x))], [], self.network.L
        for k in range(1, L + 1):
            ξ = self.draws(x, k).normal(*self.network.shapes[k], dtype=x.dtype)
            moved = self.drive(k, z) + torch.complex(torch.zeros_like(ξ), self.h * ξ)
            z.append(moved.tanh() if k < L else moved)
            noise.append(ξ)
        s = ((z[L] - target).square().sum(1) / 2).imag / self.h
        return {"perturbed": Phase(z, internal={"noise": noise, "slope": [s]})}

    def local_updates(self, phases):
        z, heard = phases["perturbed"].activity, phases["perturbed"].internal
        for c in self.network.connections:
            ξ = heard["noise"][c.post - 1]
            s = heard["slope"][0].view(-1, *[1] * (ξ.ndim - 1))
            if c.weight is not None:
                yield c.weight, -c.correlate(s * ξ, z[c.pre].real)
            if c.bias is not None:
                yield c.bias, -c.bias_update(s * ξ)
