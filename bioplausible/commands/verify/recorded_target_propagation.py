"""Recordings of difference target propagation and its direct form."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from bioplausible.commands.verify.meta import LOSSES, Loss, network_of, spell
from bioplausible.commands.verify.recorded_rule import RecordedRule
from bioplausible.errors import UserError
from bioplausible.errors.checks import require
from bioplausible.network import Connection
from bioplausible.rules import (
    DifferenceTargetPropagation,
    DirectDifferenceTargetPropagation,
    LearningRule,
)
from bioplausible.rules.target_propagation import TargetPropagation
from bioplausible.training.phase import Phase

Updates = Iterable[tuple[Tensor, Tensor]]


class RecordedTargets(RecordedRule):
    """What all target propagation has in common: the recorded noise is the rule's, and targets are taken down."""

    targets: list[Tensor]

    def observe(self, rule: TargetPropagation) -> None:
        """Lets the rule draw the recorded noise, and takes its targets down."""
        own = rule.targets

        def targets(phase: Phase) -> list[Tensor]:
            self.targets = own(phase)
            return self.targets

        rule.targets = targets  # type: ignore[method-assign]
        rule.noise = self.noise  # type: ignore[method-assign]

    def noise(self, phase: Phase, like: Tensor, *stream: int) -> Tensor:
        """Returns the recorded draws."""
        key = self.noise_key(*stream)
        require(key in self.recorded, f"it lacks step{self.step}/{key}, from which feedback learned in this batch.")
        found = torch.from_numpy(self.recorded[key])
        require(found.shape == like.shape, f"its step{self.step}/{key} is not of a batch's activities of its layer.")
        self.drawn[key] = found
        return found

    def noise_key(self, *stream: int) -> str:
        """Returns the key of draws by the numbers that tell them apart."""
        raise NotImplementedError

    def before_step(self, step: int, recorded: Mapping[str, Any]) -> None:
        """Hands over what was drawn in a batch."""
        super().before_step(step, recorded)
        self.recorded, self.drawn = recorded, cast(dict[str, Tensor], {})

    def loss_of(self, loss: Loss) -> tuple[str, float]:
        """Returns the rule's name of a loss, and its gradient in a sample, n times the recorded one by the rule's."""
        require(
            loss.samples is not None,
            f"its meta says loss {self.meta.read('loss')!r}: it must add whether samples are summed or averaged.",
        )
        outputs = self.start[f"W{len([k for k in self.start if re.fullmatch(r'W[0-9]+', k)]) - 1}"][0]
        own = 1.0 if loss.kind == "cross_entropy" else 2 / outputs
        factor = loss.of_sample(outputs) / own * (self.batch_size if loss.samples == "sum" else 1)
        return {"squared_error": "mean_squared_error"}.get(loss.kind, loss.kind), factor

    def V(self, c: Connection) -> Tensor | None:
        """Returns V as it is recorded, of dense layers (d_{k−1} × d_k); None where it is W."""
        if c.weight is None or c.is_tied:
            return None
        return c.feedback_weight.t() if c.feedback_weight.ndim == 2 else c.feedback_weight

    def states(self) -> dict[str, Tensor]:
        """Returns the activities and the targets."""
        r = self.rule.phases["feedforward"].activity
        found = {f"state{i}": a for i, a in enumerate(r[1:])}
        return {**found, **{f"target{i}": t for i, t in enumerate(self.targets[1:])}, **self.drawn}


