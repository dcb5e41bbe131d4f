"""Recordings of PEPITA."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from bioplausible.commands.verify.meta import network_of
from bioplausible.commands.verify.recorded_rule import RecordedRule
from bioplausible.errors.checks import require
from bioplausible.rules import PEPITA, LearningRule

ONCE_MORE = r"themaskoncemore"


class RecordedPEPITA(RecordedRule):
    """PEPITA, with the masks of dropout that were recorded."""

    kinds = frozenset({"first", "second", "output_first", "output_second"})
    constant = frozenset({"Win"})

    def build(self) -> LearningRule:
        """Returns the rule."""
        meta = self.meta
        require(not meta.flag("bias"), "its meta says bias true: the rule has no biases.")
        meta.confirm("output_activation", "softmax")
        meta.confirm("projection", r"win:d_0xclasses(;x\+(\(output-y\)win\^?t|win\(output-y\)))?")
        meta.confirm("update", r"w\+=lr/n\*delta_w")
        lr, keep = meta.number("lr"), meta.number("keep", 1.0)
        for name, value in {"lr": lr, "keep": keep}.items():
            require(not isinstance(value, list), f"its meta has {name} {value!r}: give one number.")
        require(0 < keep <= 1, f"its meta has keep {keep}: it is a probability above 0.")
        self.keep, self.masks = keep, list[Tensor]()
        self.drops = "masks" in meta
        require(self.drops or keep == 1, f"its meta has keep {keep}, but says nothing of its masks.")
        masked_again = False
        if self.drops:
            said = r"mask\{i\}:0or1/keep,thesameinbothpasses(,recordedactivitiesincludeit)?"
            meta.confirm("masks", rf"{said}(;thedifferenceofactivitiesismultipliedby{ONCE_MORE})?")
            masked_again = "once more" in str(meta.read("masks")).lower()
        published = "conv_update" in meta
        if published:
            meta.confirm("conv_update", "meanoverpositionsandsamples,thendividedbyn(oncemore|again)")
            meta.confirm("last_layer", "errorofthefirstpassx(pooled)?activityofthesecondpass")
        f = meta.read("activation")
        shape, network = meta.read("input_shape", None), network_of(meta, f)
        sizes = network.get("layer_sizes")
        require(
            sizes is None or shape in (None, sizes[:1]),
            f"its meta says input_shape {shape!r}, but layer_sizes {sizes}.",
        )
        L = len(sizes or network["network"]) - 1
        # a mask times a mask is the mask times 1/keep
        self.again = 1 / keep if masked_again else 1.0
        self.last = L - 1
        return PEPITA(
            **network,
            activation_function=f,
            published_convolution=published,
            learning_rates=[*[lr * self.again] * (L - 1), lr],
            optimizer=self.optimizer(lr),
        )

    def weights(self) -> dict[str, Tensor]:
        """Returns W and F, which is fixed."""
        return {**self.by_layer("W", lambda c: c.weight), "Win": cast(PEPITA, self.rule).F}

    def before_step(self, step: int, recorded: Mapping[str, Any]) -> None:
        """Hands over the recorded masks of this batch."""
        super().before_step(step, recorded)
        if not self.drops:
            return
        self.masks = []
        for i, shape in enumerate(self.rule.network.shapes[1:-1]):
            require(f"mask{i}" in recorded, f"it lacks step{step}/mask{i}, by which layer {i + 1} was multiplied.")
            mask = torch.from_numpy(recorded[f"mask{i}"])
            require(
                mask.shape == (self.batch_size, *shape), f"its step{step}/mask{i} is not of a batch of layer {i + 1}."
            )
            require(
                bool(((mask == 0) | ((mask * self.keep - 1).abs() < 1e-12)).all()),
                f"its step{step}/mask{i} has other numbers than 0 and 1/keep, {1 / self.keep:g}.",
            )
            self.masks.append(mask)
        cast(Any, self.rule).draw_masks = lambda: self.masks

    def observations(self) -> dict[str, Tensor]:
        """Returns the hidden neurons and the outputs of both passes, the masks, and what was added times lr/n."""
        found: dict[str, Tensor] = {f"mask{i}": mask for i, mask in enumerate(self.masks)}
        for name in ("first", "second"):
            phase = self.rule.phases[name]
            found |= {f"{name}{i}": h for i, h in enumerate(phase.internal["neurons"])}
            found[f"output_{name}"] = phase.output.softmax(1)
        for i, c in enumerate(self.connections):
            assert c.weight is not None
            assert c.weight.grad is not None
            found[f"delta_W{i}"] = -c.weight.grad * (self.batch_size * (1.0 if i == self.last else self.again))
        return found

    def terms(self) -> dict[str, float]:
        """Returns the size of the products of activities whose differences are what is added to hidden layers."""
        second = self.rule.phases["second"]
        pairs = zip(second.internal["neurons"], second.activity, strict=False)
        return {f"delta_W{i}": float(h.abs().max() * pre.abs().max()) for i, (h, pre) in enumerate(pairs)}
