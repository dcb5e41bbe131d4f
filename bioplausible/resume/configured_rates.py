"""Learning rates and other options of optimizer and scheduler that are changed when training resumes."""

import inspect
from functools import partial
from typing import Any, cast

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_warn
from torch.optim import Optimizer

from bioplausible.errors import UserError
from bioplausible.lightning_internals import SCHEDULERS_WITHIN
from bioplausible.resume.averaged_weights import averaging_under_way
from bioplausible.resume.earlier_versions import require_moved_by_the_rule
from bioplausible.resume.kept_options import keep_optimizer, keep_rates, keep_schedule, require_same_options
from bioplausible.resume.told_callables import class_path, plain_state, told_optimizer, told_schedule, trusted

NEED_STATE = frozenset({"amsgrad", "centered", "momentum"})
"""Options that an optimizer (but for SGD's momentum) can't switch on later, for it keeps a state for them."""


OF_SCHEDULE = ("lr_scheduler", "lr_scheduler_class", "lr_scheduler_options")
"""What is noted of a schedule besides its state."""


class ConfiguredRates(Callback):
    """Makes options of the optimizer and the scheduler that differ from those of the checkpoint's run take effect.

    Restoring a checkpoint overwrites all options with the saved ones. This callback saves what was configured beside
    them; on resume, an option that is now configured differently takes its new value, all others keep the restored
    one. A rate that a schedule has changed meanwhile keeps that factor: lr ← (lr / configured before) · configured
    now. A changed schedule acts from its next step on.

    An optimizer, a schedule or a rate that nobody named is not configured at all: the checkpoint's is taken, not the
    class's default (:mod:`bioplausible.resume.kept_options`).
    """

    def __init__(self) -> None:
        self._before: dict[str, Any] = {}
        self._now: dict[str, Any] = {}
        self._built: dict[str, Any] = {}
        self._schedule_is_kept = self._averages = False

    def state_dict(self) -> dict[str, Any]:
        """Returns the options that were configured."""
        return self._now

    @property
    def groups(self) -> list[dict[str, Any]]:
        """Each group's options as they were configured, whatever a schedule has made of them."""
        return cast(list[dict[str, Any]], self._now["groups"])

    @property
    def schedule_is_of_average(self) -> bool:
        """Whether training resumes where an average's own schedule is in place of the rule's."""
        return self._averages

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forgets the checkpoint of an earlier run: one that was tested, or from which training did not go on."""
        self._before, self._schedule_is_kept, self._averages = {}, False, False

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps the options that were configured in the checkpoint's run."""
        self._before = state_dict

    def note_built(self, optimizer: Optimizer, own: list[dict[str, Any]], schedule: Any) -> None:
        """Notes what an optimizer was built with, before a schedule changes it: whoever built it is not asked.

        Args:
            optimizer: the optimizer.
            own: the groups of parameters that it was given; one may have split or joined them.
            schedule: builds the schedule; None for none.
        """
        options, by_group = dict(optimizer.defaults), len(own) != len(optimizer.param_groups)
        differ = {"params"} if by_group else set()
        for name in () if by_group else optimizer.defaults:
            pairs = list(zip(optimizer.param_groups, own, strict=True))
            values = [group[name] for group, given in pairs if name not in given]
            if any(value != values[0] for value in values) or any(g[name] != o[name] for g, o in pairs if name in o):
                differ.add(name)
            elif values:
                options[name] = values[0]
            else:  # each group has its own, and the optimizer's would do nothing
                del options[name]
        named = isinstance(schedule, partial) and isinstance(schedule.func, type) and not schedule.args
        self._built = {
            "optimizer_defaults": plain_state(options),
            "options_by_group": sorted(differ),
            "lr_scheduler_options": plain_state(schedule.keywords) if named else None,
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Gives a rule the checkpoint's optimizer, schedule and rates where it was given none of its own.

        Raises:
            UserError: training would go on with another option that nobody named, or the optimizer must be named.
        """
        require_same_options(pl_module, checkpoint, bool(trainer.training))
        saved = checkpoint.get("callbacks", {}).get(self.state_key)
        if not trainer.training or saved is None:
            return
        require_moved_by_the_rule(pl_module, checkpoint, saved)
        keep_rates(pl_module, checkpoint)
        keep_optimizer(pl_module, saved)
        self._averages = bool(averaging_under_way(trainer, checkpoint))
        self._schedule_is_kept = self._averages or keep_schedule(pl_module, saved, checkpoint)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the options, before the checkpoint's are restored.

        Raises:
            UserError: the checkpoint's state fits no such optimizer or scheduler.
        """
        optimizers = list(trainer.optimizers)
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        self._now = {
            "optimizer": ", ".join(type(o).__name__ for o in optimizers),
            "optimizer_class": class_path(optimizers[0]) if len(optimizers) == 1 else "",
            "optimizer_defaults": plain_state(optimizers[0].defaults) if len(optimizers) == 1 else {},
            "lr_scheduler": ", ".join(type(s).__name__ for s in schedulers) or "none",
            "lr_scheduler_class": class_path(schedulers[0]) if len(schedulers) == 1 else "",
            "groups": [plain_state({**group, "lr": group.get("initial_lr", group["lr"])}) for group in groups],
            "schedules": [plain_state(s.state_dict()) for s in schedulers],
        } | (self._built if len(optimizers) == 1 else {})
        if not self._before:
            return
        then, groups_now = len(self._before["groups"]), len(self._now["groups"])
        if then != groups_now:
            raise UserError(
                f"The checkpoint's optimizer has {then} group{'s' * (then > 1)} of parameters and this one"
                f" {groups_now}: give each layer a rate of its own, or all one, as in the checkpoint, or train anew."
            )
        if self._schedule_is_kept:
            self._keep_what_was_configured(pl_module)
        for part in ("optimizer", "lr_scheduler"):
            before, now = self._before[part], self._now[part]
            paths = [options.get(f"{part}_class", "") for options in (self._before, self._now)]
            if all(paths) and (trusted(paths[0]) is None) != (trusted(paths[1]) is None):
                before, now = paths  # namesakes
            if before != now:
                raise UserError(
                    f"The checkpoint was trained with {part} {before}, not {now}, and its state fits no other: resume"
                    f" with {before}{self._options_before(part)}, or train anew."
                )
        for before, now in zip(self._before["groups"], self._now["groups"], strict=True):
            for name in NEED_STATE & _changed(before, now).keys():
                if now[name] and not before[name] and (name != "momentum" or self._now["optimizer"] != "SGD"):
                    raise UserError(
                        f"The checkpoint was trained without {name} and holds no state for it: resume without, or"
                        " train anew."
                    )
        for before, now in zip(self._before["schedules"], self._now["schedules"], strict=True):
            if SCHEDULERS_WITHIN in _changed(before, now):
                raise UserError(
                    f"The schedules within {self._now['lr_scheduler']} differ from those of the checkpoint, and can't"
                    " be changed on the way: resume without the change, or train anew."
                )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Applies the options that differ, after the checkpoint's were restored."""
        if not self._before:
            return
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        configured = list(zip(groups, self._before["groups"], self._now["groups"], strict=True))
        factors = [group["lr"] / before["lr"] if before["lr"] else None for group, before, _ in configured]
        common = next((factor for factor in factors if factor is not None), 1.0)  # a rate of 0 does not tell its own
        said: dict[str, None] = {}
        for (group, before, now), factor in zip(configured, factors, strict=True):
            changed = _changed(before, now)
            said |= _said(before, changed)
            group.update(changed)
            if "lr" in changed:
                group["lr"] = now["lr"] * (common if factor is None else factor)
        if not self._averages:  # the schedule is the average's
            schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
            for scheduler, *schedule in zip(schedulers, self._before["schedules"], self._now["schedules"], strict=True):
                changed = _changed(*schedule)
                said |= _said(schedule[0], changed)
                vars(scheduler).update(changed)
        if said:
            rank_zero_warn(f"Training goes on with other options than the checkpoint's: {', '.join(said)}.")
        self._before, self._schedule_is_kept, self._averages = {}, False, False

    def _options_before(self, part: str) -> str:
        """Returns the checkpoint's options of optimizer or schedule, to be named with its class: they would be lost."""
        told = (told_optimizer if part == "optimizer" else told_schedule)(self._before)
        if told is None:
            return "" if self._before[part] == "none" else " and the options that it had"
        known = inspect.signature(trusted(told["class_path"])).parameters
        options = [f"{n}={v}" for n, v in told["init_args"].items() if v != known[n].default and v is not None]
        return f" and its options {', '.join(options)}" if options else ""

    def _keep_what_was_configured(self, pl_module: LightningModule) -> None:
        """Takes over what was configured before, for a kept schedule is in the state that it had come to.

        What it set of the optimizer's options where it was built, it has not set now.
        """
        then, now = self._before["optimizer_defaults"], self._now["optimizer_defaults"]
        rates, groups = [], self._now["groups"]
        given = cast(Any, pl_module).parameter_groups()
        given = given if len(given) == len(groups) else [{}] * len(groups)  # a function has split or joined them
        for group, before, own in zip(groups, self._before["groups"], given, strict=True):
            for name in group.keys() - own.keys():
                if then.get(name) == now.get(name):
                    group[name] = before.get(name, group[name])
            group |= {name: value for name, value in before.items() if name not in group}  # notes of the schedule's
            named = group["lr"] != before["lr"]
            rates.append(group["lr"] if named else None)
            if named and "initial_lr" in group:
                group["initial_lr"] = group["lr"]
        schedules = [dict(schedule) for schedule in self._before["schedules"]]
        for schedule in schedules:
            if "base_lrs" in schedule:
                bases = zip(schedule["base_lrs"], rates, strict=True)
                schedule["base_lrs"] = [base if rate is None else rate for base, rate in bases]
        self._now |= {name: self._before[name] for name in OF_SCHEDULE if name in self._before}
        self._now["schedules"] = schedules


def _changed(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in now.items() if before.get(name, value) != value}


def _said(before: dict[str, Any], changed: dict[str, Any]) -> dict[str, None]:
    """Returns what changed, in words, each once; initial and base rates are the rates again."""
    again = ("initial_lr", "base_lrs")
    return {f"{name} {value} instead of {before[name]}": None for name, value in changed.items() if name not in again}
