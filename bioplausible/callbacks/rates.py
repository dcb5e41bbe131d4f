"""Learning rates and other options of optimizer and scheduler that are changed when training resumes."""

from copy import copy
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from bioplausible.errors import UserError


class ConfiguredRates(Callback):
    """Makes options of the optimizer and the scheduler that differ from those of the checkpoint's run take effect.

    Restoring a checkpoint overwrites all options with the saved ones. This callback saves what was configured beside
    them; on resume, an option that is now configured differently takes its new value, all others keep the restored
    one. A rate that a schedule has changed meanwhile is scaled: lr ← lr · (configured now) / (configured before). A
    changed schedule acts from its next step on.
    """

    def __init__(self) -> None:
        self._before: dict[str, Any] = {}
        self._now: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """Returns the options that were configured."""
        return self._now

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps the options that were configured in the checkpoint's run."""
        self._before = state_dict

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the options, before the checkpoint's are restored.

        Raises:
            UserError: the checkpoint's state belongs to another optimizer or scheduler.
        """
        optimizers = list(trainer.optimizers)
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        self._now = {
            "optimizer": ", ".join(type(o).__name__ for o in optimizers),
            "lr_scheduler": ", ".join(type(s).__name__ for s in schedulers) or "none",
            "groups": [_plain({name: v for name, v in group.items() if name != "params"}) for group in groups],
            "schedules": [_plain(s.state_dict()) for s in schedulers],
        }
        for part in ("optimizer", "lr_scheduler"):
            saved = self._before.get(part, self._now[part])
            if saved != self._now[part]:
                raise UserError(
                    f"The checkpoint was trained with {part} {saved}, not {self._now[part]}, and its state fits no"
                    f" other: resume with {saved}, or train anew."
                )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Applies the options that differ, after the checkpoint's were restored."""
        if not self._before:
            return
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        for group, before, now in zip(groups, self._before["groups"], self._now["groups"], strict=True):
            for name, value in _changed(before, now).items():
                scaled = name == "lr" and group[name] != before[name] and before[name] != 0
                group[name] = group[name] * value / before[name] if scaled else value
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        for scheduler, before, now in zip(schedulers, self._before["schedules"], self._now["schedules"], strict=True):
            # names with an underscore are the scheduler's own books
            vars(scheduler).update({k: v for k, v in _changed(before, now).items() if not k.startswith("_")})
        self._before = {}


def _changed(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in now.items() if before.get(name, value) != value}


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Returns the options that a checkpoint holds as plain values."""
    plain = (bool, int, float, str, type(None), list, tuple, dict)
    return {name: copy(value) for name, value in options.items() if isinstance(value, plain)}
