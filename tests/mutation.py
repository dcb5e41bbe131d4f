"""How many mistakes the tests notice: `make mutation` runs this, with cosmic-ray on the path.

cosmic-ray changes one place of a copy of the checkout at a time, and runs the tests of that package. Of each package a
sample is drawn, since all of them take days.

    python -m tests.mutation --sample 40 --seed 0 rules network
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import toml
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.tools.filters.operators_filter import OperatorsFilter
from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult
from scipy.stats import binomtest

ROOT = Path(__file__).parent.parent
SETTINGS = ROOT / "tests" / "mutation.toml"


def prepare(package, folder):
    """Copies the checkout to `folder`, and lists the package's mutants there."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["git", "checkout-index", "--all", f"--prefix={folder}/"], cwd=ROOT, check=True)
    settings = toml.load(SETTINGS)
    # without the packages that cosmic-ray brings: some tests look at what is said where rich is missing
    command = f"env PYTHONPATH={folder} {sys.executable} -m pytest -x -q -p no:cacheprovider -m 'not slow'"
    settings["cosmic-ray"]["module-path"] = [f"bioplausible/{package}"]
    settings["cosmic-ray"]["test-command"] = " ".join([command, *settings["tests"][package]])
    (folder / "mutation.toml").write_text(toml.dumps(settings))
    cosmic_ray(folder, "baseline", "mutation.toml")  # where a test fails anyway, every mutant would count as noticed
    cosmic_ray(folder, "init", "mutation.toml", "session.sqlite")
    OperatorsFilter().main([str(folder / "session.sqlite"), str(folder / "mutation.toml")])


def draw(session, size, seed):
    """Leaves a sample of the mutants that are still to be tried, the same one for the same code and seed.

    Of what is drawn, what is no Python is left out: the operators take the ``**`` of a dictionary for a power.
    """
    with use_db(session) as db:
        pending = sorted(db.pending_work_items, key=lambda item: str(item.mutations))
        drawn = random.Random(seed).sample(pending, min(size or len(pending), len(pending)))
        kept = {item.job_id for item in drawn if is_python(session.parent, *item.mutations)}
        left_out = [item.job_id for item in pending if item.job_id not in kept]
        db.set_multiple_results(left_out, WorkResult(WorkerOutcome.SKIPPED, output="not drawn"))
    return len(kept), len(pending)


def is_python(folder, mutation):
    operator = get_operator(mutation.operator_name)(**mutation.operator_args)
    try:
        ast.parse(mutate_code((folder / mutation.module_path).read_text(), operator, mutation.occurrence))
    except SyntaxError:
        return False
    return True


def score(package, folder):
    """Prints how many were noticed, with the 95 % interval of the share (Wilson), and writes the diffs of the rest."""
    with use_db(folder / "session.sqlite") as db:
        tried = [r for _, r in db.completed_work_items if r.worker_outcome != WorkerOutcome.SKIPPED]
    survivors = [r.diff for r in tried if r.test_outcome == TestOutcome.SURVIVED]
    (folder / "survivors.txt").write_text("\n\n".join(sorted(survivors)))
    noticed = len(tried) - len(survivors)
    low, high = binomtest(noticed, len(tried)).proportion_ci(method="wilson")
    print(f"{package}: {noticed} of {len(tried)} noticed, 95 % interval {low:.1%} to {high:.1%}")
    if survivors:
        print(f"what survived: {folder / 'survivors.txt'}")


def cosmic_ray(folder, *arguments):
    subprocess.run([sys.executable, "-m", "cosmic_ray.cli", *arguments], cwd=folder, check=True)


def main():
    packages = toml.load(SETTINGS)["tests"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="*", metavar="package", help=f"of {', '.join(packages)}; none: all")
    parser.add_argument("--sample", type=int, default=0, help="mutants of each package, 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    given = parser.parse_args()
    for package in given.packages or packages:
        folder = ROOT / "build" / "mutation" / package
        prepare(package, folder)
        print("{}: {} of {} mutants".format(package, *draw(folder / "session.sqlite", given.sample, given.seed)))
        cosmic_ray(folder, "exec", "mutation.toml", "session.sqlite")
        score(package, folder)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main()
