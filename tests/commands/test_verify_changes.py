"""Nothing in a recording may change unnoticed: verify says that it differs, or refuses it in one sentence."""

import json

import numpy as np
import pytest

from bioplausible.commands.verify.meta import REMARKS
from bioplausible.commands.verify.recording import TOLERANCE
from bioplausible.commands.verify.replay import replay
from bioplausible.errors import UserError
from tests.helpers import GOLDEN, GOLDEN_NETWORKS, GOLDEN_RULES

RECORDINGS = sorted([*GOLDEN.glob("*.npz"), *GOLDEN_NETWORKS.glob("*.npz"), *GOLDEN_RULES.glob("*.npz")])

CONSTANT = {"neural_lr_stop", "neural_lr_decay"}
"""What only step sizes that fall depend on."""
WITHOUT_INFLUENCE = {
    "corinfomax_2layer_constant": {*CONSTANT, "hopfield_g"},  # each neuron that is cut off stays so
    "corinfomax_2layer_slowdecay_signs": {"neural_lr_stop"},  # never reached
    "corinfomax_3layer_loopindex": {"neural_lr_decay"},
    "corinfomax_4layer_threephase_decay": CONSTANT,
    "corinfomax_sparse_2layer": {"neural_lr_stop", "sparsity_lr"},  # no sum of activities reaches 1 in layer 2
    "corinfomax_sparse_3layer_first_only": CONSTANT,
    "feedback_alignment_3layer_sgd": {"init/Wfa0"},  # the first layer sends no error down
    "pc_2layer_sigmoid_adam": {"neural_lr_stop"},
    "pc_3layer_sigmoid_sgd": CONSTANT,
    "pc_3layer_tanh_sgd": CONSTANT,
    "pc_nudge_2layer_adam_signs": {"neural_lr_stop"},
    "pc_nudge_3layer_sgd": CONSTANT,
    "corinfomax_conv_closed_maxpool": CONSTANT,
    "corinfomax_conv_toeplitz_avgpool": CONSTANT,
    "corinfomax_sparse_conv_closed_per_position": {*CONSTANT, "sparsity_lr"},  # nor in layers 2 and 3
    "ep_conv_vf_maxpool_mse_onesided": {"x"},  # the largest pixel reaches silent units and losers of max pooling
    "pc_conv_fixedpred_values_avgpool_tanh": {"stale"},  # inference has converged: the last errors are those before
}
"""The one place that names what a recorded trajectory does not depend on, so that no replay can notice its change.

Beside it only what bioplausible.commands.verify.meta.REMARKS lists, and feedback weights of silent units.
"""


def read(path):
    """Returns a recording's meta and arrays."""
    with np.load(path) as file:
        arrays = dict(file)
    return json.loads(str(arrays.pop("meta"))), arrays


def other_values(value):
    """Yields other values of an entry of meta: of its kind and of others."""
    if isinstance(value, bool):
        yield from (not value, None, 0.5)
    elif isinstance(value, (int, float)):
        yield from (value * 1.01 + (isinstance(value, int) or 1e-6), -value or 1, str(value), None, [value, value])
    elif isinstance(value, str):
        yield from (value + " or so", value.upper() + "s", "", None, 3)
    elif value is None:
        yield from (True, 0.1, [0.1], "x")
    elif isinstance(value, list):
        yield from (value[:-1], value + value[-1:], [], None, {})
        for i, entry in enumerate(value):
            for other in list(other_values(entry))[:2]:
                yield [*value[:i], other, *value[i + 1 :]]
    else:
        yield {**value, "dropout": 0.5}
        for key, entry in value.items():
            if key != "order":  # it repeats what verify does: it may be missing
                yield {k: v for k, v in value.items() if k != key}
            for other in list(other_values(entry))[:2]:
                yield {**value, key: other}


def without(entries, *keys):
    return {key: value for key, value in entries.items() if key not in keys}


