"""Recordings of backpropagation, feedback alignment and its relatives."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from bioplausible.commands.verify.meta import LOSSES, REQUIRED, network_of
from bioplausible.commands.verify.recorded_rule import RecordedRule
from bioplausible.errors.checks import require
from bioplausible.network import Connection
from bioplausible.rules import (
    Backpropagation,
    DirectFeedbackAlignment,
    FeedbackAlignment,
    LearningRule,
)


class RecordedFeedforward(RecordedRule):
    """Backpropagation, feedback alignment and its relatives."""

    constant = frozenset({"Wfa"})
    variants: ClassVar[dict[str, dict[str, tuple[Any, dict[str, str]]]]] = {
        "backprop": {"bp": (Backpropagation, {})},
        "feedback_alignment": {"fa": (FeedbackAlignment, {"feedback": "fixed"})},
        "sign_symmetry": {
            "usf": (FeedbackAlignment, {"feedback": "uniform_sign"}),
            "brsf": (FeedbackAlignment, {"feedback": "batchwise_random_sign"}),
            "frsf": (FeedbackAlignment, {"feedback": "fixed_random_sign"}),
        },
        "direct_feedback_alignment": {"dfa": (DirectFeedbackAlignment, {})},
    }
    """Rule and arguments by a recording's variant."""
    sent_down: ClassVar[dict[str, str]] = {
        "bp": r"",
        "fa": r"wfareplaceswonthewaydown",
        "usf": r"wfa=scale\*sign\(w\),recomputedateveryforwardpass",
        "brsf": r"wfa=\|fresh(INITIALIZATION)draw\|\*sign\(w\),ateveryforwardpass",
        "frsf": r"init/wfa=\|m\|;onthewaydown(m|\|m\|)\*sign\(w(now)?\)",
        "dfa": r"wfamapstheoutputerror\(nxclasses\)tothelayer'sinput;convolutional:constantoveroutputpositions,"
        r"thentransposedconvolution",
    }
    """What a recording says of its feedback, by its variant, without spaces."""
    initializations: ClassVar[dict[str, Any]] = {
        **dict.fromkeys(("xavier", "xavier uniform", "xavier_uniform"), "xavier"),
        # theirs has the bound 1/√fan_in
        **dict.fromkeys(("kaiming", "kaiming uniform", "kaiming_uniform"), "linear"),
    }

    def build(self) -> LearningRule:
        """Returns the rule."""
        meta = self.meta
        known = self.variants[meta.read("rule").removesuffix("_conv")]
        # recordings of dense networks are all of one kind, and need not say what that is
        dense = not meta.read("rule").endswith("_conv")
        only = next(iter(known)) if dense and len(known) == 1 else REQUIRED
        self.variant = meta.word("variant", {v: v for v in known}, default=only)
        cls, arguments = known[self.variant]
        initialization = meta.word("init", self.initializations, default="xavier" if dense else REQUIRED)
        if "feedback" in meta or not dense:
            drawn = "xavier" if initialization == "xavier" else "kaiming"
            meta.confirm("feedback", self.sent_down[self.variant].replace("INITIALIZATION", drawn))
        if not dense:
            self.kinds = frozenset({"grad_W", "grad_b", "logits", "loss"})
        if self.variant in ("usf", "brsf"):
            self.kinds |= {"Wfa"}
        loss = meta.word("loss", LOSSES)
        network = network_of(meta, meta.read("activation"))
        outputs = (network.get("network") or network["layer_sizes"])[-1]
        require(
            loss.samples is not None,
            f"its meta says loss {meta.read('loss')!r}: it must add whether samples are summed or averaged.",
        )
        own = 1.0 if loss.kind == "cross_entropy" else 2 / outputs
        self.factor = loss.of_sample(outputs) / own * (self.batch_size if loss.samples == "sum" else 1)
        rule: LearningRule = cls(
            **network,
            activation_function=meta.read("activation"),
            output_activation=meta.read("output_activation", "linear" if dense else REQUIRED),
            loss={"squared_error": "mean_squared_error"}.get(loss.kind, loss.kind),
            initialization=initialization,
            optimizer=self.optimizer(meta.number("lr"), lambda group: self.factor),
            **arguments,
        )
        if dense and self.variant == "fa":  # the first layer sends no error down
            self.unused = {"Wfa0": tuple(cast(Tensor, rule.network.chain[0].weight).shape)}
        if "scale" in meta or not dense:
            self._check_scale(rule)
        return rule

    def _check_scale(self, rule: LearningRule) -> None:
        """Checks the sizes of uniform sign-sharing feedback against the standard deviations of W's draw."""
        scale = self.meta.number("scale")
        drawn = [c._standard_deviation() for c in rule.network.connections]
        require(
            isinstance(scale, list)
            and len(scale) == len(drawn)
            and all(abs(s - d) < 1e-12 for s, d in zip(scale, drawn, strict=True)),
            f"its meta says scale {scale}, but weights drawn as it says have the standard deviations {drawn}.",
        )

    def weights(self) -> dict[str, Tensor]:
        """Returns W, b, and the feedback weights that are fixed: V, |M| or D."""
        fixed: dict[str, Tensor] = {}
        if self.variant == "dfa":
            fixed = {f"Wfa{k - 1}": self.rule.get_buffer(f"D_{k}") for k in range(2, self.rule.network.L + 1)}
        elif self.variant in ("fa", "frsf"):
            fixed = self.by_layer("Wfa", lambda c: c._feedback_weight, first=1)
        return {**self.by_layer("W", lambda c: c.weight), **self.by_layer("b", lambda c: c.bias), **fixed}

    def before_step(self, step: int, recorded: Mapping[str, Any]) -> None:
        """Hands over the magnitudes that the recorded code drew for this batch."""
        super().before_step(step, recorded)
        if self.variant == "brsf":
            for i, c in enumerate(self.connections[1:], start=1):
                require(
                    f"Wfa{i}" in recorded, f"it lacks step{step}/Wfa{i}, whose magnitudes were drawn for this batch."
                )
                magnitude = torch.from_numpy(recorded[f"Wfa{i}"]).abs()
                require(magnitude.shape == c.feedback_weight.shape, f"its step{step}/Wfa{i} is not of W{i}'s shape.")
                c.redraw_feedback = partial(_copy, c, magnitude)  # type: ignore[method-assign]

    def before_update(self) -> None:
        """Takes down the feedback weights in use."""
        self.used = self.by_layer("Wfa", lambda c: c.feedback_weight.detach().clone(), first=1)

    def observations(self) -> dict[str, Tensor]:
        """Returns the output before and after the step, the loss, the gradients, and the feedback weights in use."""
        phase = self.rule.phases["feedforward"]
        target = self.rule.one_hot(self.rule.classes, phase.output.dtype)
        return {
            **(self.used if self.variant in ("usf", "brsf") else {}),
            **{key: g * self.factor for key, g in self.gradients().items()},
            "logits": phase.output,
            "loss": self.rule.sample_losses(phase.output, target).mean() * self.factor,
            "logits_after": self.rule(phase.activity[0]),
        }


def _copy(connection: Connection, magnitude: Tensor, generator: torch.Generator) -> None:
    with torch.no_grad():
        cast(Tensor, connection._feedback_weight).copy_(magnitude)
