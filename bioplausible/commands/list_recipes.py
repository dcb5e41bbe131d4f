"""``python -m bioplausible recipes``: lists the recipes, or prints one."""

from collections.abc import Sequence

from bioplausible.commands.arguments import CommandArguments, recipe_name
from bioplausible.commands.meant import recipe_meant
from bioplausible.commands.recipes import all_recipes, named_recipe
from bioplausible.errors import UserError


def arguments() -> CommandArguments:
    """Returns what the command takes."""
    parser = CommandArguments(
        "recipes",
        "Lists the recipes: fit --config NAME trains one, recipes NAME prints it to be copied and changed.",
        ["", "digits/corinfomax > mine.yaml"],
    )
    parser.add_argument("name", nargs="?", type=recipe_name, help="a recipe to print, such as digits/corinfomax")
    return parser


def run(args: Sequence[str]) -> int:
    """Prints the recipes by name, with the first line of what each says of itself.

    Args:
        args: options of the command.
    """
    parser = arguments()
    name = parser.parse_args(args).name
    if name is not None:
        path = named_recipe(name)
        if path is None:
            raise UserError(f"There is no recipe {name}{recipe_meant(name) or ': recipes without a name lists them.'}")
        print(path.read_text(), end="")
        return 0
    for path in all_recipes():
        first = path.read_text().splitlines()[0].removeprefix("#").strip()
        print(f"{f'{path.parent.name}/{path.stem}':<58} {first}")
    return 0
