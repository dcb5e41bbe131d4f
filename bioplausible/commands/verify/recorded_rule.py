"""A rule with the hyperparameters of a recording: what the mapping of any rule must say."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar, cast

import torch
from pytorch_lightning.cli import OptimizerCallable
from torch import Tensor

from bioplausible.commands.verify.meta import Meta, network_of
from bioplausible.errors import UserError
from bioplausible.errors.checks import require
from bioplausible.network import Connection
from bioplausible.rules import LearningRule

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


def named(*entries: str) -> dict[str, str]:
    """Returns the arguments' names by those of the entries of ``meta``."""
    return {entry: ARGUMENT_NAMES.get(entry, entry) for entry in entries}


def step_sizes(meta: Meta) -> dict[str, Any]:
    """Returns the arguments of rules whose step size may fall while they settle."""
    numbers = meta.arguments(named("neural_lr_start", "neural_lr_stop", "neural_lr_decay"))
    return {**numbers, "step_size_rule": meta.read("neural_lr_rule")}


DENSE = "mean over samples"
CONVENTION = (
    r"meanoversamples|kernels(,biases)?:sumoverpositions,meanoversamples;([bmr],)*[bmr]:meanoverpositionsandsamples"
)
"""What updates and statistics sum and average over, without spaces; recordings of dense networks need not say it."""


class RecordedRule:
    """A rule with the hyperparameters of a recording, and its weights and states by their keys there.

    This one is for a rule of a user's own: hyperparameters carry its arguments' names, weights their names in the
    module.

    Args:
        meta: the recording's hyperparameters.
        steps: batches.
        batch_size: samples a batch.

    Attributes:
        rule: the rule, in float64.
        step: number of the batch, from 0.

    Raises:
        UserError: a hyperparameter is missing, or stands for nothing that is known of the rule.
    """

    unused: ClassVar[frozenset[str]] = frozenset()
    """Initial weights that recordings hold and the rule has no use for."""

    def __init__(self, meta: Meta, steps: int, batch_size: int) -> None:
        self.meta, self.batch_size = meta, batch_size
        for name, of_arrays in (("steps", steps), ("batch", batch_size)):
            said = meta.read(name, of_arrays)
            require(said == of_arrays, f"its meta says {name} {said}, but x has {of_arrays}.")
        meta.word("dtype", {"float64": None}, default="float64")
        self._per_step: dict[str, Sequence[float]] = {}
        self._steps = steps
        self.step = 0
        self.rule = self.build().double()
        meta.require_all_read()

    # ------------------------------------------------------------------------------------------ what a mapping must say

    def build(self) -> LearningRule:
        """Returns the rule."""
        meta, cls = self.meta, rule_class(str(self.meta.read("rule")))
        taken = {name for base in cls.__mro__ for name in inspect.signature(cast(Any, base).__init__).parameters}
        entries = {e: a for e, a in named(*meta.names).items() if a in taken}
        arguments = {a: meta.read(e) for e, a in entries.items() if a not in ("layer_sizes", "network", "optimizer")}
        if "lr" in meta or "optimizer" in meta:
            arguments["optimizer"] = self.optimizer(meta.number("lr", 0.0))
        for name in [n for n in meta.names if n.endswith("_per_step")]:
            self.each_step(name, name.removesuffix("_per_step"))
        return cls(**network_of(meta), **arguments)

    def weights(self) -> dict[str, Tensor]:
        """Returns the rule's own weights by their keys: set at the start, and compared after each step."""
        return {**dict(self.rule.named_parameters()), **dict(self.rule.named_buffers())}

    def units(self, key: str) -> float:
        """Returns a weight in the recording's units, divided by the rule's."""
        return 1.0

    def before_step(self, step: int, recorded: Mapping[str, Any]) -> None:
        """Prepares a step: values that the recording gives for each are set.

        Args:
            step: its number.
            recorded: what was recorded after it.
        """
        self.step = step
        for attribute, values in self._per_step.items():
            setattr(self.rule, attribute, values[step])

    def before_update(self) -> None:
        """Takes down what learning is about to change; called between settling and the optimizer's step."""

    def at_start(self) -> dict[str, Tensor]:
        """Returns what a recording holds of the start besides the weights, by its key there."""
        return {}

    def observations(self) -> dict[str, Tensor]:
        """Returns what else a recording holds after a step, by its key there: the states of each phase."""
        return {f"{name}{i}": r for name, p in self.rule.phases.items() for i, r in enumerate(p.activity[1:])}

    def terms(self) -> dict[str, float]:
        """Returns the size of the terms, by key, of what is a difference of larger ones, whose rounding it has."""
        return {}

    # ------------------------------------------------------------------------------------------------------------ tools

    def each_step(self, name: str, attribute: str, scale: float = 1.0) -> None:
        """Reads an entry of one number a step, to which the rule's attribute will be set, times a scale."""
        values = self.meta.number(name)
        require(
            isinstance(values, list) and len(values) >= self._steps,
            f"its meta has {name} {values}: give a number for each of {self._steps} steps.",
        )
        self._per_step[attribute] = [value * scale for value in values]

    def optimizer(self, lr: float = 0.0, units: Callable[[str], float] = lambda group: 1.0) -> OptimizerCallable:
        """Returns the recorded optimizer, sgd (with momentum and weight decay) or adam.

        Args:
            lr: rate of the groups that have none of their own.
            units: by a group's name, the rule's rate divided by the recorded one.
        """
        kinds: dict[str, type[torch.optim.Optimizer]] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
        kind = self.meta.word("optimizer", kinds, default="sgd")
        decay = self.meta.number("weight_decay", 0)
        options = {"momentum": self.meta.number("momentum", 0)} if kind is torch.optim.SGD else {}
        for name, value in {"lr": lr, "weight_decay": decay, **options}.items():
            require(not isinstance(value, list), f"its meta has {name} {value!r}: give one number.")

        def build(parameters: Iterable[Any]) -> torch.optim.Optimizer:
            groups = list(parameters)
            factors = [units(group.get("name", "")) for group in groups]
            # what is decayed is in the rule's units already, but the rate is not
            decayed = [{**g, "weight_decay": decay / u if u else 0.0} for g, u in zip(groups, factors, strict=True)]
            return cast(torch.optim.Optimizer, cast(Any, kind)(decayed, lr=lr * factors[0], **options))

        same = kind is torch.optim.SGD or units("") == 1
        require(
            same, "its loss is not the rule's but a multiple of it, which Adam does not see: verify knows sgd there."
        )
        return build

    @property
    def connections(self) -> list[Connection]:
        """The connections of the chain 0, 1, … L."""
        return self.rule.network.chain

    def by_layer(self, name: str, of: Callable[[Connection], Tensor | None], first: int = 0) -> dict[str, Tensor]:
        """Returns a tensor of each connection by its key, from a first one on, those that are None left out."""
        found = ((i, of(c)) for i, c in enumerate(self.connections))
        return {f"{name}{i}": t for i, t in found if t is not None and i >= first}

    def gradients(self) -> dict[str, Tensor]:
        """Returns the direction that the optimizer descended in the last step, by its key."""
        of_weight = self.by_layer("grad_W", lambda c: None if c.weight is None else c.weight.grad)
        return {**of_weight, **self.by_layer("grad_b", lambda c: None if c.bias is None else c.bias.grad)}


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
    raise UserError(f"There is no rule {name}: give a class path, such as my_module.MyRule.")


def named_arguments(meta: Meta, *entries: str) -> dict[str, Any]:
    """Returns entries of a recording by the names of the rules' arguments."""
    return meta.arguments(named(*entries))
