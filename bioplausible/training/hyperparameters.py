"""What a run trains with, as the loggers get it."""

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pytorch_lightning import LightningModule, Trainer

IMPLEMENTATION = frozenset({"capturable", "differentiable", "foreach", "fused"})
"""Options of torch's optimizers that say how a step is computed, and not which."""

LENGTH = ("max_epochs", "max_steps")
STOPPERS = ("EarlyStopping", "Timer")
"""Callbacks by which training ends before its time."""
AVERAGERS = ("StochasticWeightAveraging", "WeightAveraging", "EMAWeightAveraging")
"""Callbacks whose averages of weights are the result."""
LIMITS_OF_TRAINING = ("limit_train_batches", "limit_val_batches")
"""The second bears on it through what is monitored: the best checkpoint, EarlyStopping, ReduceLROnPlateau."""
LIMITS = (*LIMITS_OF_TRAINING, "limit_test_batches")

TRAINING_DIGEST, TEST_DIGEST = "training_digest", "test_digest"
"""What tells training and test images of a user's own from others of the same name; the latter once tested on."""
OF_TRAINING = {TRAINING_DIGEST: "content", "validation_digest": "validation_content"}
"""The data module's attributes with the digests that are known when training begins."""


def digests_of_training(data: Any) -> dict[str, str]:
    """Returns by name what tells a data module's images from others, where there may be others."""
    found = {name: getattr(data, attribute, None) for name, attribute in OF_TRAINING.items()}
    return {name: digest for name, digest in found.items() if digest is not None}


def hyperparameters(
    trainer: Trainer, rule: LightningModule, configured: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Returns by name what a run trains with: rule, rates, schedule, data, seed and length.

    Options of rule and data module have their own names. ``lr`` is the rate, ``lr.feedforward_1`` that of a parameter
    group where they differ; further options of the optimizer are ``optimizer.momentum``, of the schedule
    ``lr_scheduler.gamma``. What is None is left out: there is nothing to tell.
    No name is the folder of another: MLflow keeps each as a file.

    Args:
        trainer: with its optimizers built.
        rule: the rule.
        configured: what :func:`of_optimizer` said of optimizer and schedule; None: what it says now.
    """
    data = getattr(trainer, "datamodule", None)
    found: dict[str, Any] = {"rule": type(rule).__name__, **of_run(trainer, rule)}
    found |= _named(rule.hparams)
    found |= of_optimizer(trainer) if configured is None else configured
    if data is not None:
        found["data"] = type(data).__name__
        of_data = _named(data.hparams)
        found |= {f"data.{name}" if name in found else name: value for name, value in of_data.items()}
        found |= digests_of_training(data)
    found |= {name: getattr(trainer, name) for name in LENGTH if getattr(trainer, name) not in (None, -1)}
    found |= {name: limit(trainer, name) for name in LIMITS}
    stoppers = [
        type(c).__name__ for c in cast(Any, trainer).callbacks if type(c).__name__ in ("EarlyStopping", "Timer")
    ]
    found |= {"stops_early": ", ".join(stoppers) or None}
    return {name: _plain(value) for name, value in found.items() if value is not None}


def of_run(trainer: Trainer, rule: LightningModule) -> dict[str, Any]:
    """Returns by name what bears on training and is neither the rule's nor the data's nor the optimizer's.

    Args:
        trainer: trains, or will.
        rule: the rule; its seed is fixed when training starts.
    """
    limits = {name: limit(trainer, name) for name in LIMITS_OF_TRAINING}
    return {"seed": getattr(rule, "seed", None), "precision": trainer.precision, **limits}


def limit(trainer: Trainer, name: str) -> int | float | None:
    """Returns one of Trainer's limits; None where it leaves nothing out. The integer 1 is one batch, and not a share.

    Args:
        trainer: has it.
        name: one of :data:`LIMITS`.
    """
    value: int | float = getattr(trainer, name)
    return None if isinstance(value, float) and value == 1.0 else value


def of_optimizer(trainer: Trainer, groups: Sequence[Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """Returns by name how optimizer and schedule were configured, which is known until training starts or resumes.

    After that schedules have changed rates and momenta, and averages of weights bring a schedule of their own.

    Args:
        trainer: with its optimizers built.
        groups: options that the groups of parameters have in truth, where other ones were built; None: they have none.
    """
    found: dict[str, Any] = {}
    rest = iter(groups or [])
    for optimizer in trainer.optimizers:
        held = [{**group, **next(rest, {})} for group in optimizer.param_groups]
        found |= {"optimizer": type(optimizer).__name__.removeprefix("Lightning")}
        found |= dict(_rates(held)) | dict(_options("optimizer", optimizer, held[0]))
    for config in trainer.lr_scheduler_configs:
        of_group = {**config.scheduler.optimizer.param_groups[0], **(groups[0] if groups else {})}
        found |= {"lr_scheduler": type(config.scheduler).__name__}
        found |= dict(_options("lr_scheduler", config.scheduler, {**of_group, **vars(config.scheduler)}))
    return found


def _named(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a module's own options: those with an underscore are the command line's notes."""
    return {name: value for name, value in options.items() if not name.startswith("_")}


def _rates(groups: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yields each rate as it was configured: a schedule may have changed it for the first step already."""
    rates = [group.get("initial_lr", group.get("lr")) for group in groups]
    if all(rate == rates[0] for rate in rates):
        yield "lr", rates[0]
    else:
        for i, (group, rate) in enumerate(zip(groups, rates, strict=True)):
            yield f"lr.{group.get('name', i)}", rate


def _options(part: str, built: Any, held: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields those arguments of an optimizer's or scheduler's class whose values are held."""
    known = inspect.signature(type(built).__init__).parameters.keys() | getattr(built, "defaults", {}).keys()
    for name in sorted(known - IMPLEMENTATION - {"lr", "last_epoch", "optimizer", "params", "self"}):
        value = held.get(name)
        if isinstance(value, Counter):  # as MultiStepLR keeps its milestones
            value = sorted(value.elements())
        if isinstance(value, (bool, int, float, str, list, tuple, dict)):
            yield f"{part}.{name}", value


def _plain(value: Any) -> Any:
    """Returns a value that YAML has too."""
    if isinstance(value, Mapping):
        return {name if isinstance(name, int) else str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, Path) or not isinstance(value, (bool, int, float, str, type(None))):
        return str(value)
    return value
