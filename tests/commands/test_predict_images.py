"""``predict --images``: pictures of one's own, predicted as the data's images are."""

import csv
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer

import bioplausible
from bioplausible import Backpropagation, DigitsDataModule
from bioplausible.__main__ import main

OF_IMAGES = ["--data.border", "1", "--data.mean", "[0.1]", "--data.std", "[0.4]"]
SILENT = ["--trainer.enable_progress_bar", "false"]
MODULE = """
import torch
from bioplausible import DigitsDataModule


class Framed(DigitsDataModule):
    '''Digits with black around, as MNIST has them.'''

    image_shape = (1, 12, 12)
    class_names = None

    def load(self, train):
        images, classes = super().load(train)
        return torch.nn.functional.pad(images, [2] * 4), classes


class Named(Framed):
    class_names = ["nought", *"one two three four five six seven eight nine".split()]


class Unreadable(Framed):
    def load(self, train):
        raise __import__("bioplausible").UserError("The data lie elsewhere: fetch them.")
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Trains a network on framed digits at the command line, once, and returns the folder."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        Path("framed.py").write_text(MODULE)
        data = ["--data", "framed.Framed", *OF_IMAGES]
        network = ["--model", "Backpropagation", "--model.layer_sizes", "[196, 30, 10]"]
        assert main(["fit", *network, *data, "--trainer.max_epochs", "3", *SILENT]) == 0
        yield folder


@pytest.fixture
def run(trained, monkeypatch):
    """Puts a copy of the run into the test's folder, with pictures of the test split's first images."""
    for part in ("framed.py", "lightning_logs"):
        (shutil.copytree if (trained / part).is_dir() else shutil.copy)(trained / part, part)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    images = torch.nn.functional.pad(DigitsDataModule().load(False)[0][:30], [2] * 4)
    for i, image in enumerate(images):
        levels = (image[0] * 255).round().byte()
        Image.fromarray(levels.numpy()).save(f"{i}.png")
        Image.fromarray((255 - levels).numpy()).save(f"paper_{i}.png")
    return Path("lightning_logs/framed/backpropagation/version_0")


def rows(file="mine.csv"):
    with Path(file).open(newline="") as opened:
        return list(csv.DictReader(opened))


def predict(*words):
    return main(["predict", "--ckpt_path", "last", *SILENT, *words])


def test_pictures_of_the_test_split_get_the_test_split_s_predictions(run, capsys):
    assert predict() == 0
    expected = rows(run / "predictions.csv")[:30]
    kept = (run / "predictions.csv").read_bytes()
    files = [f"{i}.png" for i in range(30)]
    capsys.readouterr()
    assert predict("--images", *files, "--output", "made/mine.csv") == 0
    said = capsys.readouterr()
    found = rows("made/mine.csv")
    assert list(found[0]) == ["file", "prediction", "class", "confidence"]
    assert [row["file"] for row in found] == files
    for row, other in zip(found, expected, strict=True):
        assert row["prediction"] == other["prediction"]
        assert float(row["confidence"]) == pytest.approx(float(other["confidence"]), abs=0.02)
        assert row["class"] == ""
        assert re.search(
            rf"^{row['file']} +{row['prediction']} +{float(row['confidence']):.1%}$", said.out, re.MULTILINE
        )
    assert "predictions  made/mine.csv" in said.out
    assert "warning" not in said.err
    assert (run / "predictions.csv").read_bytes() == kept


def test_without_output_nothing_is_written(run, capsys):
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*.csv")}
    assert predict("--images", "0.png") == 0
    assert "predictions" not in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*.csv")} == before


def test_classes_are_called_by_their_names(run, capsys):
    files = [f"{i}.png" for i in range(30)]
    assert predict("--images", *files, "--data", "framed.Named", *OF_IMAGES, "--output", "mine.csv") == 0
    names = ["nought", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    said = capsys.readouterr().out
    for row in rows():
        assert row["class"] == names[int(row["prediction"])]
        assert re.search(rf"^{row['file']} +{row['class']} +\d", said, re.MULTILINE)


def test_inverted_pictures_are_warned_of_and_turned_round_on_demand_alone(run, capsys):
    files, paper = ([f"{start}{i}.png" for i in range(9)] for start in ("", "paper_"))
    assert predict("--images", *files, "--output", "mine.csv") == 0
    expected = [row["prediction"] for row in rows()]
    assert predict("--images", *paper, "--output", "mine.csv") == 0
    assert "9 of the 9 pictures, such as paper_0.png, are bright at the border" in capsys.readouterr().err
    assert [row["prediction"] for row in rows()] != expected
    assert predict("--invert", "--images", *paper, "--output", "mine.csv") == 0
    assert [row["prediction"] for row in rows()] == expected
    assert "warning" not in capsys.readouterr().err
    assert predict("--images", "0.png", "--invert") == 0
    assert "0.png is bright at the border" in (said := capsys.readouterr().err)
    assert said.rstrip().endswith("leave out --invert.")


def test_data_that_are_not_there_are_not_needed(run, capsys):
    assert predict("--images", "paper_0.png", "--data", "framed.Unreadable", *OF_IMAGES) == 0
    said = capsys.readouterr()
    assert "paper_0.png  " in said.out
    assert "bright at the border" not in said.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--images", "0.png", "nothing.png"], "There is no picture nothing.png"),
        (["--images", "framed.py"], "The picture framed.py can't be read"),
        (["--invert"], "--invert is of pictures of one's own: name them with --images"),
        (["--images"], "images"),
        (["--images", "0.png", "--output", "lightning_logs"], "can't be written to lightning_logs, a folder"),
    ],
)
def test_mistakes_are_told_in_one_sentence(words, sentence, run, capsys):
    capsys.readouterr()
    assert predict(*words) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: ")
    assert sentence in last


def test_a_picture_is_predicted_of_a_run_that_was_made_from_python(capsys):
    data = DigitsDataModule(subset_size=60, std=[0.5])
    rule = Backpropagation([64, 12, 10])
    trainer = Trainer(
        max_steps=3, logger=False, enable_progress_bar=False, accelerator="cpu", enable_checkpointing=False
    )
    trainer.fit(rule, data)
    trainer.save_checkpoint("made.ckpt")
    Image.new("RGB", (30, 20), (10, 200, 30)).save("mine.png")
    assert main(["predict", "--ckpt_path", "made.ckpt", "--images", "mine.png", "--output", "mine.csv", *SILENT]) == 0
    loaded = bioplausible.load("made.ckpt")
    found = loaded.rule.predict_step(loaded.data.pictures("mine.png"))
    assert rows()[0]["prediction"] == str(int(found["prediction"]))
    assert float(rows()[0]["confidence"]) == pytest.approx(float(found["confidence"]), abs=1e-5)
