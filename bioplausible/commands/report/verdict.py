"""What a table comes to in a few sentences, made from its numbers and tests and from the logs.

Which setting is ahead, by how much, whether that is significant, and at what cost.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from bioplausible.commands.report.comparisons import Pair, pairs
from bioplausible.commands.report.costs import COSTS, SCORES, EqualCost, after_equal_cost, machines
from bioplausible.commands.report.departures import LENGTH
from bioplausible.commands.report.significance import ALPHA, FEWEST, p_text
from bioplausible.commands.report.tables import Group

MOST_NAMED = 3
"""Settings that a sentence names; of more it says how many they are."""


@dataclass(frozen=True)
class Verdict:
    """A paragraph.

    Attributes:
        lead: which setting is ahead, by how much, and whether that is significant.
        cost: what its training cost beside the others'.
        cautions: what a reader should know before believing it; may be empty.
    """

    lead: str
    cost: str
    cautions: str

    def __str__(self) -> str:
        return " ".join(part for part in (self.lead, self.cost, self.cautions) if part)


def verdict(groups: Sequence[Group]) -> Verdict:
    """Returns what the settings of one data set and network come to.

    Args:
        groups: at least one.
    """
    ranked = sorted(groups, key=lambda group: -group.accuracy.mean)
    leaders = [group for group in ranked if _printed(group) == _printed(ranked[0])]
    others = ranked[len(leaders) :]
    name = _Names(groups)
    lead = [_ahead(leaders, others, name)]
    if others:
        lead.append(_certainty(leaders, others, pairs(groups), name))
    return Verdict(" ".join(lead), _cost(leaders, groups, name), " ".join(_cautions(leaders, groups)))


# ------------------------------------------------------------------------------------------------------------ internals


class _Names:
    """Names settings by their rules alone where each has another one."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._settings = Counter(group.first.rule for group in groups)

    def __call__(self, one: Group) -> str:
        """Returns a setting's name."""
        rule = one.first.rule
        return rule if self._settings[rule] == 1 else f"{rule} ({one.title.removeprefix(f'{rule}, ')})"

    def several(self, some: Sequence[Group]) -> str:
        """Returns names as in a sentence; of many, how many they are."""
        if len(some) > MOST_NAMED:
            return f"{len(some)} settings"
        *names, last = map(self, some)
        return f"{', '.join(names)} and {last}" if names else last


def _printed(one: Group) -> str:
    """Returns the mean as the tables print it: what they print alike is a tie."""
    return f"{one.accuracy.mean:.2f}"


def _accuracy(one: Group) -> str:
    n = one.accuracy.n
    return f"{one.accuracy} % ({'one seed' if n == 1 else f'{n} seeds'})"


def _amount(cost: float) -> str:
    return f"{cost:.2g}" if cost < 10 else f"{cost:.0f}"


def _ahead(leaders: Sequence[Group], others: Sequence[Group], name: _Names) -> str:
    first = leaders[0]
    if len(leaders) == 1 and not others:
        return f"{name(first)} has a test accuracy of {_accuracy(first)}; there is nothing here to compare it with."
    if len(leaders) > 1:
        said = f"{name.several(leaders)} tie at {_printed(first)} % test accuracy"
        return f"{said}, ahead of {name(others[0])} with {_accuracy(others[0])}." if others else f"{said}."
    # of the means as they are printed, so that a reader who subtracts them gets it too
    margin = float(_printed(first)) - float(_printed(others[0]))
    said = f"{name(first)} has the highest test accuracy, {_accuracy(first)}"
    return f"{said}. That is {margin:.2f} points above {name(others[0])}, which has {_accuracy(others[0])}."


def _certainty(leaders: Sequence[Group], others: Sequence[Group], found: Sequence[Pair], name: _Names) -> str:
    tests = {frozenset((id(pair.one), id(pair.other))): pair for pair in found}
    between = [[tests[frozenset((id(one), id(other)))] for one in leaders] for other in others]
    if all(pair.test is None for row in between for pair in row):
        return _untested(max((pair for row in between for pair in row), key=lambda pair: pair.n).n)
    sentences = [_of_pair(leaders[0], others[0], between[0][0], name)] if len(leaders) == 1 else []
    if len(leaders) > 1 or len(others) > 1:
        is_above = [all(map(_surely_above, leaders, row)) for row in between]
        subject = "Each of them" if len(leaders) > 1 else name(leaders[0])
        rest = [other for other, above in zip(others, is_above, strict=True) if not above]
        if len(others) == 1:
            said = f"{subject} is {'not ' if rest else ''}significantly above {name(others[0])}."
        elif not rest:
            said = f"{subject} is significantly above all {len(others)} others."
        elif len(rest) == len(others):
            said = f"{subject} is significantly above none of the {len(others)} others."
        else:
            sure = len(others) - len(rest)
            said = (
                f"{subject} is significantly above {sure} of the {len(others)} others, not above {name.several(rest)}."
            )
        sentences.append(said)
        if any(pair.test is None for row in between for pair in row):
            sentences.append("Not all of these pairs could be tested.")
    return " ".join(sentences)


