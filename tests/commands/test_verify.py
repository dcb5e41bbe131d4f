"""The command verify: it finds what differs and refuses what is no recording, or one that it does not understand."""

import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from bioplausible.__main__ import main
from bioplausible.commands.verify.meta import Meta
from bioplausible.commands.verify.recorded_rule import OF_THE_STEP, rule_class
from bioplausible.commands.verify.replay import largest_error, replay
from bioplausible.errors import UserError
from bioplausible.rules import CorInfoMax, EquilibriumPropagation
from tests.helpers import GOLDEN, GOLDEN_NETWORKS, GOLDEN_RULES


def read(path):
    """Returns a recording's arrays, and its meta as a dictionary."""
    with np.load(path) as file:
        arrays = dict(file)
    return json.loads(str(arrays.pop("meta"))), arrays


def write(name, meta, arrays):
    np.savez(name, meta=json.dumps(meta), **arrays)
    return name


def nudged(value, draw):
    """Returns an array with one number changed by a little more than a thousandth, or the classes of one batch."""
    value, index = value.copy(), tuple(draw.integers(n) for n in value.shape)
    if value.dtype.kind == "i":  # a single one may name another output that is silent, too
        value[0] = (value[0] + 1) % (value.max() + 1)
    else:
        value[index] = value[index] * 1.001 + 1e-5
    return value


ONE_OF_EACH_KIND = [
    *(GOLDEN / f"{stem}.npz" for stem in ("corinfomax_2layer_slowdecay_signs", "corinfomax_4layer_threephase_decay")),
    *(GOLDEN / f"{stem}.npz" for stem in ("csm_1hidden", "feedback_alignment_3layer_sgd", "pc_nudge_3layer_sgd")),
    *(
        GOLDEN_NETWORKS / f"{stem}.npz"
        for stem in (
            "brsf_conv_lenet_cross_entropy",
            "corinfomax_sparse_conv_closed_per_position",
            "coupled_learning_conv_maxpool_centered_warm",
            "csm_conv_toeplitz_avgpool",
            "dfa_conv_lenet_cross_entropy",
            "ep_conv_leaky_toeplitz_avgpool",
            "ep_conv_maxpool_cross_entropy_symmetric",
            "ep_conv_sync_avgpool_positive_warm",
            "ep_conv_vf_avgpool_cross_entropy_same_update",
            "frsf_conv_lenet_cross_entropy",
            "pc_conv_fixedpred_values_avgpool_tanh",
            "pc_conv_strict_values_maxpool_stale",
            "usf_conv_lenet_cross_entropy",
        )
    ),
    *(GOLDEN_RULES / f"{stem}.npz" for stem in ("dfa_3layer_tanh_mse", "drtp_3layer_tanh_bce")),
    *(
        GOLDEN_RULES / f"{stem}.npz"
        for stem in (
            "burstprop_3layer_fixed_feedback",
            "burstprop_3layer_learned_feedback",
            "dualprop_lagrangian_4layer_relu_alpha1_fwbw",
            "dualprop_raovr_3layer_relu_alpha_half",
            "pepita_conv",
        )
    ),
    *(GOLDEN_RULES / f"{stem}.npz" for stem in ("kp_3layer_sigmoid_decay", "wm_3layer_sigmoid")),
    *(GOLDEN_RULES / f"{stem}.npz" for stem in ("ipc_3layer_tanh", "pc_3layer_tanh_update_last")),
    *(GOLDEN_RULES / f"{stem}.npz" for stem in ("epc_4layer_tanh", "mupc_5layer_tanh_skips")),
]


