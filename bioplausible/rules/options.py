"""Options that several rules take."""

import inspect
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any, Literal, TypeVar, cast

from pytorch_lightning import LightningModule

from bioplausible.errors.checks import require
from bioplausible.functional import StepSizeRule
from bioplausible.network import Connection

Number = TypeVar("Number", int, float)

MOST_STEPS = 10**6
"""Iterations of a phase, or steps that a batch takes."""


def require_steps(name: str, steps: int) -> None:
    """Raises a :class:`bioplausible.UserError` unless this is a number of iterations that a phase can take."""
    whole = isinstance(steps, Integral) and not isinstance(steps, bool)
    require(whole, f"{name} is {steps!r}: a phase takes a whole number of iterations.")
    require(1 <= steps <= MOST_STEPS, f"{name} is {steps}: a phase takes at least one iteration, at most {MOST_STEPS}.")


def require_count(name: str, count: int, most: int = MOST_STEPS) -> None:
    """Raises a :class:`bioplausible.UserError` unless this is a whole number between 1 and ``most``."""
    whole = isinstance(count, Integral) and not isinstance(count, bool)
    require(whole and 1 <= count <= most, f"{name} is {count!r}: give a whole number between 1 and {most}.")


def require_beta(beta: float) -> None:
    """Raises a :class:`bioplausible.UserError` where there is no nudge."""
    require(beta != 0, "beta is 0: without a nudge nothing is learned, so give it another value, for example 1.")


def require_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raises a :class:`bioplausible.UserError` unless the value is one of the words."""
    require(value in choices, f"{name} is {value!r}: choose {' or '.join(choices)}.")


def refuse_without_effect(rule: LightningModule, names: Iterable[str], reason: str) -> None:
    """Refuses options that another one switches off, where they are not left at their defaults.

    Args:
        rule: whose arguments Lightning has noted.
        names: of the options.
        reason: why they have no effect, for the sentence: ``where …``.

    Raises:
        UserError: one has another value than its default, or than None or an empty list, which give none.
    """
    given, defaults = {}, []
    for name in names:
        declared = (inspect.signature(cls).parameters.get(name) for cls in inspect.getmro(type(rule))[:-1])
        default = next(parameter.default for parameter in declared if parameter is not None)
        value = rule.hparams.get(name, default)
        if value not in (None, [], default):
            given[name] = value
            defaults.append("null" if default is None else str(default))
    said, one = " and ".join(f"{name} is {value}" for name, value in given.items()), len(given) == 1
    cure = "it out, or at its default" if one else "them out, or at their defaults"  # a recipe may be what gives it
    require(
        not given,
        f"{said}, which {'has' if one else 'have'} no effect {reason}: leave {cure} ({' and '.join(defaults)}).",
    )


UNUSED_BY_STEP_SIZE_RULE: dict[StepSizeRule, tuple[str, ...]] = {
    "constant": ("step_size_floor", "step_size_decay"),
    "divide_by_loop_index": ("step_size_decay",),
    "divide_by_slow_loop_index": (),
}
"""The options of step sizes that have no effect, by ``step_size_rule``."""


def refuse_unused_of_step_sizes(rule: LightningModule, step_size_rule: StepSizeRule) -> None:
    """Raises a :class:`bioplausible.UserError` where a step size's floor or decay is given that its rule never uses."""
    unused = UNUSED_BY_STEP_SIZE_RULE[step_size_rule]
    refuse_without_effect(rule, unused, f"where step_size_rule is {step_size_rule}")


def per_layer(name: str, rates: float | list[float] | None, count: int, first: int) -> list[float | None]:
    """Returns one rate, or decay, per layer first … first + count − 1; None stands for the optimizer's own.

    Raises:
        UserError: the list has another length, or a rate is negative.
    """
    if rates is None or isinstance(rates, (int, float)):
        require(rates is None or rates >= 0, f"{name} is {rates}: it must not be negative.")
        return [rates] * count
    last = first + count - 1
    require(
        len(rates) == count,
        f"{name} has {len(rates)} entries: give one number, or one per layer {first} … {last} ({count} in all), as with"
        f" --model.init_args.{name}.",
    )
    require(all(r is None or r >= 0 for r in rates), f"{name} is {rates}: none may be negative.")
    return list(rates)


def by_layer(name: str, values: Number | list[Number], layers: range) -> dict[int, Number]:
    """Returns a number, or the entries of a list, by layer.

    Raises:
        UserError: the list has another length, or a number is negative.
    """
    numbers = per_layer(name, cast(Any, values), len(layers), layers.start)
    return dict(zip(layers, cast(list[Number], numbers), strict=True))


def group(
    name: str,
    connections: Sequence[Connection],
    rates: Sequence[float | None],
    of: Literal["feedforward", "feedback"],
    first: int = 1,
    decays: Sequence[float | None] = (),
) -> list[dict[str, Any]]:
    """Returns one parameter group a layer, of the weights (and biases) of the connections into it.

    Args:
        name: of the groups, to which the layer's number is added.
        connections: the network's.
        rates: by layer, from the first one; None: the optimizer's own.
        of: whether W and b or V are meant.
        first: number of the first layer.
        decays: weight decay by layer, from the first one; None, or none: the optimizer's own.
    """
    groups: list[dict[str, Any]] = []
    for k, lr in enumerate(rates, first):
        into = [c for c in connections if c.post == k and c.weight is not None]
        if of == "feedforward":
            parameters = [p for c in into for p in (c.weight, c.bias) if p is not None]
        else:
            parameters = [c.feedback_weight for c in into if not c.is_tied]  # type: ignore[misc]
        own = {"lr": lr, "weight_decay": decays[k - first] if decays else None}
        named = {option: value for option, value in own.items() if value is not None}
        groups.append({"name": f"{name}_{k}", "params": parameters, **named})
    return groups
