"""The package's recipes, and ``python -m bioplausible recipes``, which lists them."""

from collections.abc import Sequence
from pathlib import Path

from bioplausible.commands.arguments import CommandArguments


def recipes() -> Path:
    """Returns the folder of the recipes: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def recipe_of(data: str, rule: str) -> Path | None:
    """Returns a rule's recipe for a data set, both by the names of their classes; None where there is none."""
    path = recipes() / snake_case(data) / f"{snake_case(rule)}.yaml"
    return path if path.is_file() else None


def snake_case(class_path: str) -> str:
    """Returns ``fashion_mnist`` for ``bioplausible.FashionMNISTDataModule``."""
    name = class_path.rpartition(".")[2].removesuffix("DataModule")
    for word in ("CorInfoMax", "MNIST", "CIFAR"):
        name = name.replace(word, word.capitalize())
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def run(args: Sequence[str]) -> int:
    """Prints the recipes by name, with the first line of what each says of itself.

    Args:
        args: options of the command.
    """
    parser = CommandArguments(
        prog="python -m bioplausible recipes",
        description="Lists the recipes: fit --config NAME trains one, recipes NAME prints it to be copied and changed.",
    )
    parser.add_argument("name", nargs="?", help="a recipe to print, such as digits/corinfomax")
    name = parser.parse_args(args).name
    if name is not None:
        path = recipes() / f"{name.removesuffix('.yaml')}.yaml"
        if not path.is_file():
            parser.error(f"There is no recipe {name}: recipes without a name lists them")
        print(path.read_text(), end="")
        return 0
    for path in sorted(recipes().glob("*/*.yaml")):
        first = path.read_text().splitlines()[0].removeprefix("#").strip()
        print(f"{f'{path.parent.name}/{path.stem}':<58} {first}")
    return 0
