"""Recordings of burstprop."""

from functools import partial

import torch
from torch import Tensor

from bioplausible.commands.verify.meta import network_of
from bioplausible.commands.verify.recorded_rule import RecordedRule
from bioplausible.errors.checks import require
from bioplausible.network import Connection
from bioplausible.rules import Burstprop, LearningRule


class RecordedBurstprop(RecordedRule):
    """Burstprop, whose published code sums over the samples of a batch."""

    kinds = frozenset({"state", "burst", "burst_target", "grad_W", "grad_b"})

    def build(self) -> LearningRule:
        """Returns the rule."""
        meta = self.meta
        meta.confirm("activation", "sigmoid")
        meta.confirm("output_activation", "sigmoid")
        meta.confirm(
            "gradient", r"summedoversamples;decaymultipliesw,vdirectly\(nottimeslr\),notthebiases", default=None
        )
        meta.word("optimizer", {"sgd": None})
        recurrent, rate = meta.flag("recurrent_input"), meta.number("lr_recurrent", None)
        require(
            recurrent == (rate is not None),
            f"its meta says recurrent_input {recurrent} and lr_recurrent {rate}: recurrent weights have a rate, and"
            " others none.",
        )
        single = {"weight_decay": meta.number("weight_decay"), "p_baseline": meta.number("p_baseline")}
        single["momentum"] = meta.number("momentum", 0.0)
        for name, value in single.items():
            require(not isinstance(value, list), f"its meta has {name} {value!r}: give one number.")
        network, shape = network_of(meta, "sigmoid"), meta.read("input_shape", None)
        sizes = network.get("layer_sizes")
        require(
            sizes is None or shape in (None, sizes[:1]),
            f"its meta says input_shape {shape!r}, but layer_sizes {sizes}.",
        )
        return Burstprop(
            **network,
            feedback="learned" if meta.flag("learn_feedback") else "fixed",
            baseline=single["p_baseline"],
            decay=1 - single["weight_decay"],
            recurrent_rate=None if rate is None else self._of_means(rate),
            learning_rates=self._of_means(meta.number("lr")),
            optimizer=partial(torch.optim.SGD, momentum=single["momentum"]),
        )

    def _of_means(self, rates: float | list[float]) -> float | list[float]:
        """Returns the rates that give means over the batch what the recorded ones give sums."""
        return [lr * self.batch_size for lr in rates] if isinstance(rates, list) else rates * self.batch_size

    def weights(self) -> dict[str, Tensor]:
        """Returns W, b, R, and V; recordings of dense layers hold V (d_{k−1} × d_k)."""

        def V(c: Connection) -> Tensor:
            return c.feedback_weight.t() if c.feedback_weight.ndim == 2 else c.feedback_weight

        return {
            **self.by_layer("W", lambda c: c.weight),
            **self.by_layer("b", lambda c: c.bias),
            **self.by_layer("Wfb", V, first=1),
            **{f"R{k - 1}": lateral.weight for k, lateral in self.rule.network.laterals.items()},
        }

    def observations(self) -> dict[str, Tensor]:
        """Returns event rates, burst rates without and with the target, and the gradients."""
        phase = self.rule.phases["feedforward"]
        states = {"state": phase.activity[1:], **{n: phase.internal[n] for n in ("burst", "burst_target")}}
        return {
            **{f"{name}{i}": s for name, layers in states.items() for i, s in enumerate(layers)},
            **{key: g * self.batch_size for key, g in self.gradients().items()},
        }

    def terms(self) -> dict[str, float]:
        """Returns the size of the products of burst rates whose differences the gradients are."""
        found: dict[str, float] = {}
        phase = self.rule.phases["feedforward"]
        for i, (burst, pre) in enumerate(zip(phase.internal["burst"], phase.activity, strict=False)):
            found[f"grad_b{i}"] = self.batch_size * float(burst.max())
            found[f"grad_W{i}"] = found[f"grad_b{i}"] * float(pre.abs().max())
        return found
