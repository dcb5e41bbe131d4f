"""The forward-forward algorithm (Hinton 2022)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from bioplausible.errors.checks import require
from bioplausible.functional import ActivationName, activation
from bioplausible.network import Entry, Initialization, Labels, Sizes
from bioplausible.rules.base import LearningRule
from bioplausible.rules.batch_means import BatchMeans, Means
from bioplausible.rules.options import by_layer, group, per_layer, refuse_without_effect, require_choice, require_count
from bioplausible.training.phase import Phase, Phases

Goodness = Literal["sum", "mean"]
Normalization = Literal["rms", "norm"]
Prediction = Literal["classifier", "goodness"]
Order = Literal["together", "layer_by_layer"]
NegativeLabels = Literal["wrong", "any"]
PeerSlope = Literal["one", "activation"]


class ForwardForward(LearningRule):
    r"""Each hidden layer raises its own goodness for images with the right label, and lowers it for a wrong one.

    The first d_L values of the input are the label's: one-hot in the positive pass (t = 1) and, with a wrong label, in
    the negative one (t = 0), or 1/d_L each, neutral. Layers 1 … L − 1 pass on normalised activity, and each descends
    log(1 + exp(∓(G_k − θ_k))), the mean over the 2n samples, through its own weights alone::

        N(h) = h / (rms(h) + 1e-8)   or   h / (‖h‖ + 1e-4)          over all units of the layer, the input's too
        a_k = W_k N(r_{k−1}) + b_k,     r_k = f(a_k),     G_k = Σ r_k²   or   mean r_k²
        δ_k = (σ(G_k − θ_k) − t) 2 r_k ⊙ f′(a_k)  [/ d_k for the mean]
        ΔW_k = −½ (⟨δ_k N(r_{k−1})⟩⁺ + ⟨δ_k N(r_{k−1})⟩⁻),       Δb_k likewise

    Nothing comes from above: a synapse knows N(r_{k−1}), r_k, and one number of its layer, σ(G_k − θ_k) − t.

    The class is read by a linear classifier with a softmax π of the neutral pass, which starts at 0 and teaches no
    layer: ΔW_L = −⟨(π − y) N(r_k)⟩ for each layer k that it reads (W_L from the last one, C_k from the others). Or it
    is the label of the highest Σ_k G_k in d_L passes (``goodness``), which training takes too, to learn from two.

    With ``peer_normalization`` μ, units are kept equally active: m_k ← 0.9 m_k + 0.1 ⟨r_k⟩⁺, and the layer descends
    μ mean (m̄_k − m_k)² besides. Its derivative passes f with slope 1, as published: the slope of ReLU would leave units
    alone that are silent (``peer_slope: activation``).

    Published habits that are options: labels of negative samples that are right one time in d_L (``any``), a label's
    value other than 1, mean goodness, and layer after layer, each with many updates a batch. Another, the label's value
    taken from the batch's largest pixel, made a prediction depend on the images beside it, and is left out.

    On images a layer's units are all its channels at all positions.

    Args:
        layer_sizes: d_0 … d_L of a dense network, the last one the number of classes.
        activation_function: f of the hidden layers.
        goodness: G, the ``sum`` or the ``mean`` of a layer's squares.
        threshold: θ, one number or one per hidden layer; None: that of a mean square of 1, d_k or 1.
        normalization: N, by the root mean square (``rms``) or the Euclidean ``norm``.
        prediction: by the ``classifier``, or by ``goodness``.
        read_from: the first layer that is read for it; None: 2 by the classifier (1 where there is no other), 1 by
            goodness.
        negative_labels: of the negative pass, uniformly ``wrong``, or ``any``.
        label_value: of the label's place in the input.
        peer_normalization: μ ≥ 0.
        peer_slope: with which its derivative passes f.
        order: whether layers learn ``together``, or ``layer_by_layer``, each from what the one below has learned.
        updates_per_batch: of each layer.
        learning_rates: one number or one per layer 1 … L, the classifier's last; None: the optimizer's own. By goodness
            there are L − 1.
        weight_decays: likewise.
        initialization: of W and b of the hidden layers (:func:`bioplausible.network.initialization.draw`).
        optimizer: any torch optimizer.
        lr_scheduler: any torch scheduler.
        lr_scheduler_interval: whether the scheduler counts epochs or steps.
        gradient_norm_limit: largest norm of an update before rates; None: no limit.
        network: in place of the sizes, the input's shape and one entry a layer.

    Raises:
        UserError: an argument is outside its range or has no effect, the input has no room for a label, or there is no
            hidden layer.
    """

    momentum = 0.9
    """Of m."""

    def __init__(
        self,
        layer_sizes: Sizes | None = None,
        activation_function: ActivationName = "relu",
        goodness: Goodness = "sum",
        threshold: float | list[float] | None = None,
        normalization: Normalization = "rms",
        prediction: Prediction = "classifier",
        read_from: int | None = None,
        negative_labels: NegativeLabels = "wrong",
        label_value: float = 1.0,
        peer_normalization: float = 0.0,
        peer_slope: PeerSlope = "one",
        order: Order = "together",
        updates_per_batch: int = 1,
        learning_rates: float | list[float] | None = None,
        weight_decays: float | list[float] | None = None,
        initialization: Initialization = "xavier",
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
        gradient_norm_limit: float | None = None,
        network: list[Entry] | None = None,
    ) -> None:
        super().__init__(layer_sizes, network, optimizer, lr_scheduler, lr_scheduler_interval, gradient_norm_limit)
        for name, value, words in (
            ("goodness", goodness, Goodness),
            ("normalization", normalization, Normalization),
            ("prediction", prediction, Prediction),
            ("negative_labels", negative_labels, NegativeLabels),
            ("peer_slope", peer_slope, PeerSlope),
            ("order", order, Order),
        ):
            require_choice(name, value, get_args(words))
        require(label_value > 0, f"label_value is {label_value}: it must be positive, for a label to be seen.")
        require_count("updates_per_batch", updates_per_batch)
        μ = peer_normalization
        require(μ >= 0, f"peer_normalization is {μ}: it must not be negative.")
        require(
            μ == 0 or (order == "together" and updates_per_batch == 1),
            "peer_normalization follows the mean activity of one update a batch, of all layers together: leave out"
            " order and updates_per_batch.",
        )
        require(
            μ > 0 or peer_slope == "one",
            "peer_slope is that of peer_normalization, which is 0: set it too, or leave it out.",
        )
        self.f = activation(activation_function)
        self.goodness_is_sum, self.by_rms = goodness == "sum", normalization == "rms"
        self.by_classifier, self.negative_labels = prediction == "classifier", negative_labels
        self.label_value, self.peer_normalization, self.peer_slope = label_value, μ, peer_slope
        self.order, self.updates_per_batch = order, updates_per_batch
        output = self.specification.layers[-1]
        require(
            not self.by_classifier or ", gain " not in output.text,
            f"{output.name} has a gain, but the classifier's weights start at 0: leave it out.",
        )
        if not self.by_classifier:
            self.specification = replace(self.specification, layers=Labels.at_the_end(self.specification.layers))
        self.network = self.build_network(initialization=initialization)
        L, sizes = self.network.L, self.network.sizes
        require(L >= 2, "ForwardForward has no hidden layer to learn in: put one between input and output.")
        if L == 2 and not self.by_classifier:
            refuse_without_effect(self, ["order"], "where a single layer learns")
        require(
            2 <= sizes[L] <= sizes[0],
            f"ForwardForward puts the label into the first {sizes[L]} of {sizes[0]} input values: give it two classes"
            " or more, and an input with room for them.",
        )
        hidden = range(1, L)
        first = min(2, L - 1) if read_from is None and self.by_classifier else 1 if read_from is None else read_from
        require(first in hidden, f"read_from is {first}: the hidden layers are 1 … {L - 1}.")
        self.read = range(first, L)
        default = {k: float(sizes[k]) if self.goodness_is_sum else 1.0 for k in hidden}
        self.threshold = default if threshold is None else by_layer("threshold", threshold, hidden)
        learning = L if self.by_classifier else L - 1
        self.learning_rates = per_layer("learning_rates", learning_rates, learning, 1)
        self.weight_decays = per_layer("weight_decays", weight_decays, learning, 1)
        if self.by_classifier:
            last = self.network.chain[-1]
            assert last.weight is not None
            last.bias = None
            nn.init.zeros_(last.weight)
        of_others = self.read[:-1] if self.by_classifier else range(0)
        self.classifier = nn.ParameterDict({str(k): torch.zeros(sizes[L], sizes[k]) for k in of_others})
        """C_k of the layers that are read but for the last (d_L × d_k), by k."""
        for k in hidden if μ else ():
            self.register_buffer(f"mean_activity_{k}", torch.full(self.network.shapes[k], 0.5))
        self.mean_activities = BatchMeans(self.means)

    def means(self, positive: Phase) -> Means:
        """Returns the hidden units' mean activities over a phase's samples."""
        return {("r", k): r.mean(0) for k, r in enumerate(positive.activity[1:-1], start=1)}

    # ---------------------------------------------------------------------------------------------------------- a pass

    def labelled(self, x: Tensor, label: Tensor) -> Tensor:
        """Returns the input (n × shape_0) with a label (n × d_L) in its first d_L values."""
        kept = x.flatten(1)[:, label.shape[1] :]
        return torch.cat([self.label_value * label, kept], 1).view(x.shape)

    def normalized(self, r: Tensor) -> Tensor:
        """Returns N(r) (n × …)."""
        norm = r.flatten(1).norm(dim=1)
        norm = norm / prod(r.shape[1:]) ** 0.5 + 1e-8 if self.by_rms else norm + 1e-4
        normalized: Tensor = r / norm.view(-1, *[1] * (r.ndim - 1))
        return normalized

    def pass_through(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Returns r_0 = x, labelled, r_1 … r_{L−1}, and what f′ needs of a_1 … a_{L−1}."""
        r, kept, passed = [x], [], [self.normalized(x)]
        for k in range(1, self.network.L):
            a = self.network.drive(k, passed)
            r.append(self.f.function(a))
            kept.append(self.f.kept(a, r[k]))
            passed.append(self.normalized(r[k]))
        return r, kept

    def layer_goodness(self, r: Tensor) -> Tensor:
        """Returns G (n) of a layer's activity."""
        squares = r.flatten(1).square()
        return squares.sum(1) if self.goodness_is_sum else squares.mean(1)

    def classify(self, r: Sequence[Tensor]) -> Tensor:
        """Returns the classifier's output (n × d_L) for r_0 … r_{L−1}."""
        L = self.network.L
        output = self.network.drive(L, [self.normalized(s) for s in r[:L]])
        for k, C in self.classifier.items():
            output = output + self.normalized(r[int(k)]).flatten(1) @ C.t()
        return output

    def all_labels(self, x: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Returns the pass of each label in turn (d_L n × …), what f′ needs of it, and its goodness Σ G (n × d_L)."""
        labels = torch.eye(self.network.sizes[-1], dtype=x.dtype, device=x.device).repeat_interleave(len(x), 0)
        r, kept = self.pass_through(self.labelled(x.repeat(len(labels) // len(x), *[1] * (x.ndim - 1)), labels))
        found = sum(self.layer_goodness(r[k]) for k in self.read)
        return r, kept, found.view(-1, len(x)).t().contiguous()  # type: ignore[union-attr]

    def activity(self, x: Tensor) -> list[Tensor]:
        """Returns r_0, labelled neutrally, r_1 … r_{L−1} and the output (n × d_L) from which the class is read."""
        classes = self.network.sizes[-1]
        r, _ = self.pass_through(self.labelled(x, x.new_full((len(x), classes), 1 / classes)))
        return [*r, self.classify(r) if self.by_classifier else self.all_labels(x)[2]]

    def forward(self, x: Tensor) -> Tensor:
        """Returns the output (n × d_L) for the input x (n × shape_0)."""
        return self.activity(x)[-1] if self.by_classifier else self.all_labels(x)[2]

    def feedforward_output(self, x: Tensor) -> Tensor:
        """Returns the output (n × d_L), through the normalisations and, by goodness, of all labels."""
        return self.forward(x)

    def draw_negative(self, x: Tensor, target: Tensor) -> Tensor:
        """Returns a label (n) for each sample's negative pass."""
        classes, y = target.shape[1], target.argmax(1)
        if self.negative_labels == "any":
            return self.draws(x).integers(classes)
        return (y + 1 + self.draws(x).integers(classes - 1)) % classes

    def settle(self, x: Tensor, target: Tensor) -> dict[str, Phase]:
        """Returns the phases ``neutral`` (with the classifier alone), ``positive`` and ``negative``."""
        y = {"positive": target.argmax(1), "negative": self.draw_negative(x, target)}
        if self.by_classifier:
            r = self.activity(x)
            phases = {"neutral": Phase(r, internal={"target": [target]})}
            classes = torch.arange(target.shape[1], device=x.device)
            for name, label in y.items():
                r, kept = self.pass_through(self.labelled(x, (label[:, None] == classes).to(x.dtype)))
                phases[name] = self._phase(r, kept, self.classify(r))
            return phases
        every, kept, found = self.all_labels(x)
        rows = {name: label * len(x) + torch.arange(len(x), device=x.device) for name, label in y.items()}
        return {
            name: self._phase([r[chosen] for r in every], [a[chosen] for a in kept], found)
            for name, chosen in rows.items()
        }

    def _phase(self, r: list[Tensor], kept: list[Tensor], output: Tensor) -> Phase:
        internal = {"kept": kept} if self.f.derivative is None else {}  # else the activities tell it
        return Phase([*r, output], internal=internal)

    # -------------------------------------------------------------------------------------------------- what is learned

    def steps_of(self, parameter: Tensor) -> int:
        """Returns how many of a batch's updates move a parameter."""
        return self.updates_per_batch

    def updates(self, phases: Phases) -> Iterator[Iterable[tuple[Tensor, Tensor]]]:
        """Yields the updates of all layers together, or of layer after layer, as many times as there are updates."""
        layers = range(1, self.network.L + (1 if self.by_classifier else 0))
        stages = [list(layers)] if self.order == "together" else [[k] for k in layers]
        for stage in stages:
            for t in range(self.updates_per_batch):
                if stage[0] > 1 or t > 0:
                    self.renew(phases, stage)
                yield self.layer_updates(phases, stage)
            if stage is not stages[-1]:
                self.renew(phases, stage)
        for phase in phases.values():
            phase.internal.pop("output", None)  # of the batch's own steps

    def renew(self, phases: Phases, layers: Iterable[int]) -> None:
        """Lets layers of all passes follow their weights; the phases' output stays what it was before learning."""
        for phase in phases.values():
            r = phase.activity
            for k in layers:
                if k < self.network.L:
                    a = self.network.drive(k, [self.normalized(s) for s in r[:k]])
                    r[k] = self.f.function(a)
                    if "kept" in phase.internal:
                        phase.internal["kept"][k - 1] = a
                elif "target" in phase.internal:
                    phase.internal["output"] = [self.classify(r)]

    def local_updates(self, phases: Phases) -> Iterable[tuple[Tensor, Tensor]]:
        """Yields the updates of all layers together."""
        return self.layer_updates(phases, range(1, self.network.L + 1))

    def layer_updates(self, phases: Phases, layers: Iterable[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields W_k with −½ ⟨δ_k N(r_{k−1})⟩ of both passes, b_k likewise, and the classifier's weights."""
        peers = self.mean_activities.for_updates(phases["positive"]) if self.peer_normalization else {}
        for k in layers:
            if k < self.network.L:
                minus_δ = {t: -self.δ(k, phases[name], t) / 2 for t, name in ((1, "positive"), (0, "negative"))}
                if peers:
                    minus_δ[1] = minus_δ[1] - self.peer_error(k, phases["positive"], peers["r", k])
                for c in self.network.into(k):
                    pre = {1: phases["positive"].activity[c.pre], 0: phases["negative"].activity[c.pre]}
                    if c.weight is not None:
                        yield c.weight, sum(c.correlate(minus_δ[t], self.normalized(pre[t])) for t in (1, 0))  # type: ignore[misc]
                    if c.bias is not None:
                        yield c.bias, c.bias_update(minus_δ[1]) + c.bias_update(minus_δ[0])
            elif self.by_classifier:
                phase = phases["neutral"]
                (output,) = phase.internal.get("output", [phase.output])
                error = phase.internal["target"][0] - output.softmax(1)
                for c in self.network.into(k):
                    if c.weight is not None:
                        yield c.weight, c.correlate(error, self.normalized(phase.activity[c.pre]))
                for j, C in self.classifier.items():
                    yield C, error.t() @ self.normalized(phase.activity[int(j)]).flatten(1) / len(error)

    def δ(self, k: int, phase: Phase, t: int) -> Tensor:
        """Returns δ_k (n × shape_k), the gradient of each sample's own loss by a_k, in a pass with t = 1 or 0."""
        r = phase.activity[k]
        scale = 2.0 if self.goodness_is_sum else 2.0 / prod(r.shape[1:])
        third = scale * ((self.layer_goodness(r) - self.threshold[k]).sigmoid() - t)
        return third.view(-1, *[1] * (r.ndim - 1)) * r * self.slope(k, phase)

    def slope(self, k: int, phase: Phase) -> Tensor:
        """Returns f′(a_k) (n × shape_k)."""
        return self.f.slope(phase.internal.get("kept", phase.activity[1:])[k - 1])

    def peer_error(self, k: int, phase: Phase, mean: Tensor) -> Tensor:
        """Returns the gradient of n times the layer's peer loss by a_k (n × shape_k) in the positive pass."""
        m = self.next_mean(k, mean)
        error = self.peer_normalization * (1 - self.momentum) * 2 / m.numel() * (m - m.mean())
        if self.peer_slope == "one":
            return error.expand_as(phase.activity[k])
        return error * self.slope(k, phase)

    def next_mean(self, k: int, mean: Tensor) -> Tensor:
        """Returns m_k after a batch with the mean activity ⟨r_k⟩⁺ (shape_k)."""
        return self.momentum * self.get_buffer(f"mean_activity_{k}") + (1 - self.momentum) * mean

    def update_state(self, phases: Phases, optimizer: torch.optim.Optimizer) -> None:
        """Updates m."""
        if self.peer_normalization:
            for (_, k), mean in self.mean_activities.for_state(phases["positive"]).items():
                self.get_buffer(f"mean_activity_{k}").copy_(self.next_mean(k, mean))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns one group for each layer's W and b, named ``layer_k``; the last is the classifier's."""
        groups = group("layer", self.network.connections, self.learning_rates, "feedforward", decays=self.weight_decays)
        groups[-1]["params"].extend(self.classifier.values())
        return groups

    def sample_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns the cross entropy of each sample (n), by goodness with the softmax of the labels' goodness."""
        return F.cross_entropy(output, target, reduction="none")

    def class_probabilities(self, output: Tensor) -> Tensor:
        """Returns the softmax of the output (n × d_L)."""
        return output.softmax(1)
