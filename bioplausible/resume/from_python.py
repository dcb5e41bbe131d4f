"""What a checkpoint says of a run that was made from Python, where no command line's configuration is in it."""

from collections.abc import Mapping
from typing import Any

from bioplausible.resume.configured_rates import ConfiguredRates
from bioplausible.resume.told_callables import told_optimizer, told_schedule
from bioplausible.resume.training_data import TRAINING_DATA


def configuration_from_python(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration that the hyperparameters in a checkpoint come to.

    Rule and data module are named by their classes alone, for nothing in a checkpoint says where these lie; of data
    loaders nothing is known. The seed is the checkpoint's own. Optimizer and schedule are no hyperparameters: they are
    what the run built, whatever built it; :func:`untold_callables` has those that this can't say.
    """
    config: dict[str, Any] = {"seed_everything": False}
    for part, name, options in (
        ("model", checkpoint.get("learning_rule", {}).get("name"), "hyper_parameters"),
        ("data", checkpoint.get(TRAINING_DATA, {}).get("dataset"), "datamodule_hyper_parameters"),
    ):
        if name is not None:
            saved = checkpoint.get(options, {}).items()
            # an underscore marks what the command line notes for itself
            values = {key: value for key, value in saved if not key.startswith("_") and _is_plain(value)}
            config[part] = {"class_path": name, "init_args": values}
    if "model" in config:
        config["model"]["init_args"] |= {name: told for name, told in noted_callables(checkpoint).items() if told}
    return config


def untold_callables(checkpoint: Mapping[str, Any]) -> dict[str, str]:
    """Returns the classes of optimizer and schedule that trained and whose options a checkpoint does not say."""
    saved = _noted(checkpoint)
    return {
        name: saved[f"{name}_class"] or saved[name]
        for name, told in noted_callables(checkpoint).items()
        if told is None
    }


def noted_callables(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Returns optimizer and schedule that trained, as a configuration names them; None for one that it can't."""
    saved = _noted(checkpoint)
    if not saved:
        return {}
    schedule = {} if saved["lr_scheduler"] == "none" else {"lr_scheduler": told_schedule(saved)}
    return {"optimizer": told_optimizer(saved), **schedule}


def _noted(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns what the run noted of optimizer and schedule; nothing where it holds weights alone."""
    noted: Mapping[str, Any] = checkpoint.get("callbacks", {}).get(ConfiguredRates().state_key, {})
    return noted


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, [*value.keys(), *value.values()]))
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return isinstance(value, (bool, int, float, str, type(None)))
