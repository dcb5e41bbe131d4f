"""Recordings of dual propagation."""

from typing import Any, ClassVar, cast

from torch import Tensor

from bioplausible.commands.verify.meta import network_of
from bioplausible.commands.verify.recorded_rule import RecordedRule
from bioplausible.errors.checks import require
from bioplausible.rules import DualPropagation, LearningRule


class RecordedDualPropagation(RecordedRule):
    """Dual propagation, in the units of its published code."""

    kinds = frozenset({"feedforward", "plus", "minus", "grad_W", "grad_b"})
    losses: ClassVar[dict[str, str]] = {
        "cross entropy, summed over samples": "cross_entropy",
        **dict.fromkeys(
            ("squared error (no half), summed", "squared error (no half), summed over samples"), "mean_squared_error"
        ),
    }
    orders: ClassVar[dict[str, str]] = {"fwK": "forward", "bwK": "backward", "fwbwK": "forward_backward"}

    def build(self) -> LearningRule:
        """Returns the rule."""
        meta = self.meta
        f, loss = meta.read("activation"), meta.word("loss", self.losses)
        meta.confirm("output_activation", "linear")
        meta.confirm("gradient", "meanoversamples,dividedbybeta")
        network = network_of(meta, f)
        shape = meta.read("input_shape", None)
        dense = "layer_sizes" in network
        require(
            not dense or shape in (None, network["layer_sizes"][:1]),
            f"its meta says input_shape {shape!r}, but layer_sizes {network.get('layer_sizes')}.",
        )
        if meta.read("order", None) is not None:
            names = "|".join(("f", "activation", "activationfunction", str(f)))
            arrow, winners = (
                r"(,|->|→|then)",
                r"([;,(](switches|winners)(of|at|from)(s\+|plus)(beforethe(visit|update))?\)?)?",
            )
            meta.confirm("order", rf"conv(olution)?{arrow}(max|average|avg)?-?pool(ing)?{arrow}({names}){winners}")
        order = meta.word("inference_sequence", self.orders)
        passes, numbers = meta.number("passes"), meta.arguments({"alpha": "alpha", "beta": "beta"})
        for name, value in {"lr": meta.number("lr"), "passes": passes, **numbers}.items():
            require(not isinstance(value, list), f"its meta has {name} {value!r}: give one number.")
        outputs = (network.get("network") or network["layer_sizes"])[-1]
        # its squared error is summed over outputs where the rule's is their mean
        self.factor = outputs if loss == "mean_squared_error" else 1
        return DualPropagation(
            **network,
            loss=cast(Any, loss),
            activation_function=f,
            form=cast(Any, meta.word("variant", {"lagrangian": "lagrangian", "raovr": "raovr"})),
            order=cast(Any, order),
            sweeps=None if order == "backward" else passes,
            alpha=numbers["alpha"],
            beta=numbers["beta"] * self.factor,
            optimizer=self.optimizer(meta.number("lr"), lambda group: self.factor),
        )

    def weights(self) -> dict[str, Tensor]:
        """Returns W and b."""
        return {**self.by_layer("W", lambda c: c.weight), **self.by_layer("b", lambda c: c.bias)}

    def observations(self) -> dict[str, Tensor]:
        """Returns the feedforward pass, the two states of every unit, and the gradients."""
        phases = self.rule.phases
        states = {"feedforward": phases["feedforward"].activity[1:], **phases["nudged"].internal}
        return {
            **{f"{name}{i}": s for name, layers in states.items() for i, s in enumerate(layers)},
            **{key: g * self.factor for key, g in self.gradients().items()},
        }

    def terms(self) -> dict[str, float]:
        """Returns the size of the products of states whose differences, divided by β, the gradients are."""
        found: dict[str, float] = {}
        phase = self.rule.phases["nudged"]
        for i, (plus, pre) in enumerate(zip(phase.internal["plus"], phase.activity, strict=False)):
            found[f"grad_b{i}"] = self.factor * float(plus.abs().max() / phase.beta)
            found[f"grad_W{i}"] = found[f"grad_b{i}"] * float(pre.abs().max())
        return found
