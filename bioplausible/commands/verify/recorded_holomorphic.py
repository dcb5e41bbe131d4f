"""Recordings of holomorphic equilibrium propagation."""

import re
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bioplausible.commands.verify.meta import LOSSES, network_of, spell
from bioplausible.commands.verify.recorded_rule import RecordedRule, named_arguments
from bioplausible.errors.checks import require
from bioplausible.rules import EquilibriumPropagation, LearningRule


class RecordedHolomorphic(RecordedRule):
    """Equilibrium propagation with N points, as Laborieux & Zenke 2022 write it; β and rates are the rule's own.

    Their code reads the scores of a free phase out of the state before its last iteration, and so does this.
    """

    kinds = frozenset({"free", "logits_free", "nudged_real0_", "nudged_imag0_", "grad_W", "grad_b"})
    sigmoid: ClassVar[str] = r"1/\(1\+exp\((-4\*?z\+2|-\(4\*?z-2\))\)\)|(sigmoid|s)\(4\*?z-2\)"
    smooth: ClassVar[str] = r"z/2\*?(?:sigmoid|s)\({a}\*?z\)\+\(1-z/2\)\*?(?:sigmoid|s)\({b}\*?\(?z-2\)?\)"

    def build(self) -> LearningRule:
        """Returns the rule."""
        meta = self.meta
        loss = meta.word("loss", LOSSES)
        require(
            loss.kind == "cross_entropy" and loss.samples != "sum",
            f"its meta says loss {meta.read('loss')!r}: a recording of this rule has the cross entropy.",
        )
        meta.word("output_activation", {"softmax readout outside the dynamics": None})
        meta.word("start", {"every point from the free state": None})
        orders: dict[str, Literal["synchronous", "asynchronous"]] = {
            "all layers at once": "synchronous",
            "layers 1, 3, 5 ... at once, then layers 2, 4 ... at once": "asynchronous",
        }
        self.points = meta.number("points")
        require(type(self.points) is int, f"its meta has points {self.points!r}: give a whole number.")
        lr = meta.number("lr")
        require(isinstance(lr, list), f"its meta has lr {lr}: give one for each layer.")
        self.kinds |= {f"nudged_{part}{t}_" for part in ("real", "imag") for t in range(self.points // 2 + 1)}
        return EquilibriumPropagation(
            **network_of(meta),
            **named_arguments(meta, "free_steps", "nudged_steps", "beta", "points"),
            **self.activation(),
            random_beta_sign=False,
            step_size=1.0,
            update_order=meta.word("update", orders),
            loss="cross_entropy",
            readout=True,
            learning_rates=lr,
            optimizer=self.optimizer(),
        )

    def activation(self) -> dict[str, Any]:
        """Returns the arguments of f, σ(4z − 2) or z/2 σ(a z) + (1 − z/2) σ(a (z − 2))."""
        said = spell(self.meta.read("activation"))
        if re.fullmatch(self.sigmoid, said):
            return {"activation_function": "sigmoid"}
        number = r"(\d*\.?\d*)"
        found = re.fullmatch(self.smooth.replace("{a}", number).replace("{b}", number), said)
        require(
            found is not None and found[1] == found[2],
            f"its meta says activation {self.meta.read('activation')!r}, which verify does not know of a recording of"
            " this rule.",
        )
        assert found is not None
        return {"activation_function": "smooth_clip", "activation_slope": float(found[1] or 1)}

    def weights(self) -> dict[str, Tensor]:
        """Returns W and b."""
        return {**self.by_layer("W", lambda c: c.weight), **self.by_layer("b", lambda c: c.bias)}

    def before_update(self) -> None:
        """Takes down the readout, which learning is about to change."""
        top = self.connections[-1]
        self.readout = [p.detach().clone() for p in (top.weight, top.bias) if p is not None]

    def observations(self) -> dict[str, Tensor]:
        """Returns the free state and its scores, both parts of each point's state, and what SGD descended."""
        free = self.rule.phases["free"]
        found = {f"free{i}": r for i, r in enumerate(free.activity[1:])}
        found["logits_free"] = F.linear(free.previous[-1].flatten(1), *self.readout)
        for t in range(self.points):
            for i, z in enumerate(self.at_point(t)):
                found[f"nudged_real{t}_{i}"] = z.real.clone()
                found[f"nudged_imag{t}_{i}"] = z.imag.clone() if z.is_complex() else torch.zeros_like(z)
        return {**found, **self.gradients()}

    def terms(self) -> dict[str, float]:
        """Returns the size of the states, of which imaginary parts are the rounding where β is real.

        Ten times that: e^{iπ} is off by a unit in the last place, and so is all that follows.
        """
        states = {t: self.at_point(t) for t in (0, self.points / 2) if t < self.points and t == int(t)}
        sizes = {(int(t), i): 10 * float(z.abs().max()) for t, of_t in states.items() for i, z in enumerate(of_t)}
        return {f"nudged_imag{t}_{i}": size for (t, i), size in sizes.items()}

    def at_point(self, t: int) -> list[Tensor]:
        """Returns the states r_1 … of β_t; β_{N−t}'s are conjugated."""
        phases, N = self.rule.phases, self.points
        if t == 0 or 2 * t == N:
            return phases["antinudged" if t else "nudged"].activity[1:]
        if 2 * t > N:
            return [z.conj().resolve_conj() for z in self.at_point(N - t)]
        return phases[f"nudged_{t}"].activity[1:]
