"""How the names and units of recorded trajectories map onto the rules."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from bioplausible.errors import UserError
from bioplausible.errors.checks import require
from bioplausible.functional import published_correlative_information
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

ARGUMENT_NAMES = {
    "activation": "activation_function",
    "hopfield_g": "leak",
    "lambda_": "forgetting_factor",
    "lr_fb": "feedback_learning_rates",
    "lr_ff": "feedforward_learning_rates",
    "lr_w": "learning_rates",
    "neural_lr": "step_size",
    "neural_lr_decay": "step_size_decay",
    "neural_lr_rule": "step_size_rule",
    "neural_lr_start": "step_size",
    "neural_lr_stop": "step_size_floor",
}
"""Hyperparameters in a recording's ``meta`` whose name differs from the rule's argument."""


class RecordedRule:
    """A rule with the hyperparameters of a recording, and its weights and states by their keys there.

    This one is for a rule of a user's own: hyperparameters carry its arguments' names, weights their names in the
    module.

    Args:
        meta: the recording's hyperparameters.
        batch_size: samples a batch.

    Attributes:
        rule: the rule, in float64.
    """

    unused: ClassVar[frozenset[str]] = frozenset()
    """Initial weights that recordings hold and the rule has no use for."""

    def __init__(self, meta: Mapping[str, Any], batch_size: int) -> None:
        self.meta, self.batch_size = meta, batch_size
        self.rule = self.build().double()
        self.step = 0

    def build(self) -> LearningRule:
        """Returns the rule."""
        return self.construct(rule_class(str(self.meta["rule"])))

    def construct(self, cls: type[LearningRule], **arguments: Any) -> LearningRule:
        """Returns a rule of a class, with those of the recording's hyperparameters that it takes, and others."""
        meta = {ARGUMENT_NAMES.get(name, name): value for name, value in self.meta.items()}
        if "architecture" in meta:
            meta["network"] = network_of(meta)
        if isinstance(meta.get("lr"), float):
            kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[meta.get("optimizer", "sgd")]
            meta["optimizer"] = partial(cast(Any, kind), lr=meta["lr"])
        elif isinstance(meta.get("optimizer"), str):
            del meta["optimizer"]  # each layer has a rate of its own
        taken = {name for base in cls.__mro__ for name in inspect.signature(cast(Any, base).__init__).parameters} - {
            "self",
            "args",
            "kwargs",
        }
        return cls(**{**{name: value for name, value in meta.items() if name in taken}, **arguments})

    def weights(self) -> dict[str, Tensor]:
        """Returns the rule's own weights by their keys: set at the start, and compared after each step."""
        return {**dict(self.rule.named_parameters()), **dict(self.rule.named_buffers())}

    def units(self, key: str) -> float:
        """Returns a weight in the recording's units, divided by the rule's."""
        return 1.0

    def before_step(self, step: int, recorded: Mapping[str, Any]) -> None:
        """Prepares a step: values that a recording gives for each (``beta_per_step``) are set.

        Args:
            step: its number.
            recorded: what was recorded after it.
        """
        self.step = step
        for name, values in self.meta.items():
            if name.endswith("_per_step"):
                setattr(self.rule, ARGUMENT_NAMES.get(name, name).removesuffix("_per_step"), values[step])

    def observations(self) -> dict[str, Tensor]:
        """Returns what else a recording holds after a step, by its key there: the states of each phase."""
        return {f"{name}{i}": r for name, p in self.rule.phases.items() for i, r in enumerate(p.activity[1:])}

    @property
    def connections(self) -> list[Connection]:
        """The connections of the chain 0, 1, … L."""
        return self.rule.network.connections

    def by_layer(self, name: str, of: Callable[[Connection], Tensor | None], first: int = 0) -> dict[str, Tensor]:
        """Returns a tensor of each connection by its key, from a first one on, those that are None left out."""
        found = ((i, of(c)) for i, c in enumerate(self.connections))
        return {f"{name}{i}": t for i, t in found if t is not None and i >= first}


