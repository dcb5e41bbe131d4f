"""Recordings of equilibrium propagation and similarity matching."""

from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from bioplausible.commands.verify.meta import LOSSES, REQUIRED, network_of
from bioplausible.commands.verify.recorded_rule import RecordedRule, confirm_convention, named_arguments
from bioplausible.errors.checks import require
from bioplausible.rules import (
    ContrastiveSimilarityMatching,
    EquilibriumPropagation,
    LearningRule,
)

HALF_SQUARED_ERROR = "half squared error summed over outputs"
"""The loss of the dense networks of Scellier et al., whose recordings don't say it."""


class RecordedEquilibriumPropagation(RecordedRule):
    """Equilibrium propagation and similarity matching in this package's units."""

    kinds = frozenset({"free", "nudged"})

    def build(self) -> LearningRule:
        """Returns the rule."""
        meta = self.meta
        matching = meta.read("rule").startswith("csm")
        loss = meta.word("loss", LOSSES)
        require(
            loss.kind == "squared_error" and loss.weight == 2,
            f"its meta says loss {meta.read('loss')!r}: the rule's is the squared error summed over outputs, no 1/2.",
        )
        confirm_convention(meta)
        f = meta.word("activation", {"hard_sigmoid": "clip"})
        lateral = meta.read("lr_m")
        if lateral is not None:
            lateral = meta.number("lr_m")
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
        dense = not name.startswith("ep_") and not name.endswith("_conv")
        self.hold = name.startswith(("coupled", "contrastive"))
        f, self.leak = meta.word("activation", self.activations)
        output, output_leak = meta.word("output_activation", {**self.activations, "linear": ("linear", self.leak)})
        unsaid = HALF_SQUARED_ERROR if dense else REQUIRED
        loss = meta.word("loss", LOSSES, unsaid)
        require(
            loss.samples != "mean" and loss.weight > 0,
            f"its meta says loss {meta.read('loss', unsaid)!r}: in these dynamics the loss is one sample's.",
        )
        algorithm = dense or "algorithm" in meta
        self.kinds = frozenset({"free", "angles_deg", "logits_free"})
        self.kinds |= {"first", "second"} if algorithm else {"nudged", "antinudged"}
        self.readout = meta.word("readout", self.readouts, default="last state" if algorithm else REQUIRED)
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
            **(self.algorithm() if algorithm else self.plain()),
        }
        same, own = (meta.read(entry, None if algorithm else REQUIRED) for entry in ("same_update", "lr_fb"))
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
        name = meta.read("rule")
        contrastive = name.startswith("contrastive")
        suffix = "CpL" if self.hold else "EP"
        of_name = {"CL": "P"} if contrastive else {f"{estimator}{suffix}": estimator for estimator in self.phases_of}
        self.estimator = meta.word("algorithm", of_name)
        require(
            not contrastive or meta.number("nudging") == 1,
            f"its meta has nudging {meta.read('nudging')}: contrastive learning holds the output at the target, which"
            " is 1.",
        )
        if name.endswith("_conv") or "phases" in meta:
            meta.confirm("phases", self.phases_of[self.estimator])
        warm = "states at the start of a free phase are the last second-phase states of the previous batch"
        orders = {
            "all layers at once": "synchronous",
            "layers 1, 3, 5 ... at once, then layers 2, 4 ... at once": "asynchronous",
        }
        return {
            "persistent_states": meta.word(
                "warm_start",
                {warm: True, f"{warm} (zero in the first batch)": True, "none": False, "false": False},
            ),
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
