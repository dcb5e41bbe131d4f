"""The tables of docs/results.md say what the curves beside them say."""

import csv
import re
from collections import defaultdict
from statistics import fmean, stdev

import pytest
import yaml

from tests.helpers import CONFIGS, ROOT

CURVES = sorted((ROOT / "docs/results").glob("*.csv"))
"""Named after their study: a row an epoch of every run, or its last epoch alone."""


def last_epochs(path):
    """Returns the row of the last epoch by recipe and seed; the runs of a recipe have the same epochs, each once."""
    runs = defaultdict(lambda: defaultdict(dict))
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            epochs = runs[row["recipe"]][int(row["seed"])]
            assert int(row["epoch"]) not in epochs
            epochs[int(row["epoch"])] = row
    lengths = set()
    for seeds in runs.values():
        (found,) = {tuple(epochs) for epochs in seeds.values()}
        assert found == tuple(range(1, found[-1] + 1)) or len(found) == 1
        lengths.add((len(found), found[-1]))
        seeds.update({seed: epochs[found[-1]] for seed, epochs in seeds.items()})
    # whole curves all have the same length
    assert len(lengths) == 1 or all(rows == 1 for rows, _ in lengths)
    return runs


def table_of(study):
    """Returns the table of the section that says how to train a study: first cells by rule."""
    (section,) = (
        part
        for part in (ROOT / "docs/results.md").read_text().split("\n## ")
        if re.search(rf"--study {study}(?!\w)", part)
    )
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \| ([\d, ]+) \|", section, re.MULTILINE)
    return {rule: (tested, trained, seeds) for rule, tested, trained, seeds in rows}


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
    table = table_of(path.stem)
    for recipe, seeds in last_epochs(path).items():
        said = tuple(
            in_words([float(seeds[s][name]) for s in sorted(seeds)]) for name in ("test_accuracy", "training_accuracy")
        )
        assert table[names[recipe]] == (*said, ", ".join(map(str, sorted(seeds)))), recipe


def test_the_choice_of_rules_has_the_means_of_the_further_rules():
    """A rule's option has a row of its own, found by the option's name."""
    rows = (ROOT / "docs/choosing.md").read_text().splitlines()
    for recipe, seeds in last_epochs(ROOT / "docs/results/fashion_mnist_further_rules.csv").items():
        mean = f"{100 * fmean(float(row['test_accuracy']) for row in seeds.values()):.1f}"
        model = yaml.safe_load((CONFIGS / "fashion_mnist" / f"{recipe}.yaml").read_text())["model"]
        said = [row for row in rows if row.startswith(f"| `{model['class_path']}` |") and row.count("|") > 4]
        options = {"points": "`points: 4`", "hold_output": "`hold_output`", "inference": "`inference: errors`"}
        said += [row for row in rows for key, name in options.items() if key in model["init_args"] and name in row]
        assert any(re.search(rf"[|,] {mean}(?:, [\d.]+)? \(10\b", row) for row in said), recipe