def _untested(n: int) -> str:
    if n < FEWEST:
        return f"No test is made: it takes {FEWEST} seeds in common, and they have {n}. It may be chance."
    return "No test is made: the difference is the same for every seed."


def _of_pair(one: Group, other: Group, pair: Pair, name: _Names) -> str:
    """Returns a sentence on the test between the first and the second."""
    if pair.test is None or pair.p is None:
        return _untested(pair.n)
    difference = pair.test.difference if pair.one is one else -pair.test.difference
    how = f"paired t-test over {pair.n} seeds, corrected after Holm, {p_text(pair.p)}"
    verb = "is" if pair.p < ALPHA else "is not"
    if difference < 0:  # one of them has other seeds too
        who = f"But over the {pair.n} seeds that both have, {name(other)} is {-difference:.2f} points ahead"
        return f"{who}, which {verb} significant ({how})."
    return f"The difference {verb} significant ({how})."


def _surely_above(one: Group, pair: Pair) -> bool:
    if pair.test is None or pair.p is None:
        return False
    return pair.p < ALPHA and (pair.test.difference > 0) == (pair.one is one)


def _cost(leaders: Sequence[Group], groups: Sequence[Group], name: _Names) -> str:
    """Returns what the training of those that lead cost, by the observer Cost, or else by the clock."""
    compared = after_equal_cost(groups)
    if compared:
        said = _beside_the_cheapest(compared[0].whole, COSTS[compared[0].quantity], leaders, groups, name)
        return f"{said}{_at_equal_cost(compared[0], leaders, groups, name)}"
    if len(machines(groups)) > 1:
        return "What training cost is not known: the runs differ in processor or number of threads."
    clocked = [_seconds(group) for group in groups]
    known = [seconds for seconds in clocked if seconds is not None]
    if len(known) < len(groups):
        return "What training cost is not known: not every run logged the time of two epochs."
    return _beside_the_cheapest(known, "seconds by the clock", leaders, groups, name)


def _seconds(one: Group) -> float | None:
    found = [run.seconds_per_epoch * run.epochs for run in one.runs if run.seconds_per_epoch is not None]
    return fmean(found) if len(found) == len(one.runs) else None


def _beside_the_cheapest(
    costs: Sequence[float], unit: str, leaders: Sequence[Group], groups: Sequence[Group], name: _Names
) -> str:
    by_group = {id(group): cost for group, cost in zip(groups, costs, strict=True)}
    own = sorted(by_group[id(group)] for group in leaders)
    cheapest = min(groups, key=lambda group: by_group[id(group)])
    least = by_group[id(cheapest)]
    if len(leaders) > 1:
        said = f"Their training took {_amount(own[0])} to {_amount(own[-1])} {unit}"
    else:
        said = f"Its training took {_amount(own[0])} {unit}"
        if len(groups) == 1:
            return f"{said}."
        if _amount(own[0]) == _amount(least):
            alone = [_amount(cost) for cost in costs].count(_amount(least)) == 1
            return f"{said}, {'the least of all' if alone else 'as little as any'}."
        said += f", {own[0] / least:.2g} times the least" if least > 0 else ""
    return f"{said}; the cheapest, {name(cheapest)}, took {_amount(least)}."


def _at_equal_cost(compared: EqualCost, leaders: Sequence[Group], groups: Sequence[Group], name: _Names) -> str:
    """Returns a sentence where another setting is ahead once all have cost as much."""
    means = {id(group): reached.mean for group, reached in zip(groups, compared.reached, strict=True)}
    best = max(groups, key=lambda group: means[id(group)])
    if f"{means[id(best)]:.2f}" == f"{max(means[id(group)] for group in leaders):.2f}":
        return ""
    budget = f"{_amount(compared.budget)} {COSTS[compared.quantity]}"
    return f" After {budget} {name(best)} is ahead, with {means[id(best)]:.2f} % {SCORES[compared.score]}."


def _cautions(leaders: Sequence[Group], groups: Sequence[Group]) -> list[str]:
    found = []
    settings = Counter(group.first.rule for group in groups)
    several = next((one.first.rule for one in leaders if settings[one.first.rule] > 1), None)
    if several is not None:
        found.append(
            f"There are {settings[several]} settings of {several}: choose among them by validation accuracy, for the"
            " best test accuracy of several is too good."
        )
    unequal = _unequal(groups)
    return [*found, f"They differ in more than rule and rates: {', '.join(unequal)}."] if unequal else found


def _unequal(groups: Sequence[Group]) -> list[str]:
    """Returns in what training or data differ other than in rule, rates and size of batches."""
    epochs = sorted({run.epochs for group in groups for run in group.runs})
    found = [f"{epochs[0]} to {epochs[-1]} epochs"] if len(epochs) > 1 else []
    options = [group.first.options for group in groups]
    names = {name for each in options for name in each if name.startswith(("trainer.", "data."))}
    for name in sorted(names - LENGTH - {"data.batch_size"}):
        if any(each.get(name) != options[0].get(name) for each in options):
            found.append(name.partition(".")[2])
    return [*found, "processor or threads"] if len(machines(groups)) > 1 else found
