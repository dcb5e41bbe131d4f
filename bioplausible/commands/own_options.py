"""The options that fit, validate, test and predict have beside LightningCLI's."""

from jsonargparse import ActionYesNo, Namespace
from pytorch_lightning.cli import LightningArgumentParser

from bioplausible.errors import UserError
from bioplausible.training.randomness import LARGEST_SEED


def add_own_options(parser: LightningArgumentParser, subcommand: str) -> None:
    """Adds a command's own options to its parser."""
    if subcommand == "fit":
        parser.add_argument(
            "--checkpoint_every_n_steps",
            type=int | None,
            default=None,
            help="Write a checkpoint every so many training steps too.",
        )
        parser.add_argument("--checkpoint_keep", type=int, default=1, help="How many of these to keep; -1 keeps all.")
    parser.add_argument(
        "--threads",
        type=int | None,
        default=None,
        help="Threads that torch computes with; default: OMP_NUM_THREADS, else what fit finds fastest.",
    )
    if subcommand == "predict":
        parser.add_argument(
            "--output",
            type=str | None,
            default=None,
            help="CSV file to write; default: predictions.csv in the run's folder, of --images none.",
        )
        parser.add_argument(
            "--images",
            nargs="+",
            type=str,
            metavar="FILE",
            default=None,
            help="Pictures of one's own (PNG, JPEG, PPM, BMP, TIFF or WEBP) of any size, in place of the test split.",
        )
        parser.add_argument(
            "--invert",
            action=ActionYesNo,
            nargs="?",
            default=False,
            help="Swap black and white in --images: MNIST's digits are white on black, and ink on paper is not.",
        )


def require_possible(config: Namespace) -> None:
    """Checks values of a command's options that the parser's types let through.

    Raises:
        UserError: NumPy takes no such seed, or a precision or number of threads is none.
    """
    seed, precision, threads = config.seed_everything, config.trainer.precision, config.threads
    if not isinstance(seed, bool) and not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"seed_everything is {seed}: it must lie between 0 and {LARGEST_SEED}.")
    if str(precision) in ("16", "16-mixed"):  # which Trainer would take for bf16-mixed on a CPU
        raise UserError(f"precision is {precision}: choose 32-true, 64-true or bf16-mixed.")
    if threads is not None and threads < 1:
        raise UserError(f"threads is {threads}: it must be at least 1.")
