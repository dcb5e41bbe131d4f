"""Which cases are recorded: every option of every rule at other values, from several sets of options to begin with."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from inspect import signature
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch.optim.lr_scheduler import ExponentialLR

from bioplausible.commands.class_help import options_of_class
from bioplausible.rules import LearningRule
from bioplausible.rules.contract import RuleContract
from tests.helpers import NETWORKS, SIZES, VARIANTS
from tests.oracles.every_option.numbers import KINDS, agree, computed
from tests.oracles.records import Number

WITH_IMAGES = [
    [2, 8, 8],
    {"conv": 2, "kernel": 3, "padding": 1, "pool": "average"},
    {"conv": 2, "kernel": 3, "padding": 1, "skip": 1, "gain": 0.7},
    {"conv": 3, "kernel": 3, "stride": 2, "padding": 1, "skip": {"from": 1, "stride": 2, "gain": 0.8}},
    5,
    4,
]

SHORTENED, AS_IT_IS, IMAGES, MOVED = "short", "as it is", "images", "moved"
"""Names of what cases begin with: the defaults but for the lengths of phases, the defaults, and a network of images.

And the first of these with all weights, lateral ones and biases too, moved off where they start: off 0, off symmetry.
"""

OF_WIRING = frozenset({"initialization", "feedback", "bias", "projection", "published_convolution", "entropy_of"})
"""Options that are varied on images too, where a wiring has other formulas for them."""

OF_EVERY_RULE = frozenset(signature(RuleContract.__init__).parameters)
"""Options that each rule takes, and none computes something else for: varied once."""

Result = list[Number] | str

SHORT = {"free_steps": 5, "nudged_steps": 3, "inference_steps": 4, "feedback_steps": 2}
"""Of relaxations that have not settled: what each iteration does is seen, and it takes less time."""

MOMENTUM = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1)
MOMENTUM_ALONE = partial(torch.optim.SGD, momentum=0.9, weight_decay=0.1)
HALF = partial(ExponentialLR, gamma=0.5)

RATES = [0.2, 0.0, None, "by layer"]

VALUES: dict[str, list[Any]] = {
    "layer_sizes": [[7, 4], [7, 6, 4], [7, 6, 5, 3, 4]],
    "network": [*NETWORKS, [7, {"dense": 6, "gain": {"weight": 0.7, "bias": 0.5}}, {"dense": 5, "gain": 1.5}, 4]],
    "optimizer": [MOMENTUM, MOMENTUM_ALONE, partial(torch.optim.Adam, lr=0.01)],
    "lr_scheduler": [HALF],
    "gradient_norm_limit": [0.05, 0.001, -1.0],
    "dual_step_sizes": [None, {1: 0.2}, {2: 0.1, 3: 0.05}, {7: 0.1}],
    "target_range": [(0.0, 1.0), (0.1, 0.7), (-1.0, 1.0), (1.0, 0.0)],
    "points": [1, 2, 4, 5],
    "learning_rates": RATES,
    "feedforward_learning_rates": RATES,
    "feedback_learning_rates": RATES,
    "lateral_learning_rates": [0.2, 0.0, "by layer"],
    "weight_decays": [0.2, "by layer"],
    "read_from": [1, 2, 3, 0],
    "step_size": [0.3, 0.0, -0.2],
    "step_size_floor": [0.03, 0.0, -0.2],
    "hidden_units": [3, 0],
}
"""Values of options whose types do not tell them, or tell too many; "by layer" stands for lists of several lengths."""

WITHOUT_EFFECT: dict[str, tuple[str, ...]] = {
    "Burstprop": ("loss", "activation_function", "output_activation"),
    "DirectRandomTargetProjection": ("signal",),
    "DualPropagation": ("output_activation",),
}
"""Options that change none of these numbers: the rule refuses every other value."""

FURTHER: list[tuple[Any, dict[str, Any]]] = [
    (SIZES, {"lr_scheduler": HALF}),
    (SIZES, {"optimizer": MOMENTUM, "lr_scheduler": HALF, "lr_scheduler_interval": "step"}),
    (SIZES, {"step_size_rule": "divide_by_loop_index"}),
    (SIZES, {"step_size_rule": "divide_by_slow_loop_index"}),
    (SIZES, {"track_correlations": True}),
    (SIZES, {"inference_momentum": 0.5}),
    (SIZES, {"three_phase": True}),
    (SIZES, {"inference": "errors"}),
    (SIZES, {"beta": 0.4, "beta_growth": 0.3}),
    (SIZES, {"peer_normalization": 0.3}),
    (SIZES, {"feedback": "learned", "feedback_learning_rates": 0.05}),
    (SIZES, {"feedback": "learned", "three_phase": True, "hold_output": False}),
    (SIZES, {"loss": "cross_entropy", "output_activation": "linear", "hold_output": False}),
    (SIZES, {"activation_function": "smooth_clip", "activation_slope": 3.0, "step_size": 1.0}),
    (SIZES, {"step_size_discount": 0.5, "step_size": 1.0, "inference_steps": 8}),
    ([7, 5, 5, 4], {"residual": True}),
    (WITH_IMAGES, {"entropy": 0.02, "forgetting_factor": 0.7, "epsilon": 0.1}),
]
"""Options that others act together with: where a rule has them, they are one more set to begin with."""


_defaults = cache(options_of_class)


def options_of(cls: type[LearningRule]) -> set[str]:
    """Returns the names of a rule's options."""
    return set(_defaults(cls))


