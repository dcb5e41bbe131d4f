"""What rules log by themselves, and Lightning beside: of each rule a short training and a test."""

from collections.abc import Iterator

from bioplausible.commands.class_help import options_of_class
from tests.helpers import all_rules
from tests.oracles.every_option.cases import SHORT
from tests.oracles.shown.catching import catching
from tests.oracles.shown.keeping import Shown
from tests.oracles.shown.training import DENSE, TRACKED, TRAININGS, Training


def trainings() -> dict[str, Training]:
    """Returns a training of each rule, and those whose rules log more than by default, by their names."""
    found = {}
    for cls in all_rules():
        known = options_of_class(cls)
        found[cls.__name__] = Training(cls, DENSE, {n: v for n, v in (SHORT | TRACKED).items() if n in known})
    return found | {name: TRAININGS[name] for name in ("images", "feedback", "skip", "cut", "few tested")}


def results(disturbance: float = 0.0) -> Iterator[tuple[str, str, Shown]]:
    """Yields what is logged.

    Args:
        disturbance: as :meth:`tests.oracles.shown.training.Training.rule` takes it.
    """
    for name, training in trainings().items():
        with catching() as caught:
            trainer, rule, data = training.run(caught, [], disturbance)
            trainer.test(rule, datamodule=data, verbose=False)
        yield name, "", caught.shown
