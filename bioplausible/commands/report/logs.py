"""What a run logged, read back from TensorBoard's event files or CSVLogger's metrics.csv."""

import csv
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import SessionLog

from bioplausible.resume.run_folders import METRICS

Curve = dict[int, float]
"""Values by training step."""

OF_EVALUATION = ("test/", "val/", "epoch", "hp_metric")
"""How scalars begin that evaluating a checkpoint logs too."""


@dataclass
class Log:
    """All that a run logged.

    Attributes:
        curves: every scalar, by name.
        times: when the training means were logged, in seconds since 1970, by step; empty where the log does not say.
        ended: time of the last thing that was logged.
        resumed: the steps at which training was resumed.
        runs: how many runs logged here, as far as it can be told.
    """

    curves: dict[str, Curve] = field(default_factory=dict)
    times: Curve = field(default_factory=dict)
    ended: float = 0.0
    resumed: list[int] = field(default_factory=list)
    runs: int = 1

    def drop(self, step: int) -> None:
        """Drops all from a step on: it was taken back."""
        for curve in [*self.curves.values(), self.times]:
            for later in [s for s in curve if s >= step]:
                del curve[later]

    @property
    def trained(self) -> list[int]:
        """The steps at which something of training was logged."""
        curves = [curve for name, curve in self.curves.items() if not name.startswith(OF_EVALUATION)]
        return sorted({step for curve in curves for step in curve})

    def whole_epochs(self, steps: int | None = None) -> list[int]:
        """Returns the last steps of the epochs that went to their end.

        The means of training are logged at the end of an epoch, and where a signal or ``max_steps`` cuts one. All
        epochs have the same number of steps: whole are those that end at a multiple of it. The log tells it by the
        number of the epoch where that is logged beside; otherwise it is the smallest with which no epoch is missing.

        Args:
            steps: of an epoch, where it is known otherwise.
        """
        ends = [step + 1 for step in sorted(self.curves.get("train/accuracy", {}))]
        epoch = {step + 1: number for step, number in self.curves.get("epoch", {}).items()}
        told = Counter(end / (epoch[end] + 1) for end in ends if end in epoch)
        possible = [n for n in ends if set(ends).issuperset(range(n, ends[-1] + 1, n))]
        length = steps or (told.most_common(1)[0][0] if told else min(possible, default=1))
        return [end - 1 for end in ends if end % length == 0]

    def seconds_per_epoch(self) -> float | None:
        """Returns the median over the epochs, validation included; None before two epochs."""
        times = [self.times[step] for step in self.whole_epochs() if step in self.times]
        return median(b - a for a, b in pairwise(times)) if len(times) > 1 else None


def read_log(folder: Path) -> Log:
    """Returns what lies in a run's folder; an empty log where nothing was logged."""
    events = sorted(folder.glob("events.out.tfevents.*"))
    if events:
        return _read_events(events)
    return _read_metrics(folder / METRICS) if (folder / METRICS).is_file() else Log()


def _read_events(files: list[Path]) -> Log:
    log = Log()
    for file in files:
        # by the files so far; what comes in this one again, without a word, is another run's
        before = {name: (min(curve), max(curve)) for name, curve in log.curves.items() if curve}
        for event in LegacyEventFileLoader(str(file)).Load():
            if event.HasField("session_log") and event.session_log.status == SessionLog.START:
                log.drop(event.step)
                log.resumed.append(event.step)
                before = {}
            for value in event.summary.value:
                if not value.HasField("simple_value"):
                    continue
                first, last = before.get(value.tag, (event.step, event.step - 1))
                if event.step <= last and not value.tag.startswith(OF_EVALUATION):
                    before = {}
                    if event.step <= first:
                        log.runs += 1
                    else:  # a Trainer resumed it that does not say so in the log
                        log.drop(event.step)
                        log.resumed.append(event.step)
                log.curves.setdefault(value.tag, {})[event.step] = value.simple_value
                log.ended = max(log.ended, event.wall_time)
                if value.tag == "train/accuracy":
                    log.times[event.step] = event.wall_time
    return log


def _read_metrics(file: Path) -> Log:
    log = Log(ended=file.stat().st_mtime)
    with file.open(newline="") as content:
        for row in csv.DictReader(content):
            step = int(row.pop("step"))
            for name, value in row.items():
                if value:
                    log.curves.setdefault(name, {})[step] = float(value)
    return log
