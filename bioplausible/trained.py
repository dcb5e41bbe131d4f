"""A trained network in the hand: the rule and the data module of a run, from what it left."""

import inspect
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pytorch_lightning.cli import LightningArgumentParser
from pytorch_lightning.utilities import rank_zero_warn

from bioplausible.data import ImageDataModule
from bioplausible.errors import UserError, user_errors
from bioplausible.errors.checks import require
from bioplausible.errors.sentences import sentence
from bioplausible.resume.checkpoint_files import ReadAhead, newest_checkpoint
from bioplausible.resume.refused_options import defaults_to_name
from bioplausible.resume.told_callables import trusted
from bioplausible.resume.training_data import TrainingData, require_same_names, training_data_of
from bioplausible.rules import LearningRule
from bioplausible.training.named_runs import run_named

Which = Literal["last", "best"]


class Trained(NamedTuple):
    """What :func:`load` returns."""

    rule: LearningRule
    """With the trained weights in the precision of training, on the CPU, in evaluation mode."""
    data: ImageDataModule | None
    """What it was trained on, not loaded yet; None where it is not known, can't be built here, or is other data now."""


def load(run: str | Path, which: Which = "last") -> Trained:
    """Returns the rule of a run, as it was trained, with its data module.

    The rule has the options, the optimizer and the schedule of the run, and so has the data module; nothing of the data
    is read or fetched before one asks for it. Random numbers of torch go on as if nothing had been loaded.

    A run that was made from Python names its classes alone: they are this package's, or classes of one's own that are
    imported already. Where it trained on data loaders without a data module, on a class that is not imported, or on
    files that are no longer where they were, or have other classes or columns by now, ``data`` is None.

    Args:
        run: a run's folder, or one above it, of which the newest run counts; ``last`` is the newest of all below
            ``lightning_logs``; or a checkpoint, whatever its name.
        which: in a folder, the run's ``last`` checkpoint, from which training goes on, or its ``best`` one by
            validation accuracy.

    Raises:
        UserError: there is no such run or checkpoint, it can't be read, or its rule can't be built: its class is not to
            be found, or the checkpoint doesn't hold all its arguments.
    """
    return load_and_compare(run, which)[0]


def load_and_compare(run: str | Path, which: Which = "last") -> tuple[Trained, TrainingData | None]:
    """Returns what :func:`load` does, and what the checkpoint says that it was trained on, to compare with images."""
    require(which in ("last", "best"), f"which is {which!r}: choose last or best.")
    ahead = ReadAhead(checkpoint_of(run, which))
    checkpoint = ahead.hand_over(ahead.path)
    if checkpoint is None:
        raise UserError(f"The checkpoint {ahead.path} was replaced while it was read: load it again.")
    with torch.random.fork_rng(devices=[]):
        if ahead.from_python:
            rule, data = _from_python(ahead.config, checkpoint, ahead.path)
        else:
            rule, data = _from_command_line(ahead.config, ahead.path)
    rule.on_load_checkpoint(checkpoint)
    name, _ = next(rule.named_parameters())
    rule.to(checkpoint["state_dict"][name].dtype)  # Trainer's precision may be 64-true
    rule.load_state_dict(checkpoint["state_dict"])
    if ahead.untold:
        names = " and ".join(f"{name} ({cls})" for name, cls in ahead.untold.items())
        rank_zero_warn(
            f"{ahead.path} doesn't say all of its {names}, and the rule has its class's own: set it before training on."
        )
    before = training_data_of(checkpoint)
    if data is not None and before is not None:
        now = data.training_data()
        classes = now.class_names or []
        named = classes != [str(k) for k in range(len(classes))]
        try:
            if named:  # else a module of one's own may name them later, in its ``setup``
                require_same_names(before, now)
        except UserError as error:
            cause = str(error).rstrip(".")
            rank_zero_warn(f"The data of {ahead.path} are others by now ({cause}), so they are None.")
            data = None
    return Trained(rule.eval(), data), before


def checkpoint_of(run: str | Path, which: Which = "last") -> Path:
    """Returns the checkpoint that a run's name and ``which`` mean, as in :func:`load`.

    Raises:
        UserError: there is none.
    """
    path = run_named(run)
    if not path.is_dir():
        return path
    newest = newest_checkpoint(path)
    if which == "last":
        return newest
    best = newest.with_name("best.ckpt")
    if not best.is_file():
        raise UserError(
            f"There is no {best}: the run had no validation split, or was not validated yet, so choose last."
        )
    return best


# ------------------------------------------------------------------------------------------------------------ internals


