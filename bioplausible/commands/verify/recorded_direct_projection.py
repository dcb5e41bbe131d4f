"""Recordings of direct random target projection, and of the forms of direct feedback alignment beside it."""

from typing import Any, ClassVar

from torch import Tensor

from bioplausible.commands.verify.meta import layers_of
from bioplausible.commands.verify.recorded_rule import RecordedRule
from bioplausible.errors.checks import require
from bioplausible.rules import DirectFeedbackAlignment, DirectRandomTargetProjection, LearningRule


class RecordedDirectProjection(RecordedRule):
    """Direct random target projection, sign-DFA and DFA at each layer's output.

    The recorded code sums the hidden layers' updates over samples, and averages the output's over samples, for some
    losses over outputs too. The rule averages all of them over samples, so its D is larger by what is missing.
    """

    kinds = frozenset({"grad_W", "grad_b", "loss", "output"})
    constant = frozenset({"Wdir"})
    known: ClassVar[dict[str, tuple[str, Any, dict[str, Any]]]] = {
        "direct_random_target_projection": ("drtp", DirectRandomTargetProjection, {}),
        "sign_direct_feedback_alignment": ("sdfa", DirectFeedbackAlignment, {"signal": "error_sign"}),
        "direct_feedback_alignment": ("dfa", DirectFeedbackAlignment, {"signal": "error"}),
    }
    """Variant, rule and arguments by the name of a recording's rule."""
    losses: ClassVar[dict[str, tuple[str, str | None]]] = {
        "binary cross entropy, mean over samples and outputs": ("binary_cross_entropy", "sigmoid"),
        "cross entropy, mean over samples": ("cross_entropy", "none"),
        "mean squared error over all outputs and samples": ("mean_squared_error", None),
    }
    """The loss by what a recording calls it, with the only output activation that it may have."""

    def build(self) -> LearningRule:
        """Returns the rule."""
        meta = self.meta
        variant, cls, arguments = self.known[meta.read("rule").removesuffix("_conv")]
        meta.confirm("variant", variant)
        meta.confirm(
            "feedback",
            r"wdir\{i\}:classesxshapeoflayeri\+1afteritsactivation,beforepooling;replacesdc/drthere;"
            r"notdividedbythebatchsize",
        )
        loss, of_output = meta.word("loss", self.losses)
        output = meta.read("output_activation")
        require(
            of_output in (None, output),
            f"its meta says output_activation {output!r}, where that of its loss is {of_output}.",
        )
        lr = meta.number("lr")
        require(not isinstance(lr, list), f"its meta has lr {lr!r}: give one number.")
        rule: LearningRule = cls(
            **layers_of(meta, meta.read("activation")),
            loss=loss,
            activation_function=meta.read("activation"),
            output_activation="linear" if of_output or output == "none" else output,
            projection="output",
            optimizer=self.optimizer(lr, lambda group: self.factor),
            **arguments,
        )
        sizes = meta.read("layer_sizes", None)  # of dense networks it repeats what the architecture says
        dense = all(len(shape) == 1 for shape in rule.network.shapes)
        require(
            sizes == rule.network.sizes if dense else sizes in (None, rule.network.sizes),
            f"its meta says layer_sizes {sizes!r}, but of the architecture they are {rule.network.sizes}.",
        )
        outputs = rule.network.sizes[-1]
        self.factor = 1 / outputs if loss == "binary_cross_entropy" else 1.0
        """The recorded loss, divided by the rule's."""
        # the rule's error is the gradient of its loss, the recorded one that of half the squared error
        of_signal = outputs / 2 if loss == "mean_squared_error" and arguments.get("signal") == "error" else 1.0
        self._units_of_D = self.factor / (self.batch_size * of_signal)
        return rule

    def units(self, key: str) -> float:
        """Returns a weight in the recording's units, divided by the rule's."""
        return self._units_of_D if key.startswith("Wdir") else 1.0

    def weights(self) -> dict[str, Tensor]:
        """Returns W, b, and D, which is fixed."""
        fixed = {f"Wdir{k - 1}": self.rule.get_buffer(f"D_{k}") for k in range(1, self.rule.network.L)}
        return {**self.by_layer("W", lambda c: c.weight), **self.by_layer("b", lambda c: c.bias), **fixed}

    def observations(self) -> dict[str, Tensor]:
        """Returns the output before the step, the loss, and the gradients."""
        rule: Any = self.rule
        output = rule.phases["feedforward"].output
        target = rule.one_hot(rule.classes, output.dtype)
        return {
            **{key: g * self.factor for key, g in self.gradients().items()},
            "output": rule.prediction(output) if rule.loss == "binary_cross_entropy" else output,
            "loss": rule.sample_losses(output, target).mean() * self.factor,
        }
