"""A rule with the hyperparameters of a recording: what the mapping of any rule must say."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any, cast

import torch
from pytorch_lightning.cli import OptimizerCallable
from torch import Tensor

from bioplausible.commands.verify.meta import REQUIRED, Meta, network_of
from bioplausible.errors import UserError
from bioplausible.errors.checks import require
from bioplausible.network import Connection
from bioplausible.rules import LearningRule
from bioplausible.rules.options import UNUSED_BY_STEP_SIZE_RULE

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
    return used({**numbers, "step_size_rule": meta.read("neural_lr_rule")})


def used(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments without what their ``step_size_rule`` never uses, for recordings say the whole formula.

    What can't be a floor or a decay stays, so that the rule refuses it.
    """
    unused = UNUSED_BY_STEP_SIZE_RULE.get(arguments.get("step_size_rule", ""), ())
    return {
        name: value
        for name, value in arguments.items()
        if not (name in unused and isinstance(value, (int, float)) and value >= 0)
    }


DENSE = "mean over samples"
CONVENTION = (
    r"meanoversamples|kernels(,biases)?:sumoverpositions,meanoversamples;([bmr],)*[bmr]:meanoverpositionsandsamples"
)
"""What updates and statistics sum and average over, without spaces."""


def confirm_convention(meta: Meta) -> None:
    """Checks what updates and statistics sum and average over; recordings of the rules of dense networks don't say it.

    Raises:
        UserError: it is something else than what the package does, or is not said.
    """
    meta.confirm(
        "convention", CONVENTION, default=REQUIRED if meta.read("rule").endswith(("_conv", "_leaky")) else DENSE
    )


UNSAID = frozenset({"layer_sizes", "network", "optimizer", "lr_scheduler", "lr_scheduler_interval"})
"""Arguments that a recording says by other names, and the schedule: recorded rates are constant."""

OF_THE_STEP = frozenset({"gradient_norm_limit", "weight_decays"})
"""Arguments of the optimizer's step: a recording that does not say them has none, as with its momentum and decay."""

NOT_LEARNED = frozenset({"track_correlations", "track_correlations_every_n_steps"})
"""Arguments that decide what is logged, and change nothing that is recorded."""


def kind_of(key: str) -> str:
    """Returns the kind of array that a key names: what all layers' have in common."""
    return key.rstrip("0123456789")


