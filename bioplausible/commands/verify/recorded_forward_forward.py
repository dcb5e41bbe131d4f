"""Recordings of the forward-forward algorithm."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from bioplausible.commands.verify.recorded_rule import RecordedRule
from bioplausible.errors.checks import require
from bioplausible.rules import ForwardForward, LearningRule
from bioplausible.training.phase import Phase

CLASSIFIER = "linear softmax classifier on the normalised activities of layers 2.. of the neutral sample"
GOODNESS = "argmax over labels of the goodness summed over all layers"
TOGETHER = "all layers at once"
LAYERED = "layer 1 all its updates, then layer 2 on the new outputs"
UNITS = "number of units"


class RecordedForwardForward(RecordedRule):
    """Both published forms, loewe's and pezeshki's, with the recorded labels of the negative samples."""

    constant = frozenset({"mean_activity"})

    def build(self) -> LearningRule:
        """Returns the rule."""
        meta = self.meta
        variant = meta.word("variant", {"loewe": "loewe", "pezeshki": "pezeshki"})
        self.loewe = variant == "loewe"
        of_variant = {"loss", "grad_W", "grad_b", "peer_loss", "classification_loss"}
        of_variant = of_variant if self.loewe else {"x_pos", "x_neg", "prediction", "goodness_after"}
        self.kinds = frozenset({"y_neg"} | of_variant)
        sizes, classes = meta.read("layer_sizes"), meta.read("classes")
        require(isinstance(sizes, list) and len(sizes) >= 2, f"its meta has layer_sizes {sizes!r}: give two or more.")
        f, slope = self._activation()
        lr = self._number("lr")
        threshold = meta.read("threshold")
        arguments: dict[str, Any] = {"learning_rates": [lr] * (len(sizes) - 1)}
        self.μ, self.begun = 0.0, False
        if self.loewe:
            meta.confirm("prediction", _plain(CLASSIFIER))
            meta.confirm("label", r"first10inputs:one-hot,wrongone-hot,oruniform1/10\(neutral\)")
            meta.confirm("loss", "binarycrossentropywithlogits,meanover2nsamples")
            meta.confirm("order", _plain(TOGETHER))
            arguments["learning_rates"].append(self._number("lr_classifier"))
            self.μ = self._number("peer_normalisation")
            momentum = self._number("peer_momentum")
            require(
                momentum == ForwardForward.momentum,
                f"its meta has peer_momentum {momentum}: the rule's is {ForwardForward.momentum}.",
            )
            arguments |= {"peer_normalization": self.μ, "peer_slope": slope if self.μ else "one"}
        else:
            meta.confirm("prediction", _plain(GOODNESS))
            meta.confirm("label", r"first10inputs:0,andmaxofthebatchatthelabel")
            meta.confirm("loss", r"meanover2nsamplesoflog\(1\+exp\(\.\.\.\)\)")
            meta.confirm("order", _plain(LAYERED))
            meta.confirm("negatives", r"labelspermutedwithinthebatch\(mayberight\)")
            times = meta.read("updates_per_batch")
            require(type(times) is int, f"its meta has updates_per_batch {times!r}: give a whole number.")
            arguments |= {"order": "layer_by_layer", "updates_per_batch": times, "negative_labels": "any"}
        rule = ForwardForward(
            layer_sizes=[*sizes, classes],
            activation_function=cast(Any, f),
            goodness=cast(Any, meta.word("goodness", {"sum of squares": "sum", "mean of squares": "mean"})),
            threshold=[float(d) for d in sizes[1:]] if threshold == UNITS else meta.number("threshold"),
            normalization=cast(
                Any,
                meta.word(
                    "normalisation",
                    {"z / (rms + 1e-8), input included": "rms", "x / (||x|| + 1e-4)": "norm"},
                ),
            ),
            prediction="classifier" if self.loewe else "goodness",
            optimizer=self.optimizer(lr),
            **arguments,
        )
        require(classes == 10, f"its meta has classes {classes}, where the first 10 inputs are the label's.")
        if not self.loewe:
            self._scale_labels(rule)
        rule.draw_negative = lambda x, target: self.y_neg[rule.positions(x)]  # type: ignore[method-assign]
        d, hidden = rule.network.sizes, range(1, rule.network.L)
        if self.loewe:
            self.classifier = torch.zeros(d[-1], sum(d[k] for k in rule.read), dtype=torch.float64)
            """W of the classifier for all layers that it reads, side by side."""
            self.mean_activity = {k: torch.zeros(d[k], dtype=torch.float64) for k in hidden}
        return rule

    def _scale_labels(self, rule: ForwardForward) -> None:
        """Lets a label have the value of the batch's largest input."""
        learn = rule.learn

        def scaled(x: Tensor, target: Tensor, optimizer: torch.optim.Optimizer) -> dict[str, Phase]:
            rule.label_value = float(x.max())
            self.x = x
            return learn(x, target, optimizer)

        rule.learn = scaled  # type: ignore[method-assign]

    def _activation(self) -> tuple[str, str]:
        """Returns f, and the slope with which the peers' loss passes it."""
        name, _, how = str(self.meta.read("activation")).partition(", ")
        require(
            how in ("", "its derivative taken as 1 everywhere") and (not how or name == "relu"),
            f"its meta says activation {name}, {how}, which verify does not know.",
        )
        return name, "one" if how else "activation"

    def _number(self, name: str) -> float:
        found = self.meta.number(name)
        require(not isinstance(found, list), f"its meta has {name} {found!r}: give one number.")
        return float(found)

    def weights(self) -> dict[str, Tensor]:
        """Returns W and b of the hidden layers, the classifier's weights, and m."""
        rule, hidden = cast(ForwardForward, self.rule), self.connections[:-1]
        found: dict[str, Tensor] = {}
        for i, c in enumerate(hidden):
            found |= {f"W{i}": cast(Tensor, c.weight), f"b{i}": cast(Tensor, c.bias)}
        if not self.loewe:
            return found
        for k, kept in self.mean_activity.items():
            found[f"mean_activity{k - 1}"] = rule.get_buffer(f"mean_activity_{k}") if self.μ else kept
        if self.begun:
            self.classifier = torch.cat([part.detach() for part in self._parts()], 1)
        return {**found, "Wclass": self.classifier}

    def _parts(self) -> list[Tensor]:
        """Returns the classifier's weights layer by layer, as the rule has them."""
        rule = cast(ForwardForward, self.rule)
        return [*rule.classifier.values(), cast(Tensor, self.connections[-1].weight)]

    def before_step(self, step: int, recorded: Mapping[str, Any]) -> None:
        """Hands over the labels of the negative samples, and the classifier's weights of the start."""
        super().before_step(step, recorded)
        require("y_neg" in recorded, f"it lacks step{step}/y_neg, the labels of this batch's negative samples.")
        self.y_neg = torch.from_numpy(recorded["y_neg"]).long()
        classes = self.rule.network.sizes[-1]
        require(
            tuple(self.y_neg.shape) == (self.batch_size,) and bool(((self.y_neg >= 0) & (self.y_neg < classes)).all()),
            f"its step{step}/y_neg is not of a batch's labels, 0 … {classes - 1}.",
        )
        if self.loewe and not self.begun:
            self.begun = True
            with torch.no_grad():
                parts = self._parts()
                for part, given in zip(
                    parts, self.classifier.split_with_sizes([p.shape[1] for p in parts], 1), strict=True
                ):
                    part.copy_(given)

    def observations(self) -> dict[str, Tensor]:
        """Returns labels, losses and gradients; or what the labels made of the input, and the prediction after."""
        rule = cast(ForwardForward, self.rule)
        y = rule.classes
        if not self.loewe:
            labels = {"x_pos": y, "x_neg": self.y_neg}
            after = rule(self.x)
            inputs = {name: rule.labelled(self.x, rule.one_hot(label, self.x.dtype)) for name, label in labels.items()}
            return {"y_neg": self.y_neg, **inputs, "goodness_after": after, "prediction": after.argmax(1)}
        found = {
            "y_neg": self.y_neg,
            "classification_loss": rule.sample_losses(rule.output, rule.one_hot(y, rule.output.dtype)).mean(),
        }
        peer = torch.zeros(1, dtype=torch.float64)
        for k in range(1, rule.network.L):
            c = self.connections[k - 1]
            of_phase = {
                t: rule.layer_goodness(rule.phases[name].activity[k]) for t, name in ((1, "positive"), (0, "negative"))
            }
            losses = [F.softplus((1 - 2 * t) * (G - rule.threshold[k])) for t, G in of_phase.items()]
            found |= {f"loss{k - 1}": torch.cat(losses).mean()}
            found |= {f"grad_W{k - 1}": cast(Any, c.weight).grad, f"grad_b{k - 1}": cast(Any, c.bias).grad}
            if self.μ:
                m = rule.get_buffer(f"mean_activity_{k}")
                peer = peer + (m.mean() - m).square().mean()
        return {**found, "peer_loss": peer}


def _plain(words: str) -> str:
    """Returns a pattern of these words."""
    return words.replace(" ", "").replace(".", r"\.").replace("(", r"\(").replace(")", r"\)")
