"""Predictive coding (Whittington & Bogacz 2017)."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pytorch_lightning.cli import OptimizerCallable
from torch import Tensor

from bioplausible.errors.checks import require
from bioplausible.functional import ActivationName, prediction_error_energy
from bioplausible.network import Clamped
from bioplausible.rules.options import require_choice
from bioplausible.rules.predictive_coding_network import PredictiveCodingNetwork
from bioplausible.training.phase import Phase, Phases


class PredictiveCoding(PredictiveCodingNetwork):
    r"""Supervised predictive coding.

    Values start from a feedforward pass, then the output is clamped to the softened target, and the others descend
    ½ Σ_k ‖e_k‖² (equations 2.18 and 2.19 of Whittington & Bogacz 2017)::

        v_1 = W_1 x + b_1,  v_k = W_k f(v_{k−1}) + b_k;     then v_L = target
        e_k = v_k − W_k f(v_{k−1}) − b_k
        v_k ← v_k + η_t ( −e_k + f′(v_k) ⊙ W_{k+1}ᵀ e_{k+1} )         T times, all hidden layers at once
        ΔW_k ∝ ⟨e_k f(v_{k−1})⟩,    Δb_k ∝ mean(e_k)

    Variants: with ``fixed_predictions`` the predictions, f′ and the winners of max pooling stay those of the
    feedforward pass; with η = 1 and T ≥ L the errors are then backpropagation's exactly (Millidge et al. 2022;
    Rosenbaum 2022). ``loss: cross_entropy`` replaces the output's error by e_L = y − softmax(W_L f(v_{L−1}) + b_L),
    minus the gradient of each sample's loss. Rosenbaum's published code learns from the errors of the last iteration's
    start and the values at its end, which ``stale_errors`` repeats; it matters little where inference settles.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        activation_function: f.
        target_range: value of the target for the other classes and for the right one; the published 0.03 and 0.97.
        fixed_predictions: whether predictions and f′ stay those of the feedforward pass during inference and learning.
        step_size_decay: c of ``divide_by_slow_loop_index``.
        loss: whose error the output has; cross entropy needs the target range [0, 1].
        stale_errors: whether learning sees the errors from before the last iteration.
        optimizer: any torch optimizer.
        options: the other arguments of
            :class:`bioplausible.rules.predictive_coding_network.PredictiveCodingNetwork`.

    Raises:
        UserError: an argument is outside its range.
    """

    def __init__(
        self,
        layer_sizes: list[int] | None = None,
        activation_function: ActivationName = "sigmoid",
        target_range: tuple[float, float] = (0.03, 0.97),
        fixed_predictions: bool = False,
        step_size_decay: float = 0.01,
        loss: Literal["squared_error", "cross_entropy"] = "squared_error",
        stale_errors: bool = False,
        optimizer: OptimizerCallable = torch.optim.Adam,
        **options: Any,
    ) -> None:
        super().__init__(
            layer_sizes, activation_function, step_size_decay=step_size_decay, optimizer=optimizer, **options
        )
        require(
            target_range[0] < target_range[1],
            f"target_range is {target_range}: the right class needs the larger value.",
        )
        require_choice("loss", loss, ("squared_error", "cross_entropy"))
        require(
            loss == "squared_error" or tuple(target_range) == (0, 1),
            f"target_range is {target_range}: cross entropy needs [0, 1], the probabilities of the right class.",
        )
        self.target_range = target_range
        self.fixed_predictions = fixed_predictions
        self.loss = loss
        self.stale_errors = stale_errors

    def soften(self, target: Tensor) -> Tensor:
        """Returns 0.94 y + 0.03 (with the published range) of the one-hot target y (n × d_L)."""
        low, high = self.target_range
        return target * (high - low) + low

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phases ``feedforward`` and ``inference``, with its errors e_1 … e_L as ``internal["error"]``."""
        network, target = self.network.clamp(x), self.soften(target)
        feedforward = self.feedforward(network)
        relax = self.relax_fixed if self.fixed_predictions else self.relax
        return {"feedforward": feedforward, "inference": relax(network, feedforward, target)}

    @torch.no_grad()
    def relax(self, network: Clamped, start: Phase, target: Tensor) -> Phase:
        """Lets the hidden values descend ½ Σ_k ‖e_k‖², the output clamped, and returns where they end.

        Args:
            network: with the input clamped.
            start: the values of the feedforward pass.
            target: y (n × d_L), softened.
        """
        v = self.copy_of(network, start)
        hidden = range(1, len(v) - 1)
        layers = list(range(1, len(v))) if self.stale_errors else self.compared(network)
        f, f_prime = self.f
        f_v, slope, e, back = ([torch.empty_like(a) for a in v] for _ in range(4))
        self.clamp_output_(v, target)
        previous: list[Tensor] = []
        for η in self.iterate(v, self.step_sizes, before_last=previous):
            for k in hidden:
                f(v[k], out=f_v[k])
                f_prime(f_v[k], out=slope[k])
            self.find_errors_(network, layers, e, v, f_v)
            self.compare_output_(e, v, target)
            for k in hidden:
                network.set_feedback_(k, back[k], e, f_v)
                self.subtract_error_(network, k, v, e, η)
                v[k].addcmul_(slope[k], back[k], value=η)
        if not self.stale_errors:
            for k in hidden:
                f(v[k], out=f_v[k])
            self.find_errors_(network, range(1, len(v)), e, v, f_v)
            self.compare_output_(e, v, target)
        return Phase(v, 0.0, previous, self.step_sizes[-1], {"error": e[1:]})

    def compare_output_(self, e: list[Tensor], v: list[Tensor], target: Tensor) -> None:
        """Sets e_L = y − softmax(W_L f(v_{L−1}) + b_L) with cross entropy, and v_L to the prediction."""
        if self.loss == "cross_entropy":
            v[-1].sub_(e[-1])
            torch.sub(target, v[-1].softmax(1), out=e[-1])

    def clamp_output_(self, v: list[Tensor], target: Tensor) -> None:
        """Sets v_L to the target, where the error is the squared one's."""
        if self.loss == "squared_error":
            v[-1].copy_(target)

    @torch.no_grad()
    def relax_fixed(self, network: Clamped, start: Phase, target: Tensor) -> Phase:
        """Lets the hidden values relax with predictions, f′ and winners held where they start.

        Args:
            network: with the input clamped.
            start: the values of the feedforward pass, which are the predictions.
            target: y (n × d_L), softened.
        """
        μ, v = start.activity, self.copy_of(network, start)
        hidden = range(1, len(v) - 1)
        f_μ = self.rates(μ)
        slope = [self.f.derivative(a) for a in f_μ]
        e, back = ([torch.empty_like(a) for a in v] for _ in range(2))
        network.find_winners(f_μ)
        v[-1].copy_(target if self.loss == "squared_error" else μ[-1] + target - μ[-1].softmax(1))
        previous: list[Tensor] = []
        for η in self.iterate(v, self.step_sizes, before_last=previous):
            for k in range(1, len(v)):
                torch.sub(v[k], μ[k], out=e[k])
            for k in hidden:
                network.set_feedback_(k, back[k], e, f_μ)
                v[k].sub_(e[k], alpha=η).addcmul_(slope[k], back[k], value=η)
        if not self.stale_errors:
            for k in hidden:
                torch.sub(v[k], μ[k], out=e[k])
        return Phase(v, 0.0, previous, self.step_sizes[-1], {"error": e[1:]})

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with ⟨e_k f(v_{k−1})⟩ and b_k with mean(e_k)."""
        values = phases["feedforward" if self.fixed_predictions else "inference"]
        return self.hebbian(values, phases["inference"].internal["error"])

    def energy(self, phase: Phase, target: Tensor) -> Tensor | None:
        """Returns Σ_k ‖e_k‖² of each sample (n), twice what is descended, 2 C in the place of its last term.

        None with fixed predictions, for then nothing descends it.
        """
        if self.fixed_predictions:
            return None
        if self.loss == "squared_error":
            return super().energy(phase, target)
        output = self.network.drive(self.network.L, self.rates(phase.activity))
        hidden = Phase([*phase.activity[:-1], output])
        return prediction_error_energy(self.errors(hidden)) + 2 * self.sample_losses(output, target)

    def sample_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns the loss of each sample (n): ½ ‖v_L − target‖², the energy before inference, or the cross entropy."""
        if self.loss == "cross_entropy":
            return F.cross_entropy(output, target, reduction="none")
        return (output - self.soften(target)).square().sum(1) / 2

    def class_probabilities(self, output: Tensor) -> Tensor:
        """Returns the softmax of the output where the loss is the cross entropy, else as for every rule (n × d_L)."""
        return output.softmax(1) if self.loss == "cross_entropy" else super().class_probabilities(output)
