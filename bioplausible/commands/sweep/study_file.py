"""A study's file: YAML, read and checked."""

from pathlib import Path
from typing import Any

from bioplausible.commands.recipes import named_recipe
from bioplausible.commands.sources import load
from bioplausible.commands.sweep.settings import OF_A_STUDY, OWN, flat, refuse_of_the_score, refuse_own, require_single
from bioplausible.commands.sweep.space import Space, read_space, read_values
from bioplausible.commands.sweep.study import EarlyStopping, Search, SearchStudy, Study, StudyFigure, StudyRecipe
from bioplausible.commands.sweep.trials import VALIDATION
from bioplausible.errors import UserError
from bioplausible.training.randomness import LARGEST_SEED

SAMPLERS = ("random", "bayesian", "grid")

MOST_COMBINATIONS = 10_000
"""Of a recipe, in a grid: more are a mistake, and take minutes to be listed."""

AXES = ("epoch", "recipe")
"""What a figure may have on its axis, beside an option of which a study gives several values."""


def read_study(path: Path) -> Study:
    """Returns what a study's file says.

    One that compares names its variants, and what goes on each axis::

        title: CorInfoMax and its neural step size, MNIST
        recipes:
          mnist/corinfomax:
            grid: {model.step_size: [0.01, 0.025, 0.05, 0.075]}
        seeds: [0, 10, 20]
        test_each_epoch: true
        observers: [Guard]
        figure: {x: model.step_size, y: [test/accuracy, train/accuracy]}

    ``x`` is an option of a grid, ``recipe``, or ``epoch`` for curves. A value of a grid may be a list, and
    ``{choice: [0.1, 1], times: [1.0, 0.7]}`` gives lists of multiples of one factor, which stands on the axis.

    One that searches gives distributions::

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
    distribution for each layer. With ``search: {sampler: grid}`` every combination of ``choice`` and ``integer``
    values is tried.

    Raises:
        UserError: it is no study; the sentence says what is wrong with it.
    """
    content = load(path)
    shared = ("recipes", "seeds", "options")
    searches = isinstance(content, dict) and "search" in content
    known = (*shared, "search") if searches else (*shared, "title", "observers", "test_each_epoch", "figure")
    _require_keys(content, known, str(path), ("recipes",))
    recipes = content["recipes"]
    if isinstance(recipes, list):
        recipes = {str(name): {} for name in recipes}
    if not isinstance(recipes, dict) or not recipes:
        raise UserError(f"{path}: recipes is {recipes!r}: give recipes by name, such as digits/corinfomax.")
    found = tuple(_recipe(path, str(name), entry or {}, searches) for name, entry in recipes.items())
    study = Study(
        path,
        str(content.get("title", path.stem.replace("_", " "))),
        found,
        _seeds(content.get("seeds", [0]), path),
        _options(content.get("options"), f"{path}: options"),
        _observers(content, path),
        _figure(content.get("figure", {}), f"{path}: figure", found),
    )
    if not searches:
        return study
    search = _search(content["search"], f"{path}: search")
    if search.sampler == "grid":
        for recipe in found:
            _require_grid(recipe, str(path))
    return SearchStudy(**vars(study), search=search)


def _recipe(study: Path, name: str, entry: Any, searches: bool) -> StudyRecipe:
    where = f"{study}: {name}"
    known, needed = (("options", "space"), ("space",)) if searches else (("options", "grid", "name"), ())
    _require_keys(entry, known, where, needed)
    path = named_recipe(name) or study.parent / Path(name).expanduser()
    if not path.is_file():
        raise UserError(
            f"{study}: there is no recipe {name}: name one that `recipes` lists, or a YAML file by its place beside the"
            " study."
        )
    space = read_space(entry["space"], f"{where}: space") if searches else Space({}, {})
    grid = entry.get("grid", {})
    if not isinstance(grid, dict):
        raise UserError(f"{where}: grid is {grid!r}: give lists of values by option, such as model.beta: [0.5, 1.0].")
    options, own = _options(entry.get("options"), f"{where}: options"), {**OWN, **OF_A_STUDY}
    values = {str(key): read_values(given, f"{where}: grid: {key}") for key, given in grid.items()}
    require_single([*options, *space.entries, *values], where)
    for key, possible in {
        **space.values(),
        **{key: [one for one, _ in given] for key, given in values.items()},
    }.items():
        for value in possible:
            refuse_own({key: value}, where, own)
    for key, possible in space.values().items():
        refuse_of_the_score(key, possible, where)
    return StudyRecipe(
        path,
        options,
        space,
        values,
        str(entry.get("name", f"{path.resolve().parent.name}/{path.stem}")),
    )


