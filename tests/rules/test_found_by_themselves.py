"""A rule that the package lists is found everywhere: no other list names it."""

import subprocess
import sys
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

import bioplausible
from bioplausible.commands.report.curves import curves
from bioplausible.commands.report.looks import COLOURS, FILLS, FIRST, LINES, MARKERS, PLACES, colour, look, looks
from bioplausible.observers.figures import new_figure
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
    """A rule of one's own too, whose colour does not depend on which others there are of the package's."""
    colours = [colour(cls.__name__) for cls in RULES]
    assert len(set(colours)) == len(colours)
    assert colour("CorInfoMax") == "#0072B2"
    assert colour("BrainProp") == colour("BrainProp")
    assert colour("BrainProp") not in colours


EARLIER = {
    "CorInfoMax": "#0072B2",
    "CorInfoMaxSparse": "#E69F00",
    "EquilibriumPropagation": "#009E73",
    "ContrastiveSimilarityMatching": "#D55E00",
    "PredictiveCoding": "#CC79A7",
    "NudgedPredictiveCoding": "#56B4E9",
    "FeedbackAlignment": "#999999",
    "Backpropagation": "#000000",
    "DirectFeedbackAlignment": "#882255",
}


def test_the_rules_of_earlier_figures_keep_their_colours_and_all_others_find_one():
    """So that figures of several versions can be laid side by side; one that is renamed would leave a hole."""
    assert {rule: colour(rule) for rule in FIRST} == EARLIER
    assert set(PLACES) == {cls.__name__ for cls in RULES}
    assert sorted(PLACES.values()) == list(range(len(RULES)))


def lab(name):
    """Returns a colour in CIELAB, in which distances are about those that one sees."""
    rgb = np.array(to_rgb(name))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(to_xyz @ linear / [0.9505, 1, 1.089])  # near black the scale is another one, but still far off
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_in_a_figure_no_two_rules_look_alike():
    """Of any two the colours differ clearly, or they differ and so do the markers; rules of one's own too."""
    names = [*(cls.__name__ for cls in RULES), "BrainProp", "Mine", "Yours"]
    for one, other in combinations(looks(names), 2):
        apart = np.linalg.norm(lab(one.colour) - lab(other.colour))
        assert apart > (25 if one.marker == other.marker else 14), (one, other)


@given(st.lists(st.sampled_from([*(cls.__name__ for cls in RULES), "Mine", "Yours"]), max_size=60))
def test_a_rule_looks_the_same_in_every_figure_and_each_of_its_settings_otherwise(names):
    found = looks(names)
    kept = [i for i, name in enumerate(names) if names[:i].count(name) < len(LINES) * len(FILLS)]
    assert len({found[i] for i in kept}) == len(kept)
    packages = {cls.__name__ for cls in RULES}
    for name, each in zip(names, found, strict=True):
        if name in packages:
            assert (each.colour, each.marker) == (looks([name])[0].colour, looks([name])[0].marker)


def test_more_places_than_colours_still_look_apart():
    places = [look(place) for place in range(len(COLOURS) * len(MARKERS))]
    assert len({(each.colour, each.marker) for each in places}) == len(places)
    settings = [look(0, setting) for setting in range(len(LINES) * len(FILLS))]
    assert len(set(settings)) == len(settings)


def test_figures_draw_the_looks():
    """Twenty rules, and four settings of one of them: each line as its look says, and nothing twice."""
    names = [cls.__name__ for cls in RULES[:20]] + [RULES[0].__name__] * 3
    curve = {9: 0.5, 19: 0.6}
    groups = [
        SimpleNamespace(
            title=f"{name} {i}",
            first=SimpleNamespace(rule=name),
            runs=[SimpleNamespace(curves={"train/accuracy": curve})],
        )
        for i, name in enumerate(names)
    ]
    figure = curves(groups, [("train/accuracy", "accuracy", 1.0)], "all")
    drawn = [
        (line.get_color(), line.get_marker(), line.get_linestyle(), line.get_fillstyle())
        for line in figure.axes[0].get_lines()
    ]
    assert drawn == [(each.colour, each.marker, each.line, each.fill) for each in looks(names)]
    assert len(set(drawn)) == 23
    (legend,) = figure.legends
    shown = [(line.get_color(), line.get_marker(), line.get_linestyle()) for line in legend.get_lines()]
    assert len(set(shown)) == 23


def test_a_panel_of_an_observer_draws_no_two_of_32_curves_alike():
    _, (axis,) = new_figure(1)
    lines = [axis.plot([0, 1])[0] for _ in range(32)]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 32
