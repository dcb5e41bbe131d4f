"""Names of classes as figures show them."""

import pytest

from bioplausible.data.class_names import shortened

SHOWN = {
    "T-shirt/top": "T-shirt/top",
    "exactly 16 chars": "exactly 16 chars",
    "seventeen letters": "seventeen lette…",
    "$5": r"\$5",
    "of 14 letters $$$": r"of 14 letters \$…",  # cut before, not within, what keeps a formula from being set
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_long_name_is_cut_and_none_is_a_formula(name):
    assert shortened(name) == SHOWN[name]