@pytest.mark.sampled
@pytest.mark.parametrize("path", ONE_OF_EACH_KIND, ids=lambda p: p.stem)
def test_a_file_changed_in_one_number_fails(path, tmp_path):
    draw = np.random.default_rng(0)
    meta, arrays = read(path)
    # fixed feedback weights, of brsf those that were drawn, and noise are where a replay starts, not what is compared;
    # those of a unit that is silent change nothing
    feedback = {key for key in arrays if ("Wfa" in key and meta.get("variant") != "usf") or "noise" in key}
    starts = [key for key in arrays if not key.startswith("step") and key not in feedback]
    compared = [key for key in arrays if key.startswith("step1/") and key not in feedback]
    changes = [{key: nudged(arrays[key], draw) for key in compared}]  # each is noticed by itself
    changes += [{key: nudged(arrays[key], draw)} for key in starts]
    changes += [
        {key: arrays[key] * 1.001} for key in feedback if key.startswith(("init", "step1")) and key != "init/Wfa0"
    ]
    for change in changes:
        differences = replay(write(tmp_path / "changed.npz", meta, {**arrays, **change}))
        noticed = {d.place.split("[")[0] for d in differences if d.error > 1e-9}
        assert noticed >= set(compared) if len(change) > 1 else noticed, f"{list(change)}: verify did not notice"


def test_verify_prints_what_and_where_and_exits_with_1(tmp_path, capsys):
    path = GOLDEN / "corinfomax_2layer_constant.npz"
    assert main(["verify", str(path)]) == 0
    out = capsys.readouterr().out
    assert "agrees" in out
    assert all(group in out for group in ("states", "weights", "lateral matrices"))
    meta, arrays = read(path)
    arrays["step1/B0"][2, 3] *= 1.001
    file = write(tmp_path / path.name, meta, arrays)
    assert main(["verify", str(path), str(file)]) == 1
    out = capsys.readouterr().out
    assert "DIFFERS" in out
    assert "at step1/B0[2, 3]" in out


