"""Recordings of CorInfoMax and its sparse form."""

from typing import Any, cast

import torch
from torch import Tensor

from bioplausible.commands.verify.meta import network_of
from bioplausible.commands.verify.recorded_rule import (
    RecordedRule,
    confirm_convention,
    named_arguments,
    step_sizes,
)
from bioplausible.errors.checks import require
from bioplausible.functional import published_correlative_information, rows
from bioplausible.rules import (
    CorInfoMax,
    CorInfoMaxSparse,
    LearningRule,
)


class RecordedCorInfoMax(RecordedRule):
    """CorInfoMax and its sparse form."""

    kinds = frozenset({"free", "nudged", "antinudged", "Rfree", "Rnudged", "angles_deg"})

    def build(self) -> LearningRule:
        """Returns the rule, with the correlation estimates that were recorded."""
        meta = self.meta
        self.dense = "layer_sizes" in meta
        name = meta.read("rule")
        sparse = "sparse" in name
        if not name.endswith("_conv"):
            self.kinds |= {"forward_info_free_pair"}
        confirm_convention(meta)
        meta.word("activation", {"hard_sigmoid": None})
        self.each_step("beta_per_step", "beta")
        layers, rates = (meta.read(entry) or [] for entry in ("sparse_layers", "sparsity_lr"))
        require(
            isinstance(layers, list) and isinstance(rates, list) and len(set(layers)) == len(layers),
            f"its meta says sparse_layers {layers} and sparsity_lr {rates}: give the number of each sparse layer once,"
            " and their rates, or null.",
        )
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
            others = [rate for k, rate in enumerate(rates, start=1) if of_all and k not in layers]
            require(
                not any(others), f"its meta has sparsity_lr {rates}: the rate of a layer that is not sparse must be 0."
            )
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
