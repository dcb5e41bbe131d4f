"""What observers, the report and other commands show is what they showed when it was recorded.

This proves nothing right by itself: the texts and numbers in ``shown/`` were written from the code as it was. That they
are right is held by the tests of the report, of observers and of commands, which compute them in another way. This net
holds all of it where it is: every number that is logged, each artist of each figure, each line and table, every option
at several values. What changes on purpose is written anew by ``python -m tests.oracles.shown NAME``, with the reason in
the commit.
"""

import pytest

from tests.oracles.shown.keeping import REFUSED, changes, differences, kept
from tests.oracles.shown.of_observers import ELSEWHERE, LOOKS, observers
from tests.oracles.shown.subjects import name_of, path, read, recorded, subjects

SUBJECTS = subjects()


@pytest.mark.sampled
@pytest.mark.parametrize("name", SUBJECTS)
def test_all_that_is_shown_is_what_was_recorded(name):
    entries, wrong, tried, effective, starts, seen = read(name), [], set(), set(), {}, set()
    for base, case, shown in SUBJECTS[name].results(0.0):
        title, now = name_of(base, case), kept(shown)
        assert title not in seen
        seen.add(title)
        old = recorded(entries, base, case)
        wrong += [f"{title}: is not recorded"] if old is None else [f"{title}: {d}" for d in differences(old, shown)]
        starts.setdefault(base, now)
        option = case.partition("=")[0]
        if option:
            tried.add(option)
            if not now.get(REFUSED, "").startswith(f"{option} is ") and changes(starts[base], now):
                effective.add(option)
    wrong += [f"{title}: is recorded, and no case any more" for title in sorted(entries.keys() - seen)]
    anew = f"on purpose? then python -m tests.oracles.shown {name}"
    assert not wrong, "\n".join([f"{len(wrong)} things that {name} shows are not as recorded:", *wrong[:20], anew])
    assert tried == SUBJECTS[name].options
    assert effective == tried, "options whose values change nothing that is shown"


def test_every_observer_is_looked_at_and_nothing_else_is_recorded():
    assert observers().keys() == LOOKS.keys() | ELSEWHERE
    assert {file.stem for file in path("").parent.glob("*.json")} == SUBJECTS.keys()
