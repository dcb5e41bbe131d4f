"""The package's recipes."""

import re
from pathlib import Path

STUDIES = "studies"
"""Folder of the studies, beside those of the recipes."""


def recipes() -> Path:
    """Returns the folder of the recipes: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def all_recipes() -> list[Path]:
    """Returns the package's recipes, in the order of their names; its studies are none."""
    return sorted(path for path in recipes().glob("*/*.yaml") if path.parent.name != STUDIES)


def all_studies() -> list[str]:
    """Returns the names of the package's studies."""
    return sorted(path.stem for path in (recipes() / STUDIES).glob("*.yaml"))


def named_study(name: str) -> Path | None:
    """Returns the package's study of a name such as ``mnist``; None where there is a file of this name, or none."""
    file = recipes() / STUDIES / f"{name}.yaml"
    return file if re.fullmatch(r"[\w-]+", name) and not Path(name).is_file() and file.is_file() else None


def recipe_of(data: str, rule: str) -> Path | None:
    """Returns a rule's recipe for a data set, both by the names of their classes; None where there is none."""
    path = recipes() / snake_case(data) / f"{snake_case(rule)}.yaml"
    return path if path.is_file() else None


def named_recipe(name: str) -> Path | None:
    """Returns the recipe of a name such as ``digits/corinfomax``; None where there is a file of this name, or none."""
    file = recipes() / f"{name.removesuffix('.yaml')}.yaml"
    is_name = re.fullmatch(r"[\w-]+/[\w-]+(\.yaml)?", name) and not Path(name).is_file()
    return file if is_name and file.is_file() else None


def snake_case(class_path: str) -> str:
    """Returns ``fashion_mnist`` for ``bioplausible.FashionMNISTDataModule``."""
    name = class_path.rpartition(".")[2].removesuffix("DataModule")
    for word in ("CorInfoMax", "MNIST", "CIFAR", "EBD", "PEPITA"):
        name = name.replace(word, word.capitalize())
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
