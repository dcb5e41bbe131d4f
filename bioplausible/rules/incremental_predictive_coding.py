"""Incremental predictive coding (Salvatori, Song, Yordanov, Millidge, Sha, Emde, Xu, Bogacz & Lukasiewicz 2022)."""

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from bioplausible.errors.checks import require
from bioplausible.network import Sizes
from bioplausible.rules.options import refuse_without_effect, require_choice
from bioplausible.rules.predictive_coding_network import OF_SETTLING
from bioplausible.rules.supervised_predictive_coding import SupervisedPredictiveCoding
from bioplausible.training.phase import Phase, Phases


class IncrementalPredictiveCoding(SupervisedPredictiveCoding):
    r"""Predictive coding whose weights move at every iteration of inference, and don't wait for its end.

    Values start from a feedforward pass, the output is held at the target y, and values and weights descend
    F = ½ Σ_k ‖e_k‖² together, both from the same point, T times a batch::

        v_1 = W_1 x + b_1,  v_k = W_k f(v_{k−1}) + b_k;     then v_L = y
        e_k = v_k − W_k f(v_{k−1}) − b_k                            with the weights as they are at this iteration
        v_k ← v_k + η_t ( −e_k + f′(v_k) ⊙ W_{k+1}ᵀ e_{k+1} )        all hidden layers at once
        W_k ← W_k + lr ⟨e_k f(v_{k−1})⟩,    b_k ← b_k + lr mean(e_k)

    The optimizer takes T steps a batch, which count as one batch. At the first iteration hidden errors are 0: T = 1
    moves the output layer alone. ``loss: cross_entropy`` replaces the output's error by
    e_L = y − softmax(W_L f(v_{L−1}) + b_L). The published code sums updates over samples: its rate is ours divided by
    the batch size.

    Two published options. ``step_size_discount: 0.5`` halves η for the rest of the batch where F, over the batch, has
    not fallen: it is that code's default, and not ours, for a sample's values would then depend on the samples beside
    it. ``update_weights_at: last`` is plain predictive coding as that code has it: one step a batch, at the last
    iteration, from the values before it; inference of T − 1 iterations in
    :class:`bioplausible.rules.predictive_coding.PredictiveCoding` learns the same.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        step_size_discount: by which η is multiplied after an iteration that starts from no lower F than the one
            before, in (0, 1]; 1: never.
        update_weights_at: whether weights move at all iterations, or at the last one.
        options: the other arguments of
            :class:`bioplausible.rules.supervised_predictive_coding.SupervisedPredictiveCoding`.

    Raises:
        UserError: an argument is outside its range.
    """

    exchange = "updates"  # with the phases of all, each process would move the values of all

    of_hidden_layers = SupervisedPredictiveCoding.of_hidden_layers | OF_SETTLING | {"step_size_discount"}

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        step_size_discount: float = 1.0,
        update_weights_at: Literal["all", "last"] = "all",
        **options: Any,
    ) -> None:
        super().__init__(layer_sizes, **options)
        require(
            0 < step_size_discount <= 1,
            f"step_size_discount is {step_size_discount}: give a number in (0, 1], 1: none.",
        )
        require(
            step_size_discount == 1 or len(self.step_sizes) > 2,
            f"step_size_discount has no effect with inference_steps {len(self.step_sizes)}: whether F falls is seen at"
            " the second iteration, and the third is the first that may be smaller.",
        )
        require_choice("update_weights_at", update_weights_at, ("all", "last"))
        if self.network.L == 1 and update_weights_at == "last":
            refuse_without_effect(self, ["inference_steps"], "without a hidden layer where only the last one learns")
        self.step_size_discount = step_size_discount
        self.update_weights_at = update_weights_at

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phases ``feedforward``, and ``inference`` where it starts, with its errors in ``internal``.

        Values move in :meth:`updates`. Errors start at 0 to the bit: an optimizer such as Adam makes a step of any
        rounding.
        """
        start, target = self.values(x), self.soften(target)
        v = [x, *(a.clone() for a in start[1:])]
        e = [a - b for a, b in zip(v, start, strict=True)]
        if self.loss == "squared_error":
            v[-1].copy_(target)
            e[-1] = v[-1] - start[-1]
        self.compare_output_(e, v, target)
        return {"feedforward": Phase(start), "inference": Phase(v, internal={"error": e[1:], "target": [target]})}

    def updates(self, phases: Phases) -> Iterable[Iterable[tuple[Tensor, Tensor]]]:
        """Moves values T times, and yields the updates of each point before its values move."""
        phase, T = phases["inference"], len(self.step_sizes)
        v, (target,) = phase.activity, phase.internal["target"]
        f_v, m = self.rates(v), self.momenta(v)
        step_sizes, F_before = list(self.step_sizes), math.inf
        for t, η in enumerate(self.iterate(v, step_sizes, before_last=phase.previous), start=1):
            e, phase.step_size = phase.internal["error"], η
            if self.step_size_discount < 1:
                F = self._mean_energy(phase, target)
                if F_before <= F:
                    step_sizes[t:] = [rate * self.step_size_discount for rate in step_sizes[t:]]
                F_before = F
            of_layers = [v[0], *e]
            direction = [self.brought_back(k, of_layers, v, f_v).sub_(e[k - 1]) for k in range(1, len(v) - 1)]
            if self.update_weights_at == "all" or t == T:
                yield self.products(f_v, e)
            for k, g in enumerate(direction, start=1):
                if m:
                    self.move_(v[k], g, m[k], η)
                else:
                    v[k].add_(g, alpha=η)
            f_v = self.rates(v)
            now = [v[0], *(v[k] - self.prediction(self.network, k, v, f_v) for k in range(1, len(v)))]
            self.compare_output_(now, v, target)
            phase.internal["error"] = now[1:]

    def steps_of(self, parameter: Tensor) -> int:
        """Returns how many of a batch's updates move a parameter."""
        return len(self.step_sizes) if self.update_weights_at == "all" else 1

    @torch.no_grad()
    def settled(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phases where values end that move as in a batch, but with weights that stay."""
        phases = self.settle(x, target)
        for _ in self.updates(phases):
            pass
        return phases

    def _mean_energy(self, phase: Phase, target: Tensor) -> float:
        energy = self.energy(phase, target)
        assert energy is not None
        return float(phase.batch_means([energy.mean()])[0])

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with ⟨e_k f(v_{k−1})⟩ and b_k with mean(e_k), of the values and errors of the phase."""
        inference = phases["inference"]
        return self.products(self.rates(inference.activity[:-1]), inference.internal["error"])
