"""What a sweep does once its options are read: its trials are trained, what is finished left alone, and reported."""

import shlex
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from bioplausible.commands.meant import meant, recipe_meant
from bioplausible.commands.program import this_program
from bioplausible.commands.recipes import all_studies
from bioplausible.commands.report import page
from bioplausible.commands.report.reading import read_run
from bioplausible.commands.report.sections import Section
from bioplausible.commands.sources import meaning
from bioplausible.commands.sweep import on_ray, tuning
from bioplausible.commands.sweep.checks import require_same_images, require_trainable
from bioplausible.commands.sweep.grid import grid_entry, integers
from bioplausible.commands.sweep.running import is_finished
from bioplausible.commands.sweep.search import candidates, to_check, write_results
from bioplausible.commands.sweep.sections import search_section, study_section
from bioplausible.commands.sweep.settings import refuse_own
from bioplausible.commands.sweep.study import SearchStudy, Study
from bioplausible.commands.sweep.study_file import read_study
from bioplausible.commands.sweep.trials import Trial, refuse_same_folders, trials
from bioplausible.commands.sweep.variants import study_trials, variants
from bioplausible.errors import UserError


def sweep(options: Namespace, cpus: int, command: str) -> int:
    """Runs every trial that is not finished, writes the report, and returns 0, or 1 where a trial failed or is missing.

    Args:
        options: of the command.
        cpus: cores to use.
        command: with which the same sweep is run again.

    Raises:
        UserError: a recipe, a grid or the study is wrong, the folder can't be written to, or Ray is not installed.
    """
    out = options.out.resolve()
    if options.study:
        if not options.study.exists() and (close := meant(str(options.study), all_studies())):
            raise UserError(f"There is no study {options.study}{close}")
        study = read_study(options.study)
        every = _trials(study, out, options.threads, options.list)
        require_trainable(to_check(study, out, options.threads) if isinstance(study, SearchStudy) else every)
    else:
        every = _combinations(options.config, options.seeds or "0", options.grid, out, options.threads)
        require_trainable(every)
    if options.list:
        for trial in every:
            print(f"{this_program()} fit {shlex.join(trial.arguments)}")
        return 0
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out} can't be written to ({error.strerror}): choose another folder with --out.") from error
    try:
        if not options.study:
            return _report(every, _train(every, cpus, options.address, out), out, command)
        if isinstance(study, SearchStudy):
            return _search(study, cpus, options.address, out, options.threads, command)
        failures = _train(every, cpus, options.address, out)
        return _report(every, failures, out, command, study_section(study, variants(study, out, options.threads)))
    except KeyboardInterrupt:
        print("the same command goes on where the trials are", file=sys.stderr)
        raise


def _combinations(recipes: Sequence[Path], seeds: str, entries: Sequence[str], out: Path, threads: int) -> list[Trial]:
    """Returns every combination of recipes, seeds and the grid's values."""
    grid: dict[str, list[str]] = {}
    for entry in entries:
        key, values = grid_entry(entry)
        for value in values:
            refuse_own({key: meaning(value)}, "--grid")
        grid[key] = grid.get(key, []) + values
    for recipe in recipes:
        if not recipe.is_file():
            raise UserError(
                f"There is no recipe {recipe}{recipe_meant(recipe) or ': name a YAML file such as those in configs/.'}"
            )
    every = [t for recipe in recipes for t in trials(recipe, integers(seeds), grid, out, threads)]
    refuse_same_folders(every)
    return every


def _trials(study: Study, out: Path, threads: int, to_list: bool) -> list[Trial]:
    """Returns the trials of a study, as far as they are known before it has begun."""
    if not isinstance(study, SearchStudy):
        return study_trials(variants(study, out, threads), len(study.seeds))
    if to_list and not study.search.is_known_beforehand:
        raise UserError("A bayesian search draws by what it has found: there is no list of its trials beforehand.")
    return [trial for one in candidates(study, out, threads) for trial in one.trials]


def _train(every: Sequence[Trial], cpus: int, address: str | None, out: Path) -> dict[str, str]:
    """Trains what is not finished, and returns why trials failed, by name."""
    waiting = [trial for trial in every if not is_finished(trial)]
    print(f"{len(every)} trials, {len(every) - len(waiting)} of them finished before", flush=True)
    return on_ray.train(waiting, cpus, address, out) if waiting else {}


def _search(study: SearchStudy, cpus: int, address: str | None, out: Path, threads: int, command: str) -> int:
    """Tries what is not tried, writes what was found and the report, and returns the exit status."""
    known = candidates(study, out, threads)
    if study.search.is_known_beforehand and study.search.early_stopping is None:
        failures = _train([trial for one in known for trial in one.trials], cpus, address, out)
    else:
        tried, before = sum(map(study.trials_of, study.recipes)), sum(one.ended for one in known)
        print(f"{tried} trials of {len(study.seeds)} seeds, {before} of them finished before", flush=True)
        failures = tuning.search(study, cpus, address, out, threads)
        known = candidates(study, out, threads)
    every = [trial for one in known for trial in one.trials]
    require_same_images(every)
    best = write_results(known, study, out)
    status = _report(every, failures, out, command, search_section(study, known))
    for kind, chosen in best.items():
        said = f"{chosen.accuracy:.2%}, {out / 'best' / f'{kind}.yaml'}" if chosen else "none, for no trial finished"
        print(f"best    {kind}: {said}")
    print(f"tried   {out / 'trials.csv'}")
    return status


def _report(every: Sequence[Trial], failures: Mapping[str, str], out: Path, command: str, *sections: Section) -> int:
    """Says what failed, writes the report and returns the exit status."""
    for name, reason in failures.items():
        print(f"failed  {name}: {reason}")
    require_same_images(every)
    page.write([read_run(Path(trial.folder)) for trial in every], out / "report", command, sections)
    finished = sum(map(is_finished, every))
    print(f"{finished} of {len(every)} trials finished")
    print(f"report  {out / 'report' / 'index.html'}")
    return 1 if failures or finished < len(every) else 0
