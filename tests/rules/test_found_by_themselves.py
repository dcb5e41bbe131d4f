"""A rule that the package lists is found everywhere: no other list names it."""

import subprocess
import sys

import pytest

import bioplausible
from bioplausible.commands.report.looks import colour
from bioplausible.rules import RULES
from tests.helpers import ROOT, all_rules


def test_the_packages_list_is_all_rules_that_it_exports():
    assert set(RULES) == set(all_rules())
    assert len(RULES) == len(set(RULES)) >= 11


@pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)
def test_a_rule_can_be_imported_from_the_package_itself(cls):
    assert getattr(bioplausible, cls.__name__) is cls
    assert cls.__name__ in bioplausible.__all__
    assert cls.__name__ in dir(bioplausible)


def test_what_a_star_imports_is_there():
    found = {}
    exec("from bioplausible import *", found)
    assert found.keys() - {"__builtins__"} == set(bioplausible.__all__)
    assert {"UserError", "PiecewisePower", "DigitsDataModule", "Phase", "LearningRule"} <= found.keys()


def test_the_package_imports_torch_only_when_a_class_is_asked_for():
    code = "import sys, bioplausible; assert not hasattr(bioplausible, 'colour'); assert 'torch' not in sys.modules;"
    code += "from bioplausible import commands; assert 'torch' not in sys.modules; bioplausible.KolenPollack;"
    code += "assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_each_rule_has_a_colour_of_its_own():
    """As long as there are 17 colours or more than rules; a rule of one's own has one of the first eight."""
    colours = [colour(cls.__name__) for cls in RULES]
    assert len(set(colours)) == min(len(colours), 17)
    assert colour("CorInfoMax") == "#0072B2"
    assert colour("BrainProp") == colour("BrainProp")
