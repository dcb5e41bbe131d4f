"""What Lightning says without being asked, and is kept from; nothing heavy is imported to know it."""

import logging
import warnings

CHATTY_LOGGERS = (
    "pytorch_lightning.utilities.rank_zero",
    "lightning_fabric.utilities.seed",
    "lightning_fabric.utilities.distributed",
)
"""Where Lightning says of itself what it does: no option keeps it quiet."""

NEEDLESS_WARNINGS = (
    "does not have many workers",  # workers only slow down data this small
    "smaller than the logging interval",
    "Total length of `list` across ranks is zero",  # no validation split is what the paper does
    "you defined a `validation_step` but have no `val_dataloader`",
    "no pre-optimization state was saved",  # a checkpoint is taken after the optimizer's step
    "your dataloader is not resumable",  # the data module resumes it
    "Checkpoint directory .* exists and is not empty",  # a resumed run goes on in its own folder
    "callbacks used to create the checkpoint need to be provided",  # evaluation has no use for them
    "You're using the WeightAveraging callback, but",  # evaluation needs no state of it
    "Couldn't infer the batch indices",  # whoever writes predictions counts them
    "Unable to serialize instance",  # where that matters, it is refused in one sentence
    "LeafSpec",
    "NaN values found in confusion matrix",  # a class that a small validation split lacks
    "sync_dist=True",  # the metrics add up the processes' sums themselves
)
"""Patterns of what is warned about though it is done here on purpose: it has no categories to be told apart by."""


def quiet() -> None:
    """Silences what Lightning says of itself, and its warnings about what is done here on purpose."""
    for name in CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in NEEDLESS_WARNINGS:
        warnings.filterwarnings("ignore", f"(?s).*{message}")
