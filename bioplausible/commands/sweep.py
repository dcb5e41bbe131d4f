"""``python -m bioplausible sweep``: every combination of seeds and options, several at once, on Ray Tune."""

import contextlib
import ctypes
import hashlib
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any, cast

import yaml

from bioplausible.commands.arguments import CommandArguments, path_named, recipe_named
from bioplausible.commands.configuration import class_of
from bioplausible.commands.program import this_program
from bioplausible.commands.recipes import snake_case
from bioplausible.commands.report import page
from bioplausible.commands.report.nets import net_name
from bioplausible.commands.report.reading import read_run
from bioplausible.commands.sources import sources
from bioplausible.errors import UserError
from bioplausible.resume.checkpoint_files import newest_checkpoint

LONGEST_NAME = 200
"""Bytes of a folder's name."""

NOTE = "trial.yaml"
"""File in a trial's folder that says what it is a trial of."""


@dataclass(frozen=True)
class Trial:
    """One combination.

    Attributes:
        name: ``digits/corinfomax/seed=0,beta=0.5``: folder and name of the recipe, with the trial's own data set and
            rule where it has others, and the combination.
        folder: folder of its run.
        arguments: of ``fit``.
        what: seed, options and the recipe's text, to know again what was trained.
        threads: threads that torch computes with.
    """

    name: str
    folder: str
    arguments: list[str]
    what: dict[str, Any]
    threads: int


def trials(recipe: Path, seeds: Sequence[int], grid: dict[str, list[str]], out: Path, threads: int) -> list[Trial]:
    """Returns every combination of seeds and values.

    Args:
        recipe: YAML file.
        seeds: values of seed_everything.
        grid: values by option, for example ``{"model.init_args.beta": ["0.5", "1.0"]}``.
        out: folder of the whole sweep.
        threads: threads a trial.
    """
    short = {key: key.rpartition(".")[2] for key in grid}
    if len(set(short.values())) < len(short):
        short = {key: key for key in grid}
    found = []
    for seed, values in product(seeds, product(*grid.values())):
        options = dict(zip(grid, values, strict=True))
        combination = ",".join([f"seed={seed}", *(f"{short[key]}={_shown(key, v)}" for key, v in options.items())])
        arguments = ["--config", str(recipe.resolve()), "--seed_everything", str(seed)]
        for key, value in options.items():
            arguments += [f"--{key}", value]
        kind = _kind(recipe, arguments)
        folder = out / kind / _folder_name(combination)
        arguments += ["--trainer.logger.init_args.save_dir", str(out), "--trainer.logger.init_args.name", kind]
        arguments += ["--trainer.logger.init_args.version", folder.name, "--trainer.enable_progress_bar", "false"]
        what = {"seed": seed, "options": options, "recipe": recipe.read_text()}
        found.append(Trial(f"{kind}/{combination}", str(folder), arguments, what, threads))
    return found


def _kind(recipe: Path, arguments: list[str]) -> str:
    """Returns folder and name of a recipe, with data set and rule of a trial where they name those of the recipe."""
    given = sources("fit", arguments)
    of_recipe = [source for source in given if source.is_file][-1:]
    names = [recipe.resolve().parent.name, recipe.stem]
    for i, place in enumerate(("data", "model")):
        theirs, mine = class_of(of_recipe, place), class_of(given, place)
        if theirs is not None and mine is not None:
            names[i] = names[i].replace(snake_case(theirs), snake_case(mine))
    return "/".join(names)


def _shown(key: str, value: str) -> str:
    """Returns an option's value as a trial's name has it: a network in its short form."""
    if key.rpartition(".")[2] != "network":
        return value
    try:
        return net_name({"network": yaml.safe_load(value)})
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError):
        return value  # no network: its trial will say so


def _folder_name(combination: str) -> str:
    """Returns a combination as a folder's name, which may have 255 bytes at most."""
    name = combination.replace("/", "_")
    if len(name.encode()) <= LONGEST_NAME:
        return name
    start = name.encode()[: LONGEST_NAME - 10].decode(errors="ignore")
    return f"{start}…{hashlib.sha256(name.encode()).hexdigest()[:7]}"