class RecordedTargetPropagation(RecordedTargets):
    """Difference target propagation: DTP, Lee's variant, DRL, DDTP-linear and DDTP-RHL.

    The recorded code's targets keep the 1/n of the loss, and no bias is there in the last hidden layer of DDTP-linear.
    """

    kinds = frozenset({"loss", "logits", "state", "target", "grad_W", "grad_b", "noise", "reconstruction_loss"})
    constant = frozenset({"Whid", "bhid"})
    variants: ClassVar[dict[str, tuple[str, dict[str, Any]]]] = {
        "dtp": ("1/max(sigma, 0.02)^2", {"feedback_loss": "reconstruction"}),
        "lee": ("1/max(sigma, 0.02)^2", {"feedback_loss": "reconstruction", "last_hidden_target": "gradient"}),
        "drl": ("1/sigma^2", {"feedback_loss": "difference_reconstruction"}),
        "ddtp": ("1/sigma^2", {}),
        "rhl": ("1/sigma^2", {}),
    }
    """What multiplies the feedback's loss, and the rule's arguments, by a recording's variant."""

    def build(self) -> LearningRule:
        """Returns the rule."""
        meta = self.meta
        variant = spell(meta.read("variant"))
        if variant == "gnt":
            raise UserError(
                "its meta says variant gnt: there is no rule of Gauss–Newton targets, an oracle that takes the Jacobian"
                " of each sample; verify knows " + ", ".join(self.variants) + "."
            )
        scale, arguments = meta.word("variant", self.variants)
        meta.word("scale", {scale: None})
        meta.word("noise", {"noise{i}: standard normal draws (batch x d of the corrupted layer i+1)": None})
        meta.word("order", {"gradients with the old weights, feedback step, forward step": None})
        meta.word("recon", {"mean over samples and units": None})
        self.direct = variant in ("ddtp", "rhl")
        loss, factor = self.loss_of(meta.word("loss", LOSSES))
        require(
            variant != "lee" or factor == 1,
            f"its meta says loss {meta.read('loss')!r}: with variant lee, whose output layer learns by its own"
            " gradient, verify knows those that are the rule's own.",
        )
        self.factor = factor
        f_b = re.sub(r"\s*\(.*\)$", "", str(meta.read("feedback_activation")))  # without a remark in parentheses
        require(
            not self.direct or f_b == "linear",
            f"its meta says feedback_activation {f_b!r}, where that of direct feedback is linear.",
        )
        if variant == "rhl":
            require("Whid" in self.start, "it lacks init/Whid, the fixed random layer.")
            arguments = {"hidden_units": self.start["Whid"][0]}
        elif not self.direct:
            arguments = {**arguments, "feedback_activation": f_b}
        self.arguments = arguments
        rule = (DirectDifferenceTargetPropagation if self.direct else DifferenceTargetPropagation)(
            **network_of(meta, meta.read("activation")),
            loss=cast(Any, loss),
            activation_function=meta.read("activation"),
            output_activation=meta.read("output_activation"),
            target_step=self._number("target_step") * factor / self.batch_size,
            learning_rates=meta.number("lr"),
            feedback_learning_rates=meta.number("lr_fb"),
            sigma=meta.number("sigma"),
            optimizer=self.optimizer(),
            **arguments,
        )
        layers = rule.network.chain
        if self.direct:
            if f"b{len(layers) - 2}" not in self.start and len(layers) > 1:
                layers[-2].bias = None
            # they cancel
            self.unused = {f"bdir{k - 1}": (rule.network.shapes[k][0],) for k in rule.feedback_layers}
        elif variant == "lee" and len(layers) > 1:  # nothing comes down from the output through them
            last = layers[-1]
            units, d = cast(Tensor, last.weight).shape
            self.unused = {f"Wfb{last.pre}": (d, units), f"bfb{last.pre}": (last.pre_shape[0],)}
        self.observe(rule)
        own = rule.feedback_updates

        def feedback_updates(phase: Phase, q: int) -> Updates:
            self.losses = self._losses(cast(Any, rule), phase, q)
            return own(phase, q)

        rule.feedback_updates = feedback_updates  # type: ignore[method-assign]
        return rule

    def _number(self, name: str) -> float:
        found = self.meta.number(name)
        require(not isinstance(found, list), f"its meta has {name} {found!r}: give one number.")
        return float(found)

    def _losses(self, rule: Any, phase: Phase, q: int) -> dict[str, Tensor]:
        """Returns the feedback's losses before step q, by their keys."""
        r, found = phase.activity, {}
        given = [] if self.direct else [{k: rule.G(k, r, r) for k in rule.feedback_layers}]
        for k in rule.feedback_layers:
            σξ = rule.sigma[k] * self.noise(phase, r[k], k, q)
            error = rule.reconstruct(k, r, σξ, *given)[1 if self.direct else 2]
            found[f"reconstruction_loss{k - 1 if self.direct else k}"] = rule.scale(k) * error.square().mean()
        return found

    def noise_key(self, *stream: int) -> str:
        """Returns the key of the noise in layer k at feedback step q."""
        k, q = stream
        steps = cast(DifferenceTargetPropagation, self.rule).feedback_steps
        return f"noise{k - 1}" if q == steps - 1 else f"first_noise{q}_{k - 1}"

    def before_step(self, step: int, recorded: Mapping[str, Any]) -> None:
        """Hands over the noise, of as many steps as there are."""
        super().before_step(step, recorded)
        first = {int(found[1]) for key in recorded if (found := re.fullmatch(r"first_noise(\d+)_\d+", key))}
        require(
            first == set(range(len(first))),
            f"it holds step{step}/first_noise{{q}}_… of the steps q = {sorted(first)}: they count from 0.",
        )
        cast(DifferenceTargetPropagation, self.rule).feedback_steps = 1 + len(first)

    def weights(self) -> dict[str, Tensor]:
        """Returns W, b, and the feedback: V and c, or Q with the fixed layer."""
        own = {**self.by_layer("W", lambda c: c.weight), **self.by_layer("b", lambda c: c.bias)}
        if isinstance(self.rule, DirectDifferenceTargetPropagation):
            rule = self.rule
            fixed = {} if rule.hidden_units is None else {"Whid": rule.H, "bhid": rule.h}
            return {**own, **fixed, **{f"Wdir{int(k) - 1}": Q.flatten(0, -2) for k, Q in rule.Q.items()}}
        biases = cast(DifferenceTargetPropagation, self.rule).feedback_biases
        return {**own, **self.by_layer("Wfb", self.V, first=1), **{f"bfb{k}": c for k, c in biases.items()}}

    def observations(self) -> dict[str, Tensor]:
        """Returns the activities and targets, the losses and the gradients."""
        output = self.rule.phases["feedforward"].output
        loss = self.rule.sample_losses(output, self.rule.one_hot(self.rule.classes, output.dtype)).mean()
        states = self.states()
        if "last_hidden_target" in self.arguments:
            L = self.rule.network.L
            spare = f"noise{L - 2}"  # drawn for the last hidden layer, without feedback to it
            if spare in self.recorded:
                states[spare] = torch.from_numpy(self.recorded[spare])
            if f"target{L - 1}" not in self.recorded:  # the output learns by its loss
                del states[f"target{L - 1}"]
        return {**states, **self.gradients(), **self.losses, "logits": output, "loss": loss * self.factor}
