"""What is caught: figures before they are written, pictures, printed lines, warnings, what loggers get."""

import io
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from torchvision.io import encode_png

from bioplausible.commands import how_to_go_on, report, run_loggers, summary
from bioplausible.commands.look import figures as of_look
from bioplausible.commands.report import take_away
from bioplausible.errors import UserError
from bioplausible.observers import cost, progress, representations, throughput
from bioplausible.resume import run_folders
from tests.helpers import of_the_package
from tests.oracles.shown.artists import of_figure
from tests.oracles.shown.keeping import REFUSED, Shown

WITH_CLOCKS: list[ModuleType] = [cost, throughput, progress]
"""Modules that read a clock: here each reading of it is a little later than the one before, by a fixed rule."""

WITH_HINTS: list[ModuleType] = [report, take_away, summary, run_loggers, how_to_go_on]
"""Modules that say what to type."""

ENVIRONMENT = {"torch": "2.6", "processor": "some", "threads": 2}
"""In the place of what the machine has; to ask git takes longer than to train."""

WITH_PICTURES: list[ModuleType] = [representations, of_look]
"""Modules that save images."""

WHITE = bytes(encode_png(torch.full((3, 1, 1), 255, dtype=torch.uint8)).tolist())
"""What is written in the place of a figure."""


class Caught:
    """What was shown so far, and the place where it is caught.

    Attributes:
        shown: by names.
        patch: undone at the end.
        folder: of this case, where it runs.
    """

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.shown: Shown = {}
        self.patch, self.folder = patch, folder
        self._figures: list[Figure] = []

    def figure(self, figure: Figure, file: Any, **options: Any) -> None:
        """Notes a figure, in the place of ``savefig``, and writes no more than that there is one."""
        kind = options["format"]
        if not any(figure is known for known in self._figures):
            self._figures.append(figure)
            number = len(self._figures)
            self.shown |= {f"figure {number} {name}": value for name, value in of_figure(figure)}
        self._append("figures as", kind)
        file.write(WHITE if kind == "png" else b"%PDF")

    def picture(self, image: torch.Tensor, file: Any) -> None:
        """Notes a picture, in the place of ``save_image``."""
        self.shown[f"picture {Path(file).name}"] = image.float()
        Path(file).write_bytes(WHITE)

    def metrics(self, metrics: dict[str, float], step: int | None) -> None:
        """Notes what a logger was given."""
        for name, value in metrics.items():
            before = self.shown.get(name, np.zeros((0, 2)))
            self.shown[name] = np.vstack([before, [-1 if step is None else step, float(value)]])

    def board(self, kind: str) -> Callable[..., None]:
        """Returns what notes a histogram, an image or a layout that TensorBoard was given."""

        def note(name: Any, value: Any = None, *args: Any, **options: Any) -> None:
            said = {f"argument {i}": arg for i, arg in enumerate(args)} | options
            step = said.pop("argument 0", said.pop("global_step", None))
            if kind == "custom_scalars":
                self._append(kind, str(name))
            elif kind != "scalar":
                self.shown[f"{kind} {name} at {step}{''.join(f', {v}' for v in said.values())}"] = value

        return note

    def say(self, name: str, text: str) -> None:
        """Notes lines, without what is another one each time: the folder."""
        if text.strip():
            self.shown[name] = text.replace(f"{self.folder}/", "").strip("\n")

    def _append(self, name: str, word: str) -> None:
        self.shown[name] = ", ".join([*([self.shown[name]] if name in self.shown else []), word])


@contextmanager
def catching() -> Iterator[Caught]:
    """Catches all that is shown, in an empty folder; a sentence that refuses is one of the things shown."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as name:
        folder = Path(name).resolve()
        caught = Caught(patch, folder)
        patch.chdir(folder)
        patch.setattr(Figure, "savefig", lambda figure, file, **options: caught.figure(figure, file, **options))
        patch.setitem(sys.modules, "sklearn.manifold", SimpleNamespace(TSNE=Projection))
        for module in (run_folders, take_away):
            patch.setattr(module, "environment", lambda *device: dict(ENVIRONMENT))
        for module in WITH_HINTS:
            patch.setattr(module, "this_program", lambda: "bioplausible")
        for module in WITH_PICTURES:
            patch.setattr(module, "save_image", caught.picture)
        clock = Clock()
        for module in WITH_CLOCKS:
            patch.setattr(module, "time", clock)
        with warnings.catch_warnings(record=True) as said, redirect_stdout(out), redirect_stderr(err):
            warnings.simplefilter("always")
            try:
                yield caught
            except UserError as error:
                caught.say(REFUSED, str(error))
        caught.say("said", out.getvalue())
        caught.say("warned", "\n".join(str(warning.message) for warning in said if of_the_package(warning)))


class Clock:
    """A clock whose readings are all the same in each run."""

    def __init__(self) -> None:
        self._now, self._calls = 0.0, count()

    def _read(self) -> float:
        self._now += (1 + 7 * next(self._calls) % 5) / 8
        return self._now

    perf_counter = process_time = monotonic = time = _read


class Projection:
    """In the place of scikit-learn's t-SNE, whose maps are others on each machine: a fixed projection."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def fit_transform(self, x: np.ndarray) -> np.ndarray:
        """Returns two columns that tell what came in, and with which options."""
        fixed = np.random.RandomState(self.options["random_state"]).randn(x.shape[1], 2)
        return x @ fixed * self.options["perplexity"]


class Numbers(CSVLogger):
    """A logger of scalars alone."""

    def __init__(self, caught: Caught) -> None:
        super().__init__(str(caught.folder), name="numbers", version=0)
        self._caught = caught

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Notes them."""
        self._caught.metrics(metrics, step)

    def log_hyperparams(self, *args: Any, **options: Any) -> None:
        """Leaves them: they are no numbers that are measured."""

    def save(self) -> None:
        """Writes no file."""


class Board(TensorBoardLogger):
    """TensorBoard's logger, of which what is no scalar is noted."""

    def __init__(self, caught: Caught) -> None:
        super().__init__(str(caught.folder), name="board", version=0)
        kinds = ("histogram", "image", "custom_scalars", "scalar")
        self._writer: Any = SimpleNamespace(
            **{f"add_{kind}": caught.board(kind) for kind in kinds}, flush=lambda: None, close=lambda: None
        )

    @property
    def experiment(self) -> Any:
        """What notes it."""
        return self._writer

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Leaves them to the logger of scalars."""

    def log_hyperparams(self, *args: Any, **options: Any) -> None:
        """Leaves them."""

    def log_graph(self, *args: Any) -> None:
        """Leaves it."""

    def save(self) -> None:
        """Writes no file."""


def loggers(caught: Caught) -> list[Logger]:
    """Returns the loggers of a run whose scalars and figures are caught."""
    return [Board(caught), Numbers(caught)]
