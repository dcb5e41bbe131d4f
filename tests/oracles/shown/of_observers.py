"""What observers show of short trainings: every class that the package has, each of its options at other values."""

import inspect
import pkgutil
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import torch
from pytorch_lightning import Callback, Trainer

import bioplausible.observers
from bioplausible.observers import CompileRelaxation
from bioplausible.observers.progress import LiveProgressBar
from tests.oracles.shown.catching import Caught, catching
from tests.oracles.shown.keeping import Shown
from tests.oracles.shown.training import TRAININGS

OF_THE_RULE = re.compile(r"(train|val|test)/|epoch$|dynamics/|information/(free|nudged)|alignment/.*angle")
"""Names of what rules and Lightning log by themselves, which is recorded once (:mod:`tests.oracles.shown.of_rules`)."""


class Look(NamedTuple):
    """An observer of a training.

    Attributes:
        training: a name in :data:`TRAININGS`.
        options: the observer's.
        values: other values of its options by their names, one at a time.
    """

    training: str
    options: Mapping[str, Any] = {}
    values: Mapping[str, list[Any]] = {}


OFTEN = {"every_n_steps": 3}
GUARD = {"every_n_steps": 2, "warm_up_steps": 4, "patience": 2}

LOOKS: dict[str, list[Look]] = {
    "Alignment": [
        Look("feedforward", OFTEN, {"every_n_steps": [1, 4, 0, -1]}),
        Look("two phases", OFTEN),
        Look("skip", OFTEN),
        Look("goodness", OFTEN),
        Look("inference", OFTEN),
    ],
    "CompileRelaxation": [Look("two phases"), Look("feedforward")],
    "Cost": [Look("two phases"), Look("images"), Look("cut")],
    "EachEpochTest": [
        *(Look(name) for name in ("two phases", "feedforward", "cut", "not validated", "few tested")),
        *(Look(name) for name in ("hardly tested", "untested", "unlogged")),
    ],
    "EpochLines": [Look(name) for name in ("feedforward", "not validated", "timed", "cut")],
    "Guard": [
        Look(
            "feedforward",
            GUARD,
            {"every_n_steps": [0], "residual_limit": [0], "limit": [-1.0], "warm_up_steps": [0], "patience": [0]},
        ),
        Look("not finite", GUARD, {"every_n_steps": [3, 50], "warn_only": [True]}),
        Look("large weight", GUARD, {"limit": [3e4], "warn_only": [True]}),
        Look("indefinite", GUARD, {"warn_only": [True]}),
        Look("hardly indefinite", GUARD),
        Look("unsettled", GUARD, {"residual_limit": [0.01, 100.0], "warn_only": [True]}),
        Look(
            "same outputs", GUARD, {"warm_up_steps": [7], "patience": [1, 3], "every_n_steps": [1], "warn_only": [True]}
        ),
        Look("one answer", GUARD, {"every_n_steps": [1], "patience": [3]}),
        Look("one class", GUARD),
        Look("short and collapsed", {}, {"warm_up_steps": [30], "warn_only": [True]}),
    ],
    "Information": [
        Look("two phases", {"every_n_steps": 8}),
        Look("three phases", {"every_n_steps": 8}, {"every_n_steps": [4, 0]}),
        Look("sparse", {"every_n_steps": 8}),
        Look("images, tracked", {"every_n_steps": 8}),
        Look("untracked"),
        Look("feedforward"),
    ],
    "LiveProgressBar": [
        Look("feedforward", {"refresh_rate": 1}, {"refresh_rate": [3, 0]}),
        Look("not validated", {"refresh_rate": 2}),
        Look("cut", {"refresh_rate": 1}),
        Look("timed", {"refresh_rate": 3}),
    ],
    "Representations": [
        Look("dead units", {"every_n_steps": 5}, {"every_n_steps": [8, 0], "samples": [10, 9], "tsne": [True]}),
        Look("images", {"every_n_steps": 8, "samples": 12}),
        Look("complex", {"every_n_steps": 8, "tsne": True}),
        Look("not validated", {"every_n_steps": 8}),
        Look("goodness", {"every_n_steps": 8}),
    ],
    "SamplesPerSecond": [Look("feedforward"), Look("cut"), Look("not validated")],
    "Settling": [
        Look("two phases", {"every_n_steps": 8}, {"every_n_steps": [5, 0], "tolerance": [0.02, 0.0]}),
        Look("images", {"every_n_steps": 8}),
        Look("complex", {"every_n_steps": 8}),
        Look("inference", {"every_n_steps": 8}),
        Look("sparse", {"every_n_steps": 8}),
        Look("feedforward", {"every_n_steps": 8}),
    ],
}
"""Of each class the trainings that it looks at, and with which options."""

ELSEWHERE = {"PredictionsCSV"}
"""Observers of what is no training (:mod:`tests.oracles.shown.of_commands`)."""


@cache
def observers() -> dict[str, type[Callback]]:
    """Returns every observer of the package by its name, and what it exports beside: a new one is found by itself."""
    names = [f"bioplausible.observers.{one.name}" for one in pkgutil.iter_modules(bioplausible.observers.__path__)]
    found = [cls for name in names for cls in vars(import_module(name)).values()]
    return {
        cls.__name__: cls
        for cls in [*found, CompileRelaxation]
        if isinstance(cls, type) and issubclass(cls, Callback) and not inspect.isabstract(cls)
        if cls.__module__.startswith("bioplausible.observers") or cls is CompileRelaxation
    }


def options_of(name: str) -> set[str]:
    """Returns the names of an observer's options."""
    cls = observers()[name]
    return set(inspect.signature(cls).parameters) if "__init__" in vars(cls) else set()


def results(name: str, disturbance: float = 0.0) -> Iterator[tuple[str, str, Shown]]:
    """Yields what an observer shows, each with the name of what it begins with, and its own.

    What they begin with is a case too, without a name of its own.

    Args:
        name: of the observer.
        disturbance: as :meth:`tests.oracles.shown.training.Training.rule` takes it.
    """
    for look in LOOKS[name]:
        yield look.training, "", _shown(name, look.training, look.options, disturbance)
        for option, values in look.values.items():
            for value in values:
                options = {**look.options, option: value}
                yield look.training, f"{option}={value}", _shown(name, look.training, options, disturbance)


def _shown(name: str, training: str, options: Mapping[str, Any], disturbance: float) -> Shown:
    observer = None
    with catching() as caught:
        caught.patch.setattr(torch, "compile", _no_compiler)
        observer = observers()[name](**options)
        if isinstance(observer, LiveProgressBar):
            _note_bar(caught, observer)
        TRAININGS[training].run(caught, [observer], disturbance)
    if isinstance(observer, LiveProgressBar):  # tells its own time
        caught.shown.pop("said", None)
    return {what: value for what, value in caught.shown.items() if not OF_THE_RULE.match(what)}


def _no_compiler(*args: Any, **options: Any) -> Any:
    raise RuntimeError("there is no compiler\non any machine")


def _note_bar(caught: Caught, bar: LiveProgressBar) -> None:
    """Notes each time what a bar would show; the bar itself is another one on each terminal."""
    plain, told = bar.get_metrics, []

    def note(trainer: Trainer, rule: Any) -> dict[str, Any]:
        metrics = plain(trainer, rule)
        told.append(f"{trainer.global_step}: " + ", ".join(f"{n} {_rounded(v)}" for n, v in metrics.items()))
        caught.shown["bar"] = "; ".join(told)
        return metrics

    bar.get_metrics = note  # type: ignore[method-assign]


def _rounded(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