def _options(content: Any, where: str) -> dict[str, Any]:
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise UserError(f"{where} is {content!r}: give values by option, such as trainer.max_epochs: 5.")
    found = flat(content, where)
    refuse_own(found, where, {**OWN, **OF_A_STUDY})
    return found


def _observers(content: dict[str, Any], path: Path) -> tuple[Any, ...]:
    observers, tests = content.get("observers", []), content.get("test_each_epoch", False)
    if not isinstance(observers, list) or not all(isinstance(one, (str, dict)) for one in observers):
        raise UserError(f"{path}: observers is {observers!r}: give a list of classes, such as [Alignment].")
    if not isinstance(tests, bool):
        raise UserError(f"{path}: test_each_epoch is {tests!r}: give true or false.")
    return (*observers, *(["EachEpochTest"] if tests else []))


def _figure(content: Any, where: str, recipes: tuple[StudyRecipe, ...]) -> StudyFigure:
    _require_keys(content, ("x", "y", "pictures"), where, ())
    x, lists = content.get("x", "recipe"), {}
    for name, default in (("y", ["test/accuracy"]), ("pictures", [])):
        lists[name] = content.get(name, default)
        if not isinstance(lists[name], list) or not all(isinstance(one, str) for one in lists[name]):
            raise UserError(f"{where}: {name} is {lists[name]!r}: give a list of names, such as {default}.")
    options = dict.fromkeys(key for recipe in recipes for key in recipe.grid)
    if x not in (*AXES, *options):
        raise UserError(f"{where}: x is {x!r}: choose {', '.join([*AXES, *options])}.")
    if x in options and not all(x in recipe.grid for recipe in recipes):
        raise UserError(f"{where}: x is {x}, of which some recipe has no values: give each a grid of it.")
    return StudyFigure(x, tuple(lists["y"]), tuple(lists["pictures"]))


def _seeds(content: Any, path: Path) -> tuple[int, ...]:
    whole = isinstance(content, list) and content and all(type(seed) is int for seed in content)
    fits = whole and min(content) >= 0 and max(content) <= LARGEST_SEED
    if not fits or len(set(content)) < len(content):
        raise UserError(
            f"{path}: seeds is {content!r}: give whole numbers from 0 to {LARGEST_SEED}, each once, such as [0, 10]."
        )
    return tuple(content)


def _require_grid(recipe: StudyRecipe, where: str) -> None:
    where = f"{where}: {recipe.name}"
    for name, one in recipe.space.distributions.items():
        if one.count is None:
            raise UserError(
                f"{where}: {name} is a range, and a grid can't try every number of it: give a choice of values, or"
                " another sampler."
            )
        if len(set(map(repr, one.values))) < len(one.values):
            raise UserError(f"{where}: {name} has a value twice: give each value of a grid once.")
    if recipe.space.combinations > MOST_COMBINATIONS:
        raise UserError(
            f"{where} has {recipe.space.combinations} combinations, more than {MOST_COMBINATIONS}: give fewer values,"
            " or another sampler."
        )


def _search(content: Any, where: str) -> Search:
    _require_keys(content, ("trials", "sampler", "seed", "metric", "early_stopping"), where, ())
    sampler = content.get("sampler", "random")
    if sampler not in SAMPLERS:
        raise UserError(f"{where}: sampler is {sampler!r}: choose {', '.join(SAMPLERS)}.")
    if sampler != "grid" and "trials" not in content:
        raise UserError(f"{where} has no trials: add it, or set sampler: grid to try every combination.")
    for name, reason in (("trials", "tries every combination once"), ("seed", "draws nothing")):
        if sampler == "grid" and name in content:
            raise UserError(f"{where}: a grid {reason}: leave out {name}.")
    for name, least in (("trials", 1), ("seed", 0)):
        value = content.get(name, least)
        if type(value) is not int or value < least:
            raise UserError(f"{where}: {name} is {value!r}: give a whole number from {least} on.")
    metric = content.get("metric", VALIDATION)
    if metric != VALIDATION:
        raise UserError(
            f"{where}: metric is {metric}, but a search chooses by {VALIDATION}, and the test split stays unseen: leave"
            " it out."
        )
    return Search(content.get("trials"), sampler, content.get("seed", 0), _early_stopping(content, where))


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
        raise UserError(f"{where} has {unknown[0]}, which has no place there: choose among {', '.join(known)}.")
    for name in needed:
        if name not in content:
            raise UserError(f"{where} has no {name}: add it.")
