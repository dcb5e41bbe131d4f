"""``python -m bioplausible benchmark``: what a training batch costs, against what the machine can do."""

from collections.abc import Sequence

from bioplausible.commands.arguments import CommandArguments, recipe_named
from bioplausible.commands.fast_imports import fast_imports
from bioplausible.commands.meant import recipe_meant
from bioplausible.errors import UserError

LEAST = 71
"""Batches of whole training without which there is no window to time: warm-up, a window, and one to end it."""


def arguments() -> CommandArguments:
    """Returns what the command takes."""
    parser = CommandArguments(
        "benchmark",
        "What a training batch costs: floating-point operations in matrix products and convolutions; how"
        " fast this machine computes those of these shapes; the bare rule; their share of it; the memory it needs for"
        " the while; whole training through fit; and what of it is the framework's.",
        ["", "fashion_mnist/corinfomax --threads 1"],
    )
    parser.add_argument(
        "recipes", nargs="*", type=recipe_named, help="recipes; default: all rules on Fashion-MNIST's shape"
    )
    parser.add_argument(
        "--batches", type=int, default=520, help="batches of whole training a rule; 0 leaves it out (default: 520)"
    )
    parser.add_argument("--threads", type=int, help="threads that torch computes with; default: its own choice")
    parser.add_argument(
        "--sweep",
        action="store_true",
        help="instead: cost against batch size, width or channels, depth and iterations",
    )
    return parser


def run(args: Sequence[str]) -> int:
    """Prints what a training batch of each rule costs, and returns 0.

    Raises:
        UserError: there is no such rule or recipe.
    """
    options = arguments().parse_args(args)
    if options.threads is not None and options.threads < 1:
        raise UserError(f"threads is {options.threads}: it must be at least 1.")
    if options.batches and options.batches < LEAST:
        raise UserError(f"batches is {options.batches}: it takes {LEAST} to tell a time, or 0 for none.")
    for file in options.recipes:
        if not file.is_file():
            raise UserError(
                f"There is no recipe {file}{recipe_meant(file) or ': name YAML files such as those in configs/.'}"
            )

    # only now: torch and Lightning take seconds, and what comes before needs neither
    with fast_imports():
        import torch

        from bioplausible.commands.benchmark.growth import print_growth
        from bioplausible.commands.benchmark.recipe_files import batch_size_of, of_all_rules
        from bioplausible.commands.benchmark.table import print_costs, print_machine

    files = options.recipes or of_all_rules()
    for file in files:
        batch_size_of(file)  # refuses what is no recipe before anything is timed
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    print_machine()
    if options.sweep:
        print_growth(files)
    else:
        print_costs(files, options.batches)
    return 0
