"""Dual propagation (Høier, Staudt & Zach 2023; Høier & Zach 2024)."""

from collections.abc import Iterable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from bioplausible.errors.checks import require
from bioplausible.network import Initialization, Sizes
from bioplausible.rules.backpropagation import FeedforwardRule, Loss
from bioplausible.rules.options import require_choice, require_steps
from bioplausible.training.phase import Phase, Phases

Form = Literal["lagrangian", "raovr"]
Order = Literal["forward", "backward", "forward_backward"]


class DualPropagation(FeedforwardRule):
    r"""Every unit is a dyad of two states, whose mean goes up and whose difference is the error that comes down.

    The states s_k⁺ and s_k⁻ (n × shape_k) start at the feedforward pass, s_0 = x, and their mean is
    s̄_k = α s_k⁺ + (1 − α) s_k⁻. Layers are visited one after the other; at a visit, in the Lagrangian form (DPᵀ)::

        a_k = W_k s̄_{k−1} + b_k,     φ_k = W_{k+1}ᵀ (s_{k+1}⁺ − s_{k+1}⁻)
        s_k⁺ = f(a_k + (1 − α) φ_k),            s_k⁻ = f(a_k − α φ_k)                       k < L
        s_L⁺ = a_L − (1 − α) β ∂C/∂a_L,         s_L⁻ = a_L + α β ∂C/∂a_L

    with ∂C/∂a_L of each sample at the output of the feedforward pass. The last visit over, with one phase and two
    factors, both of them compartments of one neuron::

        ΔW_k = ⟨(s_k⁺ − s_k⁻) s̄_{k−1}⟩ / β,     Δb_k = mean(s_k⁺ − s_k⁻) / β

    On a linear network this is backpropagation, whatever α and β; else its error is of order β² with α = ½, of order β
    with other α. ``raovr`` is the older form: α and 1 − α change places in s⁺ and s⁻ (not in s̄), and ∂C/∂a_L is that of
    the visit's own a_L; with α = ½ and the order ``backward`` both forms are the same. The weights of the way down are
    those of the way up.

    The order of visits (published names)::

        backward           L … 1, once                                                                       (bwK)
        forward            1 … L, K times: what the target says comes down a layer a sweep                    (fwK)
        forward_backward   L … 2, then 1 … L − 1 and L … 1, K − 1 times, then 1                             (fwbwK)

    The default is ``backward``: one sweep makes the error of order β² already, for the price of a feedforward and a
    backward pass. The published runs of VGG16 go forward 16 times, with α = ½ and β = 0.1.

    On images W_k s is Q(W_k * s), pooling before f, and updates sum over positions. Max pooling passes φ_k through the
    winners of s_k⁺ as it is before the visit, as published, and the product of ΔW_k through those of s̄_{k−1}.

    Published: the squared error without ½ or mean, ‖a_L − y‖² = d_L · C, whose β is this one's divided by d_L, and
    whose rate too.

    Args:
        layer_sizes: d_0 … d_L of a dense network.
        loss: the cost C that the output's dyads are pulled by; the output is linear.
        alpha: α in [0, 1], the share of s⁺ in s̄.
        beta: β > 0, how far the output's two states are apart; their difference loses its digits where it is small, in
            float32 half of them at 10⁻⁴.
        form: ``lagrangian``, or ``raovr``, the relaxation of the adversarial form of 2023.
        order: in which the layers are visited.
        sweeps: K; None: 1 with ``backward``, which takes no other; L with ``forward``, the fewest after which layer 1
            has heard of the target; 2 with ``forward_backward``.
        initialization: of W and b (:func:`bioplausible.network.initialization.draw`).
        options: the other arguments of :class:`bioplausible.rules.backpropagation.FeedforwardRule`.

    Raises:
        UserError: an argument is outside its range, or the output is not to be linear.
    """

    of_hidden_layers = FeedforwardRule.of_hidden_layers | {"order"}

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        loss: Loss = "cross_entropy",
        alpha: float = 0.5,
        beta: float = 0.1,
        form: Form = "lagrangian",
        order: Order = "backward",
        sweeps: int | None = None,
        initialization: Initialization = "xavier",
        **options: Any,
    ) -> None:
        super().__init__(layer_sizes, loss, **options)
        output = options.get("output_activation", "linear")
        require(output == "linear", f"output_activation is {output}: the output's two states are linear, so leave it.")
        require(0 <= alpha <= 1, f"alpha is {alpha}: it is a share of the mean state, so it must lie in [0, 1].")
        require(beta > 0, f"beta is {beta}: it must be positive; alpha and 1 - alpha change places with its sign.")
        require_choice("form", form, get_args(Form))
        require_choice("order", order, get_args(Order))
        if sweeps is not None:
            require_steps("sweeps", sweeps)
        require(
            sweeps is None or order != "backward",
            f"sweeps is {sweeps}, but order: backward visits every layer once: leave out sweeps, or choose another"
            " order.",
        )
        self.alpha, self.beta, self.form = alpha, beta, form
        self.network = self.build_network(initialization=initialization)
        self.sweeps = visits(order, self.network.L, sweeps)

    @torch.no_grad()
    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phases ``feedforward`` and ``nudged``, with the activity s̄, and s⁺ and s⁻ in ``internal``."""
        network, f, L, α, β = self.network, self.f.function, self.network.L, self.alpha, self.beta
        r, a = [x], [x]
        for k in range(1, L + 1):
            a.append(network.drive(k, r))
            r.append(f(a[k]) if k < L else a[k])
        plus, minus, mean, pull = [*r], [*r], [*r], [torch.zeros_like(s) for s in r]
        gradient = self.loss_gradient(r[L], target)
        to_plus, to_minus = (1 - α, α) if self.form == "lagrangian" else (α, 1 - α)
        heard_of: set[int] = set()  # the layers into which a mean state has changed since their drive a_k
        previous: list[Tensor] = []
        steps = [1.0] * len(self.sweeps)
        for sweep, _ in zip(self.sweeps, self.iterate(mean, steps, previous if len(steps) > 1 else None), strict=True):
            for k in sweep:
                if k in heard_of:
                    a[k] = network.drive(k, mean)
                    heard_of.remove(k)
                if k < L:
                    φ = network.feedback(k, pull, at=plus)
                    plus[k], minus[k] = f(a[k] + to_plus * φ), f(a[k] - to_minus * φ)
                else:
                    if self.form == "raovr":
                        gradient = self.loss_gradient(a[L], target)
                    plus[L], minus[L] = a[L] - to_plus * β * gradient, a[L] + to_minus * β * gradient
                mean[k], pull[k] = torch.lerp(minus[k], plus[k], α), plus[k] - minus[k]
                heard_of.update(c.post for c in network.out_of(k))
        dyads = {"plus": plus[1:], "minus": minus[1:]}
        return {"feedforward": Phase(r), "nudged": Phase(mean, β, previous, internal=dyads)}

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields W_k with ⟨(s_k⁺ − s_k⁻) s̄_{k−1}⟩ / β and b_k with mean(s_k⁺ − s_k⁻) / β."""
        phase = phases["nudged"]
        pairs = zip(phase.internal["plus"], phase.internal["minus"], strict=True)
        δ = [(minus - plus) / self.beta for plus, minus in pairs]
        return super().local_updates({"feedforward": Phase(phase.activity, internal={"delta": δ})})


def visits(order: Order, L: int, sweeps: int | None) -> list[list[int]]:
    """Returns the layers that are visited, one after the other, in each sweep.

    Args:
        order: of the visits.
        L: number of the last layer.
        sweeps: K; None: the default of the order.
    """
    up, down = list(range(1, L + 1)), list(range(L, 0, -1))
    if order == "forward":
        return [up] * (L if sweeps is None else sweeps)
    if order == "backward":
        return [down]
    found = [down[:-1], *[up[:-1] + down] * (1 if sweeps is None else sweeps - 1)]
    return [*found[:-1], [*found[-1], 1]]
