"""Contrastive similarity matching (Qin, Mudur & Pehlevan 2021)."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from typing_extensions import Self

from bioplausible.functional import hopfield_energy
from bioplausible.network import Inhibition
from bioplausible.rules.equilibrium_propagation import EquilibriumPropagation
from bioplausible.rules.options import per_layer, rate
from bioplausible.training.phase import Phase, Phases


class ContrastiveSimilarityMatching(EquilibriumPropagation):
    r"""Equilibrium propagation with lateral weights M_k on the hidden layers, which decorrelate their units.

    The energy gains ½ Σ_{k<L} r_kᵀ M_k r_k, so −∂Φ/∂r_k gains −(M_k + M_kᵀ) r_k / 2. W and b learn as in equilibrium
    propagation; M learns from the nudged phase alone. With α_t its scheduled rate and α_0 the initial one::

        M_k ← ( 1 − α_0/(2|β|) ) ( M_k + α_t/(2β) ⟨r_k⁺ r_k⁺⟩ )

    (the published code writes a = −α). It has two habits that are kept by default and can be switched off: the decay
    does not follow the rate's schedule (``scheduled_decay``), and with a random sign of β the Hebbian term changes its
    sign while the decay does not (``signed_hebbian_term``).

    Args:
        layer_sizes: d_0 … d_L.
        lateral_learning_rates: α_0, rate of M_k, one number or one per hidden layer 1 … L − 1.
        scheduled_decay: whether the decay uses α_t instead of α_0.
        signed_hebbian_term: whether the Hebbian term is divided by β with its sign, or by |β|.
        options: the other arguments of :class:`bioplausible.EquilibriumPropagation`; with ``symmetric_nudge`` M still
            learns from the phase with +β.

    Raises:
        UserError: an argument is outside its range, or a list of rates has the wrong length.
    """

    recorded_as = "csm"

    def __init__(
        self,
        layer_sizes: list[int],
        lateral_learning_rates: float | list[float] = 0.002,
        scheduled_decay: bool = False,
        signed_hebbian_term: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(layer_sizes, **options)
        rates = per_layer("lateral_learning_rates", lateral_learning_rates, len(layer_sizes) - 2, 1)
        self.lateral_learning_rates = cast(list[float], rates)
        self.scheduled_decay = scheduled_decay
        self.signed_hebbian_term = signed_hebbian_term
        self.laterals = cast(list[Inhibition], nn.ModuleList(Inhibition(d) for d in layer_sizes[1:-1]))

    def constants(self) -> dict[str, list[Tensor]]:
        """Returns (M_k + M_kᵀ)/2 of the hidden layers, which do not change while the network settles."""
        return {"M": [lateral.symmetric() for lateral in self.laterals]}

    def inhibit_(self, k: int, voltage: Tensor, activity: Tensor, η: float, start: Phase) -> None:
        """Subtracts η (M_k + M_kᵀ) r_k / 2 from the voltage of layer k, in place."""
        voltage.addmm_(activity, start.constants["M"][k - 1], alpha=-η)

    def energy(self, phase: Phase, target: Tensor) -> Tensor:
        """Returns the energy Φ of each sample (n) at a phase's end."""
        return hopfield_energy(
            phase.activity,
            [c.weight for c in self.connections],
            [cast(Tensor, c.bias) for c in self.connections],
            [lateral.weight for lateral in self.laterals],
            target=target,
            beta=phase.nudge,
        )

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W and b as in equilibrium propagation, and M_k with ⟨r_k⁺ r_k⁺⟩/(2β)."""
        yield from super().local_updates(phases)
        nudged = phases["nudged"]
        beta = nudged.nudge if self.signed_hebbian_term else abs(nudged.nudge)
        for k, lateral in enumerate(self.laterals, start=1):
            r = nudged.activity[k]
            yield lateral.weight, self.connections[k - 1].correlate(r / (2 * beta), r)

    def update_state(self, phases: Phases, optimizer: torch.optim.Optimizer) -> None:
        """Decays M_k by the factor 1 − α_0/(2|β|), after its optimizer step."""
        beta = abs(phases["nudged"].nudge)
        scheduled = {group["name"]: group["lr"] for group in optimizer.param_groups}
        for k, (lateral, initial) in enumerate(zip(self.laterals, self.lateral_learning_rates, strict=True), start=1):
            alpha = scheduled[f"lateral_{k}"] if self.scheduled_decay else initial
            lateral.weight.mul_(1 - alpha / (2 * beta))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns the groups of equilibrium propagation and one for each M_k, named ``lateral_k``."""
        return super().parameter_groups() + [
            {"name": f"lateral_{k}", "params": [lateral.weight], **rate(alpha)}
            for k, (lateral, alpha) in enumerate(zip(self.laterals, self.lateral_learning_rates, strict=True), start=1)
        ]

    @classmethod
    def from_recording(cls, meta: Mapping[str, Any]) -> Self:
        """Builds the rule from a recorded trajectory's hyperparameters."""
        return super().from_recording({**meta, "lateral_learning_rates": [-a for a in meta["lr_m"]]})

    def recorded_weights(self) -> dict[str, Tensor]:
        """Returns W, b and M by their keys in a recorded trajectory: ``W{i}``, ``b{i}`` and ``M{i}``."""
        return {**super().recorded_weights(), **{f"M{i}": lateral.weight for i, lateral in enumerate(self.laterals)}}
