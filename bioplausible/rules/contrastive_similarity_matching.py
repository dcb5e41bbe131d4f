"""Contrastive similarity matching (Qin, Mudur & Pehlevan 2021)."""

from typing import Any, cast

import torch

from bioplausible.errors.checks import require
from bioplausible.network import Inhibition, Sizes
from bioplausible.rules.equilibrium_propagation import EquilibriumPropagation
from bioplausible.rules.options import per_layer, refuse_without_effect
from bioplausible.training.phase import Phases


class ContrastiveSimilarityMatching(EquilibriumPropagation):
    r"""Equilibrium propagation with lateral weights M_k on the hidden layers, which decorrelate their units.

    The energy gains ½ Σ_{k<L} r_kᵀ M_k r_k, so −∂Φ/∂r_k gains −(M_k + M_kᵀ) r_k / 2. W and b learn as in equilibrium
    propagation; M learns from the nudged phase alone. With α_t its scheduled rate and α_0 the initial one::

        M_k ← ( 1 − α_0/(2|β|) ) ( M_k + α_t/(2β) ⟨r_k⁺ r_k⁺⟩ )

    (the published code writes a = −α). On images M_k is channel × channel, the same at every position, and ⟨r r⟩ the
    mean over positions too, for M is the dual of a constraint on a similarity, not a gradient: with the sum inhibition
    would grow with the image. The paper's structured nets join the units at one position the same way, each position
    with weights of its own.

    It has two habits that are kept by default and can be switched off: the decay does not follow the rate's schedule
    (``scheduled_decay``), and with a random sign of β the Hebbian term changes its sign while the decay does not
    (``signed_hebbian_term``).

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        lateral_learning_rates: α_0, rate of M_k, one number or one per hidden layer 1 … L − 1.
        scheduled_decay: whether the decay uses α_t instead of α_0.
        signed_hebbian_term: whether the Hebbian term is divided by β with its sign, or by |β|.
        options: the other arguments of :class:`bioplausible.EquilibriumPropagation`; with ``three_phase`` M still
            learns from the phase with +β.

    Raises:
        UserError: an argument is outside its range, or a list of rates has the wrong length.
    """

    of_hidden_layers = EquilibriumPropagation.of_hidden_layers | {
        "lateral_learning_rates",
        "scheduled_decay",
        "signed_hebbian_term",
    }

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        lateral_learning_rates: float | list[float] = 0.002,
        scheduled_decay: bool = False,
        signed_hebbian_term: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(layer_sizes, **options)
        require(self.points <= 2, f"points is {self.points}: M learns from a phase of real β, so take 1 or 2.")
        L = self.network.L
        rates = per_layer("lateral_learning_rates", lateral_learning_rates, L - 1, 1)
        self.lateral_learning_rates = cast(list[float], rates)
        if self.beta > 0 and not self.random_beta_sign:
            refuse_without_effect(self, ["signed_hebbian_term"], "where beta is always positive")
        self.scheduled_decay = scheduled_decay
        self.signed_hebbian_term = signed_hebbian_term
        self.network.add_laterals({k: Inhibition(self.network.shapes[k][0]) for k in range(1, L)})

    def update_state(self, phases: Phases, optimizer: torch.optim.Optimizer) -> None:
        """Updates M_k by the formula above, whatever the optimizer: only the rates α_t are its schedule's.

        M comes to rest at a correlation. An optimizer's momentum would multiply it, and Adam would lose it.
        """
        nudged = phases["nudged"]
        beta = nudged.beta.real if self.signed_hebbian_term else abs(nudged.beta)
        laterals = self.network.laterals.items()
        means = nudged.batch_means([m.correlate(nudged.activity[k], 1 / (2 * beta)) for k, m in laterals])
        scheduled = {weights["name"]: weights["lr"] for weights in optimizer.param_groups}
        for (k, lateral), mean, initial in zip(laterals, means, self.lateral_learning_rates, strict=True):
            alpha = scheduled[f"lateral_{k}"]
            decay = alpha if self.scheduled_decay else initial
            lateral.weight.add_(mean, alpha=alpha).mul_(1 - decay / (2 * abs(nudged.beta)))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns the groups of equilibrium propagation and one for each rate of M_k, named ``lateral_k``."""
        laterals = zip(self.network.laterals.items(), self.lateral_learning_rates, strict=True)
        return super().parameter_groups() + [
            {"name": f"lateral_{k}", "params": [lateral.weight], "lr": alpha} for (k, lateral), alpha in laterals
        ]
