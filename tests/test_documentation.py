"""Pages of docs/ whose every command and block of code is run, in the page's order."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from bioplausible.__main__ import main
from tests.helpers import ROOT

BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_page(page: Path) -> dict:
    """Runs a page's blocks, each Python block with what those before it made, and returns what they made."""
    made: dict = {}
    blocks = BLOCK.findall(page.read_text())
    assert len(blocks) == page.read_text().count("```") / 2, "a block of another kind, which nothing runs"
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, page.name, "exec"), made)
        else:
            for line in text.splitlines():
                program, *words = shlex.split(line.removeprefix("python -m "))
                assert program == "bioplausible"
                assert main(words) == 0, line
    return made


@pytest.fixture
def _pictures():
    for name in ("mine.png", "other.jpg"):
        picture = Image.new("L", (120, 90), 255)
        ImageDraw.Draw(picture).line([(60, 10), (60, 80)], fill=0, width=12)
        picture.save(name)


@pytest.mark.usefixtures("_pictures")
def test_a_trained_network_is_in_the_hand_as_the_page_says(capsys):
    made = run_page(ROOT / "docs/trained_network.md")
    said = capsys.readouterr()
    assert "CorInfoMax\nlayer" in said.out
    assert re.search(r"^mine.png +\d +\d", said.out, re.MULTILINE)
    assert said.err.count("add --invert") == 1  # of the command without it
    assert made["output"].shape == (359, 10)
    assert [r.shape[1:] for r in made["activity"]] == [r.shape[1:] for r in made["nudged"]] == [(64,), (200,), (10,)]
    assert made["predicted"]["prediction"].eq(made["classes"]).float().mean() > 0.5
    assert made["b"] is None
    assert made["V"].shape == made["W"].shape == (10, 200)
    assert made["grid"].shape[0] == 3
    assert made["mine"].shape == (1, 1, 8, 8)
    assert len(list(Path("lightning_logs/digits/corinfomax/version_0/look/last").glob("*.png"))) == 5
