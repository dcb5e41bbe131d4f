"""What the report makes of runs: its page, its tables and files, and its figures."""

import base64
import csv
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

import numpy as np
import yaml
from torch.utils.tensorboard import SummaryWriter

from bioplausible.commands import report
from bioplausible.commands.report import arguments
from bioplausible.commands.report.markdown import NOTES
from tests.helpers import CONFIGS
from tests.oracles.shown.catching import ENVIRONMENT, WHITE, catching
from tests.oracles.shown.keeping import Lines, Shown

STEPS = 10
"""Of an epoch."""

VERBATIM = ("settings.csv",)
"""Tables that are kept as they are."""


@dataclass
class Left:
    """What a run leaves.

    Attributes:
        folder: below that of all runs.
        recipe: its recipe's name.
        seed: of the run.
        test: its test accuracy; None where it was not tested.
        epochs: how many it trained.
        planned: how many it was to train; None: as many.
        changes: options of the recipe that it had otherwise, by their names, as ``model.beta``.
        more: further scalars, by name a value at each epoch's end.
        start: when it began, in seconds since 1970.
        pace: seconds an epoch takes: every third one takes half as long again.
        machine: what its environment.yaml says beside.
        form: of its log, ``events`` or ``csv``.
    """

    folder: str
    recipe: str
    seed: int
    test: float | None
    epochs: int = 4
    planned: int | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Callable[[int], float]] = field(default_factory=dict)
    start: float = 1000.0
    pace: float = 7.0
    machine: Mapping[str, Any] = field(default_factory=dict)
    form: str = "events"

    def config(self) -> dict[str, Any]:
        """Returns its configuration."""
        config: dict[str, Any] = yaml.safe_load((CONFIGS / f"{self.recipe}.yaml").read_text())
        config["seed_everything"] = self.seed
        config["trainer"]["max_epochs"] = self.epochs if self.planned is None else self.planned
        for name, value in self.changes.items():
            part, _, option = name.partition(".")
            (config["trainer"] if part == "trainer" else config[part].setdefault("init_args", {}))[option] = value
        return config

    def scalars(self) -> Iterator[tuple[str, int, float, float]]:
        """Yields name, step, value and time of all that it logged."""
        curves: dict[str, Callable[[int], float]] = {
            "train/accuracy": lambda e: 1 - 0.5 / (e + 1 + self.seed / 7),
            "train/loss": lambda e: 1 / (e + 1.5) + self.seed / 50,
            "throughput/samples_per_second": lambda e: 1000 + 37 * self.seed + 100 * (e % 3),
            "epoch": float,
        }
        at = self.start
        for epoch in range(self.epochs):
            at += self.pace * (1.5 if epoch % 3 == 2 else 1)
            for name, curve in {**curves, **self.more}.items():
                if (value := curve(epoch)) is not None:
                    yield name, (epoch + 1) * STEPS - 1, value, at
        if self.test is not None:
            yield "test/accuracy", self.epochs * STEPS, self.test, at + 1
            yield "test/loss", self.epochs * STEPS, 1 - self.test, at + 1
            if "val/loss" in self.more:  # fit validates its last weights once more, after their last step
                yield "val/accuracy", self.epochs * STEPS, self.more["val/accuracy"](self.epochs - 1) + 2e-3, at + 2

    def write(self, runs: Path) -> Path:
        """Writes it, and returns its folder."""
        folder = runs / self.folder
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(self.config()))
        (folder / "environment.yaml").write_text(yaml.safe_dump({**ENVIRONMENT, **self.machine}))
        if self.form == "csv":
            self._write_csv(folder / "metrics.csv")
        else:
            log(folder, self.scalars())
        return folder

    def _write_csv(self, file: Path) -> None:
        found = list(self.scalars())
        names = list(dict.fromkeys(name for name, *_ in found))
        with file.open("w", newline="") as content:
            writer = csv.DictWriter(content, ["step", *names])
            writer.writeheader()
            for step, rows in groupby(found, key=lambda row: row[1]):
                writer.writerow({"step": step, **{name: value for name, _, value, _ in rows}})
        os.utime(file, (found[-1][3],) * 2)


def log(folder: Path, scalars: Iterator[tuple[str, int, float, float]], purge_step: int | None = None) -> None:
    """Writes an event file, another one where a run goes on."""
    board = SummaryWriter(str(folder), purge_step=purge_step)
    for name, step, value, at in scalars:
        board.add_scalar(name, value, step, walltime=at)
    board.close()


def costs(each: float, first: float, last: float) -> dict[str, Callable[[int], float]]:
    """Returns curves of an accuracy after each epoch, and of what the epochs cost."""
    return {
        "test_each_epoch/accuracy": lambda e: last - (last - first) / (e + 1) ** 2,
        "cost/core_seconds": lambda e: each * (e + 1),
        "cost/teraoperations": lambda e: each * (e + 1) ** 1.1 / 300,
    }


