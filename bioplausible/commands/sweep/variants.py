"""What a study compares: its recipes and their grids, as trials."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from bioplausible.commands.sweep.recipe_text import option_text
from bioplausible.commands.sweep.space import Value
from bioplausible.commands.sweep.study import Study, StudyRecipe
from bioplausible.commands.sweep.trials import Trial, combination, refuse_same_folders, trial


@dataclass(frozen=True)
class Variant:
    """One of the things that a study compares.

    Attributes:
        recipe: what the study says of its recipe.
        values: of the recipe's grid by option, as they stand on an axis.
        trials: one a seed.
    """

    recipe: StudyRecipe
    values: dict[str, Value]
    trials: tuple[Trial, ...]

    @property
    def name(self) -> str:
        """Recipe and values in words."""
        words = [f"{key.rpartition('.')[2]}={option_text(value)}" for key, value in self.values.items()]
        return ", ".join([self.recipe.name, *words])


def variants(study: Study, out: Path = Path("sweep"), threads: int = 1) -> list[Variant]:
    """Returns what a study compares, in the file's order.

    Args:
        study: what :func:`read_study` returns.
        out: folder of the whole sweep.
        threads: threads a trial.

    Raises:
        UserError: two trials have the same folder.
    """
    found = [_variant(study, recipe, one, out, threads) for recipe in study.recipes for one in _combinations(recipe)]
    refuse_same_folders([trial for variant in found for trial in variant.trials])
    return found


def study_trials(found: Sequence[Variant], seeds: int) -> list[Trial]:
    """Returns the trials of variants, the first seed of all of them first: a study that is cut short compares them."""
    return [variant.trials[i] for i in range(seeds) for variant in found]


def _combinations(recipe: StudyRecipe) -> list[dict[str, tuple[Value, Value]]]:
    return [dict(zip(recipe.grid, values, strict=True)) for values in product(*recipe.grid.values())]


def _variant(
    study: Study, recipe: StudyRecipe, values: dict[str, tuple[Value, Value]], out: Path, threads: int
) -> Variant:
    own = {key: option_text(value) for key, (value, _) in values.items()}
    options = {key: option_text(value) for key, value in {**study.options, **recipe.options}.items()} | own
    observers = [option_text(observer) for observer in study.observers]
    trials = tuple(
        trial(recipe.path, combination(seed, own), seed, options, out.resolve(), threads, observers=observers)
        for seed in study.seeds
    )
    return Variant(recipe, {key: shown for key, (_, shown) in values.items()}, trials)
