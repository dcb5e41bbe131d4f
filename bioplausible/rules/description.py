"""A rule in words: its network layer by layer, and all in which it differs from its class's defaults."""

import inspect
from collections.abc import Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer

from bioplausible.errors import UserError
from bioplausible.network import Network
from bioplausible.resume.kept_options import alike
from bioplausible.resume.told_callables import plain_state, schedule_options
from bioplausible.training.hyperparameters import IMPLEMENTATION
from bioplausible.training.optimization import build_optimizer, build_scheduler

if TYPE_CHECKING:
    from bioplausible.rules.contract import RuleContract

APART = ("layer_sizes", "network", "optimizer", "lr_scheduler")
"""Arguments that have rows of their own: the layers' table, the optimizer's and the schedule's."""
NONE = inspect.Parameter.empty
NO_OPTION = IMPLEMENTATION | {"self", "params", "optimizer", "lr", "last_epoch"}
"""Arguments of optimizers and schedules that are no option of how the rule learns."""


def as_text(rule: "RuleContract") -> str:
    """Returns the rule's name, the table of its layers, and its settings (:func:`settings`), one a line."""
    found = settings(rule)
    width = max(map(len, found))
    lines = [f"{name:<{width}}  {text}" for name, text in found.items()]
    return "\n".join([type(rule).__name__, rule.network.table(), "", *lines])


def as_html(rule: "RuleContract") -> str:
    """Returns the same as two small tables of HTML."""
    heading, *layers = rule.network.rows()
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heading)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in layers)
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in settings(rule).items())
    return (
        f"<b>{escape(type(rule).__name__)}</b>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"<table><tbody>{rows}</tbody></table>"
    )


def settings(rule: "RuleContract") -> dict[str, str]:
    """Returns by name, as text, what a rule learns by.

    Its arguments that differ from their defaults, the network as it was written where that says more than its sizes,
    the optimizer with its options that differ from their defaults, each layer's rate, the schedule, and the number of
    weights that the optimizer moves. An optimizer or schedule that can't be built says why.
    """
    found = {name: _said(value) for name, value in _changed_arguments(rule).items()}
    if not all(layer.is_plain for layer in rule.specification.layers):
        found["network"] = " · ".join([_shape(rule.network), *(layer.text for layer in rule.specification.layers)])
    groups = rule.parameter_groups()
    moved = {p for group in groups for p in group["params"] if p.requires_grad}
    found["learned"] = f"{sum(p.numel() for p in moved):,} weights by the optimizer"
    try:
        optimizer = build_optimizer(rule.optimizer, groups)
    except UserError as error:
        return {**found, "optimizer": str(error)}
    found |= {"optimizer": _called(optimizer, dict(_by_group(optimizer))), "rates": _each(optimizer, "lr")}
    if rule.lr_scheduler is not None:
        try:
            schedule = build_scheduler(rule.lr_scheduler, optimizer)
        except UserError as error:
            return {**found, "lr_scheduler": str(error)}
        held = schedule_options(type(schedule), plain_state(schedule.state_dict()))
        found["lr_scheduler"] = _called(schedule, dict(_differing(schedule, held)))
    return found


# ------------------------------------------------------------------------------------------------------------ internals


def _changed_arguments(rule: "RuleContract") -> dict[str, Any]:
    """Returns the arguments whose values are not their defaults.

    So are those that a class fixes of its base's, as Burstprop its activation function.
    """
    defaults = _defaults(type(rule))
    given = {name: value for name, value in rule.hparams.items() if name not in APART and not name.startswith("_")}
    return {name: value for name, value in given.items() if not _same(value, defaults.get(name, NONE))}


def _differing(built: Any, held: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields those options of an optimizer or a schedule whose values are not the defaults."""
    for name, default in _defaults(type(built)).items():
        if name in held and name not in NO_OPTION and not _same(held[name], default):
            yield name, held[name]


def _defaults(cls: type) -> dict[str, Any]:
    """Returns the defaults of a class's arguments, and of its base classes' where it hands arguments on to them."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        parameters = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc]
        found = {p.name: p.default for p in parameters} | found
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


def _by_group(optimizer: Optimizer) -> Iterator[tuple[str, str]]:
    """Yields the options of an optimizer that differ from the defaults in some group of weights."""
    for name in {name: None for group in optimizer.param_groups for name, _ in _differing(optimizer, group)}:
        yield name, _each(optimizer, name)


def _each(optimizer: Optimizer, name: str) -> str:
    """Returns an option's value, or each group's where they differ."""
    groups = optimizer.param_groups
    values = [group.get(name) for group in groups]
    if all(_same(value, values[0]) for value in values):
        return _said(values[0])
    return ", ".join(
        f"{group.get('name', i)} {_said(value)}" for i, (group, value) in enumerate(zip(groups, values, strict=True))
    )


def _called(built: Any, options: Mapping[str, Any]) -> str:
    """Returns an optimizer's or a schedule's name, with options in brackets."""
    said = ", ".join(f"{name} {_said(value)}" for name, value in options.items())
    return type(built).__name__ + (f" ({said})" if said else "")


def _same(value: Any, other: Any) -> bool:
    try:
        return bool(alike(value) == alike(other))
    except (RuntimeError, ValueError):  # tensors and arrays of several numbers, which no default is
        return value is other


def _said(value: Any) -> str:
    return value if isinstance(value, str) else repr(alike(value))


def _shape(network: Network) -> str:
    return " × ".join(map(str, network.shapes[0]))