def is_finished(trial: Trial) -> bool:
    """Returns whether a trial's run is there and finished.

    Raises:
        UserError: its folder holds a run of something else.
    """
    folder = Path(trial.folder)
    note = folder / NOTE
    if not note.is_file():
        return False
    if yaml.safe_load(note.read_text()) != trial.what:
        raise UserError(
            f"{folder} holds a trial of another recipe or with other options: name another folder with --out, or delete"
            " this one."
        )
    return read_run(folder).finished


def run_trial(trial: Trial) -> float:
    """Trains a trial in a process of its own, or goes on where it was killed, and returns its test accuracy.

    Raises:
        RuntimeError: it failed; the sentence is the last line of its log.
    """
    folder = Path(trial.folder)
    note = folder / NOTE
    arguments = trial.arguments
    if note.is_file() and list(folder.rglob("*.ckpt")):
        arguments = ["--ckpt_path", str(newest_checkpoint(folder)), "--trainer.enable_progress_bar", "false"]
    else:
        shutil.rmtree(folder, ignore_errors=True)  # nothing that could be resumed
        folder.mkdir(parents=True)
        note.write_text(yaml.safe_dump(trial.what))
    log = folder / "log.txt"
    with log.open("a") as file:
        status = subprocess.run(
            [sys.executable, "-m", "bioplausible", "fit", *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": str(trial.threads)},
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            check=False,
        ).returncode
    if status != 0:
        lines = [line for line in log.read_text().splitlines() if line.strip()]
        raise RuntimeError(lines[-1] if lines else f"exit status {status}")
    accuracy = read_run(folder).last("test/accuracy")
    if accuracy is None:
        raise RuntimeError("it was not tested")
    return accuracy


def _die_with_parent() -> None:
    """Asks Linux to kill this process with its parent: a sweep that is killed leaves no training behind."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def run(args: Sequence[str]) -> int:
    """Runs every combination that is not finished, writes the report, and returns 0, or 1 where a trial failed.

    Ctrl-C ends it with 130.

    Raises:
        UserError: an option is wrong, or Ray is not installed.
    """
    parser = CommandArguments(prog="python -m bioplausible sweep", description=__doc__)
    parser.add_argument(
        "--config", type=recipe_named, action="append", required=True, help="recipe; may be given several times"
    )
    parser.add_argument("--seeds", default="0", help="seeds, separated by commas (default: 0)")
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="KEY=V1,V2",
        help="values of an option of fit, for example model.init_args.beta=0.5,1.0; may be given several times",
    )
    parser.add_argument(
        "--out", type=path_named, default=Path("sweep"), help="folder of runs and report (default: sweep)"
    )
    parser.add_argument("--cpus", type=int, help="cores to use (default: all)")
    parser.add_argument("--threads", type=int, default=1, help="threads, and cores, a trial (default: 1)")
    parser.add_argument("--address", help="address of a Ray cluster that shares the folder; default: this machine")
    options = parser.parse_args(args)
    seeds = _integers(options.seeds)
    cpus = options.cpus or os.cpu_count() or 1
    if options.threads < 1 or cpus < options.threads:
        raise UserError(f"threads is {options.threads}: it must lie between 1 and the {cpus} cores.")
    grid: dict[str, list[str]] = {}
    for entry in options.grid:
        key, values = _grid_entry(entry)
        grid[key] = grid.get(key, []) + values
    for recipe in options.config:
        if not recipe.is_file():
            raise UserError(f"There is no recipe {recipe}: name a YAML file such as those in configs/.")
    out = options.out.resolve()
    every = [t for recipe in options.config for t in trials(recipe, seeds, grid, out, options.threads)]
    if len({trial.folder for trial in every}) < len(every):
        raise UserError("Two trials would have the same folder: give each recipe (by folder and name) and value once.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out} can't be written to ({error.strerror}): choose another folder with --out.") from error
    waiting = [trial for trial in every if not is_finished(trial)]
    print(f"{len(every)} trials, {len(every) - len(waiting)} of them finished before", flush=True)
    try:
        failures = _on_ray(waiting, cpus, options.address, out) if waiting else {}
    except KeyboardInterrupt:
        print("stopped by SIGINT: the same command goes on where the trials are", file=sys.stderr)
        return 128 + signal.SIGINT
    for name, reason in failures.items():
        print(f"failed  {name}: {reason}")
    found = [read_run(Path(trial.folder)) for trial in every]
    page.write(found, out / "report", f"{this_program()} sweep {shlex.join(args)}")
    print(f"{sum(r.finished for r in found)} of {len(every)} trials finished\nreport  {out / 'report' / 'index.html'}")
    return 1 if failures else 0


def _on_ray(waiting: Sequence[Trial], cpus: int, address: str | None, out: Path) -> dict[str, str]:
    """Returns the reasons of the trials that failed, by name."""
    try:
        import ray
        from ray import tune
    except ImportError as error:
        raise UserError("sweep needs Ray Tune: pip install 'bioplausible[sweep]'.") from error

    class Announce(tune.Callback):
        """Prints a line for each trial that ends: a sweep takes hours."""

        def __init__(self) -> None:
            self.ended, self.start = 0, time.monotonic()

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
        ) -> None:
            self.ended += 1
            seconds = (time.monotonic() - self.start) / self.ended * (len(waiting) - self.ended)
            outcome = "failed" if "failure" in result else f"{result['test_accuracy']:.2%}"
            left = f", about {timedelta(seconds=round(seconds))} left" if self.ended < len(waiting) else ""
            print(f"{trial.config['trial']['name']}: {outcome} ({self.ended} of {len(waiting)}{left})", flush=True)

    def trainable(config: dict[str, Any]) -> None:
        try:
            tune.report({"test_accuracy": run_trial(Trial(**config["trial"]))})
        except RuntimeError as error:  # told to Ray it would be printed with its whole stack
            tune.report({"failure": str(error)})

    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Tune's would end as if all trials had come to their end
    os.environ.setdefault("RAY_worker_niceness", "0")  # training is all that there is to do
    here = None if address else cpus
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.CRITICAL}
    try:
        ray.init(address=address, num_cpus=here, **quiet)
    except ConnectionError as error:
        raise UserError(
            f"No Ray cluster answers at {address}: start one with `ray start --head` and the same RAY_AUTH_MODE."
        ) from error
    try:
        results = tune.Tuner(
            tune.with_resources(trainable, {"cpu": waiting[0].threads}),
            param_space={"trial": tune.grid_search([asdict(trial) for trial in waiting])},
            run_config=tune.RunConfig(name="tune", storage_path=str(out / ".ray"), verbose=0, callbacks=[Announce()]),
        ).fit()
    finally:
        ray.shutdown()
        with contextlib.suppress(OSError):
            shutil.rmtree(out / ".ray")
    failures: dict[str, str] = {}
    for trial, result in zip(waiting, cast(Any, results), strict=True):
        if result.error is not None:
            failures[trial.name] = str(result.error).strip().splitlines()[-1]
        elif "failure" in result.metrics:
            failures[trial.name] = result.metrics["failure"].removeprefix("error: ")
    return failures


def _integers(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"seeds is {text!r}: give whole numbers separated by commas, such as 0,10,20.") from error
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UserError(f"seeds is {text!r}: each must be there once, and none negative.")
    return seeds


def _grid_entry(entry: str) -> tuple[str, list[str]]:
    key, _, values = entry.partition("=")
    found, depth = [""], 0
    for character in values:
        depth += (character in "[{(") - (character in ")}]")
        if character == "," and depth == 0:  # commas within brackets belong to a value
            found.append("")
        else:
            found[-1] += character
    if not key or "" in found:
        raise UserError(f"grid is {entry!r}: give KEY=V1,V2, such as model.init_args.beta=0.5,1.0.")
    return key.removeprefix("--"), found
