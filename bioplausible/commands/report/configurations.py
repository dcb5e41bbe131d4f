"""What a run was configured with, in one form whatever it left: config.yaml, or the hyperparameters that it logged."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer

from bioplausible import data as data_modules
from bioplausible.commands.report.nets import gains, net_name
from bioplausible.resume.run_files import HPARAMS, read_resumed, read_yaml
from bioplausible.training.hyperparameters import (
    AVERAGERS,
    IMPLEMENTATION,
    LENGTH,
    LIMITS,
    OF_TRAINING,
    STOPPERS,
    TEST_DIGEST,
)

NO_RESULT = {
    *(f"data.{name}" for name in ("num_workers", "data_dir", "mirror", "evaluation_batch_size")),
    *(f"trainer.{name}" for name in ("logger", "callbacks", "plugins", "profiler", "default_root_dir", "barebones")),
    *(f"trainer.enable_{name}" for name in ("progress_bar", "model_summary", "checkpointing", "autolog_hparams")),
    *(f"trainer.{name}" for name in ("log_every_n_steps", "num_sanity_val_steps", "detect_anomaly", "accelerator")),
    *(f"trainer.{name}" for name in ("limit_predict_batches", "check_val_every_n_epoch")),
    *(f"trainer.{name}" for name in ("val_check_interval", "use_distributed_sampler", "deterministic", "benchmark")),
}
"""Options that bear on no result of training: runs that differ in them alone are seeds of one setting."""

OWN_LOADERS = "dataloaders of its own"
"""In the place of a data module's class, of a run from Python that had none."""

DEFAULTS = {name: p.default for name, p in inspect.signature(Trainer.__init__).parameters.items()}
WHOLE = {"precision": "32-true", **dict.fromkeys(LIMITS, 1.0)}
"""What Trainer makes of options that are None."""

