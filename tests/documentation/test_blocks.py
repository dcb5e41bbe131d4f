"""Every command and block of code in README and docs/ is run, each page's in its order and in a folder of its own.

What takes long is run in a quick form (:mod:`tests.documentation.pages`): few batches an epoch, one recording of a
folder, the list of a sweep's trials. A comment above a block says that it is not run, or only by `make test-slow`, and
why.
"""

import gzip
import re
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from bioplausible import FashionMNISTDataModule, MNISTDataModule
from bioplausible.rules import LearningRule
from tests.documentation.pages import NOT_RUN, PAGES, SLOW, Reader, blocks, commands, few_batches, forget_modules_of
from tests.helpers import EXAMPLES, ROOT, write_idx

NAMES = {str(page.relative_to(ROOT)): page for page in PAGES}
WITH_BLOCKS = [name for name, page in NAMES.items() if blocks(page)]


@pytest.fixture
def _checkout(tmp_path, monkeypatch):
    """A folder with the checkout's recipes and recordings, small data sets of the true format, and pictures."""
    for name in ("tests", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    write_idx(tmp_path / "mirror")
    for cls in (MNISTDataModule, FashionMNISTDataModule):
        monkeypatch.setattr(cls, "sizes", {True: 40, False: 20})
        cls(mirror=str(tmp_path / "mirror")).prepare_data()
    for file in (tmp_path / "mirror").iterdir():  # any data set of torchvision's in this format
        Path("data/KMNIST/raw").mkdir(parents=True, exist_ok=True)
        Path("data/KMNIST/raw", file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    for name in ("mine.png", "other.jpg"):
        picture = Image.new("L", (120, 90), 255)
        ImageDraw.Draw(picture).line([(60, 10), (60, 80)], fill=0, width=12)
        picture.save(name)
    # as in a new process, whose first path is the folder it is in, and which has imported nothing from there
    forget_modules_of(EXAMPLES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    yield
    forget_modules_of(tmp_path)


def has_true_classes_as_rows(names):
    for true, row in enumerate(names["confusion"]):
        taken_for = names["predicted"][names["labels"] == true]
        assert row.tolist() == [pytest.approx(float((taken_for == c).float().mean())) for c in range(len(row))]


RESULTS = {"docs/tutorials/own_data.md": has_true_classes_as_rows}
"""What must be so of the names that a page's Python leaves."""


def follow(page, slow):
    reader = Reader(slow)
    for block in blocks(page):
        reader.follow(block)
    return reader


@pytest.mark.sampled
@pytest.mark.usefixtures("_checkout")
@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_the_blocks_of_a_page_run(name, monkeypatch):
    monkeypatch.setattr(LearningRule, "on_fit_start", few_batches, raising=False)
    reader = follow(NAMES[name], slow=False)
    if name in RESULTS:
        RESULTS[name](reader.names)


@pytest.mark.slow
@pytest.mark.usefixtures("_checkout")
@pytest.mark.parametrize("name", [n for n in WITH_BLOCKS if any(b.marker.startswith(SLOW) for b in blocks(NAMES[n]))])
def test_the_slow_blocks_of_a_page_run(name):
    follow(NAMES[name], slow=True)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_are_of_known_kinds_and_markers_say_why(name):
    text = NAMES[name].read_text()
    found = blocks(NAMES[name])
    assert len(re.findall("^ *```", text, re.MULTILINE)) == 2 * len(found)
    assert {block.kind for block in found} <= {"sh", "python", "yaml", "text"}
    assert all(not block.marker or block.marker.startswith((NOT_RUN, SLOW)) for block in found)
    # a command outside a fence would be one that nothing runs
    assert not re.findall(r"^(?: {4}|\t)(?:\$ |python|bioplausible |make |pip |tensorboard )", text, re.MULTILINE)


def test_few_blocks_are_not_run():
    assert sum(block.marker.startswith(NOT_RUN) for page in PAGES for block in blocks(page)) <= 4


def test_no_page_shows_a_command_in_a_block_of_text():
    """Whose words nothing would check."""
    for page in PAGES:
        for block in blocks(page):
            if block.kind == "text":
                assert not re.search(r"^(python|make|pip) ", block.text, re.MULTILINE)


def test_a_shell_block_is_read_as_a_shell_reads_it():
    text = "a -b 'c d' # no\n\n# nothing\ne \\\n    f && g > h\n"
    assert commands(text) == [["a", "-b", "c d"], ["e", "f"], ["g", ">", "h"]]
