"""A study: a YAML file that says what a sweep trains, and what it searches."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bioplausible.commands.recipes import named_recipe
from bioplausible.commands.sources import load
from bioplausible.commands.sweep.space import Space, read_space
from bioplausible.commands.sweep.trials import VALIDATION
from bioplausible.errors import UserError

SAMPLERS = ("random", "bayesian")

OWN = ("seed_everything", "ckpt_path", "config", "trainer.logger", "trainer.limit_test_batches")
"""Options that the sweep sets itself."""

OF_THE_SCORE = ("validation_split", "subset_size", "limit_val_batches")
"""Options that say which images score a trial: the same for all trials of a search."""


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
        trials: how many sets of values are tried of each recipe.
        sampler: how they are drawn, one of :data:`SAMPLERS`.
        seed: of the sampler.
        early_stopping: None, where each candidate trains to its end.
    """

    trials: int
    sampler: str = "random"
    seed: int = 0
    early_stopping: EarlyStopping | None = None

    @property
    def is_drawn_beforehand(self) -> bool:
        """Whether what is tried does not depend on what was found."""
        return self.sampler == "random"


@dataclass(frozen=True)
class StudyRecipe:
    """What a study does with a recipe.

    Attributes:
        path: YAML file.
        options: of ``fit``, in all of its trials; they become part of the recipe that a search finds.
        space: what a search draws.
    """

    path: Path
    options: Mapping[str, Any]
    space: Space


@dataclass(frozen=True)
class Study:
    """What a study's file says.

    Attributes:
        path: the file.
        recipes: what is trained.
        seeds: values of seed_everything; a search compares means over them.
        options: of ``fit``, in every trial: data and length of the trials, which a search leaves out of what it finds.
        search: None, where nothing is drawn.
    """

    path: Path
    recipes: tuple[StudyRecipe, ...]
    seeds: tuple[int, ...]
    options: Mapping[str, Any]
    search: Search


def read_study(path: Path) -> Study:
    """Returns what a study's file says.

    ::

        recipes:
          digits/corinfomax:
            space:
              model.epsilon: {loguniform: [0.05, 0.5]}
              model.feedforward_learning_rates: {loguniform: [0.5, 4.0], times: [1.0, 0.7]}
          digits/backpropagation:
            options: {model.loss: cross_entropy}
            space:
              model.optimizer.init_args.lr: {loguniform: [1e-4, 1e-2]}
        seeds: [0, 10]
        options: {data.validation_split: 0.1, trainer.max_epochs: 5}
        search: {trials: 20, sampler: bayesian, seed: 0, early_stopping: {grace_epochs: 1, reduction_factor: 4}}

    Distributions are ``uniform``, ``loguniform`` and ``integer``, each with its smallest and largest value, and
    ``choice`` with a list of values; ``times`` makes a list of multiples of what is drawn, and a list may hold a
    distribution for each layer.

    Raises:
        UserError: it is no study; the sentence says what is wrong with it.
    """
    content = load(path)
    known = ("recipes", "seeds", "options", "search")
    _require_keys(content, known, str(path), ("recipes", "search"))
    recipes = content["recipes"]
    if not isinstance(recipes, dict) or not recipes:
        raise UserError(
            f"{path}: recipes is {recipes!r}: give recipes by name, such as digits/corinfomax, each with its space."
        )
    return Study(
        path,
        tuple(_recipe(path, str(name), entry) for name, entry in recipes.items()),
        _seeds(content.get("seeds", [0]), path),
        _options(content.get("options"), f"{path}: options"),
        _search(content["search"], f"{path}: search"),
    )


def _recipe(study: Path, name: str, entry: Any) -> StudyRecipe:
    where = f"{study}: {name}"
    _require_keys(entry, ("options", "space"), where, ("space",))
    path = named_recipe(name) or study.parent / Path(name).expanduser()
    if not path.is_file():
        raise UserError(
            f"{study}: there is no recipe {name}: name one that `recipes` lists, or a YAML file by its place beside the"
            " study."
        )
    space = read_space(entry["space"], f"{where}: space")
    _refuse_own(space.entries, f"{where}: space")
    for key in space.entries:
        if key.rpartition(".")[2] in OF_THE_SCORE:
            raise UserError(
                f"{where}: {key} is drawn, and trials would be scored by different images: set it under options."
            )
    return StudyRecipe(path, _options(entry.get("options"), f"{where}: options"), space)


def _options(content: Any, where: str) -> dict[str, Any]:
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise UserError(f"{where} is {content!r}: give values by option, such as trainer.max_epochs: 5.")
    found = {str(key): value for key, value in content.items()}
    _refuse_own(found, where)
    return found


def _refuse_own(options: Mapping[str, Any], where: str) -> None:
    for key in options:
        if any(key == own or key.startswith(f"{own}.") for own in OWN):
            raise UserError(f"{where} names {key}, which the sweep itself sets: leave it out (seeds has the seeds).")


def _seeds(content: Any, path: Path) -> tuple[int, ...]:
    fits = isinstance(content, list) and content and all(type(seed) is int and seed >= 0 for seed in content)
    if not fits or len(set(content)) < len(content):
        raise UserError(
            f"{path}: seeds is {content!r}: give whole numbers, each once and none negative, such as [0, 10]."
        )
    return tuple(content)


def _search(content: Any, where: str) -> Search:
    _require_keys(content, ("trials", "sampler", "seed", "metric", "early_stopping"), where, ("trials",))
    for name, least in (("trials", 1), ("seed", 0)):
        value = content.get(name, least)
        if type(value) is not int or value < least:
            raise UserError(f"{where}: {name} is {value!r}: give a whole number from {least} on.")
    metric, sampler = content.get("metric", VALIDATION), content.get("sampler", "random")
    if metric != VALIDATION:
        raise UserError(
            f"{where}: metric is {metric}, but a search chooses by {VALIDATION}, and the test split stays unseen: leave"
            " it out."
        )
    if sampler not in SAMPLERS:
        raise UserError(f"{where}: sampler is {sampler!r}: choose {' or '.join(SAMPLERS)}.")
    return Search(content["trials"], sampler, content.get("seed", 0), _early_stopping(content, where))


def _early_stopping(content: dict[str, Any], where: str) -> EarlyStopping | None:
    given = content.get("early_stopping", False)
    if isinstance(given, bool):
        return EarlyStopping() if given else None
    where = f"{where}: early_stopping"
    _require_keys(given, ("grace_epochs", "reduction_factor"), where, ())
    for name, least in (("grace_epochs", 1), ("reduction_factor", 2)):
        value = given.get(name, least)
        if type(value) is not int or value < least:
            raise UserError(f"{where}: {name} is {value!r}: give a whole number from {least} on.")
    return EarlyStopping(**given)


def _require_keys(content: Any, known: tuple[str, ...], where: str, needed: tuple[str, ...]) -> None:
    if not isinstance(content, dict):
        raise UserError(f"{where} is {content!r}: give {', '.join(known)} by name.")
    unknown = [str(name) for name in content if name not in known]
    if unknown:
        raise UserError(f"{where} has {unknown[0]}, which no study has: choose among {', '.join(known)}.")
    for name in needed:
        if name not in content:
            raise UserError(f"{where} has no {name}: add it.")
