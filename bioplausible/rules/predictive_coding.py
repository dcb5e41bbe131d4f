"""Predictive coding (Whittington & Bogacz 2017)."""

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from pytorch_lightning.cli import OptimizerCallable
from torch import Tensor

from bioplausible.errors.checks import require
from bioplausible.functional import ActivationName
from bioplausible.network import Clamped, Sizes
from bioplausible.rules.error_based_inference import settle_errors
from bioplausible.rules.options import refuse_without_effect, require_beta, require_choice
from bioplausible.rules.predictive_coding_network import OF_SETTLING
from bioplausible.rules.supervised_predictive_coding import Loss, SupervisedPredictiveCoding
from bioplausible.training.phase import Phase, Phases


class PredictiveCoding(SupervisedPredictiveCoding):
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

    With ``beta`` the output is held at v_L = μ_L + β (target − μ_L), μ_L that of the feedforward pass, and updates are
    divided by β: 1 is plain predictive coding, 0 < β < 1 positive and β < 0 negative nudging (Pinchetti et al. 2025).
    ``beta_growth`` lets β grow from epoch to epoch, in epoch e = 0, 1, … β_e = sign(β) min(|β| + growth · e, 1).

    With ``inference: errors`` the errors settle in place of the values (Goemaere et al. 2025)::

        v_k = W_k f(v_{k−1}) + b_k + e_k,    e_k ← e_k + η_t (δ_k − e_k)           e = 0 at the start
        δ_L = y − W_L f(v_{L−1}) − b_L,      δ_k = f′(v_k) ⊙ W_{k+1}ᵀ δ_{k+1},      ΔW_k ∝ ⟨δ_k f(v_{k−1})⟩

    They come to the same equilibrium in far fewer iterations, the first of which is η times backpropagation. But each
    is a whole pass up and down, so this is local neither in space nor in time. In the published code the output's
    error moves too, unpunished (``free_output_error``): it takes up the target, and as inference converges nothing is
    left to learn, so by default it is held at 0. That code's η acts on the mean over the batch: it is ours times n.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        activation_function: f.
        target_range: value of the target for the other classes and for the right one; the published 0.03 and 0.97.
        fixed_predictions: whether predictions and f′ stay those of the feedforward pass during inference and learning.
        step_size_decay: c of ``divide_by_slow_loop_index``; refused with the others.
        loss: whose error the output has; cross entropy needs the target range [0, 1].
        stale_errors: whether learning sees the errors from before the last iteration.
        inference: whether values or errors settle.
        free_output_error: whether with ``inference: errors`` the output's error moves.
        beta: β ≠ 0, how far the output is moved towards the target.
        beta_growth: how much |β| grows each epoch, up to 1.
        optimizer: any torch optimizer.
        options: the other arguments of
            :class:`bioplausible.rules.predictive_coding_network.PredictiveCodingNetwork`.

    Raises:
        UserError: an argument is outside its range.
    """

    of_hidden_layers = SupervisedPredictiveCoding.of_hidden_layers | {"fixed_predictions", "stale_errors"}

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        activation_function: ActivationName = "sigmoid",
        target_range: tuple[float, float] = (0.03, 0.97),
        fixed_predictions: bool = False,
        step_size_decay: float = 0.01,
        loss: Loss = "squared_error",
        stale_errors: bool = False,
        beta: float = 1.0,
        beta_growth: float = 0.0,
        inference: Literal["values", "errors"] = "values",
        free_output_error: bool = False,
        optimizer: OptimizerCallable = torch.optim.Adam,
        **options: Any,
    ) -> None:
        super().__init__(
            layer_sizes,
            activation_function,
            target_range,
            loss,
            step_size_decay=step_size_decay,
            optimizer=optimizer,
            **options,
        )
        require_beta(beta)
        require(
            loss == "squared_error" or beta == 1,
            f"beta is {beta}: cross entropy compares the output with the target itself, so leave beta at 1.",
        )
        require(
            beta_growth == 0 or (beta_growth > 0 and abs(beta) < 1),
            f"beta_growth is {beta_growth} and beta {beta}: it must not be negative, and beta grows up to 1 or down to"
            " -1, from between them.",
        )
        require_choice("inference", inference, ("values", "errors"))
        for name, given in (("fixed_predictions", fixed_predictions), ("stale_errors", stale_errors)):
            require(
                inference == "values" or not given,
                f"inference is errors, which are those of the values that they lead to: leave out {name}.",
            )
        require(
            inference == "errors" or not free_output_error,
            "free_output_error has no effect where values settle: set inference to errors, or leave it out.",
        )
        if self.network.L == 1 and not free_output_error:  # nothing settles
            refuse_without_effect(
                self, sorted(OF_SETTLING | {"inference", "inference_steps"}), "without a hidden layer"
            )
        self.inference = inference
        self.free_output_error = free_output_error
        self.beta = beta
        self.beta_growth = beta_growth
        self.fixed_predictions = fixed_predictions
        self.stale_errors = stale_errors

    @property
    def beta_now(self) -> float:
        """β_e of the current epoch."""
        if not self.beta_growth:
            return self.beta
        return math.copysign(min(abs(self.beta) + self.beta_growth * self.current_epoch, 1.0), self.beta)

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phases ``feedforward`` and ``inference``, with its errors e_1 … e_L as ``internal["error"]``."""
        network, target = self.network.clamp(x), self.soften(target)
        feedforward = self.feedforward(network)
        if self.inference == "errors":
            relax = self.relax_errors
        else:
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
        f, m = self.f, self.momenta(v)
        f_v, slope, e, back = ([torch.empty_like(a) for a in v] for _ in range(4))
        self.clamp_output_(v, target)
        previous: list[Tensor] = []
        for η in self.iterate(v, self.step_sizes, before_last=previous):
            for k in hidden:
                f.function(v[k], out=f_v[k])
                f.slope(f.kept(v[k], f_v[k]), out=slope[k])
            self.find_errors_(network, layers, e, v, f_v)
            self.compare_output_(e, v, target)
            for k in hidden:
                self.descend_(network, k, v, e, back, (f_v, slope), m, η)
        if not self.stale_errors:
            for k in hidden:
                f.function(v[k], out=f_v[k])
            self.find_errors_(network, range(1, len(v)), e, v, f_v)
            self.compare_output_(e, v, target)
        return Phase(v, 0.0, previous, self.step_sizes[-1], {"error": e[1:]})

    def clamp_output_(self, v: list[Tensor], target: Tensor) -> None:
        """Moves v_L by β of its way to the target, where the error is the squared one's."""
        if self.loss == "squared_error":
            v[-1].lerp_(target, self.beta_now)

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
        slope, m = [self.f.slope(self.f.kept(*pair)) for pair in zip(μ, f_μ, strict=True)], self.momenta(v)
        e, back = ([torch.empty_like(a) for a in v] for _ in range(2))
        network.find_winners(f_μ)
        if self.loss == "cross_entropy":
            v[-1].add_(target).sub_(μ[-1].softmax(1))
        self.clamp_output_(v, target)
        previous: list[Tensor] = []
        for η in self.iterate(v, self.step_sizes, before_last=previous):
            for k in range(1, len(v)):
                torch.sub(v[k], μ[k], out=e[k])
            for k in hidden:
                self.descend_(network, k, v, e, back, (f_μ, slope), m, η)
        if not self.stale_errors:
            for k in hidden:
                torch.sub(v[k], μ[k], out=e[k])
        return Phase(v, 0.0, previous, self.step_sizes[-1], {"error": e[1:]})

    def relax_errors(self, network: Clamped, start: Phase, target: Tensor) -> Phase:
        """Lets the errors settle, and returns the values that they lead to, with the errors δ that come down there.

        Args:
            network: with the input clamped.
            start: the values of the feedforward pass.
            target: y (n × d_L), softened.
        """
        held = target if self.loss == "cross_entropy" else start.output.lerp(target, self.beta_now)
        return settle_errors(self, network, start, held, self.free_output_error)

    def compared_output(self, output: Tensor, error: Tensor) -> Tensor:
        """Returns the output (n × d_L) that cross entropy compares with y, which a free error moves away from μ_L."""
        return output if self.free_output_error else super().compared_output(output, error)

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with ⟨e_k f(v_{k−1})⟩ / β and b_k with mean(e_k) / β."""
        values = phases["feedforward" if self.fixed_predictions else "inference"]
        β, errors = self.beta_now, phases["inference"].internal["error"]
        return self.hebbian(values, errors if β == 1 else [e / β for e in errors])

    def energy(self, phase: Phase, target: Tensor) -> Tensor | None:
        """Returns Σ_k ‖e_k‖² of each sample (n), twice what is descended, 2 C in the place of its last term.

        None with fixed predictions, for then nothing descends it.
        """
        return None if self.fixed_predictions else super().energy(phase, target)
