"""What every constructor checks of its arguments."""

import inspect
from types import NoneType
from typing import get_args, get_type_hints

import pytest

from bioplausible import EquilibriumPropagation, UserError
from bioplausible.errors.checks import require_arguments
from tests.helpers import all_rules


def takes_none(build, name):
    """Returns whether a constructor's argument may be None, by its type."""
    parameter = inspect.signature(build).parameters[name]
    return parameter.default is None or NoneType in get_args(get_type_hints(build).get(name, NoneType | int))


def is_refused(cls, name):
    try:
        require_arguments(cls, {name: None})
    except UserError as error:
        assert str(error) == f"{name} is None: give it a value, or leave it out."  # noqa: PT017 - others are let through
        return True
    return False


@pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)
def test_none_is_refused_but_where_a_constructor_takes_it(cls):
    builds = [base.__init__ for base in cls.__mro__ if "__init__" in vars(base)]
    names = {name for build in builds for name in inspect.signature(build).parameters}
    taken = {name for build in builds for name in inspect.signature(build).parameters if takes_none(build, name)}
    refused = {name for name in names if is_refused(cls, name)}
    assert refused == names - taken
    assert refused == {name for name in names if is_refused(cls, name)}  # what a class takes is noted the first time
    assert "optimizer" in refused
    assert "gradient_norm_limit" not in refused


def test_a_class_may_take_none_where_the_one_below_does_not():
    class Mine(EquilibriumPropagation):
        def __init__(self, *args, beta: float | None = 0.3, **options):
            super().__init__(*args, beta=0.3 if beta is None else beta, **options)

    assert not is_refused(Mine, "beta")
    assert is_refused(EquilibriumPropagation, "beta")
