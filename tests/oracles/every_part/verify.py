"""What ``verify`` says of each recording in the repository, and of each with deviations of known size."""

import contextlib
import io
import json
import math
import re
import warnings
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from bioplausible.commands.verify import run
from bioplausible.commands.verify.meta import REMARKS
from bioplausible.commands.verify.recording import Recording
from bioplausible.commands.verify.replay import largest_error, replay
from bioplausible.errors import UserError
from tests.helpers import GOLDEN, GOLDEN_NETWORKS, GOLDEN_RULES
from tests.oracles.every_part.recording import Cases, Result, Value, number

RECORDINGS = sorted([*GOLDEN.glob("*.npz"), *GOLDEN_NETWORKS.glob("*.npz"), *GOLDEN_RULES.glob("*.npz")])

OF_ROUNDING = 1e-6
"""Share of a deviation's size that rounding of the replay may add: deviations are at least 1e-6, rounding 1e-13."""

ROUNDING = 1e-10
"""Largest difference that counts as none here."""


def results(folder: Path) -> Cases:
    """Yields what is said of recordings with deviations, of one of each kind that is wrong, and of small arrays."""
    folder.mkdir(exist_ok=True)
    told: set[tuple[str, ...]] = set()
    for i, path in enumerate(RECORDINGS):
        recording = Recording(path)
        kind = type(recording.rule()).__name__, *sorted({name.rstrip("0123456789") for name in recording.at_start()})
        if kind in told and i % 5:
            continue
        yield "deviating", path.stem, _deviating(path, folder, (_in_the_largest, _in_the_smallest)[i % 2])
        if kind not in told:
            told.add(kind)
            yield "other meta", path.stem, _with_other_meta(path, folder)
            yield "other arrays", path.stem, _with_other_arrays(path, folder)
    yield from _errors()
    yield from _printed(folder)


# ----------------------------------------------------------------------------------------------------------- deviations


def _in_the_largest(array: Any, size: float) -> None:
    """Lets the largest entry be larger by a share of it."""
    index = np.unravel_index(np.abs(array).argmax(), array.shape)
    array[index] += size * (array[index] or 1.0)


def _in_the_smallest(array: Any, size: float) -> None:
    """Lets the smallest entry be larger by a share of the largest; a single number by a share of itself."""
    index = np.unravel_index(np.abs(array).argmin(), array.shape)
    array[index] += size * np.abs(array).max()


def _deviating(path: Path, folder: Path, change: Any) -> Result:
    """Returns the differences of a recording whose every array after a step deviates, each by another size."""
    arrays = _read(path)
    steps = sorted(name for name in arrays if name.startswith("step") and "mask" not in name)  # which is given
    for i, name in enumerate(steps):
        arrays[name] = np.array(arrays[name], dtype=float)
        change(arrays[name], 10.0 ** -(2 + i % 4) * (1 + i / 100))
    file = folder / path.name
    np.savez(file, **arrays)
    found = replay(file)
    places = ", ".join(f"{d.place} {d.group}" for d in found if d.error > ROUNDING)
    errors = [d.error for d in found if d.error > ROUNDING]
    finite = [error for error in errors if math.isfinite(error)]
    return {
        "errors": number(*map(math.log, finite), share=OF_ROUNDING),
        "count": f"{len(errors)} differ of {len(found)}, {len(errors) - len(finite)} beyond measure",
        "places": f"{places[:60]} … {crc32(places.encode())}",
    }


# ----------------------------------------------------------------------------------------------------- what is refused


def _with_other_meta(path: Path, folder: Path) -> Result:
    """Returns what becomes of a recording with each entry of its meta left out, or with a text in its place."""
    arrays = _read(path)
    meta = json.loads(str(arrays["meta"]))
    found: dict[str, Value] = {}
    for i, name in enumerate(name for name in meta if name not in REMARKS):
        other = meta | {name: "so"} if i % 3 == 0 else {key: entry for key, entry in meta.items() if key != name}
        found[name] = _said(arrays | {"meta": np.array(json.dumps(other))}, folder)
    found["something else"] = _said(arrays | {"meta": np.array(json.dumps(meta | {"colour": 1}))}, folder)
    return {"sentences": number(*(crc32(str(said).encode()) / 2**32 for said in found.values()))} | _counted(found)


def _with_other_arrays(path: Path, folder: Path) -> Result:
    """Returns what becomes of a recording with each array of its start left out, and some of another shape."""
    arrays = _read(path)
    found: dict[str, Value] = {}
    first = next(name for name in arrays if name.startswith("step0/"))
    for name in ["x", "y", *(name for name in arrays if name.startswith("init/")), first]:
        found[f"{name} left out"] = _said({key: a for key, a in arrays.items() if key != name}, folder)
    for name in ("x", "y", first):
        found[f"{name} with one axis more"] = _said(arrays | {name: np.stack([arrays[name]] * 2)}, folder)
    found["a stray"] = _said(arrays | {"step9/W0": arrays["x"]}, folder)
    found["NaN"] = _said(arrays | {"x": arrays["x"] * math.nan}, folder)
    found["other classes"] = _said(arrays | {"y": arrays["y"] + 100}, folder)
    found["broken classes"] = _said(arrays | {"y": arrays["y"] + 0.5}, folder)
    return {"sentences": number(*(crc32(str(said).encode()) / 2**32 for said in found.values()))} | _counted(found)


