"""The settings that a sweep's options give: which are the sweep's own, and which say what scores a trial."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bioplausible.errors import UserError

OWN = {
    "seed_everything": "seeds has its values",
    "ckpt_path": "a trial that was killed goes on by itself",
    "config": "recipes, or --config, has the files",
    "print_config": "--list prints the trials",
    "help": "fit --help lists what there is",
    "trainer.logger": "each trial logs into a folder of its own",
    "trainer.enable_progress_bar": "trials run several at once, and draw none",
    "trainer.limit_test_batches": "a trial is scored by the whole test split, or in a search sees nothing of it",
    "trainer.fast_dev_run": "it leaves no run to compare; trainer.max_steps makes a trial short",
}
"""Settings that the sweep itself makes, and what to do instead."""

OF_A_STUDY = {"trainer.callbacks+": "observers has the callbacks"}
"""The same, where a study's file has a place for it."""

NOT_OF_THE_SCORE = ("batch_size", "crop_padding", "horizontal_flip", "mean", "std", "border")
"""Options of the data that leave alone which images a trial is scored by: a search may draw them."""

OF_THE_SCORE = ("trainer.limit_val_batches", "trainer.overfit_batches")
"""Settings beside the data's that say which images these are."""


def settings(content: Any, place: str = "") -> Iterator[str]:
    """Yields the places of what options set, in the short form: ``model.loss`` for ``model.init_args.loss``.

    Args:
        content: values by option, nested or not; a class is the setting of its own place.
        place: where they stand.
    """
    if not isinstance(content, Mapping) or not content:
        yield place
        return
    for key, value in content.items():
        parts = [part for part in str(key).split(".") if part not in ("class_path", "init_args")]
        yield from settings(value, ".".join([place, *parts] if place else parts))


def flat(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns options without groups: ``trainer.max_epochs`` for ``trainer: {max_epochs: 5}``; classes stay whole.

    Args:
        options: values by option.
        where: where they stand, for sentences.

    Raises:
        UserError: one setting is there twice.
    """
    found: dict[str, Any] = {}
    for key, value in options.items():
        group = str(key).rpartition(".")[2] in ("trainer", "model", "data", "init_args")
        nested = group and isinstance(value, Mapping) and value and "class_path" not in value
        inner = flat({f"{key}.{name}": below for name, below in value.items()}, where) if nested else {str(key): value}
        require_single([*found, *inner], where)
        found |= inner
    return found


def require_single(names: Iterable[str], where: str, values: Mapping[str, Any] | None = None) -> None:
    """Checks that no setting is given by two options, of which one would do nothing.

    Args:
        names: the options.
        where: where they stand, for sentences.
        values: of the options, where these set more than one thing.

    Raises:
        UserError: one is.
    """
    given: dict[str, str] = {}
    for name in names:
        for place in sorted(set(settings({name: (values or {}).get(name)}))):
            if place in given:
                both = "is given twice" if given[place] == name else f"is given by {given[place]} and by {name}"
                raise UserError(f"{where}: {place} {both}: leave one of them out.")
            given[place] = name


def refuse_own(options: Mapping[str, Any], where: str, own: Mapping[str, str] = OWN) -> None:
    """Checks that options leave alone what the sweep itself sets.

    Args:
        options: values by option.
        where: where they stand, for sentences.
        own: what the sweep sets, with what to do instead.

    Raises:
        UserError: one does not.
    """
    for key, value in options.items():
        for place in settings({key: value}):
            for name, instead in own.items():
                if place == name or place.startswith(f"{name}."):
                    said = key if key.removeprefix("--") == place else f"{key} ({place})"
                    raise UserError(f"{where} names {said}, which the sweep itself sets: leave it out ({instead}).")


def refuse_of_the_score(key: str, values: Iterable[Any], where: str) -> None:
    """Checks that what a search draws leaves alone which images its trials are scored by.

    Args:
        key: the option.
        values: that it may get.
        where: where it stands, for sentences.

    Raises:
        UserError: it does not.
    """
    for value in values:
        for place in settings({key: value}):
            group, _, name = place.partition(".")
            if place in OF_THE_SCORE or (group == "data" and name.partition(".")[0] not in NOT_OF_THE_SCORE):
                raise UserError(
                    f"{where}: {key} is drawn, and trials would be scored by different images ({place}): set it under"
                    f" options, and draw of the data only {', '.join(NOT_OF_THE_SCORE)}."
                )
