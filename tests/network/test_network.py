"""The layers of a network stay the ones that it was built with."""

import copy
import pickle

import pytest

from bioplausible import Backpropagation, CorInfoMax, UserError
from tests.helpers import batch, build
from tests.training.test_training_step import train

USES = {"output": lambda rule: rule(batch()[0]), "activity": lambda rule: rule.activity(batch()[0]), "fit": train}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(("cls", "part"), [(Backpropagation, "wiring"), (CorInfoMax, "lateral")])
def test_another_layer_in_the_place_of_one_is_refused_at_the_next_use(cls, part, use):
    """It would be saved, but nothing would use it."""
    rule, other = build(cls), build(cls)
    modules, others = getattr(rule.network, part), getattr(other.network, part)
    own, modules["1"] = modules["1"], others["1"]
    with pytest.raises(UserError, match=rf"^network\.{part} holds another layer .*load_state_dict\(other"):
        USES[use](rule)
    modules["1"] = own
    own.load_state_dict(others["1"].state_dict())  # the cure
    USES[use](rule)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda rule: pickle.loads(pickle.dumps(rule))])
def test_a_copys_layers_are_its_own(copied):
    for use in USES.values():
        use(copied(build(CorInfoMax)))
