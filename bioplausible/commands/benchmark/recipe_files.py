"""What the benchmark takes from recipes: rules, and batch sizes."""

import inspect
from pathlib import Path
from typing import Any, cast

import yaml
from jsonargparse import ArgumentParser

import bioplausible.data
from bioplausible.commands.recipes import recipe_of
from bioplausible.data import ImageDataModule
from bioplausible.errors import UserError
from bioplausible.rules import RULES, LearningRule


def of_all_rules() -> list[Path]:
    """Returns the recipe on Fashion-MNIST of each rule that has one."""
    found = (recipe_of("FashionMNISTDataModule", cls.__name__) for cls in RULES)
    return [path for path in found if path is not None]


def recipe_rule(recipe: Path, **changes: Any) -> LearningRule:
    """Returns the rule of a recipe, built as the command line does.

    Args:
        recipe: YAML file.
        changes: arguments that replace the recipe's.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--model", type=LearningRule)
    model = yaml.safe_load(recipe.read_text())["model"]
    model["init_args"].update(changes)
    return cast(LearningRule, parser.instantiate_classes(parser.parse_object({"model": model})).model)


def batch_size_of(recipe: Path) -> int:
    """Returns a recipe's batch size, the data module's default where it names none.

    Raises:
        UserError: it is no recipe, or not of one of the package's data sets.
    """
    try:
        config = yaml.safe_load(recipe.read_text())
        name = config["data"]["class_path"].rpartition(".")[2]
        assert issubclass(getattr(bioplausible.data, name), ImageDataModule)
        assert config["model"]["class_path"]
        default = inspect.signature(ImageDataModule).parameters["batch_size"].default
        return int((config["data"].get("init_args") or {}).get("batch_size", default))
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, AssertionError, UnicodeDecodeError) as error:
        raise UserError(f"{recipe} is no recipe of a rule on one of the package's data sets.") from error