def validation(values: list[float]) -> dict[str, Callable[[int], float]]:
    """Returns a curve of validation accuracies, the last of which is not always the best."""
    return {"val/accuracy": lambda e: values[e], "val/loss": lambda e: 1 - values[e] / 2}


ANGLES: dict[str, Callable[[int], float]] = {
    "alignment/layer_2_angle": lambda e: 88 - 3 * e**0.5,
    "alignment/layer_10_angle": lambda e: 70 - e,
    "alignment/layer_2_cosine": lambda e: 0.1 * e - 0.2,
    "alignment/layer_3_from_1_cosine": lambda e: 0.3 + 0.01 * e,
}


def fashion() -> Iterator[Left]:
    """Yields runs that all logged what they cost: of four rules, one of them with two settings."""
    ep = "fashion_mnist/equilibrium_propagation"
    for seed, test in ((1, 0.8712), (2, 0.8803), (3, 0.8759), (10, 0.8698)):
        yield Left(f"fashion/ep/{seed}", ep, seed, test, 50, more={**costs(30 + seed, 0.7, 0.87), **ANGLES})
    for seed, test in ((0, 0.8912), (1, 0.8837), (2, 0.8901)):
        yield Left(f"fashion/ep_beta/{seed}", ep, seed, test, 6, changes={"model.beta": 0.35}, more=costs(50, 0.6, 0.9))
    for seed, test in ((0, 0.8941), (1, 0.8958), (2, 0.8943), (3, 0.9)):
        more = costs(4 + seed / 8, 0.72, 0.89)
        yield Left(f"fashion/bp/{seed}", "fashion_mnist/backpropagation", seed, test, 50, more=more, pace=2.0)
    for seed, test in ((0, 0.8872), (1, 0.8791), (2, 0.8811), (3, 0.8699), (4, 0.8823)):
        more = {**costs(6, 0.65 + seed / 100, 0.88), "alignment/layer_2_angle": lambda e: 90 - e}
        yield Left(f"fashion/fa/{seed}", "fashion_mnist/feedback_alignment", seed, test, 8, more=more)


def mnist() -> Iterator[Left]:
    """Yields runs of which some were validated, and none logged a cost but by the clock."""
    for seed, test in ((0, 0.971), (1, 0.969), (2, 0.974)):
        curve = {**costs(3 + seed / 9, 0.5, 0.9), **validation([0.9, 0.95, 0.97 + seed / 1000, 0.96])}
        yield Left(f"mnist/csm/{seed}", "mnist/contrastive_similarity_matching", seed, test, more=curve, pace=5.0)
        same = {**costs(8, 0.5, 0.9), **validation([0.8, 0.9, 0.91, 0.92 + seed / 500])}
        del same["test_each_epoch/accuracy"]
        yield Left(f"mnist/cim/{seed}", "mnist/corinfomax", seed, test - 0.03, more=same, pace=9.0)
    for seed, test in ((5, 0.981), (6, 0.984)):  # other seeds than all others
        yield Left(f"mnist/pc/{seed}", "mnist/predictive_coding", seed, test, machine={"threads": 8})
    for seed in (0, 1, 2):
        sparse = {"val/accuracy": lambda e, s=seed: None if e == s else 0.9 + e / 100 - s / 50}  # logged at other steps
        yield Left(f"mnist/bp/{seed}", "mnist/backpropagation", seed, 0.98 + seed / 900, 5, more=sparse)
    yield Left("mnist/bp/later", "mnist/backpropagation", 2, 0.987, 5, start=9000.0)
    yield Left("mnist/csv/0", "mnist/feedback_alignment", 0, 0.95, 3, form="csv", more=validation([0.5, 0.7, 0.6]))
    lost = {"train/loss": lambda e: float("nan") if e == 1 else 0.5, "alignment/layer_2_cosine": lambda e: np.inf}
    yield Left("mnist/nan/1", "mnist/feedback_alignment", 1, 0.9, 3, more=lost)


