"""Recordings of local difference reconstruction."""

import re
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from bioplausible.commands.verify.meta import LOSSES, layers_of, network_of, spell
from bioplausible.commands.verify.recorded_target_propagation import RecordedTargets, Updates
from bioplausible.errors.checks import require
from bioplausible.functional import activation
from bioplausible.rules import LearningRule, LocalDifferenceReconstruction
from bioplausible.rules.target_propagation import moved
from bioplausible.training.phase import Phase


class RecordedLocalDifference(RecordedTargets):
    """Local difference reconstruction, whose dense layers may have another activation function than its images."""

    kinds = frozenset({"state", "target", "feedback_loss", "forward_loss"})

    def build(self) -> LearningRule:
        """Returns the rule."""
        meta = self.meta
        meta.word(
            "noise",
            {
                "standard normal: noise_in{i}_{q} on the input of layer i+1, noise_out{i}_{q} on its output,"
                " iteration q": None
            },
        )
        meta.word(
            "order", {"feedback iterations layer by layer with the old forward weights, then one forward step": None}
        )
        of_target = {f"{words}, for the first target": loss for words, loss in LOSSES.items()}
        loss, factor = self.loss_of(meta.word("loss", {**LOSSES, **of_target}))
        of_images, of_units = self._activations()
        β = meta.number("beta")
        require(not isinstance(β, list), f"its meta has beta {β!r}: give one number.")
        rule = LocalDifferenceReconstruction(
            **self._network(of_images),
            loss=cast(Any, loss),
            activation_function=cast(Any, of_images),
            output_activation=meta.read("output_activation"),
            target_step=β * factor / self.batch_size,
            sigma=meta.number("sigma"),
            feedback_steps=meta.number("feedback_iterations"),
            learning_rates=meta.number("lr"),
            feedback_learning_rates=meta.number("lr_fb"),
            optimizer=self.optimizer(),
        )
        shapes, L, f_of = rule.network.shapes, rule.network.L, rule.f_of
        rule.f_of = lambda k: f_of(k) if k == L or len(shapes[k]) == 3 else activation(of_units)  # type: ignore[method-assign]
        # they cancel
        self.unused = {
            f"bfb{c.pre}": (c.pre_shape[0],) if c.feedback_weight.ndim == 4 else (rule.network.sizes[c.pre],)
            for c in rule.network.chain[1:]
        }
        self.observe(rule)
        own = rule.feedback_updates

        def feedback_updates(phase: Phase, k: int, q: int) -> Updates:
            self.losses.setdefault(k, []).append(self._loss(rule, phase, k, q))
            return own(phase, k, q)

        rule.feedback_updates = feedback_updates  # type: ignore[method-assign]
        return rule

    def _activations(self) -> tuple[str, str]:
        """Returns the activation functions of layers that are images and of those that are not."""
        said = self.meta.read("activation")
        found: dict[str, str] = {}
        for part in spell(said).split(","):
            match = re.fullmatch(r"(\w+)(?:\((conv|dense)layers\))?", part)
            kinds = ["conv", "dense"] if match and match[2] is None else [match[2]] if match else []
            require(
                match is not None and not found.keys() & set(kinds),
                f"its meta says activation {said!r}: give one, or those of both kinds, as in elu (conv layers), linear"
                " (dense layers).",
            )
            found |= dict.fromkeys(kinds, cast(Any, match)[1])
        return found.get("conv", "linear"), found.get("dense", "linear")

    def _network(self, of_images: str) -> dict[str, Any]:
        """Returns the network; its sizes may be said beside its layers."""
        meta = self.meta
        if meta.read("architecture", None) is None:
            sizes = network_of(meta)["layer_sizes"]
            shape = meta.read("input_shape", None)
            require(shape in (None, sizes[:1]), f"its meta says input_shape {shape}, but its layer_sizes are {sizes}.")
            return {"layer_sizes": sizes}
        found, sizes = layers_of(meta, of_images), meta.read("layer_sizes", None)
        if sizes is not None:
            dense = [found["network"][0][0], *found["network"][1:]]
            require(sizes == dense, f"its meta says layer_sizes {sizes}, but of the architecture they are {dense}.")
        return found

    def _loss(self, rule: LocalDifferenceReconstruction, phase: Phase, k: int, q: int) -> Tensor:
        """Returns the loss of V_{k+1} before iteration q."""
        r, σ = phase.activity, rule.sigma[k]
        σξ = σ * self.noise(phase, r[k], k, q, 0)
        noisy = moved(r, k, r[k] + σξ)
        above = moved(noisy, k + 1, rule.layer(k + 1, noisy))
        apart = moved(r, k + 1, r[k + 1] + σ * self.noise(phase, r[k + 1], k, q, k + 1))
        clean = rule.back(k, r, r[k])
        follow = σξ * (rule.back(k, above, noisy[k]) - clean)
        return ((rule.back(k, apart, r[k]) - clean).square() - 2 * follow).flatten(1).sum(1).mean()

    def noise_key(self, *stream: int) -> str:
        """Returns the key of the noise at iteration q, in the input of layer k + 1 or in the layer itself."""
        k, q, post = stream
        return f"noise_{'out' if post else 'in'}{k}_{q}"

    def before_step(self, step: int, recorded: Mapping[str, Any]) -> None:
        """Hands over the noise."""
        super().before_step(step, recorded)
        self.losses: dict[int, list[Tensor]] = {}

    def weights(self) -> dict[str, Tensor]:
        """Returns W, b and V."""
        return {
            **self.by_layer("W", lambda c: c.weight),
            **self.by_layer("b", lambda c: c.bias),
            **self.by_layer("Wfb", self.V, first=1),
        }

    def observations(self) -> dict[str, Tensor]:
        """Returns the activities and targets, the feedback's losses averaged over iterations, and the layers' own."""
        r = self.rule.phases["feedforward"].activity
        forward = {
            f"forward_loss{i}": (a - t).flatten(1).square().sum(1).mean() / 2
            for i, (a, t) in enumerate(zip(r[1:], self.targets[1:], strict=True))
        }
        return {
            **self.states(),
            **forward,
            **{f"feedback_loss{k}": torch.stack(l).mean() for k, l in self.losses.items()},
        }
