"""What a checkpoint says of a run that was made from Python, where no command line's configuration is in it."""

from collections.abc import Mapping
from typing import Any

from bioplausible.resume.training_data import TRAINING_DATA


def configuration_from_python(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration that the hyperparameters in a checkpoint come to.

    Rule and data module are named by their classes alone, for nothing in a checkpoint says where these lie; of data
    loaders nothing is known. The seed is the checkpoint's own. Optimizer and schedule are no hyperparameters: what
    nobody names of them stays as the checkpoint has it (:mod:`bioplausible.resume.kept_options`).
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
    return config


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, [*value.keys(), *value.values()]))
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return isinstance(value, (bool, int, float, str, type(None)))
