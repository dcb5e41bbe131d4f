"""What one takes away of a report: tables for LaTeX, figures as PDF, all curves in one file, what made it."""

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bioplausible import __version__
from bioplausible.__main__ import main
from bioplausible.commands.report.take_away import IN_LATEX, latex
from tests.helpers import CONFIGS, FEW, make_run

PLAIN = {written: character for character, written in IN_LATEX.items()}


def cells(table):
    """Returns the cells of a table in LaTeX, as they were before."""
    body = table.split("\\toprule\n")[1].split("\\bottomrule")[0]
    written = re.compile("|".join(map(re.escape, sorted(PLAIN, key=len, reverse=True))))
    return [
        [written.sub(lambda match: PLAIN[match[0]], cell) for cell in re.split(" & ", line.removesuffix(" \\\\"))]
        for line in body.splitlines()
        if line != "\\midrule"
    ]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1), min_size=1))
def test_latex_says_what_the_table_says(texts):
    rows = [{"a name": text, "n": number} for number, text in enumerate(texts)]
    table = latex(rows, "what it is")
    assert cells(table) == [["a name", "n"], *([row["a name"], str(row["n"])] for row in rows)]
    special = re.sub(
        r"\\[&%$#_{}]|\\text\w+\{\}|\\dots\{\}|\$[^$]*\$", "", "".join(table.splitlines(keepends=True)[4:-2])
    )
    for line in special.splitlines():
        assert not set("%$#_{}~^") & set(line.removesuffix("\\\\"))
        assert line.count("&") == (0 if line == "\\midrule" else 1)


def test_numbers_stand_to_the_right():
    rows = [{"rule": "a", "accuracy": "91.00 ± 1.00", "n": 3, "difference": "−0.20"}, {"rule": "b"}]
    rows[1] |= {"accuracy": "", "n": 1, "difference": ""}
    assert "\\begin{tabular}{lrrr}" in latex(rows, "x")


@pytest.fixture
def runs():
    for seed, accuracy in ((0, 0.9), (10, 0.92), (20, 0.91)):
        make_run(Path(f"logs/ep/version_{seed}"), accuracy, seed)
        make_run(Path(f"logs/bp/version_{seed}"), accuracy - 0.01 - seed / 1e4, seed, "fashion_mnist/backpropagation")
    make_run(Path("logs/ep/version_30"), None, 30, epochs=20)
    assert main(["report", "logs", "--out", "out it"]) == 0


def test_every_table_is_there_for_latex_and_every_figure_as_png_and_pdf(runs):
    tables = {path.name: path.read_text() for path in Path("out it/tables").iterdir()}
    assert sorted(tables) == ["01-accuracy.tex", "01-comparisons.tex", "runs.tex"]
    text = Path("out it/report.md").read_text()
    for table in tables.values():
        names, *rows = cells(table)
        assert f"| {' | '.join(names)} |" in text
        for row in rows:
            assert f"| {' | '.join(row)} |" in text
    assert len(cells(tables["runs.tex"])) == 1 + 7
    figures = sorted(path.name for path in Path("out it/figures").iterdir())
    assert figures == ["01.pdf", "01.png", "02.pdf", "02.png"]
    before = Path("out it/figures/01.pdf").read_bytes()
    assert before.startswith(b"%PDF")
    assert main(["report", "logs", "--out", "out it"]) == 0
    assert Path("out it/figures/01.pdf").read_bytes() == before  # nothing of the time at which it was drawn


def test_a_pandas_user_has_all_curves_in_one_line(runs):
    curves = pd.read_csv("out it/curves.csv")
    assert {"run", "rule", "seed", "epoch", "quantity", "value"} <= set(curves)
    training = curves.query("quantity == 'train/accuracy' and rule == 'EquilibriumPropagation'")
    mean = training[training.seed < 30].groupby("epoch").value.mean()
    assert mean.index.tolist() == list(range(1, 51))
    assert mean.tolist() == pytest.approx([0.5 + epoch / 100 + 0.01 for epoch in range(50)])
    tested = curves.query("quantity == 'test/accuracy'")
    assert sorted(zip(tested.rule, tested.seed, tested.value.round(4), tested.epoch, strict=True))[:2] == [
        ("Backpropagation", 0, 0.89, 50.0),
        ("Backpropagation", 10, 0.909, 50.0),
    ]
    assert len(tested) == 6
    assert curves[curves.seed == 30].setting.isna().all()  # it is not finished and counts nowhere
    assert set(curves.setting.dropna()) == set(pd.read_csv("out it/settings.csv").rule)
    assert len(curves) == sum(len(r) for _, r in curves.groupby(["run", "quantity"])) == 6 * 151 + 60


def test_within_an_epoch_its_number_has_decimals_and_values_lose_nothing():
    args = ["fit", "--config", str(CONFIGS / "digits/backpropagation.yaml"), *FEW, "--threads", "1"]
    assert main([*args, "--trainer.max_epochs", "2", "--trainer.logger", "CSVLogger"]) == 0
    assert main(["report", "lightning_logs"]) == 0
    curves = pd.read_csv("report/curves.csv")
    logged = pd.read_csv("lightning_logs/digits/backpropagation/version_0/metrics.csv")
    for name in logged.columns.drop("step"):
        mine, theirs = (
            curves[curves.quantity == name],
            logged[["step", name]].dropna().drop_duplicates("step", keep="last"),
        )
        assert np.allclose(mine.value, theirs[name], rtol=1e-8)
        assert mine.epoch.tolist() == pytest.approx([min(step + 1, 12) / 6 for step in theirs.step], rel=1e-5)


def test_what_made_it_is_said_and_makes_it_again(runs):
    made = yaml.safe_load(Path("out it/made_with.yaml").read_text())
    assert made["report"]["command"].endswith("report logs --out 'out it'")
    assert made["report"]["environment"]["bioplausible"] == __version__
    for file in ("report.md", "index.html"):
        assert f"bioplausible: {__version__}" in Path("out it", file).read_text()
    assert len(made["runs"]) == 7
    assert made["runs"][0]["environment"] == {"torch": 2.6, "git_commit": "abc"}
    assert made["runs"][0]["run"] == "logs/bp/version_0"


def test_the_command_of_a_run_trains_it_again():
    args = ["fit", "--config", str(CONFIGS / "digits/backpropagation.yaml"), *FEW, "--threads", "1"]
    place = ["--trainer.logger", "[{class_path: CSVLogger, init_args: {save_dir: a b, version: x}}]"]
    assert main([*args, "--trainer.max_epochs", "1", *place]) == 0
    assert main(["report", "a b"]) == 0
    (run,) = yaml.safe_load(Path("report/made_with.yaml").read_text())["runs"]
    words = shlex.split(run["command"])
    assert main(words[words.index("fit") :]) == 0
    assert main(["report", "a b", "lightning_logs"]) == 0
    one, again = pd.read_csv("report/runs.csv").to_dict("records")
    assert one["test_accuracy"] == again["test_accuracy"]
    assert again["run"] == "lightning_logs/digits/backpropagation/version_0"
    assert again["status"] == "finished"
