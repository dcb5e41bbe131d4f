"""How figures look, and where they go."""

import io
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torchvision.io import decode_png

from bioplausible.training.loggers import folder_of_run

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999999", "#000000")
"""Okabe & Ito's colours, which colour-blind readers can tell apart, with grey for the yellow that pales on white."""

LINES = ("-", "--", ":", "-.")
"""The first eight curves of a panel are solid, and tell by their colours; the next eight are broken."""


def new_figure(
    panels: int, columns: int | None = None, width: float = 6.0, height: float = 4.2
) -> tuple[Figure, list[Axes]]:
    """Returns a figure and its panels, each width × height inches, row by row in so many columns (None: in one row)."""
    columns = panels if columns is None else min(columns, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]
    for axis in axes:
        axis.set_prop_cycle(cycler(linestyle=LINES) * cycler(color=PALETTE))
        axis.grid(alpha=0.3)
    return figure, axes


def count_iterations(axis: Axes) -> None:
    """Makes an axis count iterations: whole numbers only."""
    axis.set_xlabel("iteration")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def as_png(figure: Figure) -> bytes:
    """Returns a figure as a PNG file's content."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100, format="png")
    return buffer.getvalue()


def as_pdf(figure: Figure) -> bytes:
    """Returns a figure as a PDF file's content, without the time at which it was made."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf", metadata={"CreationDate": None})
    return buffer.getvalue()


_shown: "WeakKeyDictionary[Trainer, dict[Path, Figure]]" = WeakKeyDictionary()
"""The latest figures of a Trainer's run, by their PDF files, which are written where training ends."""


def log_figure(trainer: Trainer, name: str, figure: Figure) -> None:
    """Shows a figure in TensorBoard and keeps it as ``figures/<name>.png`` in the run's folder.

    Where training ends, the last one is kept as PDF too: drawing it takes as long again.
    """
    folder = folder_of_run(trainer)  # which all processes ask for together
    if not trainer.is_global_zero:  # the others keep nothing
        return
    png = as_png(figure)  # drawn once: it takes longer than all else that a look does
    if folder is not None:
        path = folder / "figures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png)
        path.with_suffix(".pdf").unlink(missing_ok=True)  # of an earlier figure
        _shown.setdefault(trainer, {})[path.with_suffix(".pdf")] = figure
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            image = decode_png(torch.frombuffer(bytearray(png), dtype=torch.uint8))
            logger.experiment.add_image(name, image[:3], global_step=trainer.global_step - 1)


def keep_as_pdf(trainer: Trainer) -> None:
    """Writes the figures that a Trainer has shown last as PDF, each once."""
    for path, figure in _shown.pop(trainer, {}).items():
        path.write_bytes(as_pdf(figure))


def log_scalars(trainer: Trainer, scalars: dict[str, float]) -> None:
    """Writes scalars to every logger, at the last step taken."""
    for logger in trainer.loggers:
        logger.log_metrics(scalars, step=trainer.global_step - 1)
