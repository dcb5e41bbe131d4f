"""The tables of docs/results.md say what the curves beside them say."""

import csv
import re
from collections import defaultdict
from statistics import fmean, stdev

import pytest
import yaml

from tests.helpers import CONFIGS, ROOT

CURVES = sorted((ROOT / "docs/results").glob("*.csv"))
"""Named after their study: a row an epoch of every run."""


def last_epochs(path):
    """Returns the row of the last epoch by recipe and seed; all runs have the same epochs, each once."""
    runs = defaultdict(dict)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            epochs = runs[row["recipe"], int(row["seed"])]
            assert int(row["epoch"]) == len(epochs) + 1
            epochs[len(epochs) + 1] = row
    (length,) = {len(epochs) for epochs in runs.values()}
    found = defaultdict(dict)
    for (recipe, seed), epochs in runs.items():
        found[recipe][seed] = epochs[length]
    return found


def in_words(values):
    """Returns fractions in percent, as the tables have them."""
    values = [100 * value for value in values]
    if len(values) < 3:
        return ", ".join(f"{value:.2f}" for value in values)
    return f"{fmean(values):.2f} ± {stdev(values):.2f}"


@pytest.mark.parametrize("path", CURVES, ids=lambda path: path.stem)
def test_a_table_has_the_means_of_its_curves(path):
    """A row a recipe, in any order; it is found by the recipe's name in the study."""
    study = yaml.safe_load((CONFIGS / "studies" / f"{path.stem}.yaml").read_text())
    names = {recipe.rpartition("/")[2]: options["name"] for recipe, options in study["recipes"].items()}
    rows = re.findall(
        r"^\| (.+?) \| (.+?) \| (.+?) \| ([\d, ]+) \|", (ROOT / "docs/results.md").read_text(), re.MULTILINE
    )
    table = {rule: (tested, trained, seeds) for rule, tested, trained, seeds in rows}
    for recipe, seeds in last_epochs(path).items():
        said = tuple(
            in_words([float(seeds[s][name]) for s in sorted(seeds)]) for name in ("test_accuracy", "training_accuracy")
        )
        assert table[names[recipe]] == (*said, ", ".join(map(str, sorted(seeds)))), recipe