def _counted(found: dict[str, Value]) -> dict[str, Value]:
    kinds = [str(said) if said in ("agrees", "differs") else "is refused" for said in found.values()]
    return {"count": ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("agrees", "differs", "is refused"))}


def _said(arrays: dict[str, Any], folder: Path) -> str:
    """Returns the verdict, or the sentence that refuses a recording."""
    file = folder / "changed.npz"
    np.savez(file, **arrays)
    try:
        return "agrees" if all(d.error <= ROUNDING for d in replay(file)) else "differs"
    except UserError as error:
        return _without_others_words(str(error), folder)


def _without_others_words(text: str, folder: Path) -> str:
    """Returns a sentence without where a file lies, and without what NumPy or another package says in it."""
    return re.sub(r"\(\w*Error: .*?\):", "(…):", text.replace(str(folder), "…"))


def _read(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return dict(file)


# ------------------------------------------------------------------------------------------------------ what is printed


def _errors() -> Cases:
    """Yields the relative error of small arrays, by hand."""
    large, small = np.array([4.0, -2.0, 0.0]), np.array([1e-3, 1e-5, 3.0])
    cases: dict[str, tuple[Any, Any, dict[str, float]]] = {
        "of the largest": (large + np.array([0.5, 0, 0]), large, {}),
        "of a negative one": (large + np.array([0, 0.5, 0]), large, {}),
        "of zero": (large + np.array([0, 0, 0.5]), large, {}),
        "of a small one": (small + np.array([0, 1e-6, 0]), small, {}),
        "of a small one, of small ones": (small + np.array([0, 1e-6, 0]), small, {"small": 0.1}),
        "of small differences": (small + np.array([1e-6, 0, 0]), small, {"terms": 1e5}),
        "of nothing": (np.zeros(3), np.zeros(3), {}),
        "from nothing": (np.zeros(3) + np.array([0, 1e-300, 0]), np.zeros(3), {}),
        "NaN": (large * [1, math.nan, 1], large, {}),
        "NaN in both": (large * [1, math.nan, 1], large * [1, math.nan, 1], {}),
        "infinite": (large, large * [1, math.inf, 1], {}),
        "another shape": (large[:2], large, {}),
        "empty": (large[:0], large[:0], {}),
        "a matrix": (np.outer(large, small) + 1e-6, np.outer(large, small), {}),
        "a number": (np.array(2.5), np.array(2.0), {}),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, (a, b, options) in cases.items():
            error, index = largest_error(a, b, **options)
            yield "largest error", name, {"error": f"{error:.9g} at {index}"}


def _printed(folder: Path) -> Cases:
    """Yields what the command prints and its status, of recordings that agree, deviate or are broken."""
    names = ("corinfomax_2layer_constant.npz", "ff_loewe_3layer.npz")
    agreeing, broken = folder / "agreeing.npz", folder / "broken.npz"
    agreeing.write_bytes((GOLDEN / names[0]).read_bytes())
    broken.write_bytes(b"nothing")
    for name in names:
        assert (folder / name).is_file(), "the deviating ones lie there"
    none = folder / "none"
    none.mkdir()
    for case, args in {
        "agreeing": [agreeing],
        "deviating": [folder / names[0]],
        "two": [folder / name for name in names],
        "deviating and broken": [folder / names[1], broken],
        "agreeing and broken": [agreeing, broken],
        "a wide tolerance": [folder / names[1], "--tolerance", "0.5"],
        "no tolerance": [agreeing, "--tolerance", "0"],
        "a tolerance below 0": [agreeing, "--tolerance", "-1"],
        "an endless tolerance": [agreeing, "--tolerance", "inf"],
        "nothing there": [none],
        "no such file": [folder / "no.npz"],
        "a GPU": [agreeing, "--accelerator", "gpu"],
    }.items():
        yield "printed", case, _print([str(arg) for arg in args], folder)


def _print(args: list[str], folder: Path) -> Result:
    out, err = io.StringIO(), io.StringIO()
    no_gpu = pytest.MonkeyPatch.context()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), no_gpu as patch:
        patch.setattr("torch.cuda.is_available", lambda: False)
        try:
            status: int | str = run(args)
        except UserError as error:
            status = str(error)
    lines = [_without_rounding(line) for line in out.getvalue().splitlines()]
    text = "\n".join([*lines, *err.getvalue().splitlines(), f"status {status}"])
    return {"printed": _without_others_words(text, folder)}


def _without_rounding(line: str) -> str:
    """Returns a line whose error, where it is one of rounding, is left out with its place."""
    words = line.split()
    for word in words:
        with contextlib.suppress(ValueError):
            if float(word) < ROUNDING and line.startswith(" "):
                return line[: line.index(word)].rstrip() + " rounding"
    return line