def _from_command_line(config: Mapping[str, Any], path: Path) -> Trained:
    """Returns what the command line's configuration names; data that can't be had here are None."""
    try:
        built: LearningRule = _built("model", LearningRule, config)
    except _NotBuiltError as error:
        cause = str(error)
        rule = _imported(str(config["model"]["class_path"]).rpartition(".")[2], LearningRule)
        if rule is not None and (defaults := defaults_to_name(cause, config, (), rule)):
            named = ", ".join(f"{name}={value!r}" for name, value in defaults.items())
            raise UserError(
                f"What {path} was trained with can't be built here ({cause}): build it by"
                f" {rule.__name__}.load_from_checkpoint({str(path)!r}, {named})."
            ) from error
        raise UserError(
            f"What {path} was trained with can't be built here ({cause}): let Python find the modules of its"
            " classes, as they were."
        ) from error
    try:
        return Trained(built, _built("data", ImageDataModule, config))
    except _NotBuiltError as error:
        name = str(config["data"]["class_path"]).rpartition(".")[2]
        _tell_of_data(path, str(error), name)
        return Trained(built, None)


class _NotBuiltError(Exception):
    """A part of a configuration can't be built; its text says why."""


def _built(part: str, base: type, config: Mapping[str, Any]) -> Any:
    """Returns the object that a part of a configuration names.

    Raises:
        _NotBuiltError: it can't be built.
    """
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(base, part, subclass_mode=True)
    try:
        return parser.instantiate_classes(parser.parse_object({part: config[part]}))[part]
    except Exception as error:  # whatever a class of a user's own raises
        cause = sentence(error)
        if cause is None and part == "model":
            raise
        cause = cause or " ".join(f"{type(error).__name__}: {error}".split())
        raise _NotBuiltError(cause.removesuffix("; --help all lists what there is.").rstrip(".")) from error


def _from_python(config: Mapping[str, Any], checkpoint: Mapping[str, Any], path: Path) -> Trained:
    """Returns what the hyperparameters of a run from Python say, whose classes are known by their names alone."""
    name = config.get("model", {}).get("class_path")
    require(name is not None, f"{path} is of no learning rule of this package: name a checkpoint of one.")
    cls = _imported(name, LearningRule)
    if cls is None:
        raise UserError(f"{path} is of the rule {name}, whose class is not imported: import it, then load again.")
    saved = checkpoint.get("hyper_parameters", {})
    cure = f"build it by {name}.load_from_checkpoint with what is missing"
    if saved.get("layer_sizes") is None and saved.get("network") is None:
        raise UserError(f"{path} doesn't hold its network, which was made of functions: {cure}.")
    told = {part: config["model"]["init_args"].get(part) for part in ("optimizer", "lr_scheduler")}
    if told["lr_scheduler"] is None:  # without a schedule an interval is refused
        saved = {name: value for name, value in saved.items() if name != "lr_scheduler_interval"}
    built = {part: partial(trusted(one["class_path"]), **one["init_args"]) for part, one in told.items() if one}
    with user_errors(f"The rule of {path} can't be built", cure):
        rule = cls(**_arguments(cls, {**saved, **built}))
    return Trained(rule, _data_from_python(config.get("data", {}).get("class_path"), checkpoint, path))


def _data_from_python(name: str | None, checkpoint: Mapping[str, Any], path: Path) -> ImageDataModule | None:
    cls = None if name is None else _imported(name, ImageDataModule)
    if cls is None:
        if name is not None:
            rank_zero_warn(f"{path} was trained on {name}, whose class is not imported: its data are None.")
        return None
    try:
        data: ImageDataModule = cls(**_arguments(cls, checkpoint.get("datamodule_hyper_parameters", {})))
    except Exception as error:  # whatever a class of a user's own raises
        _tell_of_data(path, (sentence(error) or f"{type(error).__name__}: {error}").rstrip("."), name)
        return None
    return data


def _tell_of_data(path: Path, cause: str, name: str | None) -> None:
    rank_zero_warn(
        f"The data of {path} can't be built here ({cause}), so they are None: build {name} yourself, with what has"
        " moved."
    )


def _arguments(cls: type, saved: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those of a checkpoint's arguments that a class takes.

    The others are its base classes', which it sets itself; those with an underscore are Lightning's notes.
    """
    taken = inspect.signature(cls.__init__).parameters.values()  # type: ignore[misc]
    names = saved.keys() if any(p.kind is p.VAR_KEYWORD for p in taken) else {p.name for p in taken}
    return {name: value for name, value in saved.items() if name in names and not name.startswith("_")}


def _imported(name: str, base: type) -> Any:
    """Returns the imported class of a name, of several versions of one, as a notebook makes them, the newest.

    Raises:
        UserError: several classes have the name.
    """
    found: dict[str, type] = {}
    below = [base]
    while below:
        cls = below.pop(0)
        below += cls.__subclasses__()
        if name in (cls.__name__, cls.__qualname__):
            found[f"{cls.__module__}.{cls.__qualname__}"] = cls
    if len(found) > 1:
        raise UserError(f"Several classes are called {name} ({', '.join(found)}): import the one that is meant alone.")
    return next(iter(found.values()), None)
