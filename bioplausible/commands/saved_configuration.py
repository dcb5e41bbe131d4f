"""A run's configuration, saved in its folder and in each checkpoint."""

import pkgutil
import re
from enum import Enum
from typing import Any, get_args, get_type_hints

import torch
from jsonargparse import Namespace
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser, SaveConfigCallback

from bioplausible.commands.run_loggers import version_name
from bioplausible.errors import UserError
from bioplausible.resume.checkpoint_files import (
    LOGGER_VERSIONS,
    RUN_CONFIG,
)
from bioplausible.training.loggers import folder_of_run


class SaveRunConfig(SaveConfigCallback):
    """Saves the configuration in the run's folder and in each checkpoint, so that a checkpoint is all one needs."""

    def __init__(self, parser: LightningArgumentParser, config: Namespace, **options: Any) -> None:
        config = config.clone()
        config.ckpt_path = None  # a saved configuration starts a run of its own
        super().__init__(parser, config, **options)
        try:
            # not checked while it is written: reading it back checks it
            self.text: str = parser.dump(config, skip_none=False, skip_validation=True)
            parser.parse_string(self.text, env=False, defaults=False)
            if unsaid := re.search("Unable to serialize instance.*", self.text):
                raise ValueError(unsaid[0])
        except Exception as error:  # whatever the class behind an option raises
            named = [c.class_path for c in as_list(config.trainer.callbacks) if isinstance(c, Namespace)]
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"The configuration can't be saved so that it reads back ({reason}): give the options of"
                f" {', '.join(named) or 'its classes'} as plain values, or leave such a class out."
            ) from error

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Saves nothing: a run that fails before it trains leaves nothing, and evaluating one leaves it as it was."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the configuration in the run's folder."""
        folder = folder_of_run(trainer)
        if folder is not None and trainer.is_global_zero:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.yaml").write_text(self.text)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the configuration to the checkpoint, as YAML text, and the loggers' versions."""
        checkpoint[RUN_CONFIG] = self.text
        if trainer.is_global_zero:
            checkpoint[LOGGER_VERSIONS] = [version_name(logger) for logger in trainer.loggers]


def as_list(value: Any) -> list[Any]:
    """Returns a Trainer option that may be given as nothing, one or several as a list."""
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]


def plain_values(config: Namespace) -> None:
    """Turns defaults that are objects into what one would write for them, so that a saved configuration reads back.

    A member of an enumeration stays where the option is of that enumeration: there it is written by its name. A device
    stays where the option is a device and no text.
    """
    for key, value in list(config.items(branches=False)):
        if isinstance(value, Enum) and not _is_of(type(value), config, key):
            config[key] = value.value
        elif isinstance(value, torch.device) and not _is_of(torch.device, config, key, alone=True):
            config[key] = str(value)
        elif isinstance(value, list):
            for entry in value:
                if isinstance(entry, Namespace):
                    plain_values(entry)


def _is_of(kind: type, config: Namespace, key: str, alone: bool = False) -> bool:
    """Returns whether an option of a class is annotated with a type, beside others or but for None alone."""
    place, _, name = key.rpartition("init_args.")
    try:
        cls = pkgutil.resolve_name(config[f"{place}class_path"])
        builds = [vars(base).get("__init__") for base in cls.__mro__] if isinstance(cls, type) else [cls]
        for hints in map(get_type_hints, filter(None, builds)):
            if name in hints:
                kinds = {hints[name], *get_args(hints[name])}
                return kind in kinds and not (alone and str in kinds)
    except Exception:  # whatever an annotation of the user's raises
        pass
    return False
