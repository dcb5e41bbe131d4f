"""The nets by name: what each records, in parts that are computed one at a time."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.oracles.every_part import data, network, training, verify
from tests.oracles.every_part.recording import Cases, Result, same


class Part(NamedTuple):
    """What is computed and recorded together.

    Attributes:
        net: the file's name.
        name: what its cases are of.
        results: yields them, given an empty folder.
        options: names that a case must show an effect of, before ``=`` in its name.
    """

    net: str
    name: str
    results: Callable[[Path], Cases]
    options: set[str]


def parts() -> Iterator[Part]:
    """Yields every part: what the package has more of, as data modules, is found by itself."""
    for cls in data.modules():
        must = data.options_of(cls) - {*data.GIVEN_BY_THE_FILES, *data.WITHOUT_EFFECT.get(cls.__name__, ())}
        yield Part("data", cls.__name__, lambda folder, cls=cls: data.results(cls, folder), must)
    yield Part("network", "network", network.results, network.KEYS_AND_OPTIONS)
    yield Part("training", "training", training.results, set())
    yield Part("verify", "verify", verify.results, set())


def all_results(part: Part, folder: Path) -> Iterator[tuple[str, str, Result, Result]]:
    """Yields each case as ``part: base``, its name, its result and that of what it begins with, if any."""
    start: Result = ""
    before = ""
    for base, case, result in part.results(folder):
        start = result if not case else start if base == before else ""
        before = base
        yield f"{part.name}: {base}", case, result, start


def shows(case: str, result: Result, start: Result) -> str:
    """Returns the option whose effect a case shows; empty where it shows none."""
    effect = bool(case and start) and not isinstance(result, str) and not same(result, start)
    return case.partition("=")[0] if effect else ""