class RecordedRule:
    """A rule with the hyperparameters of a recording, and its weights and states by their keys there.

    This one is for a rule of a user's own: hyperparameters carry its arguments' names, weights their names in the
    module.

    Args:
        meta: the recording's hyperparameters.
        steps: batches.
        batch_size: samples a batch.
        start: shapes of the recorded initial weights by their keys, for what the hyperparameters do not say.

    Attributes:
        rule: the rule, in float64.
        step: number of the batch, from 0.
        idle: initial weights on which nothing depends, by their keys: they stay what they are.

    Raises:
        UserError: a hyperparameter is missing, or stands for nothing that is known of the rule.
    """

    kinds: frozenset[str] = frozenset()
    """The kinds of arrays, besides the weights, that a recording of the rule holds after each step.

    Whatever else the rule has is compared where it is recorded. A recording that holds other kinds says so in its
    ``meta``, as ``holds``.
    """
    adam: type[torch.optim.Optimizer] = torch.optim.Adam
    """What a recording of the rule means by adam."""
    constant: frozenset[str] = frozenset()
    """The kinds of weights that never change: they need not be recorded after each step."""
    unused: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    """Shapes of the initial weights that a recording may hold though nothing depends on them."""

    def __init__(
        self, meta: Meta, steps: int, batch_size: int, start: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    ) -> None:
        self.meta, self.batch_size, self.start = meta, batch_size, start
        self.idle: dict[str, Tensor] = {}
        self.published = type(self) is not RecordedRule
        """Whether it is of the kind that published recordings are, which repeat what x says and name the optimizer."""
        for name, of_arrays in (("steps", steps), ("batch", batch_size)):
            said = meta.read(name, REQUIRED if self.published else of_arrays)
            require(type(said) is int and said == of_arrays, f"its meta says {name} {said}, but x has {of_arrays}.")
        meta.word("dtype", {"float64": None}, default=REQUIRED if self.published else "float64")
        self.holds = self._kinds_said()
        self._per_step: dict[str, Sequence[float]] = {}
        self._steps = steps
        self.step = 0
        self.rule = self.build().double()
        meta.require_all_read()

    def _kinds_said(self) -> frozenset[str] | None:
        said = self.meta.read("holds", None)
        if said is None:
            return None
        require(
            isinstance(said, list) and bool(said) and all(isinstance(kind, str) for kind in said),
            f"its meta has holds {said!r}: give a list of the kinds of arrays that it holds, such as W and free.",
        )
        return frozenset(said)

    def expected(self, replayed: Iterable[str], recorded: Iterable[str]) -> set[str]:
        """Returns the keys that a recording must hold after each step: of each kind that it holds those of all layers.

        Args:
            replayed: those that the rule has.
            recorded: those that the recording has.

        Raises:
            UserError: ``holds`` names a kind that the rule has not, or not one that is recorded.
        """
        of_rule, of_recording = ({kind_of(key) for key in keys} for keys in (replayed, recorded))
        if self.holds is None:
            kinds = of_recording | self.kinds | ({kind_of(key) for key in self.weights()} - self.constant)
        else:
            kinds = set(self.holds)
            unknown, unsaid = sorted(kinds - of_rule), sorted(of_recording & of_rule - kinds)
            require(not unknown, f"its meta has holds {', '.join(unknown)}, which the rule does not have.")
            require(not unsaid, f"it holds {', '.join(unsaid)}, of which its meta's holds says nothing: add it there.")
        return {key for key in replayed if kind_of(key) in kinds}

    # ------------------------------------------------------------------------------------------ what a mapping must say

    def build(self) -> LearningRule:
        """Returns the rule."""
        meta, cls = self.meta, rule_class(str(self.meta.read("rule")))
        taken = _parameters(cls)
        entries = {e: a for e, a in named(*meta.names).items() if a in taken}
        arguments = {a: meta.read(e) for e, a in entries.items() if a not in UNSAID}
        variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        needed = (
            {n for n, kind in taken.items() if kind not in variable} - {"self"} - UNSAID - NOT_LEARNED - OF_THE_STEP
        )
        per_step = {n.removesuffix("_per_step") for n in meta.names if n.endswith("_per_step")}
        missing = sorted(needed - arguments.keys() - per_step)
        require(
            not missing,
            f"its meta does not say {', '.join(missing)}: add the values that the recorded run had, of all arguments of"
            f" {cls.__name__}, for its defaults may not be those.",
        )
        arguments["optimizer"] = self.optimizer(meta.number("lr", 0.0))
        for name in [n for n in meta.names if n.endswith("_per_step")]:
            self.each_step(name, name.removesuffix("_per_step"))
        rule = cls(**network_of(meta), **used(arguments))
        rates = all("lr" in group for group in rule.parameter_groups())
        require("lr" in meta or rates, "its meta does not say its lr: add it.")
        return rule

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
            isinstance(values, list) and len(values) == self._steps,
            f"its meta has {name} {values}: give a number for each of {self._steps} steps.",
        )
        require(
            attribute != "beta" or all(value != 0 for value in values),
            f"its meta has {name} {values}: at 0 nothing pulls on the output, and the rule would divide by it.",
        )
        self._per_step[attribute] = [value * scale for value in values]

    def optimizer(self, lr: float = 0.0, units: Callable[[str], float] = lambda group: 1.0) -> OptimizerCallable:
        """Returns the recorded optimizer, sgd (with momentum and weight decay) or adam.

        Args:
            lr: rate of the groups that have none of their own.
            units: by a group's name, the rule's rate divided by the recorded one.
        """
        kinds: dict[str, type[torch.optim.Optimizer]] = {"sgd": torch.optim.SGD, "adam": self.adam}
        kind = self.meta.word("optimizer", kinds, default=REQUIRED if self.published else "sgd")
        decay = self.meta.number("weight_decay", 0)
        options = {"momentum": self.meta.number("momentum", 0)} if kind is torch.optim.SGD else {}
        for name, value in {"lr": lr, "weight_decay": decay, **options}.items():
            require(not isinstance(value, list), f"its meta has {name} {value!r}: give one number.")

        def build(parameters: Iterable[Any]) -> torch.optim.Optimizer:
            groups = list(parameters)
            factors = [units(group.get("name", "")) for group in groups]
            # what is decayed is in the rule's units already, but the rate is not; a group's own decay is the rule's
            own = ({"lr": lr * factors[0], "weight_decay": decay / u if u else 0.0} for u in factors)
            return cast(
                torch.optim.Optimizer, cast(Any, kind)([o | g for o, g in zip(own, groups, strict=True)], **options)
            )

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


def _parameters(cls: type) -> dict[str, Any]:
    """Returns the kinds of all arguments that a rule takes, those that it passes on to its base classes included."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        if not issubclass(base, LearningRule):
            continue
        parameters = inspect.signature(cast(Any, base).__init__).parameters
        found = {**{name: p.kind for name, p in parameters.items()}, **found}
        if inspect.Parameter.VAR_KEYWORD not in (p.kind for p in parameters.values()):
            break  # what its own base classes take is its affair
    return found


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