class RecordedFeedforward(RecordedRule):
    """Backpropagation, feedback alignment and its relatives."""

    unused = frozenset({"Wfa0"})  # the first layer sends no error down
    classes: ClassVar[dict[str, type[LearningRule]]] = {
        "backprop": Backpropagation,
        "feedback_alignment": FeedbackAlignment,
        "feedback_alignment_conv": FeedbackAlignment,
        "sign_symmetry_conv": FeedbackAlignment,
        "direct_feedback_alignment_conv": DirectFeedbackAlignment,
    }
    kinds: ClassVar[dict[str, str]] = {
        "usf": "uniform_sign",
        "brsf": "batchwise_random_sign",
        "frsf": "fixed_random_sign",
    }

    def build(self) -> LearningRule:
        """Returns the rule; the loss is described in words."""
        cls = self.classes[self.meta["rule"]]
        arguments: dict[str, Any] = {"loss": loss_of(self.meta, "mean_squared_error")}
        if cls is FeedbackAlignment:
            arguments["feedback"] = self.kinds.get(self.meta.get("variant", ""), "fixed")
        return self.construct(cls, **arguments)

    def weights(self) -> dict[str, Tensor]:
        """Returns W, b, and the feedback weights that are fixed: V, |M| or D."""
        fixed: dict[str, Tensor] = {}
        if isinstance(self.rule, DirectFeedbackAlignment):
            fixed = {f"Wfa{k - 1}": self.rule.get_buffer(f"D_{k}") for k in range(2, self.rule.network.L + 1)}
        elif self.meta.get("variant") not in ("usf", "brsf"):
            fixed = self.by_layer("Wfa", lambda c: c._feedback_weight, first=1)
        return {**self.by_layer("W", lambda c: c.weight), **self.by_layer("b", lambda c: c.bias), **fixed}

    def before_step(self, step: int, recorded: Mapping[str, Any]) -> None:
        """Sets the magnitudes that the recorded code drew for this batch, and notes the feedback weights in use."""
        super().before_step(step, recorded)
        if self.meta.get("variant") == "brsf":
            for i, c in enumerate(self.connections[1:], start=1):
                magnitude = torch.from_numpy(recorded[f"Wfa{i}"]).abs()
                c.redraw_feedback = partial(_copy, c, magnitude)  # type: ignore[method-assign]
        self.before = {name: w.detach().clone() for name, w in self.by_layer("W", lambda c: c.weight).items()}

    def observations(self) -> dict[str, Tensor]:
        """Returns the output before the step, the loss, the gradients, and the feedback weights used in the batch."""
        phase = self.rule.phases["feedforward"]
        target = self.rule.one_hot(self.rule.classes, phase.output.dtype)
        used = {
            f"Wfa{i}": (c._feedback_weight if c._feedback_weight is not None else c.weight)
            * self.before[f"W{i}"].sign()
            for i, c in enumerate(self.connections)
            if i > 0 and c._shares_signs
        }
        return {
            **used,
            **gradients(self),
            "logits": phase.output,
            "loss": self.rule.sample_losses(phase.output, target).mean(),
            "logits_after": self.rule(phase.activity[0]),
        }


class RecordedEquilibriumPropagation(RecordedRule):
    """Equilibrium propagation and similarity matching in this package's units."""

    def build(self) -> LearningRule:
        """Returns the rule."""
        if "csm" in self.meta["rule"]:
            rates = [-a for a in self.meta["lr_m"]]
            return self.construct(ContrastiveSimilarityMatching, lateral_learning_rates=rates, **self.spoken)
        return self.construct(EquilibriumPropagation, **self.spoken)

    spoken: ClassVar[dict[str, Any]] = {
        "random_beta_sign": False,
        "loss": "squared_error",
        "activation_function": "clip",
        "output_activation": "clip",
    }
    """What a recording says in words."""

    def weights(self) -> dict[str, Tensor]:
        """Returns W, b, M, and V."""
        laterals = {f"M{k - 1}": lateral.weight for k, lateral in self.rule.network.laterals.items()}
        own = self.by_layer("Wfb", lambda c: c._feedback_weight)
        return {**self.by_layer("W", lambda c: c.weight), **self.by_layer("b", lambda c: c.bias), **laterals, **own}


