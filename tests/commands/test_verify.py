"""The command verify: it finds what differs and refuses what is no recording."""

import json

import numpy as np
import pytest

from bioplausible.__main__ import main
from bioplausible.commands import verify
from bioplausible.errors import UserError
from tests.helpers import GOLDEN


def changed(path, folder, key, index, factor=1.001, add=1e-5):
    arrays = dict(np.load(path))
    value = arrays[key].copy()
    if value.dtype.kind == "i":
        value[index] = (value[index] + 1) % 4
    else:
        value[index] = value[index] * factor + add
    arrays[key] = value
    target = folder / path.name
    np.savez(target, **arrays)
    return target


@pytest.mark.parametrize(
    "stem", ["corinfomax_2layer_slowdecay_signs", "corinfomax_4layer_threephase_decay", "csm_1hidden"]
)
def test_a_file_changed_in_one_number_fails(stem, tmp_path):
    path = GOLDEN / f"{stem}.npz"
    draw = np.random.default_rng(0)
    for key, value in np.load(path).items():
        # every weight, and a state of each kind: also what is changed only a little, and what the replay starts from
        if key == "meta" or (key.startswith("step") and not key.startswith("step1")):
            continue
        index = tuple(draw.integers(n) for n in value.shape)
        file = changed(path, tmp_path, key, index)
        worst = max(d.error for d in verify.replay(file))
        assert worst > 1e-9, f"{key}{index} was changed and verify did not notice"


def test_verify_prints_what_and_where_and_exits_with_1(tmp_path, capsys):
    path = GOLDEN / "corinfomax_2layer_constant.npz"
    assert main(["verify", str(path)]) == 0
    out = capsys.readouterr().out
    assert "agrees" in out
    assert all(group in out for group in ("states", "weights", "lateral matrices"))
    file = changed(path, tmp_path, "step1/B0", (2, 3))
    assert main(["verify", str(path), str(file)]) == 1
    out = capsys.readouterr().out
    assert "DIFFERS" in out
    assert "at step1/B0[2, 3]" in out


def test_verify_refuses_what_is_no_recording(tmp_path, capsys):
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"PK no zip")
    arrays = dict(np.load(GOLDEN / "ep_1hidden.npz"))
    other = tmp_path / "other.npz"
    np.savez(other, **{**arrays, "meta": json.dumps({**json.loads(str(arrays["meta"])), "rule": "hebb"})})
    missing = tmp_path / "missing.npz"
    np.savez(missing, **{k: v for k, v in arrays.items() if k != "init/W0"})
    for path in (bad, other, missing, tmp_path / "nothing.npz", tmp_path):
        if path == tmp_path:
            for file in tmp_path.glob("*.npz"):
                file.unlink()
        assert main(["verify", str(path)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1


def test_a_rule_can_be_named_by_its_class_path():
    assert verify.rule_class("bioplausible.rules.CorInfoMax").recorded_as == "corinfomax"
    with pytest.raises(UserError, match=r"There is no rule os\.path"):
        verify.rule_class("os.path")


@pytest.mark.parametrize("change", ["no rule", "no layer_sizes", "optimizer rmsprop", "shape"])
def test_a_broken_recording_is_refused_in_one_sentence(change, capsys):
    with np.load(GOLDEN / "pc_3layer_tanh_sgd.npz") as file:
        arrays = dict(file)
    meta = json.loads(str(arrays.pop("meta")))
    if change.startswith("no "):
        del meta[change.removeprefix("no ")]
    elif change.startswith("optimizer"):
        meta["optimizer"] = "rmsprop"
    else:
        arrays["init/W0"] = arrays["init/W0"][1:]
    np.savez("broken.npz", meta=json.dumps(meta), **arrays)
    assert main(["verify", "broken.npz"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: broken.npz")
    assert error.count("\n") == 1
