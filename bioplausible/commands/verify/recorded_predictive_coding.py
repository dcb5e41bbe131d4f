"""Recordings of predictive coding."""

import math
import re
from typing import Any, cast

import torch
from torch import Tensor

from bioplausible.commands.verify.meta import LOSSES, network_of
from bioplausible.commands.verify.recorded_rule import (
    RecordedRule,
    named_arguments,
    step_sizes,
)
from bioplausible.errors.checks import require
from bioplausible.rules import (
    LearningRule,
    NudgedPredictiveCoding,
    PredictiveCoding,
)


class EarlyEpsilonAdam(torch.optim.Adam):
    """Adam with ε added to √v before v's bias is corrected: in torch's order that is ε / √(1 − β₂ᵗ) after step t.

    It is the faster form that Kingma & Ba (2015) name at the end of their section 2.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._epsilon = [group["eps"] for group in self.param_groups]
        self._steps = 0

    def step(self, *args: Any, **options: Any) -> Any:
        """Takes a step."""
        self._steps += 1
        for group, ε in zip(self.param_groups, self._epsilon, strict=True):
            group["eps"] = ε / math.sqrt(1 - group["betas"][1] ** self._steps)
        return super().step(*args, **options)


class RecordedPredictiveCoding(RecordedRule):
    """Predictive coding and its nudged form, dense."""

    kinds = frozenset({"state"})

    def build(self) -> LearningRule:
        """Returns the rule."""
        meta = self.meta
        cls: Any = PredictiveCoding
        arguments: dict[str, Any] = {}
        if meta.read("rule") == "pc_nudge":
            cls = NudgedPredictiveCoding
            self.each_step("lambda_per_step", "beta")
        else:
            self.kinds |= {"logits_after"}
            self.adam = EarlyEpsilonAdam
            meta.confirm("input", r"xistheactivityf\(x0\)oftheinputlayer")
            softened = re.fullmatch(r"([\d.]+)\*one_hot\+([\d.]+)", str(meta.read("target")).replace(" ", ""))
            require(
                softened is not None, f"its meta says target {meta.read('target')!r}: verify knows a * one_hot + b."
            )
            span, low = map(float, cast(re.Match[str], softened).groups())
            arguments = {"loss": "squared_error", "target_range": (low, low + span)}
        return cast(
            LearningRule,
            cls(
                **network_of(meta),
                activation_function=meta.read("activation"),
                **named_arguments(meta, "inference_steps"),
                **step_sizes(meta),
                **arguments,
                optimizer=self.optimizer(meta.number("lr")),
            ),
        )

    def weights(self) -> dict[str, Tensor]:
        """Returns W and b."""
        return {**self.by_layer("W", lambda c: c.weight), **self.by_layer("b", lambda c: c.bias)}

    def observations(self) -> dict[str, Tensor]:
        """Returns the values, and the output after the step."""
        inference = self.rule.phases["inference"]
        values = {f"state{i}": v for i, v in enumerate(inference.activity[1:])}
        return {**values, "logits_after": self.rule(inference.activity[0])}


class RecordedRosenbaum(RecordedPredictiveCoding):
    """Predictive coding as Rosenbaum's Torch2PC computes it, where its values lie before the activation function.

    Its errors are those of the whole batch's loss: the recorded ones are those of the rule, ∂C/∂v of each sample,
    times a factor. With fixed predictions all follows the factor; else only errors of the same size relax alike.
    """

    kinds = frozenset({"state", "error", "feedforward", "loss", "grad_W", "grad_b", "logits_after"})

    def build(self) -> LearningRule:
        """Returns the rule."""
        meta = self.meta
        form, errors = meta.read("form"), meta.read("error_type")
        require(
            form == "values" and errors in ("Strict", "FixedPred"),
            f"it is of predictive coding with {errors} errors and nodes at {form}: here values lie before the"
            " activation function, and errors are Strict or FixedPred.",
        )
        meta.read("rule")
        meta.confirm("node", r"v_k=pool\(wf\(v\)\+b\),f\(v_0\)=x:beforetheactivation")
        meta.confirm("errors", r"prediction-value\(output:dloss/dprediction\)")
        meta.confirm("output_activation", "linear")
        self.fixed = errors == "FixedPred"
        loss, network = meta.word("loss", LOSSES), network_of(meta, meta.read("activation"))
        outputs = (network.get("network") or network["layer_sizes"])[-1]
        require(
            loss.samples is not None,
            f"its meta says loss {meta.read('loss')!r}: it must add whether samples are summed or averaged.",
        )
        self.factor = loss.of_sample(outputs) / (self.batch_size if loss.samples == "mean" else 1)
        require(
            self.fixed or self.factor == 1,
            f"its meta says loss {meta.read('loss')!r} with Strict errors: here a sample's inference does not depend on"
            " the batch size, and no change of units repeats one that does.",
        )
        stale = (self.fixed and meta.read("stale") is None) or meta.flag("stale")
        return PredictiveCoding(
            **network,
            activation_function=meta.read("activation"),
            **named_arguments(meta, "inference_steps"),
            loss=cast(Any, loss.kind),
            target_range=(0, 1),
            fixed_predictions=self.fixed,
            stale_errors=stale,
            step_size=meta.number("eta"),
            optimizer=self.optimizer(meta.number("lr"), lambda group: self.factor * self.batch_size),
        )

    def observations(self) -> dict[str, Tensor]:
        """Returns values, errors, the feedforward pass, gradients, the loss, and the output after the step."""
        inference, start = self.rule.phases["inference"], self.rule.phases["feedforward"]
        target = self.rule.one_hot(self.rule.classes, start.output.dtype)
        pairs = list(zip(inference.activity[1:], start.activity[1:], strict=True))
        values = {f"state{i}": μ + (v - μ) * self.factor for i, (v, μ) in enumerate(pairs[:-1])}
        if self.fixed:  # there the output keeps its prediction beside its error
            values[f"state{len(values)}"] = start.output
        return {
            **values,
            "logits_after": self.rule(inference.activity[0]),
            "loss": self.rule.sample_losses(start.output, target).sum() * self.factor,
            **{f"feedforward{i}": μ for i, (_, μ) in enumerate(pairs)},
            **{f"error{i}": -self.factor * e for i, e in enumerate(inference.internal["error"])},
            **{key: g * self.factor * self.batch_size for key, g in self.gradients().items()},
        }

    def terms(self) -> dict[str, float]:
        """Returns the size of the values whose differences the errors are, and of the sums of those."""
        found: dict[str, float] = {}
        for i, v in enumerate(self.rule.phases["inference"].activity[1:]):
            found[f"error{i}"] = float(v.abs().max())
            summed = len(v) * v[0, 0].numel()
            found |= dict.fromkeys((f"grad_W{i}", f"grad_b{i}"), summed * found[f"error{i}"])
        return found