PRECISIONS = {"64": "64-true", "32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}
"""What Trainer makes of short names."""

OF_CALLBACKS = (*STOPPERS, *AVERAGERS, "BatchSizeFinder")
"""Callbacks that bear on results."""

OF_DATA = {
    name
    for module in (getattr(data_modules, name) for name in data_modules.__all__)
    for name in inspect.signature(module).parameters
}
NO_OPTIONS = ("rule", "data", "seed", *OF_TRAINING)
SHOWN = 8
"""Digits of a digest that a reader sees: enough to tell a few data sets apart."""
OF_TRAINER = (*LENGTH, *LIMITS, "precision", "stops_early")


def from_hyperparameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns logged hyperparameters (:func:`bioplausible.training.hyperparameters`) in the form of a config.yaml.

    Raises:
        KeyError: they don't name the rule: an earlier version's, or another program's.
    """
    model: dict[str, Any] = {"optimizer": {"init_args": {}}, "lr_scheduler": {"init_args": {}}}
    data, trainer = {}, {}
    for name, value in values.items():
        part, _, option = name.rpartition(".")
        if part in ("optimizer", "lr_scheduler"):
            model[part]["init_args"][option] = value
        elif name in ("optimizer", "lr_scheduler"):
            model[name]["class_path"] = value
        elif name == "lr":
            model["optimizer"]["init_args"]["lr"] = value
        elif part == "data" or name in OF_DATA:
            data[option] = value
        elif name in OF_TRAINER:
            trainer[name] = value
        elif name not in NO_OPTIONS and part != "lr":  # rates of layers are options of the rule
            model[name] = value
    for part in ("optimizer", "lr_scheduler"):
        if "class_path" not in model[part]:
            del model[part]
    return {
        "seed_everything": values["seed"],
        "trainer": trainer,
        "model": {"class_path": values["rule"], "init_args": model},
        "data": {"class_path": values.get("data", OWN_LOADERS), "init_args": data},
    }


def bearing_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns each option of model, data and Trainer that bears on results, by its name on the command line.

    What is None, or Trainer's default, is left out. The network stands under ``model.network`` by its name, however it
    is written, its gains under ``model.gains``, and a callback by which training may end early, that averages
    weights, or that chooses the batch size, under its own.
    """
    found: dict[str, Any] = {}
    for part in ("model", "data"):
        found[part] = _short(config[part]["class_path"])
        for name, value in (config[part].get("init_args") or {}).items():
            found[f"{part}.{name}"] = plain(value)
    found.pop("model.layer_sizes", None)
    found["model.network"] = net_name(config["model"]["init_args"])
    found["model.gains"] = gains(config["model"]["init_args"]) or None
    trainer = dict(config.get("trainer") or {})
    callbacks = trainer.get("callbacks") or []
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        name = _short(callback["class_path"])
        if name in OF_CALLBACKS:
            found[f"trainer.{name}"] = plain(callback.get("init_args") or "on")
    if "precision" in trainer:
        trainer["precision"] = PRECISIONS.get(str(trainer["precision"]), trainer["precision"])
    if str(trainer.get("devices")) == "1":
        del trainer["devices"]  # what is trained on one says so by nothing else
    for name, value in trainer.items():
        whole = value == WHOLE.get(name) and not isinstance(value, int)  # 1 is one batch
        if value != DEFAULTS.get(name) and not whole:
            found[f"trainer.{name}"] = plain(value)
    return {name: value for name, value in found.items() if name not in NO_RESULT and value is not None}


def plain(value: Any) -> Any:
    """Returns a value without what bears on no result: None, how an optimizer computes, a class's module."""
    if isinstance(value, Mapping):
        kept = {str(name): plain(entry) for name, entry in value.items() if name not in IMPLEMENTATION}
        if "class_path" in kept:
            kept["class_path"] = _short(kept["class_path"])
            (kept.get("init_args") or {}).pop("last_epoch", None)
        return {name: entry for name, entry in kept.items() if entry is not None}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return value


def leaves(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options with those of a class, or of a callback, each under a name of its own, as ``model.optimizer.lr``.

    A class stands under the name of what it is given for, a callback's name under its own: ``on``. What was changed on
    the way is left out, for titles say it anyway.
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        of_class = isinstance(value, Mapping) and "class_path" in value
        if of_class or (isinstance(value, Mapping) and name.rpartition(".")[2] in OF_CALLBACKS):
            found[name] = value["class_path"] if of_class else "on"
            inner = (value.get("init_args") or {}) if of_class else value
            found |= {f"{name}.{option}": entry for option, entry in inner.items()}
        elif name != "run.resumed":
            found[name] = value
    return found


def hyperparameters_at_the_end(folder: Path) -> dict[str, Any]:
    """Returns the hyperparameters with which a run went on when it was last resumed, or started; empty for none."""
    values = dict(read_yaml(folder / HPARAMS, {}))
    for entry in read_resumed(folder):
        values |= entry["changed"]
    return {name: value for name, value in values.items() if value is not None}


def digests(environment: Mapping[str, Any]) -> dict[str, str]:
    """Returns what tells a run's images from others of the same name, as options of the data; empty where none can be.

    Args:
        environment: what it noted in its folder.
    """
    names = (*OF_TRAINING, TEST_DIGEST)
    return {f"data.{name}": str(environment[name])[:SHOWN] for name in names if environment.get(name) is not None}


def came_from(folder: Path) -> list[str]:
    """Returns the checkpoints of other folders from which a run was resumed."""
    return [str(entry["checkpoint"]) for entry in read_resumed(folder) if "checkpoint" in entry]


def changes(folder: Path, config: Mapping[str, Any], resumed: list[int], first_rate: float | None) -> list[str]:
    """Returns what changed when a run was resumed, one text a change: ``from step 780 lr=0.002 (0.001 before)``.

    Args:
        folder: the run's.
        config: its configuration at the end.
        resumed: the steps at which it was resumed, as its log has them.
        first_rate: the learning rate at the first step, where there is one for all layers.
    """
    before = dict(read_yaml(folder / HPARAMS, {}))
    entries = read_resumed(folder)
    if not entries and resumed and "rule" not in before:  # an earlier version did not note it
        return _unnoted(before, config, first_rate)
    found = []
    for entry in entries:
        said = [
            f"{name}={value} ({before.get(name)} before)"
            for name, value in entry["changed"].items()
            if f"data.{name}" not in NO_RESULT and name not in (*LENGTH, "limit_test_batches")
        ]
        before |= entry["changed"]
        if "checkpoint" in entry:
            found.append(f"from step {entry['step']}, what came before lies elsewhere")
        elif said:
            found.append(f"from step {entry['step']} {', '.join(said)}")
    return found


def _unnoted(before: Mapping[str, Any], config: Mapping[str, Any], first_rate: float | None) -> list[str]:
    now = {**(config["model"].get("init_args") or {}), **(config["data"].get("init_args") or {})}
    names = [
        name
        for name, value in before.items()
        if name in now and plain(now[name]) != plain(value) and f"data.{name}" not in NO_RESULT
    ]
    said = [f"{name}={now[name]} ({before[name]} before)" for name in sorted(names)]
    rate = ((now.get("optimizer") or {}).get("init_args") or {}).get("lr")
    if not said and rate is not None and first_rate is not None and not now.get("lr_scheduler"):
        said = [f"lr={rate} ({first_rate:g} before)"] if abs(rate - first_rate) > 1e-5 * rate else []
    return [f"since it was resumed {', '.join(said)}"] if said else []


def _short(class_path: str) -> str:
    return class_path.rpartition(".")[2]