class RecordedPublishedUnits(RecordedEquilibriumPropagation):
    """Equilibrium propagation as Laborieux et al. 2021 and Scellier et al. 2023 write it: no leak, ½ in the cost.

    Where f is clip(u/2) the leak is ‖r‖² instead of ½ ‖r‖²: W and b are half theirs. β is that of a cost without ½, so
    half theirs; and the rates follow, for what is divided by β.
    """

    def build(self) -> LearningRule:
        """Returns the rule with β and rates in this package's units."""
        meta = self.meta
        f = {"clip(u)": "clip", "clip(u/2)": "clip", "sigmoid(4u-2)": "sigmoid", "sigmoid(4u - 2)": "sigmoid"}
        require(
            meta["activation"] in f, f"the recorded activation is {meta['activation']}: verify knows {', '.join(f)}."
        )
        self.leak = 0.5 if meta["activation"] == "clip(u/2)" else 1.0
        cost = 1.0 if meta["loss"] == "cross entropy" else 0.5
        self.nudge = cost * self.leak
        rates = [lr * self.leak * self.nudge for lr in meta["lr"]]
        readout = "readout" in meta and "linear map" in meta["readout"]
        arguments = {
            "random_beta_sign": False,
            "activation_function": f[meta["activation"]],
            "output_activation": f.get(meta["output_activation"], "linear"),
            "loss": "cross_entropy" if meta["loss"] == "cross entropy" else "squared_error",
            "readout": readout,
            "step_size": 1.0,
            "three_phase": bool(meta.get("symmetric", False)),
            "feedback": "tied" if meta["rule"] != "ep_conv_vector_field" else "learned",
            "feedback_update": "same" if meta.get("same_update") else "separate",
            "learning_rates": [*rates[:-1], meta["lr"][-1]] if readout else rates,
        }
        if meta.get("lr_fb") is not None:
            own = [lr * self.leak * self.nudge for lr in meta["lr_fb"]]
            arguments["feedback_learning_rates"] = [*own, 0.0] if readout else own
        if "algorithm" in meta:
            arguments |= {
                "persistent_states": True,
                "update_order": "synchronous" if meta["update"] == "all layers at once" else "asynchronous",
                "three_phase": meta["algorithm"].startswith("C"),
                "relax_free_again": not meta["algorithm"].startswith("C"),
                "hold_output": meta["rule"].startswith("coupled"),
                # the published positive and negative estimators differ in the sign of β
                "beta": meta["nudging"] * self.beta_units * (-1 if meta["algorithm"].startswith("N") else 1),
            }
        return self.construct(EquilibriumPropagation, **arguments)

    @property
    def beta_units(self) -> float:
        """The rule's β divided by the recording's; a held output moves by β itself."""
        return 1.0 if self.meta["rule"].startswith("coupled") else self.nudge

    @property
    def top(self) -> int:
        """Number of the last connection, from 0."""
        return self.rule.network.L - 1

    def units(self, key: str) -> float:
        """Returns 1/leak, and 1 for a readout, which is not in the dynamics."""
        return 1.0 if self.rule.readout and key in (f"W{self.top}", f"b{self.top}") else 1 / self.leak  # type: ignore[attr-defined]

    def before_step(self, step: int, recorded: Mapping[str, Any]) -> None:
        """Sets β in the rule's units."""
        self.step = step
        if "beta_per_step" in self.meta:
            self.rule.beta = self.meta["beta_per_step"][step] * self.beta_units

    def observations(self) -> dict[str, Tensor]:
        """Returns the states; with two contrasted phases those of smaller and larger β; a readout's scores and angles."""
        found = super().observations()
        if "algorithm" in self.meta:
            names = {"C": ("antinudged", "nudged"), "P": ("free_again", "nudged"), "N": ("nudged", "free_again")}
            first, second = names[self.meta["algorithm"][0]]
            for i in range(self.top + 1):
                found[f"first{i}"], found[f"second{i}"] = found[f"{first}{i}"], found[f"{second}{i}"]
        angles = list(self.rule.alignment_angles().values())
        if angles:
            found["angles_deg"] = torch.stack(angles)
        if self.rule.readout:  # type: ignore[attr-defined]
            found["logits_free"] = self.logits
        return found


