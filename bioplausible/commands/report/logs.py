"""What a run logged, read back from TensorBoard's event files or CSVLogger's metrics.csv."""

import csv
import math
import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import SessionLog

from bioplausible.resume.run_files import METRICS

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
        self.resumed = [s for s in self.resumed if s < step]
        for curve in [*self.curves.values(), self.times]:
            for later in [s for s in curve if s >= step]:
                del curve[later]

    @property
    def trained(self) -> list[int]:
        """The steps at which something of training was logged."""
        curves = [curve for name, curve in self.curves.items() if not name.startswith(OF_EVALUATION)]
        return sorted({step for curve in curves for step in curve})

    def steps_per_epoch(self) -> int | None:
        """Returns the number of steps of an epoch, which all have; None where nothing tells it.

        The means of training are logged at the end of an epoch, and where a signal or ``max_steps`` cuts one. Where the
        number of the epoch is logged beside, steps over epochs so far is the length of an epoch, or less for one that
        was cut. Otherwise the length is the smallest with which no epoch is missing.
        """
        ends = [step + 1 for step in sorted(self.curves.get("train/accuracy", {}))]
        begun = {step + 1: int(number) + 1 for step, number in self.curves.get("epoch", {}).items()}
        told = [end // begun[end] for end in ends if end in begun and end % begun[end] == 0]
        possible = [n for n in ends if set(ends).issuperset(range(n, ends[-1] + 1, n))]
        return max(told) if told else min(possible, default=None)

    def whole_epochs(self, length: int | None = None) -> list[int]:
        """Returns the last steps of the epochs that went to their end.

        Args:
            length: steps of an epoch; None: what the log tells.
        """
        length = length or self.steps_per_epoch()
        ends = sorted(self.curves.get("train/accuracy", {}))
        return [end for end in ends if length is not None and (end + 1) % length == 0]

    def epochs(self, length: int | None = None) -> int:
        """Returns how many epochs had gone to their end at the last one of them, wherever they were logged.

        Args:
            length: steps of an epoch; None: what the log tells.
        """
        length = length or self.steps_per_epoch()
        ends = self.whole_epochs(length)
        return (ends[-1] + 1) // length if ends and length is not None else 0

    def seconds_per_epoch(self) -> float | None:
        """Returns the median time from one epoch's end to the next one's, validation included.

        An epoch in which training was resumed is left out: its time holds the pause. None where no epoch is left.
        """
        ends = [step for step in self.whole_epochs() if step in self.times]
        seconds = [
            self.times[end] - self.times[start]
            for start, end in pairwise(ends)
            if not any(start < step <= end for step in self.resumed)
        ]
        return median(seconds) if seconds else None

    def agrees(self, other: "Log") -> bool:
        """Returns whether two logs may be of one run: what both hold of training is the same.

        TensorBoard's are in single precision.
        """
        for name in self.curves.keys() & other.curves.keys():
            mine, theirs = self.curves[name], other.curves[name]
            if not name.startswith(OF_EVALUATION):
                for step in mine.keys() & theirs.keys():
                    a, b = mine[step], theirs[step]
                    if not math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-30) and not (math.isnan(a) and math.isnan(b)):
                        return False
        return True


def read_log(folder: Path) -> Log:
    """Returns what lies in a run's folder; an empty log where nothing was logged."""
    events = sorted(folder.glob("events.out.tfevents.*"), key=_age)
    if events:
        return _read_events(events)
    return _read_metrics(folder / METRICS) if (folder / METRICS).is_file() else Log()


def _age(file: Path) -> str:
    """Returns by what event files are sorted: time, host, process and number, 10 after 9."""
    return re.sub(r"\d+", lambda number: number[0].zfill(20), file.name)


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
