"""What a study says: what a sweep trains, and either what it compares or what it searches."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bioplausible.commands.sweep.space import Space, Value


@dataclass(frozen=True)
class EarlyStopping:
    """When a search stops a candidate: asynchronous successive halving (Li et al. 2018), as Ray Tune has it.

    Attributes:
        grace_epochs: epochs that every candidate trains.
        reduction_factor: one in so many goes on from there, and again after so many times as many epochs.
    """

    grace_epochs: int = 1
    reduction_factor: int = 4


@dataclass(frozen=True)
class Search:
    """How a study looks for hyperparameters.

    Attributes:
        trials: how many sets of values are tried of each recipe; None: a grid's, all combinations.
        sampler: where they come from: drawn ``random`` or ``bayesian``, or a ``grid``.
        seed: of the sampler; a grid has none.
        early_stopping: None, where each candidate trains to its end.
    """

    trials: int | None
    sampler: str = "random"
    seed: int = 0
    early_stopping: EarlyStopping | None = None

    @property
    def is_known_beforehand(self) -> bool:
        """Whether what is tried does not depend on what was found."""
        return self.sampler != "bayesian"


@dataclass(frozen=True)
class StudyFigure:
    """What a study draws.

    Attributes:
        x: what goes on the axis: ``epoch``, ``recipe``, or an option.
        y: scalars that the runs log, one panel each; an asterisk stands for any part of a name.
        pictures: figures of the first seed's runs, by their files' names.
    """

    x: str = "recipe"
    y: tuple[str, ...] = ("test/accuracy",)
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudyRecipe:
    """What a study does with a recipe.

    Attributes:
        path: YAML file.
        options: of ``fit``, in all of its trials; they become part of the recipe that a search finds.
        space: what a search draws.
        grid: values by option, each with what stands for it on an axis: all combinations are trained.
        name: in figures and tables.
    """

    path: Path
    options: Mapping[str, Any]
    space: Space
    grid: Mapping[str, list[tuple[Value, Value]]]
    name: str


@dataclass(frozen=True)
class Study:
    """What a study's file says.

    Attributes:
        path: the file.
        title: in words.
        recipes: what is trained.
        seeds: values of seed_everything; a search compares means over them.
        options: of ``fit``, in every trial: data and length of the trials, which a search leaves out of what it finds.
        observers: further callbacks of every trial.
        figure: what is drawn.
    """

    path: Path
    title: str
    recipes: tuple[StudyRecipe, ...]
    seeds: tuple[int, ...]
    options: Mapping[str, Any]
    observers: tuple[Any, ...]
    figure: StudyFigure


@dataclass(frozen=True)
class SearchStudy(Study):
    """A study that searches.

    Attributes:
        search: how.
    """

    search: Search

    def trials_of(self, recipe: StudyRecipe) -> int:
        """Returns how many sets of values are tried of a recipe."""
        return recipe.space.combinations if self.search.trials is None else self.search.trials
