"""A search for hyperparameters: its trials, and what it found."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from bioplausible.commands.sweep.recipe_text import configuration, option_text, recipe_text
from bioplausible.commands.sweep.running import LOG, last_words, outcome, seconds
from bioplausible.commands.sweep.space import Value
from bioplausible.commands.sweep.study import Study, StudyRecipe
from bioplausible.commands.sweep.trials import VALIDATION, Trial, kind_of, refuse_same_folders, trial
from bioplausible.errors import UserError

UNTESTED = {"trainer.limit_test_batches": "0"}
"""Options by which a trial doesn't look at the test split."""


@dataclass(frozen=True)
class Candidate:
    """A set of values that a search tries.

    Attributes:
        recipe: what the study says of its recipe.
        kind: the recipe's name.
        number: of the draw, from 0.
        options: of ``fit``: the recipe's in the study, and what is drawn.
        trials: one a seed.
    """

    recipe: StudyRecipe
    kind: str
    number: int
    options: Mapping[str, Any]
    trials: tuple[Trial, ...]

    @property
    def accuracy(self) -> float | None:
        """Mean over the seeds of the last epoch's validation accuracy; None where a seed is missing or failed."""
        found = [outcome(one) for one in self.trials]
        return None if None in found else fmean(one.accuracy for one in found if one is not None)


def random_trials(study: Study, out: Path = Path("sweep"), threads: int = 1) -> list[Trial]:
    """Returns the trials of a random search, all of them drawn beforehand: the same on every machine.

    The first values of each recipe come first, then the second ones: where a search is cut short, no recipe was
    favoured.

    Args:
        study: what :func:`read_study` returns.
        out: folder of the whole sweep.
        threads: threads a trial.

    Raises:
        UserError: a recipe has no validation split, or two have the same name.
    """
    return [one for candidate in candidates(study, out, threads) for one in candidate.trials]


def candidates(study: Study, out: Path, threads: int) -> list[Candidate]:
    """Returns what a random search tries, in the order of :func:`random_trials`."""
    found = [_drawn(study, r, n, out, threads) for n in range(study.search.trials) for r in study.recipes]
    for one in found[: len(study.recipes)]:
        _require_validation(one)
    refuse_same_folders([one for candidate in found for one in candidate.trials])
    return found


def write_results(found: Sequence[Candidate], study: Study, out: Path) -> dict[str, Candidate | None]:
    """Writes ``trials.csv``, what was tried, and ``best/<recipe>.yaml``, a recipe that ``fit`` takes.

    The best is the candidate with the highest validation accuracy of the last epoch, averaged over all seeds; of equal
    ones the first. A candidate of which a seed failed is never the best.

    Args:
        found: all candidates.
        study: the study.
        out: folder of the whole sweep.

    Returns:
        The best candidate by recipe; None where none is finished.
    """
    rows = [row for candidate in found for row in _rows(candidate)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    with (out / "trials.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    best: dict[str, Candidate | None] = {}
    for kind in dict.fromkeys(candidate.kind for candidate in found):
        finished = [c for c in found if c.kind == kind and c.accuracy is not None]
        best[kind] = max(finished, key=lambda c: c.accuracy or 0.0, default=None)
        file_of_best = out / "best" / f"{kind}.yaml"
        chosen = best[kind]
        if chosen is None:
            file_of_best.unlink(missing_ok=True)  # of an earlier study
            continue
        file_of_best.parent.mkdir(parents=True, exist_ok=True)
        file_of_best.write_text(recipe_text(_arguments(chosen), _said_of(chosen, len(finished), study)))
    return best


def _drawn(study: Study, recipe: StudyRecipe, number: int, out: Path, threads: int) -> Candidate:
    kind = kind_of(recipe.path)
    drawn = recipe.space.options(recipe.space.draw(study.search.seed, kind, number))
    return candidate(study, recipe, number, drawn, out, threads)


def candidate(
    study: Study, recipe: StudyRecipe, number: int, drawn: Mapping[str, Value], out: Path, threads: int
) -> Candidate:
    """Returns a candidate with its trials.

    Args:
        study: the study.
        recipe: one of its recipes.
        number: of the draw.
        drawn: values by option.
        out: folder of the whole sweep.
        threads: threads a trial.
    """
    options = {**recipe.options, **drawn}
    texts = {key: option_text(value) for key, value in {**study.options, **options}.items()} | UNTESTED
    trials = tuple(
        trial(recipe.path, f"trial={number},seed={seed}", seed, texts, out.resolve(), threads, VALIDATION)
        for seed in study.seeds
    )
    return Candidate(recipe, kind_of(recipe.path), number, options, trials)


def _require_validation(one: Candidate) -> None:
    data = configuration(one.trials[0].arguments).get("data")
    options = (data.get("init_args") or {}) if isinstance(data, dict) else {}
    if not options.get("validation_split"):
        raise UserError(
            f"{one.kind} has no validation split to choose by: set data.init_args.validation_split under the study's"
            " options, for example to 0.1."
        )


def _arguments(chosen: Candidate) -> list[str]:
    """Returns the arguments of ``fit`` that are the candidate's own, without those of all trials."""
    found = ["--config", str(chosen.recipe.path.resolve())]
    for key, value in chosen.options.items():
        found += [f"--{key}", option_text(value)]
    return found


def _said_of(chosen: Candidate, finished: int, study: Study) -> list[str]:
    """Returns what a recipe that was found says of itself."""
    searched = ", ".join(f"{key}={option_text(value)}" for key, value in study.options.items())
    lines = [
        f"{chosen.kind} with what a {study.search.sampler} search of {study.path.name} chose: trial {chosen.number} of"
        f" {study.search.trials} ({finished} finished).",
        f"Its validation accuracy in the last epoch is {chosen.accuracy:.2%}, the mean over seeds"
        f" {', '.join(map(str, study.seeds))}, which alone chose it.",
    ]
    return lines + ([f"The trials were trained with {searched}, which this recipe leaves out."] if searched else [])


def _rows(one: Candidate) -> Iterator[dict[str, Any]]:
    """Yields a row of trials.csv a seed."""
    for single in one.trials:
        found = outcome(single)
        failed = Path(single.folder, LOG).is_file()
        yield {
            "recipe": one.kind,
            "trial": one.number,
            "seed": single.what["seed"],
            "status": "finished" if found else f"failed: {last_words(single)}" if failed else "not started",
            "validation_accuracy": found.accuracy if found else "",
            "best_validation_accuracy": found.best_accuracy if found else "",
            "seconds": f"{seconds(single):.1f}",
            **{key: option_text(value) for key, value in one.options.items()},
            "folder": single.folder,
        }
