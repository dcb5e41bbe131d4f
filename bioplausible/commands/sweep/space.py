"""What a search draws from: distributions of options, and lists of them."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bioplausible.errors import UserError

KINDS = ("uniform", "loguniform", "integer", "choice")
DIGITS = 4
"""Significant ones of a drawn number: no result depends on more, and a recipe reads better."""

Value = bool | int | float | str | None | list[Any] | dict[str, Any]


@dataclass(frozen=True)
class Distribution:
    """What one number, or one of several values, is drawn from.

    Attributes:
        kind: one of :data:`KINDS`.
        low: smallest value; of a choice 0.
        high: largest value, itself included; of a choice the last value's place.
        values: what a choice is among.
    """

    kind: str
    low: float
    high: float
    values: tuple[Value, ...] = ()

    def at(self, u: float) -> float:
        """Returns the number below which a share u, in [0, 1), of the draws lies."""
        if self.kind in ("choice", "integer"):
            return int(self.low) + int(u * (int(self.high) - int(self.low) + 1))
        if self.kind == "loguniform":
            drawn = math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))
        else:
            drawn = self.low + u * (self.high - self.low)
        return self.rounded(drawn)

    def rounded(self, drawn: float) -> float:
        """Returns a drawn number with as many digits as matter; of a whole number all."""
        if self.kind in ("choice", "integer"):
            return drawn
        return float(min(max(float(f"{drawn:.{DIGITS}g}"), self.low), self.high))

    @property
    def count(self) -> int | None:
        """How many values there are; None of a range of numbers."""
        return int(self.high) - int(self.low) + 1 if self.kind in ("choice", "integer") else None

    @property
    def ends(self) -> list[float]:
        """The numbers that stand for all that is drawn: of a choice each place, else the smallest and the largest."""
        return list(range(len(self.values))) if self.kind == "choice" else [self.low, self.high]

    def value(self, drawn: float) -> Value:
        """Returns the value that a drawn number stands for: of a choice it is the place among the values."""
        return self.values[int(drawn)] if self.kind == "choice" else drawn


@dataclass(frozen=True)
class Space:
    """The options that a search draws, of one recipe.

    Attributes:
        entries: by option, as the study has them: a distribution, or a list of distributions and plain values.
        distributions: what is drawn, by name: the option, or ``option[1]`` for the second entry of a list.
    """

    entries: Mapping[str, Any]
    distributions: Mapping[str, Distribution]

    def options(self, drawn: Mapping[str, float]) -> dict[str, Value]:
        """Returns options of ``fit``.

        Args:
            drawn: a number for each of the distributions.
        """
        values = {name: self.distributions[name].value(number) for name, number in drawn.items()}
        return {key: _filled(key, entry, values) for key, entry in self.entries.items()}

    def values(self) -> dict[str, list[Value]]:
        """Returns by option the values that stand for all that it may get, each of them with the others' first ones."""
        found: dict[str, list[Value]] = {key: [] for key in self.entries}
        for drawn in self.ends({name: one.low for name, one in self.distributions.items()}):
            for key, value in self.options(drawn).items():
                if value not in found[key]:
                    found[key].append(value)
        return found

    def ends(self, drawn: Mapping[str, float]) -> list[dict[str, float]]:
        """Returns sets of numbers in which each distribution has its ends once, and else those that are given."""
        return [{**drawn, name: end} for name, one in self.distributions.items() for end in one.ends]

    def holds(self, drawn: Any) -> bool:
        """Returns whether something is a set of numbers of this space."""
        return (
            isinstance(drawn, dict)
            and drawn.keys() == self.distributions.keys()
            and all(one.low <= drawn[name] <= one.high for name, one in self.distributions.items())
        )

    @property
    def combinations(self) -> int:
        """How many sets of values there are, of choices and whole numbers."""
        return math.prod(one.count or 1 for one in self.distributions.values())

    def combination(self, number: int) -> dict[str, float]:
        """Returns one of all combinations, the last option's values one after the other.

        Args:
            number: of the combination, from 0.
        """
        places = np.unravel_index(number, [one.count or 1 for one in self.distributions.values()])
        return {name: int(d.low) + int(at) for (name, d), at in zip(self.distributions.items(), places, strict=True)}

    def draw(self, seed: int, recipe: str, number: int) -> dict[str, float]:
        """Returns the numbers of a trial: a pure function of the arguments, the same on every machine.

        More trials, another recipe or another option change no draw that was there before.

        Args:
            seed: of the sampler.
            recipe: the recipe's name.
            number: of the trial, from 0.
        """
        return {name: d.at(_uniform(seed, recipe, name, number)) for name, d in self.distributions.items()}


