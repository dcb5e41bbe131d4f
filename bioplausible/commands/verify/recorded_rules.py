"""How the names and units of recorded trajectories map onto the package's rules."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from bioplausible.commands.verify.meta import LOSSES, Meta, network_of
from bioplausible.commands.verify.recorded_rule import RecordedRule, named, step_sizes
from bioplausible.errors import UserError
from bioplausible.errors.checks import require
from bioplausible.functional import published_correlative_information, rows
from bioplausible.network import Connection
from bioplausible.rules import (
    Backpropagation,
    ContrastiveSimilarityMatching,
    CorInfoMax,
    CorInfoMaxSparse,
    DirectFeedbackAlignment,
    EquilibriumPropagation,
    FeedbackAlignment,
    LearningRule,
    NudgedPredictiveCoding,
    PredictiveCoding,
)

DENSE = "mean over samples"
CONVENTION = (
    r"meanoversamples|kernels(,biases)?:sumoverpositions,meanoversamples;([bmr],)*[bmr]:meanoverpositionsandsamples"
)
"""What updates and statistics sum and average over, without spaces; recordings of dense networks need not say it."""


class RecordedFeedforward(RecordedRule):
    """Backpropagation, feedback alignment and its relatives."""

    unused = frozenset({"Wfa0"})  # the first layer sends no error down
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
        "usf": r"wfa=scale\*sign\(w\).*",
        "brsf": r"wfa=\|fresh(xavier|kaiming)draw\|\*sign\(w\).*",
        "frsf": r"init/wfa=\|m\|;onthewaydown(m|\|m\|)\*sign\(w(now)?\)",
        "dfa": r"wfamapstheoutputerror\(nxclasses\)tothelayer'sinput;convolutional:constantoveroutputpositions,.*",
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
        self.variant = meta.word("variant", {v: v for v in known}, default=next(iter(known)) if len(known) == 1 else "")
        cls, arguments = known[self.variant]
        if "feedback" in meta:
            meta.confirm("feedback", self.sent_down[self.variant])
        initialization = meta.word("init", self.initializations, default="xavier")
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
            output_activation=meta.read("output_activation", "linear"),
            loss={"squared_error": "mean_squared_error"}.get(loss.kind, loss.kind),
            initialization=initialization,
            optimizer=self.optimizer(meta.number("lr"), lambda group: self.factor),
            **arguments,
        )
        self._check_scale(rule)
        return rule

    def _check_scale(self, rule: LearningRule) -> None:
        """Checks the sizes of uniform sign-sharing feedback against the standard deviations of W's draw."""
        scale = self.meta.read("scale", None)
        if scale is None:
            return
        drawn = [c._standard_deviation() for c in rule.network.connections]
        require(
            len(scale) == len(drawn) and all(abs(s - d) < 1e-12 for s, d in zip(scale, drawn, strict=True)),
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


class RecordedEquilibriumPropagation(RecordedRule):
    """Equilibrium propagation and similarity matching in this package's units."""

    def build(self) -> LearningRule:
        """Returns the rule."""
        meta = self.meta
        matching = meta.read("rule").startswith("csm")
        loss = meta.word("loss", LOSSES)
        require(
            loss.kind == "squared_error" and loss.weight == 2,
            f"its meta says loss {meta.read('loss')!r}: the rule's is the squared error summed over outputs, no 1/2.",
        )
        meta.confirm("convention", CONVENTION, default=DENSE)
        f = meta.word("activation", {"hard_sigmoid": "clip"})
        lateral = meta.number("lr_m", None)
        require(matching == (lateral is not None), "its meta has lr_m of another rule: csm has a list, ep null.")
        self.each_step("beta_per_step", "beta")
        cls: Any = ContrastiveSimilarityMatching if matching else EquilibriumPropagation
        return cast(
            LearningRule,
            cls(
                **network_of(meta),
                **named_arguments(meta, "lr_w", "free_steps", "nudged_steps", "neural_lr"),
                **({"lateral_learning_rates": [-a for a in lateral]} if matching else {}),
                random_beta_sign=False,
                loss="squared_error",
                activation_function=f,
                output_activation=f,
            ),
        )

    def weights(self) -> dict[str, Tensor]:
        """Returns W, b, M, and V."""
        laterals = {f"M{k - 1}": lateral.weight for k, lateral in self.rule.network.laterals.items()}
        own = self.by_layer("Wfb", lambda c: c._feedback_weight)
        return {**self.by_layer("W", lambda c: c.weight), **self.by_layer("b", lambda c: c.bias), **laterals, **own}


class RecordedPublishedUnits(RecordedEquilibriumPropagation):
    """Equilibrium propagation as Laborieux et al. 2021 and Scellier et al. 2023 write it: no leak, ½ in the cost.

    Where f is clip(u/2) the leak is ‖r‖² instead of ½ ‖r‖²: W and b are half theirs. β is that of a cost without ½, so
    half theirs, but for coupled learning, where it moves the output; and the rates follow, for what is divided by β.
    """

    activations: ClassVar[dict[str, tuple[str, float]]] = {
        **dict.fromkeys(("clip(u)", "hard_sigmoid"), ("clip", 1.0)),
        **dict.fromkeys(("clip(u/2)", "clip(0.5u)", "my_hard_sig"), ("clip", 0.5)),
        **dict.fromkeys(
            (
                "sigmoid(4u-2)",
                "sigmoid(4*u-2)",
                "sigmoid(4(u-1/2))",
                "sigmoid(4(u-0.5))",
                "sigmoid(4*(u-0.5))",
                "1/(1+exp(-4(u-1/2)))",
                "1/(1+exp(-4(u-0.5)))",
                "1/(1+exp(-4*(u-0.5)))",
                "mysig",
            ),
            ("sigmoid", 1.0),
        ),
    }
    """f and the leak, by the recorded wording."""
    readouts: ClassVar[dict[str, bool]] = {
        "last state": False,
        "softmax of a linear map of the last state, outside the dynamics": True,
    }
    phases_of: ClassVar[dict[str, str]] = {
        "C": r"first:beta=-nudging,second:beta=\+?nudging,bothfromfree",
        "P": r"first:beta=0,second:beta=\+?nudging,bothfromfree",
        "N": r"first:beta=-nudging,second:beta=0,bothfromfree",
    }
    """The two contrasted phases of an algorithm, centred, positive or negative, without spaces."""

    def build(self) -> LearningRule:
        """Returns the rule with β and rates in this package's units."""
        meta = self.meta
        name = meta.read("rule")
        self.estimator = ""
        self.hold = name.startswith("coupled")
        f, self.leak = meta.word("activation", self.activations)
        output, output_leak = meta.word("output_activation", {**self.activations, "linear": ("linear", self.leak)})
        loss = meta.word("loss", LOSSES)
        require(
            loss.samples != "mean" and loss.weight > 0,
            f"its meta says loss {meta.read('loss')!r}: in these dynamics the loss is one sample's.",
        )
        self.readout = meta.word("readout", self.readouts, default="last state")
        require(
            (output_leak == self.leak and (output != "linear" or self.leak == 1))
            or (self.readout and output == "linear"),
            f"its meta says activation {meta.read('activation')} and output_activation"
            f" {meta.read('output_activation')}: the rule has one leak for all layers, so they must halve u alike.",
        )
        require(
            not self.readout or output in (f, "linear"),
            f"its meta says output_activation {meta.read('output_activation')!r}: with a readout the last state has the"
            " same as the others.",
        )
        # ½ ‖r − y‖² is half of the rule's cost
        self.beta_units = 1.0 if self.hold else self.leak * (1.0 if loss.kind == "cross_entropy" else loss.weight / 2)
        learned = name == "ep_conv_vector_field"
        arguments: dict[str, Any] = {
            "activation_function": f,
            "output_activation": output,
            "loss": loss.kind,
            "readout": self.readout,
            "feedback": "learned" if learned else "tied",
            **(self.algorithm() if "algorithm" in meta else self.plain()),
        }
        same, own = meta.read("same_update", None), meta.read("lr_fb", None)
        require(
            learned == (own is not None) == (same is not None),
            f"its meta says same_update {same} and lr_fb {own}: feedback weights of their own have both, tied ones"
            " neither.",
        )
        rates = self.own_rates(meta.number("lr"), skip_last=self.readout)
        if learned:
            own = self.own_rates(meta.number("lr_fb"))
            arguments["feedback_update"] = "same" if meta.flag("same_update") else "separate"
            arguments["feedback_learning_rates"] = [*own, 0.0] if self.readout else own
        return EquilibriumPropagation(
            **network_of(meta),
            **named_arguments(meta, "free_steps", "nudged_steps"),
            **arguments,
            step_size=1.0,
            random_beta_sign=False,
            learning_rates=rates,
            optimizer=self.optimizer(units=lambda group: 1.0 if group == self.of_readout else self.rate_units),
        )

    def plain(self) -> dict[str, Any]:
        """Returns the arguments of Laborieux et al.: β for each step, all layers at once, from r = 0."""
        meta = self.meta
        meta.confirm("update", r"alllayersatonce(,r<-activation\(dphi/dr\))?")
        self.each_step("beta_per_step", "beta", self.beta_units)
        return {"three_phase": meta.word("symmetric", {"true": True, "false": False})}

    def algorithm(self) -> dict[str, Any]:
        """Returns the arguments of Scellier et al.: an algorithm by its name."""
        meta = self.meta
        suffix = "CpL" if self.hold else "EP"
        self.estimator = meta.word("algorithm", {f"{estimator}{suffix}": estimator for estimator in self.phases_of})
        meta.confirm("phases", self.phases_of[self.estimator])
        warm = "states at the start of a free phase are the last second-phase states of the previous batch"
        orders = {
            "all layers at once": "synchronous",
            "layers 1, 3, 5 ... at once, then layers 2, 4 ... at once": "asynchronous",
        }
        return {
            "persistent_states": meta.word("warm_start", {warm: True, "none": False, "false": False}, default=None),
            "update_order": meta.word("update", orders),
            "three_phase": self.estimator == "C",
            "relax_free_again": self.estimator != "C",
            "hold_output": self.hold,
            # the published negative estimator is one of negative β
            "beta": meta.number("nudging") * self.beta_units * (-1 if self.estimator == "N" else 1),
        }

    def own_rates(self, rates: list[float], skip_last: bool = False) -> list[float]:
        """Returns rates in the rule's units; those of a readout, which is not in the dynamics, stay."""
        require(isinstance(rates, list), f"its meta has the rates {rates}: give one for each layer.")
        last = len(rates) - 1
        return [lr if skip_last and i == last else lr * self.rate_units for i, lr in enumerate(rates)]

    @property
    def rate_units(self) -> float:
        """A rate in the rule's units, divided by the recorded one: W is leak times theirs, and divided by β."""
        return self.leak * self.beta_units

    @property
    def of_readout(self) -> str:
        """Name of the readout's group of parameters."""
        return f"layer_{len(self.meta.read('lr'))}" if self.readout else ""

    @property
    def top(self) -> int:
        """Number of the last connection, from 0."""
        return self.rule.network.L - 1

    def weights(self) -> dict[str, Tensor]:
        """Returns W, b and V; a readout sends nothing back within the dynamics."""
        found = super().weights()
        return {key: w for key, w in found.items() if not (self.readout and key == f"Wfb{self.top}")}

    def units(self, key: str) -> float:
        """Returns 1/leak, and 1 for a readout, which is not in the dynamics."""
        return 1.0 if self.readout and key in (f"W{self.top}", f"b{self.top}") else 1 / self.leak

    def at_start(self) -> dict[str, Tensor]:
        """Returns the angles between W and V."""
        angles = list(self.rule.alignment_angles().values())[: self.top - 1 if self.readout else None]
        return {"angles_deg": torch.stack(angles)} if angles else {}

    def observations(self) -> dict[str, Tensor]:
        """Returns states, with two contrasted phases those of smaller and larger β, a readout's scores, and angles."""
        found = {**super().observations(), **self.at_start()}
        names = {"C": ("antinudged", "nudged"), "P": ("free_again", "nudged"), "N": ("nudged", "free_again")}
        if self.estimator:
            first, second = names[self.estimator]
            for i in range(self.top + 1):
                found[f"first{i}"], found[f"second{i}"] = found[f"{first}{i}"], found[f"{second}{i}"]
        if self.readout:
            found["logits_free"] = self.rule.answer(self.rule.phases["free"])
        return found


class RecordedPredictiveCoding(RecordedRule):
    """Predictive coding and its nudged form, dense."""

    def build(self) -> LearningRule:
        """Returns the rule."""
        meta = self.meta
        cls: Any = PredictiveCoding
        arguments: dict[str, Any] = {}
        if meta.read("rule") == "pc_nudge":
            cls = NudgedPredictiveCoding
            self.each_step("lambda_per_step", "beta")
        else:
            meta.confirm(
                "input", r"xistheactivityf\(x0\)oftheinputlayer", default="x is the activity f(x0) of the input layer"
            )
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
        stale = meta.read("stale", None) is None or meta.flag("stale")
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


class RecordedCorInfoMax(RecordedRule):
    """CorInfoMax and its sparse form."""

    def build(self) -> LearningRule:
        """Returns the rule, with the correlation estimates that were recorded."""
        meta = self.meta
        self.dense = "layer_sizes" in meta
        sparse = "sparse" in meta.read("rule")
        meta.confirm("convention", CONVENTION, default=DENSE)
        meta.word("activation", {"hard_sigmoid": None})
        self.each_step("beta_per_step", "beta")
        layers, rates = meta.read("sparse_layers", None) or [], meta.read("sparsity_lr", None) or []
        require(
            (sparse or not layers) and bool(layers) == any(rates),
            f"its meta says sparse_layers {layers} and sparsity_lr {rates}: corinfomax_sparse has both, corinfomax"
            " neither.",
        )
        cls: Any = CorInfoMax
        arguments: dict[str, Any] = {}
        if layers:
            cls = CorInfoMaxSparse
            of_all = len(rates) == len(meta.number("lr_ff"))
            require(
                of_all or len(rates) == len(layers),
                f"its meta has sparsity_lr {rates}: give a number for each layer or for each sparse one.",
            )
            arguments = {"dual_step_sizes": {k: rates[k - 1 if of_all else i] for i, k in enumerate(layers)}}
        return cast(
            LearningRule,
            cls(
                **network_of(meta),
                **named_arguments(meta, "lambda_", "epsilon", "hopfield_g", "lr_ff", "lr_fb"),
                **named_arguments(meta, "free_steps", "nudged_steps"),
                three_phase=meta.flag("three_phase"),
                weight_decay=meta.flag("weight_decay"),
                **step_sizes(meta),
                **arguments,
                random_beta_sign=False,
                track_correlations=True,
                track_correlations_every_n_steps=1,
            ),
        )

    def weights(self) -> dict[str, Tensor]:
        """Returns W, V and B; recordings of dense networks hold V (d_{k−1} × d_k)."""
        return {
            **self.by_layer("W", lambda c: c.weight),
            **self.by_layer("Wfb", lambda c: c.feedback_weight.t() if self.dense else c.feedback_weight, first=1),
            **{f"B{k - 1}": lateral.weight for k, lateral in self.rule.network.laterals.items()},
        }

    def observations(self) -> dict[str, Tensor]:
        """Returns states, correlation estimates, angles, and the information of the first pair of hidden layers."""
        rule = cast(CorInfoMax, self.rule)
        free, layers = rule.phases["free"].activity, range(1, rule.network.L + 1)
        R, error = rule.correlations["free"].of_state(2), free[2] - rule.network.drive(2, free)
        return {
            **super().observations(),
            **{f"R{name}{k - 1}": c.of_state(k) for name, c in rule.correlations.items() for k in layers},
            "angles_deg": torch.stack(list(rule.alignment_angles().values())),
            "forward_info_free_pair0": published_correlative_information(R, rows(error), rule.epsilon),
        }


RECORDED: dict[str, type[RecordedRule]] = {
    **dict.fromkeys(("backprop", "feedback_alignment"), RecordedFeedforward),
    **dict.fromkeys(
        ("feedback_alignment_conv", "sign_symmetry_conv", "direct_feedback_alignment_conv"), RecordedFeedforward
    ),
    **dict.fromkeys(("ep", "csm", "ep_conv_leaky", "csm_conv"), RecordedEquilibriumPropagation),
    **dict.fromkeys(("ep_conv", "ep_conv_vector_field", "coupled_learning_conv"), RecordedPublishedUnits),
    **dict.fromkeys(("pc", "pc_nudge"), RecordedPredictiveCoding),
    "pc_conv": RecordedRosenbaum,
    **dict.fromkeys(
        ("corinfomax", "corinfomax_sparse", "corinfomax_conv", "corinfomax_sparse_conv"), RecordedCorInfoMax
    ),
}
"""By the name of a recording's rule."""


def recorded_rule(meta: Meta, steps: int, batch_size: int) -> RecordedRule:
    """Returns the rule that a recording names, with its hyperparameters.

    Args:
        meta: the recording's.
        steps: batches.
        batch_size: samples a batch.

    Raises:
        UserError: there is none, or the recording says of it what is not known.
    """
    name = str(meta.read("rule"))
    if name not in RECORDED and "." not in name:
        raise UserError(f"there is no rule {name}: a recording's is one of {', '.join(RECORDED)}, or a class path.")
    return RECORDED.get(name, RecordedRule)(meta, steps, batch_size)


def named_arguments(meta: Meta, *entries: str) -> dict[str, Any]:
    """Returns entries of a recording by the names of the rules' arguments."""
    return meta.arguments(named(*entries))


def _copy(connection: Connection, magnitude: Tensor, generator: torch.Generator) -> None:
    with torch.no_grad():
        cast(Tensor, connection._feedback_weight).copy_(magnitude)