def states() -> Iterator[Left]:
    """Yields runs in other states: cut, not tested, stopped early, on another network."""
    yield Left("states/cut", "cifar10/corinfomax", 0, None, 2, planned=5)
    early = {"test/accuracy": lambda e: 0.4 if e == 1 else None}  # a checkpoint was tested, not what it ended with
    yield Left("states/untested", "cifar10/corinfomax", 1, None, 3, more=early)
    within = {"train/accuracy": lambda e: 0.3 + e / 10}
    yield Left("states/within", "cifar10/corinfomax", 4, None, 2, planned=5, more=within)
    stopper = [{"class_path": "EarlyStopping", "init_args": {"monitor": "val/accuracy"}}]
    yield Left("states/early", "cifar10/corinfomax", 2, 0.45, 2, planned=5, changes={"trainer.callbacks": stopper})
    yield Left("states/steps", "cifar10/corinfomax", 3, 0.46, 3, planned=-1, changes={"trainer.max_steps": 30})
    for seed, test in ((0, 0.5), (1, 0.512), (2, 0.519), (9, 0.9)):  # ahead by a seed that the other one has not
        yield Left(f"states/flip/bp/{seed}", "cifar10/backpropagation_3layer", seed, test, 3)
        if seed < 9:
            fa = "cifar10/feedback_alignment_3layer_cross_entropy"
            yield Left(f"states/flip/fa/{seed}", fa, seed, test + 0.05 + seed / 900, 3)
            yield Left(f"states/flip/cim/{seed}", "cifar10/corinfomax_3layer", seed, test - 0.2 + seed / 800, 3)
    averager = [{"class_path": "StochasticWeightAveraging", "init_args": {"swa_lrs": 0.01}}]
    averaged = {"model.step_size": 0.5, "trainer.callbacks": averager}
    yield Left("states/tie/swa", "digits/equilibrium_propagation_conv", 1, 0.93, 3, changes=averaged)
    yield Left("states/tie/0", "digits/backpropagation_conv", 0, 0.95, 3)
    for size, test, pace in ((0.3, 0.92, 0.8), (0.5, 0.94, 0.4), (0.7, 0.95, 0.31), (1.0, 0.95, 0.57)):
        of_size = {"model.step_size": size}
        yield Left(f"states/tie/{size}", "digits/equilibrium_propagation_conv", 0, test, 3, changes=of_size, pace=pace)


