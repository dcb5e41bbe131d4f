"""Data, networks, training, checkpoints and ``verify`` come to what they came to when that was recorded.

This proves nothing right by itself: what lies in ``every_part/`` was written from the code as it was. That it is right
is held by the tests of each part. This net holds it where it is, every option at several values, and what is refused or
said too. What changes on purpose is written anew by ``python -m tests.oracles.every_part PART``, with the reason in the
commit.
"""

import pytest

from tests.oracles.every_part.nets import all_results, parts, shows
from tests.oracles.every_part.recording import differences, path
from tests.oracles.records import read

PARTS = list(parts())


@pytest.mark.sampled
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_every_part_comes_to_what_was_recorded(part, tmp_path):
    recorded, wrong, effective = read(path(part.net)), [], set()
    left = {(base, case) for base in recorded if base.startswith(f"{part.name}: ") for case in recorded[base]}
    for base, case, result, start in all_results(part, tmp_path.resolve()):
        left.discard((base, case))
        old = recorded.get(base, {})
        what = list(differences(old.get(case), result, old.get("")))
        wrong += [f"{base} / {case or 'itself'}: {', '.join(what[:4])}"] if what else []
        effective.add(shows(case, result, start))
    wrong += [f"{base} / {case}: is recorded, and no case any more" for base, case in left]
    anew = f"on purpose? then python -m tests.oracles.every_part {part.name}"
    assert not wrong, "\n".join([f"{len(wrong)} cases of {part.name} are not as recorded:", *wrong[:20], anew])
    assert not part.options - effective, "options whose values change nothing that is recorded"


def test_nothing_is_recorded_of_what_is_no_part():
    known = {(part.net, part.name) for part in PARTS}
    files = path("").parent.glob("*.json")
    assert {(file.stem, base.partition(": ")[0]) for file in files for base in read(file)} == known
