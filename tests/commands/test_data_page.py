"""Every block of docs/data.md runs, and does what the page says."""

import csv
import gzip
import re
import shlex
from pathlib import Path

import pytest
import yaml
from jsonargparse import Namespace

from bioplausible.__main__ import main
from bioplausible.commands.network_ends import fill_ends
from tests.helpers import ROOT, write_idx

PAGE = (ROOT / "docs/data.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
QUIET = ["--trainer.enable_progress_bar", "false"]


def test_every_block_runs_in_the_order_of_the_page(capsys):
    write_idx(Path("packed"))  # in the place of what torchvision would fetch
    Path("data/KMNIST/raw").mkdir(parents=True)
    for file in Path("packed").iterdir():
        Path("data/KMNIST/raw", file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    names, commands = {}, 0
    for kind, block in BLOCKS:
        if kind == "python":
            exec(block, names)
        elif kind == "yaml":
            name, _, content = block.partition("\n")
            Path(name.removeprefix("# ")).write_text(content)
        else:
            assert kind == "sh"
            for line in block.splitlines():
                program, args = line[:22], shlex.split(line[22:])
                assert program == "python -m bioplausible"
                assert main([*args, *QUIET]) == 0
                commands += 1
    assert commands == 5
    out = capsys.readouterr().out
    assert "layer_sizes is [64, 100, 10]" in out
    assert "layer_sizes is [36, 50, 10]" in out
    assert "layer_sizes is [13, 20, 3]" in out
    assert "layer_sizes is [784, 50, 10]" in out
    assert "(13, 1, 1) ('Barbera', 'Barolo', 'Grignolino')" in out
    (predictions,) = Path().rglob("predictions.csv")
    with predictions.open() as file:
        assert {row["label_name"] for row in csv.DictReader(file)} == set(names["names"])


def test_each_form_is_four_lines_of_yaml():
    files = [block.splitlines()[1:] for kind, block in BLOCKS if kind == "yaml"]
    classes = {yaml.safe_load("\n".join(lines))["data"]["class_path"] for lines in files if len(lines) == 4}
    assert classes == {f"{kind}DataModule" for kind in ("Arrays", "ImageFolder", "Table", "Torchvision")}


WRITTEN = re.findall(r"^\| `(layer_sizes|network): (.*?)` \| (.*?) \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("name", "given", "becomes"), WRITTEN)
def test_what_the_network_leaves_out_becomes_what_the_table_says(name, given, becomes):
    model = Namespace(class_path="bioplausible.Backpropagation", init_args=Namespace(**{name: yaml.safe_load(given)}))
    config = Namespace(model=model, data=Namespace(class_path="bioplausible.MNISTDataModule", init_args=Namespace()))
    fill_ends(config, lambda line: None)
    expected = given if becomes == "that" else becomes.strip("`")
    assert config.model.init_args[name] == yaml.safe_load(expected)


def test_the_table_has_every_form():
    assert len(WRITTEN) == 5
