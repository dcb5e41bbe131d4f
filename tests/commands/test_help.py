"""What --help and --model.help print: on one screen, of options that there are, in the rules' own words."""

import inspect
import re
import sys

import pytest

from bioplausible import CorInfoMax, UserError
from bioplausible.__main__ import main
from bioplausible.commands.class_help import class_help, options_of_class, own_classes
from bioplausible.commands.command_list import NAMES, OWN
from bioplausible.commands.parsed import known_options
from tests.helpers import EXAMPLES, ROOT, all_rules
from tests.observers.test_progress import LINE

SCREEN = (40, 80)
"""Lines and columns."""


@pytest.fixture(autouse=True)
def _columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", str(SCREEN[1]))


def said(capsys, *arguments):
    """Returns what a command prints that ends well."""
    try:
        status = main(arguments)
    except SystemExit as ended:  # argparse's own
        status = ended.code
    assert status == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", ["", *NAMES])
def test_help_fits_one_screen_and_has_examples(command, capsys):
    lines = said(capsys, *command.split(), "--help").splitlines()
    assert len(lines) <= SCREEN[0]
    assert max(map(len, lines)) <= SCREEN[1]
    assert lines[0].startswith(f"usage: python -m bioplausible {command}")
    examples = [line for line in lines if line.startswith("  python -m bioplausible ") or "eval" in line]
    assert examples
    assert all(command in example for example in examples)


def test_help_lists_every_command_with_a_line(capsys):
    lines = said(capsys, "--help")
    assert ["fit", "validate", "test", "predict", *[name for name in NAMES if name in OWN]] == NAMES
    for name in NAMES:
        assert re.search(rf"^  {name} +\w.{{10,}}$", lines, re.MULTILINE)


@pytest.mark.parametrize("command", [name for name in NAMES if name not in OWN])
def test_short_help_names_only_options_that_there_are(command, capsys):
    text = said(capsys, command, "--help")
    options = set(re.findall(r"(--[\w.]+)", text)) - {"--help", "--config", "--print_config"}
    known = {f"--{name}" for name in known_options(command).get_defaults(skip_validation=True).keys()}  # noqa: SIM118
    for place, cls in (("model", rule) for rule in all_rules()):
        known |= {f"--{place}.{name}" for name in options_of_class(cls)}
    for cls in own_classes("data"):
        known |= {f"--data.{name}" for name in options_of_class(cls)}
    known |= {"--model.help", "--data.help", "--model.optimizer.lr"}
    assert options <= known
    assert len(options) > 5
    for name in re.search(r"also ([\w, ]+),", text)[1].split(", "):
        assert f"--data.{name}" in known


def test_fits_help_has_what_people_change_in_their_order(capsys):
    text = said(capsys, "fit", "--help")
    order = ["--model NAME", "--model.layer_sizes", "--data NAME", "--model.learning_rates", "--trainer.max_epochs"]
    places = [text.index(option) for option in [*order, "--threads", "fit --help all"]]
    assert places == sorted(places)


@pytest.mark.parametrize("command", [name for name in NAMES if name not in OWN])
def test_help_all_lists_every_option(command, capsys):
    text = said(capsys, command, "--help", "all")
    assert text.startswith("usage: python -m bioplausible [options] " + command)
    for name in known_options(command).get_defaults(skip_validation=True).keys():  # noqa: SIM118
        assert f"--{re.split(r'.(?:class_path|init_args)', name)[0]} " in text
    assert said(capsys, command, "--trainer.max_epochs", "3", "-h") == said(capsys, command, "--help") != text


@pytest.mark.parametrize(("place", "cls"), [(p, c) for p in ("model", "data") for c in own_classes(p)])
def test_a_class_is_told_of_in_its_own_words_with_all_its_options(place, cls, capsys):
    text = said(capsys, "fit", f"--{place}.help", cls.__name__)
    assert text == said(capsys, "fit", f"--{place}.help={cls.__name__}")
    assert not re.search(r"``|:\w+:`", text)
    assert "None:" not in text.split("options, with their defaults")[1]
    words = re.sub(r"[`*]", "", inspect.cleandoc(cls.__doc__).partition("\n")[0])
    assert words.removesuffix(".") in " ".join(text.split())
    for name in options_of_class(cls):
        option = text.split(f"  --{place}.{name} ")[1].split(f"  --{place}.")[0]
        assert len(option.split()) > 1  # a default, and what it is


def test_equations_stay_as_they_stand(capsys):
    text = said(capsys, "fit", "--model.help", "CorInfoMax")
    block = [line for line in inspect.cleandoc(CorInfoMax.__doc__).splitlines() if line.startswith("    k < L:")]
    assert block
    assert block[0] in text.splitlines()
    assert "Bozkurt, Pehlevan & Erdogan, NeurIPS 2023" in " ".join(text.split())
    assert re.search(r"--model.beta 1.0 +β ≠ 0", text)
    assert "(nudged, free)" in " ".join(text.split())


@pytest.mark.parametrize("place", ["model", "data"])
def test_without_a_name_there_is_a_list(place, capsys):
    text = said(capsys, "fit", f"--{place}.help")
    listed = re.findall(r"^  (\w+)", text, re.MULTILINE)
    assert listed == [cls.__name__ for cls in own_classes(place)]
    assert listed == sorted(listed, key=str.lower)
    assert said(capsys, "fit", f"--{place}.help", "--trainer.max_epochs", "3") == text


def test_a_rule_of_ones_own_is_told_of(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    text = said(capsys, "fit", "--model.help", "node_perturbation.NodePerturbation")
    cls = sys.modules["node_perturbation"].NodePerturbation
    assert inspect.cleandoc(cls.__doc__).partition("\n")[0] in " ".join(text.split())
    assert all(f"  --model.{name} " in text for name in options_of_class(cls))


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("--model.help=Pepita", "There is no rule Pepita: did you mean PEPITA?"),
        ("--model.help=CorInfoMx", "There is no rule CorInfoMx: did you mean CorInfoMax?"),
        ("--model.help=Nonsense", "There is no rule Nonsense: --model.help lists them"),
        ("--model.help=DigitsDataModule", "There is no rule DigitsDataModule: "),
        ("--data.help=Digits", "There is no data set Digits: did you mean DigitsDataModule?"),
    ],
)
def test_an_unknown_class_gets_a_sentence(asked, answer):
    with pytest.raises(UserError, match=re.escape(answer)):
        class_help(["fit", asked])


def test_the_documented_commands_work(capsys):
    page = (ROOT / "docs/command-line.md").read_text()
    commands = re.findall(r"^python -m bioplausible ([^#\n]+)", page, re.MULTILINE)
    assert len(commands) >= 6
    for command in commands:
        said(capsys, *command.split())
    assert LINE.search(page)