def hints(cls: type) -> dict[str, Any]:
    """Returns the type of each option of a class."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        if base.__module__.startswith("bioplausible") and "__init__" in vars(base):
            found = get_type_hints(base.__init__) | found
    return found


def values(name: str, hint: Any, known: Mapping[str, list[Any]] = VALUES) -> list[Any]:
    """Returns values of an option, those known for its name or such as its type tells; some may be refused."""
    if name in known:
        return known[name]
    kinds = get_args(hint) if get_origin(hint) is not Literal and get_args(hint) else (hint,)
    found: list[Any] = []
    for kind in kinds:
        if get_origin(kind) is Literal:
            found += get_args(kind)
        elif kind is bool:
            found += [True, False]
        elif kind is int:
            found += [1, 2, 4, 0]
        elif kind is float:
            found += [0.3, 0.0, -0.2, 1.7]
        elif kind is type(None):
            found += [None]
        elif get_origin(kind) is list and float in get_args(kind):
            found += ["by layer"]
        elif get_origin(kind) is list and int in get_args(kind):
            found += [[1, 2, 3], [1, 2]]
        else:
            raise NotImplementedError(f"say in VALUES which values {name} may have")
    return found


def label(value: Any) -> str:
    """Returns a value as a case's name has it."""
    if isinstance(value, partial):
        return f"{value.func.__name__}({', '.join(f'{k}={v}' for k, v in value.keywords.items())})"
    return str(value)


def bases(cls: type[LearningRule]) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Returns what the cases of a rule begin with, by a name: its network and options."""
    defaults = _defaults(cls)
    short = {name: value for name, value in SHORT.items() if name in defaults}
    if "Adam" in str(defaults["optimizer"]):
        short["optimizer"] = torch.optim.SGD  # Adam's first steps are signs, whatever the size of an update
    found: dict[str, tuple[Any, dict[str, Any]]] = {SHORTENED: (SIZES, short), AS_IT_IS: (SIZES, {})}
    found[IMAGES], found[MOVED] = (WITH_IMAGES, short), (SIZES, short)
    for name, (rule, options) in VARIANTS.items():
        if rule is cls and options:
            found[name] = (SIZES, short | options)
    for network, options in FURTHER:
        if options.keys() <= defaults.keys():
            found[", ".join(f"{k}={label(v)}" for k, v in options.items())] = (network, short | options)
    return found


def alternatives(
    cls: type[LearningRule], network: list[Any], options: dict[str, Any]
) -> Iterator[tuple[str, list[Any]]]:
    """Yields each option of a rule with the values that it does not have among these options."""
    types, L = hints(cls), len(network) - 1
    for name, default in _defaults(cls).items():
        found, now = [], options.get(name, default)
        for value in values(name, types[name]):
            if value == "by layer":
                found += [[round(0.1 + 0.2 * k / n, 2) for k in range(n)] for n in (L, L - 1)]
            elif type(value) is not type(now) or value != now:
                found.append(value)
        yield name, found


def results(cls: type[LearningRule], disturbance: float = 0.0) -> Iterator[tuple[str, str, Result]]:
    """Yields the results of all cases of a rule, each with the name of what it begins with, and its own.

    What they begin with is a case too, without a name of its own. From the first of them every option is varied, from
    images those that depend on the wiring, from the others those that they set and those that changed nothing yet.
    All others take one other value on images, from weights that were moved, and with the options of
    :data:`tests.helpers.VARIANTS`.

    Args:
        cls: the rule.
        disturbance: as :func:`computed` takes it.
    """
    varied, effective = set(_defaults(cls)), set[str]()
    for base, (network, options) in bases(cls).items():
        compute = partial(computed, cls, disturbance=disturbance, moved=base == MOVED)
        start = compute(network, options)
        yield base, "", start
        if base == AS_IT_IS or isinstance(start, str):
            continue
        whole = OF_WIRING if base == IMAGES else varied | options.keys() - {"optimizer", *SHORT}
        once = _defaults(cls).keys() - OF_EVERY_RULE if base in (IMAGES, MOVED) or base in VARIANTS else set()
        for name, others in alternatives(cls, network, options):
            for value in others if name in whole else others[:1] if name in once else []:
                if name in ("layer_sizes", "network"):
                    found = compute(value, options)
                else:
                    found = compute(network, options | {name: value})
                yield base, f"{name}={label(value)}", found
                if base == SHORTENED and not isinstance(found, str) and not same(found, start):
                    effective.add(name)
        if base == SHORTENED:
            varied -= effective


def same(a: Sequence[Number], b: Sequence[Number]) -> bool:
    """Returns whether two cases have the same numbers."""
    return all(agree(kind, x.value, y.value, x.norm) for kind, x, y in zip(KINDS, a, b, strict=True))
