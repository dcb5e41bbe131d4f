"""``python -m bioplausible look``: what a trained network is like, as figures."""

from collections.abc import Sequence

from bioplausible.commands.arguments import CommandArguments, path_named
from bioplausible.commands.fast_imports import fast_imports
from bioplausible.errors import UserError
from bioplausible.training.named_runs import folder_of, run_named

FIGURES = {
    "receptive_fields": "what the first 64 units of layer 1 see, grey being 0",
    "settling": "how each phase settles, by layer, and its energy",
    "activity": "how each layer's activities are spread at a phase's end",
    "confusion_matrix": "which classes are taken for which: validation, else test",
    "alignment": "angles: weights with feedback, updates with gradients",
    "information": "correlative information in a relaxation, where tracked",
    "tsne": "a map of each hidden layer; only where --only names it",
}
"""The figures, with what each shows."""
ON_DEMAND = ("tsne",)


def arguments() -> CommandArguments:
    """Returns what the command takes."""
    parser = CommandArguments(
        "look",
        "Draws figures of a trained network, as observers draw them while it trains.",
        ["last", "last --which best --only receptive_fields"],
    )
    shown = "\n".join(f"  {name:<17} {text}" for name, text in FIGURES.items())
    parser.epilog = f"figures:\n{shown}\n\n{parser.epilog}"
    parser.add_argument("run", metavar="RUN", help="a run's folder, a checkpoint, or last for the newest run")
    parser.add_argument("--which", choices=("last", "best"), default="last", help="a run's checkpoint (default: last)")
    parser.add_argument("--only", nargs="+", choices=tuple(FIGURES), metavar="FIGURE", help="figures to draw")
    parser.add_argument("--samples", type=int, default=100, help="training images that settle (default: 100)")
    parser.add_argument("--out", type=path_named, help="folder to write (default: look/CHECKPOINT in the run's folder)")
    return parser


def run(args: Sequence[str]) -> int:
    """Draws figures of a trained network into a folder that it names, and returns 0.

    Raises:
        UserError: there is no such run, its network or data can't be had, or the folder can't be written to.
    """
    options = arguments().parse_args(args)
    if options.samples < 1:
        raise UserError(f"samples is {options.samples}: it must be at least 1.")
    run_named(options.run)

    # only now: torch and Lightning take seconds, and what comes before needs neither
    with fast_imports():
        from bioplausible.commands.look.figures import draw
        from bioplausible.trained import checkpoint_of

    checkpoint = checkpoint_of(options.run, options.which)
    folder = options.out or folder_of(checkpoint) / "look" / checkpoint.stem
    names = options.only or [name for name in FIGURES if name not in ON_DEMAND]
    print(f"checkpoint  {checkpoint}\nfigures     {folder}")
    try:
        for name, missing in draw(checkpoint, names, options.samples, folder):
            print(f"  {f'{name}.png':<21} {FIGURES[name] if missing is None else f'none: {missing}'}")
    except OSError as error:
        raise UserError(f"The figures can't be written to {folder} ({error.strerror}): choose --out.") from error
    return 0
