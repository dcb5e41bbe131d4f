"""A search for hyperparameters: its trials, and what it found."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from bioplausible.commands.sweep.recipe_text import configuration, option_text, recipe_text
from bioplausible.commands.sweep.running import LOG, Outcome, begun_with, is_finished, last_words, outcome, seconds
from bioplausible.commands.sweep.study import SearchStudy, StudyRecipe
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
        drawn: numbers by the distribution's name.
        options: of ``fit``: the recipe's in the study, and what is drawn.
        trials: one a seed.
    """

    recipe: StudyRecipe
    kind: str
    number: int
    drawn: Mapping[str, float]
    options: Mapping[str, Any]
    trials: tuple[Trial, ...]

    @property
    def name(self) -> str:
        """Its recipe and number."""
        return f"{self.kind}/trial={self.number}"

    @property
    def ended(self) -> bool:
        """Whether all of its seeds are finished, or stopped."""
        return all(map(is_finished, self.trials))

    @property
    def accuracy(self) -> float | None:
        """Mean over the seeds of the last epoch's validation accuracy; None where one is missing, stopped or failed."""
        found = [one for one in map(outcome, self.trials) if one is not None and one.stopped_after is None]
        return fmean(one.accuracy for one in found) if len(found) == len(self.trials) else None


def known_trials(study: SearchStudy, out: Path = Path("sweep"), threads: int = 1) -> list[Trial]:
    """Returns the trials of a random search or a grid, all of them known beforehand: the same on every machine.

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


def candidates(study: SearchStudy, out: Path, threads: int) -> list[Candidate]:
    """Returns what a search tries, in the order of :func:`known_trials`; of a Bayesian one, what it has begun.

    Raises:
        UserError: a recipe has no validation split, two have the same name, or a folder holds another search's trials
            or a damaged note.
    """
    draw = known_candidate if study.search.is_known_beforehand else _begun
    most = max(map(study.trials_of, study.recipes))
    every = [draw(study, r, n, out, threads) for n in range(most) for r in study.recipes if n < study.trials_of(r)]
    for recipe in study.recipes:
        _require_comparable(known_candidate(study, recipe, 0, out, threads), study)
    found = [one for one in every if one is not None]
    refuse_same_folders([one for candidate in found for one in candidate.trials])
    return found


def write_results(found: Sequence[Candidate], study: SearchStudy, out: Path) -> dict[str, Candidate | None]:
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


def candidate(
    study: SearchStudy, recipe: StudyRecipe, number: int, drawn: Mapping[str, float], out: Path, threads: int
) -> Candidate:
    """Returns a candidate with its trials.

    Args:
        study: the study.
        recipe: one of its recipes.
        number: of the draw.
        drawn: numbers by the distribution's name.
        out: folder of the whole sweep.
        threads: threads a trial.
    """
    options = {**recipe.options, **recipe.space.options(drawn)}
    texts = {key: option_text(value) for key, value in {**study.options, **options}.items()} | UNTESTED
    trials = tuple(
        trial(recipe.path, f"trial={number},seed={seed}", seed, texts, out.resolve(), threads, VALIDATION, drawn)
        for seed in study.seeds
    )
    return Candidate(recipe, kind_of(recipe.path), number, drawn, options, trials)


def known_candidate(study: SearchStudy, recipe: StudyRecipe, number: int, out: Path, threads: int) -> Candidate:
    """Returns a candidate whose values are a grid's, or drawn at random."""
    if study.search.sampler == "grid":
        drawn = recipe.space.combination(number)
    else:
        drawn = recipe.space.draw(study.search.seed, kind_of(recipe.path), number)
    return candidate(study, recipe, number, drawn, out, threads)


def to_check(study: SearchStudy, out: Path, threads: int) -> list[Trial]:
    """Returns trials that stand for all of a search: all that are known, or each end of what is drawn.

    Args:
        study: the study.
        out: folder of the whole sweep.
        threads: threads a trial.
    """
    if study.search.is_known_beforehand:
        return known_trials(study, out, threads)
    return [
        one
        for recipe in study.recipes
        for drawn in recipe.space.ends(known_candidate(study, recipe, 0, out, threads).drawn)
        for one in candidate(study, recipe, 0, drawn, out, threads).trials
    ]


