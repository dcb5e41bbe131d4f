"""Seeds and values of a grid, as the command line has them."""

from bioplausible.errors import UserError
from bioplausible.training.randomness import LARGEST_SEED


def integers(text: str) -> list[int]:
    """Returns seeds.

    Raises:
        UserError: they are no whole numbers, or one is there twice, negative or too large.
    """
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"seeds is {text!r}: give whole numbers separated by commas, such as 0,10,20.") from error
    if len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) > LARGEST_SEED:
        raise UserError(f"seeds is {text!r}: each must be there once, and lie between 0 and {LARGEST_SEED}.")
    return seeds


def grid_entry(entry: str) -> tuple[str, list[str]]:
    """Returns an option and its values from ``KEY=V1,V2``.

    Raises:
        UserError: there is none, or a value is empty.
    """
    key, _, values = entry.partition("=")
    found, depth = [""], 0
    for character in values:
        depth += (character in "[{(") - (character in ")}]")
        if character == "," and depth == 0:  # commas within brackets belong to a value
            found.append("")
        else:
            found[-1] += character
    if not key or "" in found:
        raise UserError(f"grid is {entry!r}: give KEY=V1,V2, such as model.init_args.beta=0.5,1.0.")
    return key.removeprefix("--"), found
