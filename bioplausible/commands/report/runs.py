"""What a run left, and what it comes to."""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from bioplausible.commands.report.configurations import bearing_options
from bioplausible.commands.report.logs import Log
from bioplausible.commands.report.nets import net_name


@dataclass
class Run:
    """What one run left in its folder.

    Attributes:
        path: the folder with its configuration.
        also_in: further folders, in which other loggers logged it.
        status: ``finished``, or what is wrong with it in words.
        config: its whole configuration, in the form of config.yaml, as it was at the end.
        environment: versions, git commit and machine, where it noted them.
        resumed_in: the same of where it was resumed in something else.
        digests: what tells its images from others of the same name, where there may be others.
        told_apart: of the digests those in which it differs from another run with the same options of the data.
        log: all that it logged.
        epochs: how many had gone to their end in the end, those before it was resumed elsewhere too.
        steps_per_epoch: so many steps has an epoch; None where nothing tells it.
        changed: what was changed when it was resumed, in words.
        stopped_early: whether it ended before its time, by a callback or ``max_time``.
        came_from: checkpoints of other folders from which it was resumed.
        later: a later run that has its seed and counts in its place.
    """

    path: Path
    also_in: list[Path] = field(default_factory=list)
    status: str = "finished"
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    resumed_in: list[dict[str, Any]] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    told_apart: dict[str, str] = field(default_factory=dict)
    log: Log = field(default_factory=Log)
    epochs: int = 0
    steps_per_epoch: int | None = None
    changed: list[str] = field(default_factory=list)
    stopped_early: bool = False
    came_from: list[str] = field(default_factory=list)
    later: "Run | None" = None

    @property
    def finished(self) -> bool:
        """Whether the run went to its end, so that its accuracy counts."""
        return self.status == "finished"

    @property
    def remarks(self) -> list[str]:
        """What a reader should know beside its status."""
        found = [*self.changed, *(f"resumed from {checkpoint}" for checkpoint in self.came_from)]
        found += [f"logged in {folder} too" for folder in self.also_in]
        return found if self.later is None else [*found, f"a later run has its seed: {self.later.path}"]

    @property
    def folders(self) -> list[Path]:
        """All its folders."""
        return [self.path, *self.also_in]

    @property
    def rule(self) -> str:
        """The rule's class."""
        return str(self.config["model"]["class_path"]).rpartition(".")[2]

    @property
    def data(self) -> str:
        """The data module's class."""
        return str(self.config["data"]["class_path"]).rpartition(".")[2]

    @property
    def net(self) -> str:
        """The network in a line (:func:`bioplausible.commands.report.nets.net_name`)."""
        return net_name(self.config["model"]["init_args"])

    @property
    def loss(self) -> str | None:
        """The loss, of rules that have a choice."""
        loss = self.config["model"]["init_args"].get("loss")
        return None if loss is None else str(loss)

    @property
    def seed(self) -> int:
        """The seed."""
        return int(self.config["seed_everything"])

    @property
    def settings(self) -> str:
        """All of model, data and length that bears on results, as text: runs that agree are seeds of one setting."""
        return yaml.safe_dump(_numbers_alike(self.options))

    @property
    def options(self) -> dict[str, Any]:
        """Each option that bears on results (:func:`bearing_options`), the images, and how it departed from them."""
        found = {**bearing_options(self.config), **self.told_apart}
        if self.stopped_early:
            found["trainer.stopped_early"] = True
        if self.changed:
            found["run.resumed"] = "; ".join(self.changed)
        return found

    @property
    def planned(self) -> tuple[int | None, int | None]:
        """How many epochs and how many steps were to be trained; None where there is no limit."""
        trainer = self.config.get("trainer") or {}
        epochs, steps = (trainer.get(name) for name in ("max_epochs", "max_steps"))
        return _limit(epochs), _limit(steps)

    @property
    def curves(self) -> dict[str, dict[int, float]]:
        """Every scalar that it logged, by name."""
        return self.log.curves

    @property
    def ended(self) -> float:
        """Time of the last thing that it logged, in seconds since 1970."""
        return self.log.ended

    @property
    def seconds_per_epoch(self) -> float | None:
        """Median over the epochs (:meth:`bioplausible.commands.report.logs.Log.seconds_per_epoch`)."""
        return self.log.seconds_per_epoch()

    def last(self, name: str) -> float | None:
        """Returns a scalar's last value; one of the test split, where the trained weights' was measured.

        A checkpoint may be tested later too, and what is logged then is not the run's result.
        """
        curve = self.curves.get(name, {})
        if name.startswith("test/"):
            end = max(self.log.trained, default=-1)
            curve = {step: value for step, value in curve.items() if step > end}
        return curve[max(curve)] if curve else None

    def best(self, name: str) -> float | None:
        """Returns a scalar's largest value."""
        return max(self.curves.get(name, {}).values(), default=None)

    def typical(self, name: str) -> float | None:
        """Returns a scalar's median."""
        curve = self.curves.get(name)
        return median(curve.values()) if curve else None


def _numbers_alike(value: Any) -> Any:
    """Returns a value in which 0 and 0.0 are the same number."""
    if isinstance(value, dict):
        return {name: _numbers_alike(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_numbers_alike(entry) for entry in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _limit(value: Any) -> int | None:
    return None if value in (None, -1) else int(value)