def epochs_of(one: Candidate) -> int:
    """Returns how many epochs a candidate trains.

    Raises:
        UserError: ``max_epochs`` doesn't say it.
    """
    trainer = configuration(one.trials[0].arguments).get("trainer") or {}
    epochs = trainer.get("max_epochs")
    if type(epochs) is not int or epochs < 1 or trainer.get("max_steps") not in (None, -1):
        raise UserError(f"{one.kind} has no number of epochs: set trainer.max_epochs under the study's options.")
    return epochs


def _begun(study: SearchStudy, recipe: StudyRecipe, number: int, out: Path, threads: int) -> Candidate | None:
    """Returns a candidate that was begun before, by the notes in its folders; None where there are none."""
    for one in known_candidate(study, recipe, number, out, threads).trials:
        begun = begun_with(one)
        if begun is not None:
            drawn: Any = begun.get("drawn")
            if not recipe.space.holds(drawn):
                raise UserError(
                    f"{one.folder} holds a trial of another search: name another folder with --out, or delete this one."
                )
            return candidate(study, recipe, number, drawn, out, threads)
    return None


def _require_comparable(one: Candidate, study: SearchStudy) -> None:
    """Checks that candidates can be compared by validation accuracy, after each epoch where some are stopped early.

    Raises:
        UserError: they can't.
    """
    found = configuration(one.trials[0].arguments)
    data, trainer = found.get("data"), found.get("trainer") or {}
    options = (data.get("init_args") or {}) if isinstance(data, dict) else {}
    if not options.get("validation_split"):
        raise UserError(
            f"{one.kind} has no validation split to choose by: set data.init_args.validation_split under the study's"
            " options, for example to 0.1."
        )
    if study.search.is_known_beforehand and study.search.early_stopping is None:
        return
    epochs_of(one)
    for name in ("check_val_every_n_epoch", "val_check_interval"):
        if trainer.get(name) not in (None, 1, 1.0):
            raise UserError(
                f"{one.kind} sets {name}, but the search compares candidates after each epoch: leave it out."
            )


def _arguments(chosen: Candidate) -> list[str]:
    """Returns the arguments of ``fit`` that are the candidate's own, without those of all trials."""
    found = ["--config", str(chosen.recipe.path.resolve())]
    for key, value in chosen.options.items():
        found += [f"--{key}", option_text(value)]
    return found


def _said_of(chosen: Candidate, finished: int, study: SearchStudy) -> list[str]:
    """Returns what a recipe that was found says of itself."""
    searched = ", ".join(f"{key}={option_text(value)}" for key, value in study.options.items())
    lines = [
        f"{chosen.kind} with what a {study.search.sampler} search of {study.path.name} chose: trial {chosen.number} of"
        f" {study.trials_of(chosen.recipe)} ({finished} finished).",
        f"Its validation accuracy in the last epoch is {chosen.accuracy:.2%}, the mean over seeds"
        f" {', '.join(map(str, study.seeds))}, which alone chose it.",
    ]
    return lines + ([f"The trials were trained with {searched}, which this recipe leaves out."] if searched else [])


def _rows(one: Candidate) -> Iterator[dict[str, Any]]:
    """Yields a row of trials.csv a seed."""
    for single in one.trials:
        found = outcome(single)
        yield {
            "recipe": one.kind,
            "trial": one.number,
            "seed": single.what["seed"],
            "status": _status(single, found),
            "validation_accuracy": found.accuracy if found else "",
            "best_validation_accuracy": found.best_accuracy if found else "",
            "seconds": f"{seconds(single):.1f}",
            **{key: option_text(value) for key, value in one.options.items()},
            "folder": single.folder,
        }


def _status(one: Trial, found: Outcome | None) -> str:
    if found is not None:
        return "finished" if found.stopped_after is None else f"stopped after epoch {found.stopped_after}"
    # Ray's worker takes a trial with it that could say nothing
    return f"failed: {last_words(one) or 'killed'}" if Path(one.folder, LOG).is_file() else "not started"
