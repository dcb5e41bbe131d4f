"""Recordings of error broadcast and decorrelation, and of CorInfoMax that learns by it."""

from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from bioplausible.commands.verify.meta import network_of
from bioplausible.commands.verify.recorded_rule import RecordedRule
from bioplausible.network import Connection
from bioplausible.rules import CorInfoMaxEBD, ErrorBroadcastDecorrelation, LearningRule

Kept = ErrorBroadcastDecorrelation | CorInfoMaxEBD


class RecordedErrorBroadcast(RecordedRule):
    """Error broadcast and decorrelation."""

    kinds = frozenset({"state"})
    losses: ClassVar[dict[str, str]] = {"half squared error": "mean_squared_error", "cross entropy": "cross_entropy"}
    functions: ClassVar[dict[str, str]] = {
        "identity": "identity",
        **dict.fromkeys(("square", "half square", "r^2/2"), "square"),
    }

    def build(self) -> LearningRule:
        """Returns the rule; recorded rates are those within its updates, and the optimizer's is 1."""
        meta = self.meta
        names = {"lr": "decorrelation", "lr_forward": "forward_broadcast", "lr_entropy": "entropy", "lr_power": "power"}
        names |= {"lr_sparsity": "sparsity", "lambda_error": "error_forgetting_factor", "lambda_": "forgetting_factor"}
        return ErrorBroadcastDecorrelation(
            **network_of(meta, meta.read("activation")),
            loss=cast(Any, meta.word("loss", self.losses)),
            activation_function=meta.read("activation"),
            output_activation=meta.read("output_activation"),
            correlated=cast(Any, meta.word("g", self.functions)),
            **meta.arguments({**names, "epsilon": "epsilon", "target_power": "target_power"}),
            optimizer=self.optimizer(1.0),
        )

    def weights(self) -> dict[str, Tensor]:
        """Returns W, b, R as Rerror, and R^h as R."""
        rule = cast(ErrorBroadcastDecorrelation, self.rule)
        return {
            **self.by_layer("W", lambda c: c.weight),
            **self.by_layer("b", lambda c: c.bias),
            **error_correlations(rule),
            **{f"R{int(k) - 1}": R.weight for k, R in rule.correlations.items()},
        }

    def observations(self) -> dict[str, Tensor]:
        """Returns the states."""
        return {f"state{i}": r for i, r in enumerate(self.rule.phases["feedforward"].activity[1:])}


class RecordedCorInfoMaxEBD(RecordedRule):
    """CorInfoMax that learns by error broadcast and decorrelation."""

    kinds = frozenset({"free"})

    def build(self) -> LearningRule:
        """Returns the rule; recorded rates are those within its updates, and the optimizer's is 1."""
        meta = self.meta
        meta.word("activation", {"clip(u)": None})
        meta.word("optimizer", {"none": None})
        self.dense = "layer_sizes" in meta
        names = {"lr_ff": "prediction", "lr_fb": "feedback_prediction", "lr_power": "power", "neural_lr": "step_size"}
        names |= {"lambda_": "forgetting_factor", "lambda_error": "error_forgetting_factor", "hopfield_g": "leak"}
        names |= {"lr_decorrelation_ff": "decorrelation", "lr_decorrelation_fb": "feedback_decorrelation"}
        names |= {"lr_decorrelation_lateral": "lateral_decorrelation"}
        return CorInfoMaxEBD(
            **network_of(meta),
            **meta.arguments({**names, **{name: name for name in ("epsilon", "free_steps", "target_power")}}),
            feedforward_learning_rates=1.0,
            feedback_learning_rates=1.0,
            optimizer=torch.optim.SGD,
        )

    def weights(self) -> dict[str, Tensor]:
        """Returns W, V, B, and R as Rerror; recordings of dense networks hold V (d_{k−1} × d_k)."""

        def feedback(c: Connection) -> Tensor:
            return c.feedback_weight.t() if self.dense else c.feedback_weight

        return {
            **self.by_layer("W", lambda c: c.weight),
            **self.by_layer("Wfb", feedback, first=1),
            **{f"B{k - 1}": lateral.weight for k, lateral in self.rule.network.laterals.items()},
            **error_correlations(cast(CorInfoMaxEBD, self.rule)),
        }


def error_correlations(rule: Kept) -> dict[str, Tensor]:
    """Returns R of each layer that has one, by its key."""
    return {f"Rerror{int(k) - 1}": R.weight for k, R in rule.error_correlations.items()}