class RecordedPredictiveCoding(RecordedRule):
    """Predictive coding, and its convolutional form as Rosenbaum's Torch2PC computes it."""

    def build(self) -> LearningRule:
        """Returns the rule."""
        meta = self.meta
        if meta["rule"] == "pc_nudge":
            return self.construct(NudgedPredictiveCoding, random_beta_sign=False)
        if meta["rule"] == "pc":
            return self.construct(PredictiveCoding, loss="squared_error")
        require(
            meta.get("form") == "values" and meta["error_type"] in ("Strict", "FixedPred"),
            f"the recording is of predictive coding with {meta['error_type']} errors and nodes at"
            f" {meta.get('form', 'nothing')}: here values lie before the activation, and errors are Strict or FixedPred.",
        )
        summed = "summed over outputs and samples" in meta["loss"]
        self.factor = self.batch_size if summed else 1
        self.of_mean = 1 if summed else self.batch_size
        require(
            summed or meta["error_type"] == "FixedPred",
            "the recording's loss is a mean over samples, which makes inference depend on the batch size: here it does"
            " not, and with Strict errors no change of units repeats that.",
        )
        return self.construct(
            PredictiveCoding,
            loss="squared_error" if "squared" in meta["loss"] else "cross_entropy",
            target_range=(0, 1),
            fixed_predictions=meta["error_type"] == "FixedPred",
            stale_errors=bool(meta["stale"]) or meta["error_type"] == "FixedPred",
            step_size=meta["eta"],
            optimizer=partial(torch.optim.SGD, lr=meta["lr"] * self.factor),
        )

    def weights(self) -> dict[str, Tensor]:
        """Returns W and b."""
        return {**self.by_layer("W", lambda c: c.weight), **self.by_layer("b", lambda c: c.bias)}

    def before_step(self, step: int, recorded: Mapping[str, Any]) -> None:
        """Sets β, which recordings of PC-Nudge call λ."""
        self.step = step
        if "lambda_per_step" in self.meta:
            self.rule.beta = self.meta["lambda_per_step"][step]

    def observations(self) -> dict[str, Tensor]:
        """Returns values, errors, the feedforward pass, gradients, and the output after the step."""
        inference, start = self.rule.phases["inference"], self.rule.phases["feedforward"]
        found = {"logits_after": self.rule(inference.activity[0])}
        if self.meta["rule"] != "pc_conv":
            return {**found, **{f"state{i}": v for i, v in enumerate(inference.activity[1:])}}
        target = self.rule.one_hot(self.rule.classes, start.output.dtype)
        loss = self.rule.sample_losses(start.output, target).mean() * self.factor
        pairs = list(zip(inference.activity[1:], start.activity[1:], strict=True))
        return {
            **found,
            "loss": loss,
            **{f"state{i}": μ + (v - μ) / self.of_mean for i, (v, μ) in enumerate(pairs)},
            **{f"feedforward{i}": μ for i, (_, μ) in enumerate(pairs)},
            **{f"error{i}": -e / self.of_mean for i, e in enumerate(inference.internal["error"])},
            **{key: g * self.factor for key, g in gradients(self).items()},
        }