def resumed(runs: Path) -> None:
    """Writes runs that were resumed: with another rate, in another folder, and one whose log has a second session."""
    options = {"model.step_size": 0.07}
    rate = Left("resumed/rate", "digits/corinfomax", 0, 0.95, 4, changes=options).write(runs)
    (rate / "hparams.yaml").write_text("rule: CorInfoMax\nstep_size: 0.05\nbeta: 1.0\nseed: 0\n")
    (rate / "resumed.yaml").write_text("- {step: 20, changed: {step_size: 0.07, num_workers: 2}}\n")
    there = Left("resumed/elsewhere", "digits/corinfomax", 1, 0.94, 4).write(runs)
    (there / "resumed.yaml").write_text("- {step: 20, checkpoint: other/last.ckpt, changed: {}}\n")
    # what its first session logged from step 25 on was taken back, and not all of it is logged again
    again = Left("resumed/again", "digits/corinfomax", 2, None, 3, planned=5, more=ANGLES)
    folder = again.write(runs)
    on = Left("resumed/again", "digits/corinfomax", 2, 0.96, 5, start=5000.0)
    log(folder, (one for one in on.scalars() if one[1] >= 25), purge_step=25)
    for seed, step in enumerate((15, 20, 29)):  # of so few epochs that one with a pause would show in their median
        begun = Left(f"resumed/short/{seed}", "digits/backpropagation", seed, None, step // STEPS, planned=3)
        whole = Left(begun.folder, begun.recipe, seed, 0.9 + seed / 100, 3, start=5000.0, pace=5.0 + seed)
        log(begun.write(runs), (one for one in whole.scalars() if one[1] >= step), purge_step=step)
    (folder / "figures").mkdir()
    for name in ("settling", "confusion_matrix", "of_something_else"):
        (folder / "figures" / f"{name}.png").write_bytes(WHITE)


def write_all(runs: Path) -> None:
    """Writes all runs into a folder."""
    for one in (*fashion(), *mnist(), *states()):
        one.write(runs)
    resumed(runs)
    cut = (("train/accuracy", 23, 0.45, 2000.0), ("epoch", 23, 2.0, 2000.0))  # by a limit of steps, in the third epoch
    log(runs / "states/within", iter(cut))
    (runs / "states/broken").mkdir()
    (runs / "states/broken/config.yaml").write_text("model: [\n")
    python = Left("states/python", "digits/feedback_alignment", 4, 0.91, 3).write(runs)
    (python / "config.yaml").unlink()
    hparams = {
        "rule": "bioplausible.FeedbackAlignment",
        "layer_sizes": [64, 30, 10],
        "loss": "cross_entropy",
        "lr": 0.1,
    }
    hparams |= {"data": "bioplausible.DigitsDataModule", "batch_size": 20, "seed": 4, "max_epochs": 3}
    (python / "hparams.yaml").write_text(yaml.safe_dump(hparams))
    many = {"alignment/layer_2_angle": lambda e: 90 - e / 9}  # more points than a curve shows
    Left("states/long", "mnist/pepita", 0, 0.5, 410, more=many).write(runs)
    two = Left("states/two", "digits/pepita", 0, 0.5).write(runs)
    log(two, Left("states/two", "digits/pepita", 1, 0.6).scalars())


CASES: dict[str, list[str]] = {
    "all": [""],
    "one run": ["resumed/again"],
    "a setting": ["fashion/bp"],
    "two rules": ["fashion/bp", "fashion/ep_beta", "fashion/bp/0"],
    "dear": ["fashion/fa", "fashion/ep_beta"],
    "ahead by a seed": ["states/flip", "states/tie"],
    "resumed": ["resumed/short"],
    "validated": ["mnist/csm", "mnist/cim"],
    "by the clock": ["mnist/csm", "mnist/cim", "mnist/bp"],
    "none": ["nowhere"],
}
"""Which folders a report is made of; of all but the first only the text is looked at."""


def options() -> set[str]:
    """Returns the names of the command's options."""
    return {action.dest for action in arguments()._actions if action.option_strings} - {"help"}


def results(disturbance: float = 0.0) -> Iterator[tuple[str, str, Shown]]:
    """Yields what reports show; nothing in them depends on weights that could be disturbed."""
    with TemporaryDirectory() as folder:
        runs = Path(folder).resolve()
        write_all(runs)
        for case, folders in CASES.items():
            yield case, "", _shown(runs, folders, [], whole=case == "all")
        yield "one run", "out=elsewhere", _shown(runs, CASES["one run"], ["--out", "elsewhere/made"], whole=False)


def _shown(runs: Path, folders: list[str], args: list[str], whole: bool) -> Shown:
    with catching() as caught:
        Path("runs").symlink_to(runs)
        assert report.run([*(str(Path("runs", each)) for each in folders), *args]) == 0
        (out,) = {file.parent for file in Path().rglob("index.html")}
        if not whole:
            caught.shown.clear()
            caught.shown |= dict(_of_text(out / "report.md", but=(*NOTES.values(), "| rule | test", "| --- |", "![")))
        for file in sorted(out.rglob("*")) if whole else []:
            if file.is_file() and file.suffix not in (".png", ".pdf"):
                caught.shown |= dict(_of_file(file))
    return caught.shown


def _of_file(file: Path) -> Iterator[tuple[str, Any]]:
    text = file.read_text()
    if file.name == "curves.csv":
        yield from _of_curves(file)
    elif file.name in VERBATIM:
        for i, line in enumerate(text.splitlines()):
            yield f"{file.name} {i}", line
    elif file.name == "report.md":
        yield from _of_text(file)
        yield f"{file.name}, the rest", Lines(text.partition("## Runs")[2])
    elif file.name == "index.html":
        yield file.name, Lines(text_of_page(text))
    else:
        yield file.name, Lines(text)


def _of_text(file: Path, but: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """Yields the lines of a report before its runs by section and number, but for those that begin in some way."""
    for i, section in enumerate(file.read_text().partition("## Runs")[0].split("\n## ")):
        for j, line in enumerate(section.splitlines(), start=1):
            if line and not line.startswith(tuple(but)):
                yield f"{file.name} {i}.{j}", line


def text_of_page(page: str) -> str:
    """Returns what a page says, with what its links and pictures are, and without how it is laid out."""
    page = re.sub(r"(?s)<style>.*?</style>", "", page)
    page = re.sub(r"(?s)<pre>(.*?)</pre>", lambda m: f"[{crc32(m[1].encode())}]", page)  # report.md has them too
    page = re.sub(r'src="data:image/png;base64,([^"]*)"', lambda m: f"[{_kind(m[1])}]", page)
    page = page.replace('<img class="lines"', "[inverted where it is dark] <img")
    page = re.sub(r'<(?:a|img|h\d|details)[^>]*?(href|id|alt|title)="([^"]*)"', r"[\1 \2]<a ", page)
    return "\n".join(line for line in (re.sub(r"<[^>]*>", " ", page)).splitlines() if line.strip())


def _kind(content: str) -> str:
    return "a figure" if base64.b64decode(content) == WHITE else "something else"


def _of_curves(file: Path) -> Iterator[tuple[str, Any]]:
    """Yields of each quantity all that was logged, and what names it."""
    with file.open(newline="") as content:
        rows = list(csv.DictReader(content))
    yield "curves.csv", ",".join(rows[0])
    key = ("run", "data", "net", "rule", "setting", "seed", "quantity")
    yield "curves.csv, names", Lines("\n".join(dict.fromkeys(" | ".join(row[n] for n in key) for row in rows)))
    for quantity in dict.fromkeys(row["quantity"] for row in rows):
        found = [row for row in rows if row["quantity"] == quantity]
        for column in ("epoch", "step", "value"):
            yield f"curves.csv, {column} of {quantity}", np.array([float(row[column] or "nan") for row in found])