def read_space(content: Any, where: str) -> Space:
    """Returns the space that a study gives a recipe.

    Args:
        content: as YAML has it.
        where: where it stands, for sentences.

    Raises:
        UserError: it is none.
    """
    if not isinstance(content, dict) or not content:
        raise UserError(
            f"{where} is {content!r}: give distributions by option, such as model.beta: {{uniform: [0.1, 1]}}."
        )
    distributions: dict[str, Distribution] = {}
    for key, entry in content.items():
        found = {
            name: _distribution(spec, f"{where}: {name}") for name, spec in _parts(str(key), entry) if _is_spec(spec)
        }
        if not found:
            raise UserError(
                f"{where}: {key} is {entry!r}, which draws nothing: give one of {', '.join(KINDS)}, or put it among the"
                " recipe's options."
            )
        distributions |= found
    return Space({str(key): entry for key, entry in content.items()}, distributions)


def read_values(content: Any, where: str) -> list[tuple[Value, Value]]:
    """Returns the values that a study gives an option, each with what stands for it on an axis.

    Args:
        content: a list of values; or as a distribution a choice, with ``times`` for a list of multiples of each.
        where: where it stands, for sentences.

    Raises:
        UserError: it is none of these.
    """
    if isinstance(content, list) and content:
        return [(value, value) for value in content]
    if not isinstance(content, dict) or "choice" not in content:
        raise UserError(f"{where} is {content!r}: give a list of values, or a choice of numbers with times.")
    values = _distribution(content, where).values
    return [(_times(content, value), value) for value in values]


def _parts(key: str, entry: Any) -> list[tuple[str, Any]]:
    return [(f"{key}[{i}]", part) for i, part in enumerate(entry)] if isinstance(entry, list) else [(key, entry)]


def _is_spec(entry: Any) -> bool:
    """Returns whether an entry is meant for a distribution; other mappings are values."""
    return isinstance(entry, dict) and "class_path" not in entry


def _filled(key: str, entry: Any, drawn: Mapping[str, Value]) -> Value:
    parts = [_times(part, drawn[name]) if _is_spec(part) else part for name, part in _parts(key, entry)]
    return parts if isinstance(entry, list) else parts[0]


def _times(spec: Mapping[str, Any], value: Any) -> Value:
    """Returns a drawn value, or a list that it multiplies."""
    factors = spec.get("times")
    return value if factors is None else [float(f"{factor * value:.{DIGITS}g}") for factor in factors]


def _distribution(spec: dict[str, Any], where: str) -> Distribution:
    kinds = [kind for kind in KINDS if kind in spec]
    unknown = sorted(set(spec) - {*KINDS, "times"})
    if len(kinds) != 1 or unknown:
        raise UserError(
            f"{where} is {spec}: give one of {', '.join(KINDS)}, and times for a list of which each is a multiple."
        )
    kind, given = kinds[0], spec[kinds[0]]
    if kind == "choice":
        if not isinstance(given, list) or not given:
            raise UserError(f"{where}: choice is {given!r}: give a list of values, such as [0.1, 0.2].")
        found = Distribution(kind, 0, len(given) - 1, tuple(given))
    else:
        found = Distribution(kind, *_range(kind, given, where))
    factors = spec.get("times")
    if "times" in spec and not (
        isinstance(factors, list)
        and factors
        and all(map(_is_number, factors))
        and (kind != "choice" or all(map(_is_number, found.values)))
    ):
        raise UserError(
            f"{where}: times is {factors!r}: give a list of numbers that a number multiplies, such as [1, 0.7]."
        )
    return found


def _range(kind: str, given: Any, where: str) -> tuple[float, float]:
    fits = (
        isinstance(given, list)
        and len(given) == 2
        and all(map(_is_number, given))
        and given[0] < given[1]
        and (kind != "integer" or all(isinstance(bound, int) for bound in given))
        and (kind != "loguniform" or given[0] > 0)
    )
    if not fits:
        what = {"integer": "whole numbers", "loguniform": "positive numbers"}.get(kind, "numbers")
        raise UserError(f"{where}: {kind} is {given!r}: give two {what}, the smaller one first.")
    return given[0], given[1]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _uniform(seed: int, recipe: str, name: str, number: int) -> float:
    """Returns a number in [0, 1), independent for each set of arguments."""
    digest = hashlib.sha256(f"{recipe}\n{name}".encode()).digest()
    return float(np.random.default_rng([seed, number, int.from_bytes(digest, "big")]).random())