def require_refusal(path, capsys, *words):
    """Verify exits with 2 and one sentence that holds the words."""
    assert main(["verify", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for word in words:
        assert word in error


def test_verify_refuses_what_is_no_recording(tmp_path, capsys):
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"PK no zip")
    require_refusal(bad, capsys, "bad.npz is no recorded trajectory")
    require_refusal(tmp_path / "nothing.npz", capsys, "nothing.npz")
    bad.unlink()
    require_refusal(tmp_path, capsys, "There is no recorded trajectory")


def test_one_that_is_refused_does_not_keep_the_others_from_being_replayed(tmp_path, capsys):
    meta, arrays = read(GOLDEN / "ep_1hidden.npz")
    write(tmp_path / "b.npz", meta, arrays)
    write(tmp_path / "a.npz", {**meta, "dropout": 0.5}, arrays)
    assert main(["verify", str(tmp_path)]) == 2
    out, error = capsys.readouterr()
    assert "b.npz: agrees" in out
    assert error.count("error: ") == error.count("\n") == 1
    arrays["step1/W0"][0, 0] *= 1.001
    write(tmp_path / "c.npz", meta, arrays)
    assert main(["verify", str(tmp_path)]) == 1


def test_a_rule_can_be_named_by_its_class_path():
    assert rule_class("bioplausible.rules.CorInfoMax") is CorInfoMax
    with pytest.raises(UserError, match=r"There is no rule os\.path"):
        rule_class("os.path")


MISTAKES = {
    # of meta: an entry is removed, or has another value
    "rule": (lambda meta, arrays: meta.pop("rule"), "rule"),
    "no such rule": (lambda meta, arrays: meta.update(rule="hebb"), "hebb"),
    "layer_sizes": (lambda meta, arrays: meta.pop("layer_sizes"), "layer_sizes"),
    "both networks": (lambda meta, arrays: meta.update(architecture=[], input_shape=[12]), "both"),
    "optimizer": (lambda meta, arrays: meta.update(optimizer="rmsprop"), "rmsprop"),
    "lr": (lambda meta, arrays: meta.pop("lr"), "lr"),
    "lr in words": (lambda meta, arrays: meta.update(lr="fast"), "meta"),
    "lr by layer": (lambda meta, arrays: meta.update(lr=[0.1] * 3), "lr [0.1, 0.1, 0.1]: give one number"),
    "weight_decay by layer": (lambda meta, arrays: meta.update(weight_decay=[0.1]), "weight_decay [0.1]: give one"),
    "momentum by layer": (lambda meta, arrays: meta.update(momentum=[0.5]), "momentum [0.5]: give one number"),
    "steps": (lambda meta, arrays: meta.update(steps=4), "steps"),
    "batch": (lambda meta, arrays: meta.update(batch=5), "batch"),
    "dtype": (lambda meta, arrays: meta.update(dtype="float32"), "float32"),
    "an entry": (lambda meta, arrays: meta.update(dropout=0.5), "dropout"),
    "inference_steps": (lambda meta, arrays: meta.pop("inference_steps"), "inference_steps"),
    "activation": (lambda meta, arrays: meta.update(activation="swish"), "swish"),
    "target": (lambda meta, arrays: meta.update(target="softened"), "softened"),
    "input": (lambda meta, arrays: meta.update(input="x is the value of the input layer"), "input"),
    # of arrays
    "init/W0": (lambda meta, arrays: arrays.pop("init/W0"), "init/W0"),
    "shape": (lambda meta, arrays: arrays.update({"init/W0": arrays["init/W0"][1:]}), "init/W0"),
    "init/Wfb1": (lambda meta, arrays: arrays.update({"init/Wfb1": arrays["init/W1"]}), "init/Wfb1"),
    "step1/free0": (lambda meta, arrays: arrays.update({"step1/free0": arrays["step1/state0"]}), "step1/free0"),
    "a step too many": (lambda meta, arrays: arrays.update({"step3/W0": arrays["step2/W0"]}), "step3/W0"),
    "no step": (
        lambda meta, arrays: [arrays.pop(key) for key in list(arrays) if key.startswith("step0")],
        "first step",
    ),
    "a stray": (lambda meta, arrays: arrays.update(z=arrays["x"]), "z"),
    "classes": (lambda meta, arrays: arrays.update(y=arrays["y"] + 3), "y is not of the classes 0 … 3"),
    "a class below 0": (lambda meta, arrays: arrays.update(y=arrays["y"] - 4), "y is not of the classes 0 … 3"),
    "classes in float": (lambda meta, arrays: arrays.update(y=arrays["y"] + 0.5), "y"),
    "targets": (lambda meta, arrays: arrays.update(y=np.eye(4, dtype=int)[arrays["y"]]), "y"),
    "x": (lambda meta, arrays: arrays.update(x=arrays["x"][..., 1:]), "x"),
    "no samples": (lambda meta, arrays: arrays.update(x=arrays["x"][:, 0, 0], y=arrays["y"][:, 0]), "both start with"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_broken_recording_is_refused_in_one_sentence(mistake, capsys):
    meta, arrays = read(GOLDEN / "pc_3layer_tanh_sgd.npz")
    change, word = MISTAKES[mistake]
    change(meta, arrays)
    require_refusal(write("broken.npz", meta, arrays), capsys, "broken.npz", word)


WORDS = {
    "brsf_conv_lenet_cross_entropy": {
        "variant": "urst",
        "activation": "swish",
        "output_activation": "softmax",
        "loss": "hinge, mean over samples",
        "feedback": "Wfa = fresh Xavier draw",
        "init": "orthogonal",
        "scale": [0.2, 0.2, 0.3, 0.4],
        "momentum_of_weights": 0.9,
    },
    "dfa_conv_lenet_cross_entropy": {"variant": "fa", "feedback": "Wfa maps the output error to the layer's output"},
    "ep_conv_maxpool_cross_entropy_symmetric": {
        "activation": "tanh(u)",
        "output_activation": "clip(u)",
        "loss": "cross entropy, mean over samples",
        "readout": "mean of the last state",
        "update": "one unit after the other",
        "symmetric": "twice",
        "same_update": True,
        "lr_fb": [0.1],
        "lr": 0.1,
        "optimizer": "lion",
        "beta_per_step": [1.0],
        "init": "orthogonal",
    },
    "ep_conv_vf_maxpool_mse_onesided": {"same_update": None, "lr_fb": None, "activation": "relu"},
    "ep_conv_async_maxpool_centered_warm": {
        "algorithm": "CCpL",
        "update": "layers in a random order",
        "warm_start": "states are those of a random batch",
        "phases": "first: beta = 0, second: beta = +nudging, both from free",
        "output_activation": "clip(u/2)",
        "readout": "softmax",
    },
    "coupled_learning_conv_maxpool_centered_warm": {"algorithm": "CEP"},
    "pc_conv_strict_values_maxpool_stale": {
        "error_type": "Exact",
        "form": "activities",
        "node": "v_k = pool(f(W v + b)): after activation and pooling",
        "loss": "cross entropy, mean over samples",
        "errors": "value - prediction",
        "output_activation": "sigmoid",
        "activation": "selu",
    },
    "corinfomax_sparse_conv_closed_per_position": {
        "activation": "relu",
        "convention": "kernels: mean over positions and samples; B, R: mean over positions and samples",
        "sparsity_lr": [0.3],
        "neural_lr_rule": "cosine",
        "optimizer": "adam",
    },
    "corinfomax_conv_closed_maxpool": {"sparse_layers": [1]},
    "csm_conv_toeplitz_avgpool": {
        "activation": "sigmoid",
        "loss": "half squared error summed over outputs",
        "lr_m": None,
        "convention": "sums",
    },
    "ep_conv_leaky_toeplitz_avgpool": {"lr_m": [-0.05]},
}


@pytest.mark.parametrize(("stem", "entry"), [(stem, entry) for stem, entries in WORDS.items() for entry in entries])
def test_words_that_are_not_understood_are_refused(stem, entry, capsys):
    meta, arrays = read(GOLDEN_NETWORKS / f"{stem}.npz")
    file = write("other.npz", {**meta, entry: WORDS[stem][entry]}, arrays)
    require_refusal(file, capsys, "other.npz")


LAYERS = {
    "kind": "deconv",
    "pool": "median",
    "dilation": 2,
    "order": "conv, relu, pool",  # of average pooling
    "batch norm": "conv, batchnorm, pool, relu",
    "another function": "conv, pool, tanh",
    "two functions": "conv, relu, relu, pool",
    "a pool that is none": "conv, relu",
    "stride": None,
}


@pytest.mark.parametrize("entry", LAYERS)
def test_layers_that_are_not_understood_are_refused(entry, capsys):
    meta, arrays = read(GOLDEN_NETWORKS / "fa_conv_lenet_cross_entropy.npz")
    layer = meta["architecture"][1]
    if " " in entry:
        layer["order"] = LAYERS[entry]
    elif entry == "stride":
        del layer["stride"]
    else:
        layer[entry] = LAYERS[entry]
    require_refusal(write("other.npz", meta, arrays), capsys, "other.npz")


def test_max_pooling_may_come_after_the_activation_function_which_keeps_the_order(capsys):
    meta, arrays = read(GOLDEN_NETWORKS / "fa_conv_lenet_cross_entropy.npz")
    for order in ("conv, relu, pool", "conv, pool, relu", "conv, pool, f"):
        meta["architecture"][0]["order"] = order
        assert main(["verify", str(write("other.npz", meta, arrays))]) == 0


@pytest.mark.parametrize("rule", ["brsf", "dfa", "fa", "frsf", "usf"])
def test_a_recording_of_images_must_say_what_is_sent_down(rule, capsys):
    meta, arrays = read(GOLDEN_NETWORKS / f"{rule}_conv_lenet_cross_entropy.npz")
    del meta["feedback"]
    require_refusal(write("other.npz", meta, arrays), capsys, "feedback")


def test_a_dense_recording_may_say_what_is_sent_down(capsys):
    meta, arrays = read(GOLDEN / "feedback_alignment_3layer_sgd.npz")
    meta["feedback"] = "Wfa replaces W on the way down"
    assert main(["verify", str(write("other.npz", meta, arrays))]) == 0
    meta["feedback"] = "W goes down"
    require_refusal(write("other.npz", meta, arrays), capsys, "feedback")


def test_predictive_coding_at_activities_is_refused_with_the_reason(capsys):
    meta, arrays = read(GOLDEN_NETWORKS / "pc_conv_strict_values_maxpool_stale.npz")
    meta["form"] = "activities"
    require_refusal(write("other.npz", meta, arrays), capsys, "here values lie before the activation function")


def test_a_recording_that_lost_a_steps_arrays_is_refused(capsys):
    with np.load(GOLDEN / "ep_1hidden.npz") as file:
        arrays = {key: file[key] for key in file.files if not key.startswith("step2/")}
    np.savez("short.npz", **arrays)
    assert main(["verify", "short.npz"]) == 2
    assert "each step holds the same arrays but for step0/W0, step0/W1" in capsys.readouterr().err


@pytest.mark.parametrize("step", [0, 1, 2])
def test_an_array_that_some_steps_alone_hold_is_refused(step, capsys):
    """Of a kind that a recording need not hold: where it is held, all steps hold it."""
    with np.load(GOLDEN_RULES / "dfa_3layer_tanh_mse.npz") as file:
        arrays = {key: file[key] for key in file.files if "/grad_W" not in key or key.startswith(f"step{step}/")}
        assert len(arrays) < len(file.files)
    np.savez("some.npz", **arrays)
    assert main(["verify", "some.npz"]) == 2
    assert "each step holds the same arrays but for" in capsys.readouterr().err


@pytest.mark.parametrize("tolerance", ["inf", "nan", "-1"])
def test_a_tolerance_that_is_none_is_refused(tolerance, capsys):
    assert main(["verify", str(GOLDEN / "ep_1hidden.npz"), f"--tolerance={tolerance}"]) == 2
    assert "tolerance is" in capsys.readouterr().err


def test_how_large_an_error_is():
    """Relative to the entry, and to a thousandth of the largest where the entry is smaller than that."""
    recorded = np.array([1.0, 1e-3, 1e-5, 0.0])

    def error(i, by, **options):
        replayed = recorded.copy()
        replayed[i] += by
        found, place = largest_error(replayed, recorded, **options)
        assert place == [i]
        return found

    assert error(0, 2e-9) == pytest.approx(2e-9, rel=1e-6)
    assert error(1, 2e-12) == pytest.approx(2e-9, rel=1e-4)
    assert error(2, 2e-12) == pytest.approx(2e-9, rel=1e-4)
    assert error(3, 2e-12) == pytest.approx(2e-9, rel=1e-6)
    assert error(1, 2e-12, terms=1e5) == pytest.approx(2e-11, rel=1e-4)  # what is a difference of terms so large
    assert error(0, 2e-9, terms=1e5) == pytest.approx(2e-9, rel=1e-6)  # smaller than the entry, they change nothing


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_equals_nothing(wrong):
    ones, broken = np.ones(3), np.array([1.0, wrong, 1.0])
    for pair in ((broken, ones), (ones, broken), (broken, broken)):
        assert largest_error(*pair)[0] == np.inf
    assert largest_error(broken, ones)[1] == [1]


def test_another_shape_is_no_agreement():
    assert largest_error(np.ones((2, 3)), np.ones(3))[0] == np.inf
    assert largest_error(np.ones((0, 3)), np.ones((0, 3)))[0] == 0


def test_the_tolerance_is_1e_9_for_every_recording(capsys):
    for stem in ("pc_2layer_sigmoid_adam", "pc_nudge_2layer_adam_signs", "ep_1hidden"):
        meta, arrays = read(GOLDEN / f"{stem}.npz")
        for factor, status in ((1 + 3e-10, 0), (1 + 3e-9, 1)):
            changed = {**arrays, "step2/W0": arrays["step2/W0"] * factor}
            assert main(["verify", str(write("changed.npz", meta, changed))]) == status
    assert "tolerance 1e-09" in capsys.readouterr().out


def test_meta_that_says_something_twice_or_no_number_is_refused(capsys):
    meta, arrays = read(GOLDEN / "ep_1hidden.npz")
    for text, word in (
        ('{"neural_lr": 0.5, ' + json.dumps({**meta, "neural_lr": 0.4})[1:], "neural_lr twice"),
        (json.dumps({**meta, "neural_lr": float("nan")}), "NaN"),
        (json.dumps({**meta, "neural_lr": float("inf")}), "Infinity"),
        (json.dumps(list(meta.items())), "no JSON object"),
        ("ep", "no recorded trajectory"),
    ):
        np.savez("broken.npz", meta=text, **arrays)
        require_refusal("broken.npz", capsys, "broken.npz", word)


def test_an_array_that_is_there_twice_is_refused(capsys):
    path = Path("twice.npz")
    path.write_bytes((GOLDEN / "ep_1hidden.npz").read_bytes())
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("step1/W0.npy", file.read("step0/W0.npy"))
    require_refusal(path, capsys, "step1/W0 twice")


def test_a_recording_may_say_what_it_holds(capsys):
    meta, arrays = read(GOLDEN / "ep_1hidden.npz")
    fewer = {key: array for key, array in arrays.items() if "free" not in key}
    require_refusal(write("fewer.npz", meta, fewer), capsys, "step0/free0, step0/free1", "holds")
    said = {**meta, "holds": ["W", "b", "nudged"]}
    assert main(["verify", str(write("fewer.npz", said, fewer))]) == 0
    require_refusal(write("more.npz", said, arrays), capsys, "free", "holds")
    for holds, word in ((["W", "b", "nudged", "M"], "M"), ("W", "holds"), ([], "holds"), ([1], "holds")):
        require_refusal(write("fewer.npz", {**meta, "holds": holds}, fewer), capsys, word)
    for name in ("W0", "b1", "nudged0"):
        lacking = {key: array for key, array in fewer.items() if key.startswith("init") or not key.endswith(f"/{name}")}
        require_refusal(write("fewer.npz", said, lacking), capsys, f"step0/{name}")


def test_weights_that_nothing_depends_on_must_be_numbers_of_their_shape(capsys):
    meta, arrays = read(GOLDEN / "feedback_alignment_3layer_sgd.npz")
    given = arrays["init/Wfa0"]
    for changed in (given.T, given[None], given * np.nan, given - np.inf, given.astype(np.float32), given.astype(str)):
        require_refusal(write("shape.npz", meta, {**arrays, "init/Wfa0": changed}), capsys, "init/Wfa0")
    meta, arrays = read(GOLDEN_NETWORKS / "dfa_conv_lenet_cross_entropy.npz")
    require_refusal(write("other.npz", meta, {**arrays, "init/Wfa0": arrays["init/W0"]}), capsys, "init/Wfa0")


OWN = {
    "rule": "bioplausible.rules.FeedbackAlignment",
    "layer_sizes": [12, 9, 7, 4],
    "lr": 0.1,
    "loss": "mean_squared_error",
    "feedback": "fixed",
    "initialization": "xavier",
    "activation_function": "relu",
    "output_activation": "linear",
}


def own_recording():
    """Returns arrays of a recording by the names in the module, for :data:`OWN`."""
    _, arrays = read(GOLDEN / "feedback_alignment_3layer_sgd.npz")
    names = {"W": "weight", "b": "bias", "Wfa": "_feedback_weight"}
    found = {"x": arrays["x"], "y": arrays["y"]}
    for key, array in arrays.items():
        when, _, name = key.partition("/")
        kind, i = name.rstrip("0123456789"), name[-1:]
        if kind in names and name != "Wfa0":
            found[f"{when}/network.wiring.{int(i) + 1}.{names[kind]}"] = array
    for step in range(3):
        for k in (2, 3):
            found[f"step{step}/network.wiring.{k}._feedback_weight"] = arrays[f"init/Wfa{k - 1}"]
    return found


def test_a_recording_by_class_path_must_say_every_argument(capsys):
    """The class's defaults may not be what the recorded run had."""
    arrays = own_recording()
    assert main(["verify", str(write("own.npz", OWN, arrays))]) == 0
    capsys.readouterr()
    for entry in OWN:
        require_refusal(write("own.npz", {k: v for k, v in OWN.items() if k != entry}, arrays), capsys, entry)
    for key in arrays:
        require_refusal(write("own.npz", OWN, {k: a for k, a in arrays.items() if k != key}), capsys, "own.npz")


def test_rates_by_layer_take_the_place_of_lr():
    """Whose optimizer has none of its own to fall back to."""
    meta, arrays = read(GOLDEN / "ep_1hidden.npz")
    kept = ("layer_sizes", "free_steps", "nudged_steps", "steps", "batch", "dtype", "beta_per_step")
    own = {key: meta[key] for key in kept} | {
        "rule": "bioplausible.rules.EquilibriumPropagation",
        "learning_rates": meta["lr_w"],
        "step_size": meta["neural_lr"],
        "random_beta_sign": False,
        "feedback_learning_rates": None,
        "evaluation_steps": None,
        "evaluation_step_size": None,
        "initialization": "xavier",
        "loss": "squared_error",
        "feedback": "tied",
        "feedback_update": "separate",
        "update_order": "synchronous",
        "activation_function": "clip",
        "output_activation": "clip",
        "activation_slope": None,
        "points": None,
        **dict.fromkeys(("three_phase", "relax_free_again", "persistent_states", "hold_output", "readout"), False),
    }
    names = {"W": "weight", "b": "bias"}
    mine = {
        key if "/" not in key or name[0] in "fn" else f"{when}/network.wiring.{int(name[-1]) + 1}.{names[name[:-1]]}": a
        for key, a in arrays.items()
        for when, _, name in [key.partition("/")]
    }
    assert main(["verify", str(write("own.npz", own, mine))]) == 0
    with pytest.raises(UserError, match="does not say its lr"):
        replay(write("own.npz", {**own, "learning_rates": None}, mine))


UNUSED_FLOORS = ["pc_3layer_sigmoid_sgd", "pc_nudge_3layer_sgd", "corinfomax_2layer_constant"]


@pytest.mark.parametrize("stem", UNUSED_FLOORS)
def test_recordings_say_floor_and_decay_though_constant_step_sizes_use_neither(stem, capsys):
    """The rule refuses both there; a recording's say the whole formula, and still must be numbers that make sense."""
    meta, arrays = read(GOLDEN / f"{stem}.npz")
    assert meta["neural_lr_rule"] == "constant"
    assert (
        main(["verify", str(write("other.npz", {**meta, "neural_lr_stop": 0.3, "neural_lr_decay": 0.7}, arrays))]) == 0
    )
    capsys.readouterr()
    for entry, name in (("neural_lr_stop", "step_size_floor"), ("neural_lr_decay", "step_size_decay")):
        require_refusal(write("other.npz", {**meta, entry: -0.1}, arrays), capsys, name, "must not be negative")
        require_refusal(write("other.npz", {k: v for k, v in meta.items() if k != entry}, arrays), capsys, entry)


def test_a_recording_by_class_path_says_floor_and_decay_too():
    """It must say every argument, and leaving these two out is no way."""
    meta, arrays = read(GOLDEN / "pc_3layer_sigmoid_sgd.npz")
    kept = ("layer_sizes", "steps", "batch", "dtype", "lr", "optimizer", "inference_steps")
    own = {key: meta[key] for key in kept} | {
        "rule": "bioplausible.rules.PredictiveCoding",
        "activation_function": meta["activation"],
        "target_range": [0.03, 0.97],
        "step_size": meta["neural_lr_start"],
        "step_size_rule": "constant",
        "step_size_floor": 0.3,
        "step_size_decay": 0.7,
        "initialization": "kaiming",
        "loss": "squared_error",
        "inference": "values",
        **{"inference_momentum": 0.0, "beta": 1.0, "beta_growth": 0.0, "bias": True},
        **dict.fromkeys(
            ("inference_nesterov", "residual", "fixed_predictions", "stale_errors", "free_output_error"), False
        ),
    }
    mine = {key: array for key, array in arrays.items() if "/" not in key}
    for key, array in arrays.items():
        when, _, name = key.partition("/")
        if name[:-1] in ("W", "b"):
            mine[f"{when}/network.wiring.{int(name[-1]) + 1}.{ {'W': 'weight', 'b': 'bias'}[name[0]] }"] = array
    assert main(["verify", str(write("own.npz", own, mine))]) == 0


def test_a_phase_that_is_no_number_of_iterations_is_refused(capsys):
    meta, arrays = read(GOLDEN / "ep_1hidden.npz")
    for steps in (20.5, 0, -1, [20], True):
        require_refusal(write("steps.npz", {**meta, "free_steps": steps}, arrays), capsys, "free_steps")


def test_without_a_nudge_there_is_nothing_to_replay(capsys):
    for stem, entry in (("ep_1hidden", "beta_per_step"), ("pc_nudge_3layer_sgd", "lambda_per_step")):
        meta, arrays = read(GOLDEN / f"{stem}.npz")
        for values in ([0.5, 0, 0.5], [0.5, 0.5], [0.5] * 4, 0.5):
            require_refusal(write("zero.npz", {**meta, entry: values}, arrays), capsys, "zero.npz", entry)


def test_a_limit_of_the_norm_and_decays_by_layer_are_the_recordings_where_it_says_them():
    """Else there are none, whatever the optimizer's own decay."""
    recorded = {}
    for name, said in (
        ("plain", {}),
        ("limit", {"gradient_norm_limit": 0.01}),
        ("decays", {"weight_decays": [0.5, 0.25], "weight_decay": 0.1}),
    ):
        torch.manual_seed(0)
        options = {name: value for name, value in said.items() if name != "weight_decay"}
        rule = EquilibriumPropagation(
            [5, 4, 3], beta=0.5, random_beta_sign=False, free_steps=6, nudged_steps=3, learning_rates=0.2, **options
        ).double()
        x, y = torch.rand(6, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2])
        arrays = {f"init/{name}": p.detach().numpy().copy() for name, p in rule.named_parameters()}
        optimizer = torch.optim.SGD(rule.parameter_groups(), weight_decay=said.get("weight_decay", 0.0))
        rule.phases = rule.learn(x, rule.one_hot(y, x.dtype), optimizer)
        arrays |= {f"step0/{name}": p.detach().numpy().copy() for name, p in rule.named_parameters()}
        meta = {name: value for name, value in rule.hparams.items() if name not in ("network", "lr_scheduler_interval")}
        meta = {name: value for name, value in meta.items() if value is not None or name not in OF_THE_STEP}
        meta |= {"rule": "bioplausible.rules.EquilibriumPropagation", "optimizer": "sgd", **said}
        recorded[name] = arrays
        file = write(f"{name}.npz", meta, {**arrays, "x": x[None].numpy(), "y": y[None].numpy()})
        assert max(d.error for d in replay(file)) < 1e-9, name
    key = "step0/network.wiring.1.weight"
    assert all((recorded["plain"][key] != recorded[name][key]).any() for name in ("limit", "decays"))


@pytest.mark.parametrize("given", [math.inf, -math.inf, math.nan, True, "0.1", [], [0.1, math.inf], [[0.1]], {}, None])
def test_what_should_be_a_number_is_one_or_is_refused_by_name(given):
    """JSON's 1e999 is infinite, and no word for it."""
    with pytest.raises(UserError, match=r"its meta has lr .*: give a finite number"):
        Meta({"lr": given}).number("lr")
    with pytest.raises(UserError, match="does not say its lr"):
        Meta({}).number("lr")
    for number in (0, -3, 1e308, [0.1, 2]):
        assert Meta({"lr": number}).number("lr") == number


def test_the_standard_deviations_of_a_draw_are_said_to_their_last_digits(capsys):
    recordings = [(path, *read(path)) for path in sorted(GOLDEN_NETWORKS.glob("*.npz"))]
    of_draws = [(path, meta, arrays) for path, meta, arrays in recordings if "scale" in meta]
    assert of_draws
    for _, meta, arrays in of_draws:
        for i, scale in enumerate(meta["scale"]):
            changed = {**meta, "scale": [*meta["scale"][:i], scale * (1 + 1e-6), *meta["scale"][i + 1 :]]}
            require_refusal(write("scale.npz", changed, arrays), capsys, "scale.npz", "its meta says scale")


@pytest.mark.parametrize("off", [1e-6, -1e-3])
def test_a_mask_of_dropout_is_0_or_the_inverse_of_what_is_kept_to_its_last_digits(off, capsys):
    """Of a silent unit too, whose mask changes nothing that a replay sees."""
    meta, arrays = read(GOLDEN_RULES / "pepita_2layer_dropout.npz")
    mask = arrays["step0/mask0"].copy()
    mask[np.unravel_index(mask.argmax(), mask.shape)] *= 1 + off
    require_refusal(write("mask.npz", meta, {**arrays, "step0/mask0": mask}), capsys, "mask.npz", "0 and 1/keep")
