"""Recordings of incremental predictive coding, and of other forms that are recorded with their energy."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from bioplausible.commands.verify.meta import network_of
from bioplausible.commands.verify.recorded_rule import RecordedRule
from bioplausible.errors.checks import require
from bioplausible.rules import (
    IncrementalPredictiveCoding,
    LearningRule,
    MuPredictiveCoding,
    Phase,
    PredictiveCoding,
)


class RecordedInference(RecordedRule):
    """Predictive coding of which the energy F before each iteration is recorded, a sum or a mean over samples."""

    def build(self) -> LearningRule:
        """Returns the rule, whose energy is taken down while it settles."""
        rule = self.build_rule()
        settle = rule.settle

        def noting(x: Tensor, target: Tensor) -> dict[str, Phase]:
            self._target = target
            return settle(x, target)

        rule.settle = noting  # type: ignore[method-assign]
        rule.watch = self._note
        return rule

    def build_rule(self) -> LearningRule:
        """Returns the rule."""
        raise NotImplementedError

    def before_step(self, step: int, recorded: Mapping[str, Any]) -> None:
        """Forgets the energy of the step before."""
        super().before_step(step, recorded)
        self._energy: list[Tensor] = []

    def _note(self, t: int, activity: list[Tensor], step_size: float) -> None:
        energy = self.rule.energy(Phase(activity), self._target)
        assert energy is not None
        self._energy.append(energy / 2)

    @property
    def energy(self) -> Tensor:
        """F of each sample before each iteration (T × n)."""
        return torch.stack(self._energy[:-1])

    def weights(self) -> dict[str, Tensor]:
        """Returns W and b."""
        return {**self.by_layer("W", lambda c: c.weight), **self.by_layer("b", lambda c: c.bias)}

    def number(self, name: str, default: Any = None) -> float:
        """Returns an entry that is one number."""
        found = self.meta.number(name) if default is None else self.meta.number(name, default)
        require(not isinstance(found, list), f"its meta has {name} {found!r}: give one number.")
        return float(found)


class RecordedIncremental(RecordedInference):
    """Incremental predictive coding, and predictive coding that moves its weights last, of Song et al.'s library."""

    kinds = frozenset({"state", "energy"})

    def build_rule(self) -> LearningRule:
        """Returns the rule; the library sums over samples."""
        meta = self.meta
        name = meta.read("rule")
        meta.confirm("output_activation", "linear")
        meta.confirm("node", r"values:v_k=wf\(v_\{k-1\}\)\+b,f\(v_0\)=x")
        meta.confirm("energy", r"energy\[t\]:halfsquarederrors\+loss,beforestept,summedoversamples")
        meta.confirm("order", "ateveryt:gradientsofvaluesandweightsatthesamepoint,thenbothstep")
        losses = {"half squared error, summed over outputs and samples": "squared_error"}
        losses |= {"cross entropy, summed over samples": "cross_entropy"}
        at = meta.word("update_weights_at", {"all": "all", "last": "last"})
        require(
            (name == "predictive_coding") == (at == "last"),
            f"its meta says update_weights_at {at!r} of {name}: incremental predictive coding moves weights at all"
            " iterations, plain predictive coding at the last.",
        )
        T, discount = meta.number("inference_steps"), self.number("eta_discount")
        return IncrementalPredictiveCoding(
            **network_of(meta, meta.read("activation")),
            activation_function=meta.read("activation"),
            inference_steps=T,
            step_size=self.number("eta"),
            step_size_discount=discount if T > 2 else 1.0,  # the third iteration is the first that it could change
            update_weights_at=cast(Any, at),
            loss=meta.word(
                "loss", {**losses, **{f"{words} (output not a node)": loss for words, loss in losses.items()}}
            ),
            optimizer=self.optimizer(self.number("lr"), lambda group: self.batch_size),
        )

    def observations(self) -> dict[str, Tensor]:
        """Returns the values and the energy."""
        hidden = self.rule.phases["inference"].activity[1:-1]
        return {**{f"state{i}": v for i, v in enumerate(hidden)}, "energy": self.energy.sum(1)}


class RecordedScaled(RecordedInference):
    """Predictive coding of the library jpc, whose weights may act scaled, and whose values or errors may settle."""

    def build_rule(self) -> LearningRule:
        """Returns the rule; the library takes the mean energy of a batch, so its steps are divided by the samples."""
        meta = self.meta
        self.errors = meta.read("rule") == "error_predictive_coding"
        self.kinds = frozenset({"error", "energy"} if self.errors else {"feedforward", "state", "energy"})
        meta.confirm("output_activation", "linear")
        meta.confirm("node", r"z_k=a_kw_kf\(z_\{k-1\}\)\(\+z_\{k-1\}\),f\(z_0\)=x")
        meta.confirm(
            "energy",
            r"meanoversamples;energy\[t\]beforestept;values/errorssteponthegradientofthemeanenergy",
        )
        losses = {"half squared error": "squared_error", "cross entropy": "cross_entropy"}
        scaled = meta.word("parameterisation", {"sp": False, "mupc": True})
        γ = meta.number("gamma", None)
        require(
            scaled or γ is None, f"its meta says gamma {γ!r}, which verify knows of the parameterisation mupc alone."
        )
        of_scaled = {} if γ is None else {"output_divisor": self.number("gamma")}
        cls: Any = MuPredictiveCoding if scaled else PredictiveCoding
        network, skip = network_of(meta, meta.read("activation")), meta.flag("skip")
        two_hidden = len(network.get("network") or network["layer_sizes"]) > 3
        return cast(
            LearningRule,
            cls(
                **network,
                activation_function=meta.read("activation"),
                inference_steps=meta.number("inference_steps"),
                step_size=self.number("eta") / self.batch_size,
                inference="errors" if self.errors else "values",
                free_output_error=self.errors,
                residual=skip and two_hidden,  # from the first hidden layer to the second on
                bias=meta.flag("bias"),
                target_range=(0, 1),
                loss=meta.word("loss", losses),
                optimizer=self.optimizer(self.number("lr")),
                **of_scaled,
            ),
        )

    def observations(self) -> dict[str, Tensor]:
        """Returns values or errors, the feedforward pass, and the energy."""
        inference, start = self.rule.phases["inference"], self.rule.phases["feedforward"]
        found = {"energy": self.energy.mean(1), **{f"feedforward{i}": μ for i, μ in enumerate(start.activity[1:])}}
        if self.errors:
            return {**found, **{f"error{i}": e for i, e in enumerate(inference.internal["inferred_error"])}}
        return {**found, **{f"state{i}": v for i, v in enumerate(inference.activity[1:-1])}}