def largest_entry(array):
    return np.unravel_index(np.abs(array).argmax(), array.shape)


def changes(meta, arrays):
    """Yields what is changed, its description, and the changed recording."""
    for key, value in without(meta, *REMARKS).items():
        yield key, "is missing", without(meta, key), arrays
        for other in other_values(value):
            yield key, f"is {other!r}", {**meta, key: other}, arrays
    yield "dropout", "is new", {**meta, "dropout": 0.5}, arrays
    for key, array in arrays.items():
        yield key, "is missing", meta, without(arrays, key)
        for what, number in (("is NaN", np.nan), ("is infinite", np.inf), ("is 1e-6 off", None)):
            changed = array.astype(float)
            place = largest_entry(changed)
            changed[place] = changed[place] + 1e-6 if number is None else number
            yield key, what, meta, {**arrays, key: changed}
        yield key, "has an axis more", meta, {**arrays, key: array[None]}
        yield key, "holds words", meta, {**arrays, key: array.astype(str)}
        yield key, "is float32", meta, {**arrays, key: array.astype(np.float32)}
    last = f"step{len(arrays['x']) - 1}/"
    in_time = {key: array[:-1] for key, array in arrays.items() if key in ("x", "y")}
    yield "x, y", "lack the last step", meta, {**arrays, **in_time}
    yield last, "is missing", meta, {key: a for key, a in arrays.items() if not key.startswith(last)}
    yield last, "and x, y lack it", meta, {**{k: a for k, a in arrays.items() if not k.startswith(last)}, **in_time}
    for name in (
        "z",
        "init/z",
        "step0/z",
        "step3/W0",
        "step01/W0",
        "step-1/W0",
        "step1",
        "step１/W0",
        "step0/W0/",
        "/",
    ):
        yield name, "is new", meta, {**arrays, name: arrays["step0/W0"]}
    steps = [key.split("/") for key in arrays if key.startswith("step")]
    for name in {name for _, name in steps}:
        yield name, "is missing of every step", meta, without(arrays, *(f"{s}/{n}" for s, n in steps if n == name))
    for kind in sorted({name.rstrip("0123456789") for _, name in steps}):
        of_kind = [f"{step}/{name}" for step, name in steps if name.rstrip("0123456789") == kind]
        yield kind, "is missing altogether", meta, without(arrays, *of_kind)


def unnoticed(path, share):
    """Yields the changes, of every so-manieth one, with which verify agrees, or of which it does not say one sentence.

    Args:
        path: of the recording.
        share: where to start and how many to skip.
    """
    meta, arrays = read(path)
    for key, what, changed, held in sorted(changes(meta, arrays), key=lambda c: c[:2])[share]:
        np.savez("changed.npz", meta=json.dumps(changed), **held)
        said = ""
        try:
            differences = replay("changed.npz")
        except UserError as error:
            said = str(error)
        if said:
            if not said.startswith("changed.npz ") or "\n" in said:
                yield f"{key} {what}: {said}"
        elif all(d.error <= TOLERANCE for d in differences) and key not in WITHOUT_INFLUENCE.get(path.stem, set()):
            yield f"{key} {what}"


def of_silent_units(path, change):
    """Whether a change is one of a fixed feedback weight whose unit is silent in every sample."""
    return "Wfa" in change and change.endswith("1e-6 off") and "usf" not in path.stem


@pytest.mark.sampled
@pytest.mark.parametrize("path", RECORDINGS, ids=lambda p: p.stem)
def test_whatever_changes_is_noticed(path):
    share = slice(RECORDINGS.index(path) % 23, None, 23)
    assert [change for change in unnoticed(path, share) if not of_silent_units(path, change)] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", RECORDINGS, ids=lambda p: p.stem)
def test_whatever_changes_is_noticed_of_all_changes(path):
    assert [change for change in unnoticed(path, slice(None)) if not of_silent_units(path, change)] == []
