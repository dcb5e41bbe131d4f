"""What every option of every rule computes is what it computed when it was recorded.

This proves nothing right by itself: the numbers in ``every_option/`` were written from the code as it was. That they
are right is held by the recordings of published codes, the theorems and the closed forms beside this file. This net
holds them where they are, every option at several values, and what is refused too. A number that changes on purpose is
written anew by ``python -m tests.oracles.every_option RULE``, with the reason in the commit.
"""

import pytest

from tests.helpers import all_rules
from tests.oracles.every_option.cases import WITHOUT_EFFECT, options_of, results, same
from tests.oracles.every_option.recording import differences, path, read


@pytest.mark.sampled
@pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)
def test_every_option_computes_what_was_recorded(cls):
    recorded, wrong, tried, effective = read(cls), [], set(), set()
    left = {(base, case) for base, cases in recorded.items() for case in cases}
    start = None
    for base, case, result in results(cls):
        start = start if case else result
        left.discard((base, case))
        old = recorded.get(base, {})
        what = list(differences(old.get(case), result, start, old.get("")))
        wrong += [f"{base} / {case or 'itself'}: {', '.join(what)}"] if what else []
        name = case.partition("=")[0]
        tried.add(name)
        if name and not isinstance(result, str) and not same(result, start):
            effective.add(name)
    wrong += [f"{base} / {case}: is recorded, and no case any more" for base, case in left]
    anew = f"on purpose? then python -m tests.oracles.every_option {cls.__name__}"
    assert not wrong, "\n".join([f"{len(wrong)} cases of {cls.__name__} are not as recorded:", *wrong[:20], anew])
    assert options_of(cls) == tried - {""}
    unchanged = options_of(cls) - effective
    assert unchanged == set(WITHOUT_EFFECT.get(cls.__name__, ())), "options whose values change no recorded number"


def test_nothing_is_recorded_of_what_is_no_rule():
    rules = {cls.__name__ for cls in all_rules()}
    assert {file.stem for file in path(all_rules()[0]).parent.glob("*.json")} == rules
