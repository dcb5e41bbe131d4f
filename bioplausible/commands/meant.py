"""What an unknown word was meant to be; nothing is imported that takes long."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from bioplausible.commands.recipes import all_recipes


def like(word: str, known: Iterable[str]) -> str | None:
    """Returns the known word that is most like one, in capitals or not; None where none is.

    A word that only one known one begins with is like it, however short it is.
    """
    names = {name.lower(): name for name in known}
    begun = [name for name in names if name.startswith(word.lower())]
    close = begun if len(begun) == 1 else get_close_matches(word.lower(), begun or names, n=1, cutoff=0.75)
    return names[close[0]] if close else None


def meant(word: str, known: Iterable[str]) -> str:
    """Returns ``: did you mean …?`` with the known word that is most like it; nothing where none is like it."""
    name = like(word, known)
    return f": did you mean {name}?" if name else ""


def recipe_meant(word: str | Path) -> str:
    """Returns the same with a recipe's name, whose first part, the data set's, may be left out.

    Of a path to a file its last two parts count.
    """
    name = "/".join(str(word).removesuffix(".yaml").split("/")[-2:])
    names = [f"{path.parent.name}/{path.stem}" for path in all_recipes()]
    if "/" in name:
        return meant(name, names)
    of_rule = {one.partition("/")[2]: one for one in reversed(names)}
    rule = like(name, of_rule)
    return f": did you mean {of_rule[rule]}?" if rule else ""