class RecordedCorInfoMax(RecordedRule):
    """CorInfoMax and its sparse form."""

    def build(self) -> LearningRule:
        """Returns the rule, with the correlation estimates that were recorded."""
        arguments: dict[str, Any] = {
            "random_beta_sign": False,
            "track_correlations": True,
            "track_correlations_every_n_steps": 1,
        }
        if not self.meta.get("sparse_layers"):
            return self.construct(CorInfoMax, **arguments)
        sizes = {k: self.meta["sparsity_lr"][k - 1] for k in self.meta["sparse_layers"]}
        return self.construct(CorInfoMaxSparse, dual_step_sizes=sizes, **arguments)

    def weights(self) -> dict[str, Tensor]:
        """Returns W, V and B; dense recordings hold V (d_{k−1} × d_k)."""
        dense = "layer_sizes" in self.meta
        return {
            **self.by_layer("W", lambda c: c.weight),
            **self.by_layer("Wfb", lambda c: c.feedback_weight.t() if dense else c.feedback_weight, first=1),
            **{f"B{k - 1}": lateral.weight for k, lateral in self.rule.network.laterals.items()},
        }

    def observations(self) -> dict[str, Tensor]:
        """Returns states, correlation estimates, angles, and the first pair's information of dense recordings."""
        rule = cast(CorInfoMax, self.rule)
        free, layers = rule.phases["free"].activity, range(1, rule.network.L + 1)
        found = {
            **super().observations(),
            **{f"R{name}{k - 1}": c.of_state(k) for name, c in rule.correlations.items() for k in layers},
            "angles_deg": torch.stack(list(rule.alignment_angles().values())),
        }
        if "layer_sizes" in self.meta:
            R, error = rule.correlations["free"].of_state(2), free[2] - rule.network.drive(2, free)
            found["forward_info_free_pair0"] = published_correlative_information(R, error, rule.epsilon)
        return found


RECORDED: dict[str, type[RecordedRule]] = {
    **dict.fromkeys(RecordedFeedforward.classes, RecordedFeedforward),
    **dict.fromkeys(("ep", "csm", "ep_conv_leaky", "csm_conv"), RecordedEquilibriumPropagation),
    **dict.fromkeys(("ep_conv", "ep_conv_vector_field", "coupled_learning_conv"), RecordedPublishedUnits),
    **dict.fromkeys(("pc", "pc_nudge", "pc_conv"), RecordedPredictiveCoding),
    **dict.fromkeys(
        ("corinfomax", "corinfomax_sparse", "corinfomax_conv", "corinfomax_sparse_conv"), RecordedCorInfoMax
    ),
}
"""By the name of a recording's rule."""


def recorded_rule(meta: Mapping[str, Any], batch_size: int) -> RecordedRule:
    """Returns the rule that a recording names, with its hyperparameters.

    Raises:
        UserError: there is none.
    """
    return RECORDED.get(str(meta["rule"]), RecordedRule)(meta, batch_size)


def rule_class(name: str) -> type[LearningRule]:
    """Returns the rule with this class path (``my_module.MyRule``).

    Raises:
        UserError: there is none.
    """
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
        if issubclass(found, LearningRule):
            return cast(type[LearningRule], found)
    except (ImportError, AttributeError, ValueError, TypeError):
        pass
    raise UserError(f"There is no rule {name}: a recording's rule is one of {', '.join(RECORDED)}, or a class path.")


def network_of(meta: Mapping[str, Any]) -> list[Any]:
    """Returns a recorded architecture as the list of a rule's argument ``network``."""
    network: list[Any] = [list(meta["input_shape"])]
    for layer in meta["architecture"]:
        if layer["kind"] == "dense":
            network.append(layer["out_features"])
            continue
        pool = {"avg": "average", "max": "max"}.get(layer["pool"])
        network.append(
            {
                "conv": layer["out_channels"],
                **{key: layer[key] for key in ("kernel", "stride", "padding")},
                **({} if pool is None else {"pool": {pool: layer["pool_size"]}}),
            }
        )
    return network


def loss_of(meta: Mapping[str, Any], default: str) -> str:
    """Returns the name of a loss that a recording describes in words."""
    return "cross_entropy" if "cross entropy" in str(meta.get("loss", "")) else default


def gradients(recorded: RecordedRule) -> dict[str, Tensor]:
    """Returns the direction that the optimizer descended in the last step, by its key."""
    of_weight = recorded.by_layer("grad_W", lambda c: None if c.weight is None else c.weight.grad)
    return {**of_weight, **recorded.by_layer("grad_b", lambda c: None if c.bias is None else c.bias.grad)}


def _copy(connection: Connection, magnitude: Tensor, generator: torch.Generator) -> None:
    with torch.no_grad():
        cast(Tensor, connection._feedback_weight).copy_(magnitude)


def _chain(rule: LearningRule) -> Iterator[Connection]:
    yield from rule.network.connections
