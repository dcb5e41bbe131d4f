"""Recordings of Kolen–Pollack learning and of weight mirrors."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from bioplausible.commands.verify.meta import network_of
from bioplausible.commands.verify.recorded_rule import RecordedRule
from bioplausible.errors.checks import require
from bioplausible.network import Connection
from bioplausible.rules import KolenPollack, LearningRule


class RecordedKolenPollack(RecordedRule):
    """Kolen–Pollack learning and weight mirrors, with the published code's bias gradient and noise."""

    kinds = frozenset({"state", "angles_deg"})

    def build(self) -> LearningRule:
        """Returns the rule."""
        meta = self.meta
        self.mirrors = meta.read("rule").startswith("weight_mirror")
        meta.confirm("output_activation", "sigmoid")  # the loss takes it of a linear output
        meta.confirm("loss", "binarycrossentropy,summedoveroutputs")
        meta.confirm("order", r"mirror\(before\),learn,mirror\(after\)" if self.mirrors else "learn")
        again = meta.word(
            "bias_gradient",
            {"mean over samples, then divided by the batch size again": True, "mean over samples": False},
        )
        arguments: dict[str, Any] = {}
        if self.mirrors:
            meta.confirm("noise", r"uniform,0\.1\(u-1/2\),freshforeverylayer")
            arguments = {"mirror": "published", "mirror_rate": self._number("lr_mirror")}
        for name in () if self.mirrors else ("noise", "lr_mirror"):
            said = meta.read(name)
            require(said is None, f"its meta says {name} {said!r}, which verify knows of weight mirrors alone.")
        lr = self._number("lr")
        rule = KolenPollack(
            **network_of(meta),
            loss="binary_cross_entropy",
            decay=self._number("weight_decay_factor"),
            activation_function=meta.read("activation"),
            optimizer=self.optimizer(lr),
            **arguments,
        )
        biases = [c.bias for c in rule.network.connections if c.bias is not None]
        weights = [p for p in rule.parameters() if all(p is not b for b in biases)]
        groups = [{"params": weights, "lr": lr}, {"params": biases, "lr": lr / self.batch_size if again else lr}]
        rule.parameter_groups = lambda: groups  # type: ignore[method-assign]
        return rule

    def _number(self, name: str) -> float:
        found = self.meta.number(name)
        require(not isinstance(found, list), f"its meta has {name} {found!r}: give one number.")
        return float(found)

    def weights(self) -> dict[str, Tensor]:
        """Returns W, b and V; recordings of dense networks hold V (d_{k−1} × d_k)."""

        def V(c: Connection) -> Tensor:
            return c.feedback_weight.t() if c.feedback_weight.ndim == 2 else c.feedback_weight

        return {
            **self.by_layer("W", lambda c: c.weight),
            **self.by_layer("b", lambda c: c.bias),
            **self.by_layer("Wfb", V, first=1),
        }

    def before_step(self, step: int, recorded: Mapping[str, Any]) -> None:
        """Lets the recorded noise teach V before the batch, and hands over that of after it."""
        super().before_step(step, recorded)
        if not self.mirrors:
            return
        self.noise: dict[str, Tensor] = {}
        for i, c in enumerate(self.connections[1:], start=1):
            for name in (f"noise_before{i}", f"noise_after{i}"):
                require(name in recorded, f"it lacks step{step}/{name}, from which V learned in this batch.")
                self.noise[name] = torch.from_numpy(recorded[name])
                shape = (self.batch_size, *c.pre_shape)
                require(
                    tuple(self.noise[name].shape) == shape,
                    f"its step{step}/{name} is not of a batch's states of layer {i}.",
                )
        rule = cast(KolenPollack, self.rule)
        after = [self.noise[f"noise_after{i}"] for i in range(1, len(self.connections))]
        rule.draw_noise = lambda n: after  # type: ignore[method-assign]
        with torch.no_grad():
            for i, c in enumerate(self.connections[1:], start=1):
                rule.reflect(c, self.noise[f"noise_before{i}"])

    def observations(self) -> dict[str, Tensor]:
        """Returns the activities, the logistic function of the output, the noise, and the angles after the step."""
        rule = cast(KolenPollack, self.rule)
        *hidden, output = rule.phases["feedforward"].activity[1:]
        states = {f"state{i}": r for i, r in enumerate([*hidden, rule.prediction(output)])}
        angles = torch.stack(list(rule.alignment_angles().values()))
        return {**states, **(self.noise if self.mirrors else {}), "angles_deg": angles}
