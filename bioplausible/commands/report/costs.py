"""Accuracy against cost, and after equal cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bioplausible.commands.report.curves import curves_along
from bioplausible.commands.report.runs import Run
from bioplausible.commands.report.significance import Estimate, number
from bioplausible.commands.report.tables import Group
from bioplausible.training.monitored import COST, TESTED_EACH_EPOCH

SCORES = {f"{TESTED_EACH_EPOCH}/accuracy": "test accuracy", "val/accuracy": "validation accuracy"}
"""What is compared at equal cost: the first of these that all settings logged."""

COSTS = {f"{COST}/core_seconds": "seconds of one core", f"{COST}/teraoperations": "10¹² operations"}

COLUMNS = ("data", "net", "rule", "cost", "whole_training", "budget", "score", "reached_mean", "reached_std", "n")
"""Of costs.csv; accuracies are in percent, after the budget."""


@dataclass(frozen=True)
class EqualCost:
    """What settings reach once all have cost as much.

    Attributes:
        quantity: which cost, a key of :data:`COSTS`.
        budget: its amount: what the cheapest run had cost at its last accuracy or, where that is more, the most
            expensive run at its first one, for before that it has none. A run whose last accuracy came at less counts
            with that.
        score: which accuracy, a key of :data:`SCORES`.
        reached: of each setting, in their order, the accuracy in percent over the seeds.
        whole: of each setting the mean cost of its whole training.
    """

    quantity: str
    budget: float
    score: str
    reached: list[Estimate]
    whole: list[float]


def scored(groups: Sequence[Group]) -> str | None:
    """Returns which accuracy all runs of these settings logged along their way; None where there is none."""
    runs = [run for group in groups for run in group.runs]
    return next((name for name in SCORES if all(len(run.curves.get(name, {})) > 1 for run in runs)), None)


def along(run: Run, score: str, quantity: str) -> tuple[list[float], list[float]]:
    """Returns what a run had cost at the end of each epoch at which its accuracy was logged, and that accuracy."""
    spent, reached = run.curves.get(quantity, {}), run.curves.get(score, {})
    steps = sorted(spent.keys() & reached.keys())
    return [spent[step] for step in steps], [reached[step] for step in steps]


def comparable(groups: Sequence[Group]) -> list[str]:
    """Returns the costs that mean the same in all these runs: seconds of different machines don't."""
    return [name for name in COSTS if name != f"{COST}/core_seconds" or len(machines(groups)) == 1]


def machines(groups: Sequence[Group]) -> set[tuple[Any, Any]]:
    """Returns the processors and numbers of threads of all that these runs ran in.

    Threads that wait for one another count as processor time too, so several take many times that of one.
    """
    every = [ran_in for group in groups for run in group.runs for ran_in in (run.environment, *run.resumed_in)]
    return {(ran_in.get("processor"), ran_in.get("threads")) for ran_in in every}


def after_equal_cost(groups: Sequence[Group]) -> list[EqualCost]:
    """Returns the comparisons at equal cost, by seconds and by operations; none where a run logged no cost.

    Between two epochs an accuracy is taken from the line between theirs.
    """
    score, found = scored(groups), []
    for quantity in comparable(groups) if score else ():
        curves = [[along(run, str(score), quantity) for run in group.runs] for group in groups]
        if all(spent for runs in curves for spent, _ in runs):
            costs = [[max(run.curves[quantity].values()) for run in group.runs] for group in groups]
            every = [spent for runs in curves for spent, _ in runs]
            budget = max(min(spent[-1] for spent in every), max(spent[0] for spent in every))
            reached = [
                Estimate.of([100 * float(np.interp(budget, spent, accuracy)) for spent, accuracy in runs])
                for runs in curves
            ]
            found.append(EqualCost(quantity, budget, str(score), reached, list(map(fmean, costs))))
    return found


def cost_table(groups: Sequence[Group]) -> list[dict[str, str]]:
    """Returns a row a setting: what its training cost, and what it reached at equal cost."""
    compared = after_equal_cost(groups)
    if not compared:
        return []
    rows = []
    for i, group in enumerate(groups):
        row = {"rule": group.title}
        for one in compared:
            row[COSTS[one.quantity]] = f"{one.whole[i]:.4g}"
            row[f"{SCORES[one.score]} after {one.budget:.4g} {COSTS[one.quantity]} (%)"] = str(one.reached[i])
        rows.append(row)
    return rows


def numbers(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Returns the rows of costs.csv: one a setting and cost, each number in a column of its own."""
    return [
        {
            "data": group.data_name,
            "net": group.first.net,
            "rule": group.title,
            "cost": COSTS[one.quantity],
            "whole_training": f"{one.whole[i]:.6g}",
            "budget": f"{one.budget:.6g}",
            "score": SCORES[one.score],
            "reached_mean": f"{one.reached[i].mean:.6g}",
            "reached_std": number(one.reached[i].std),
            "n": one.reached[i].n,
        }
        for one in after_equal_cost(groups)
        for i, group in enumerate(groups)
    ]


def cost_figure(groups: Sequence[Group], title: str) -> Figure | None:
    """Returns a figure of accuracy against each comparable cost; None where no run logged both."""
    score = scored(groups)
    logged = {name for group in groups for run in group.runs for name in run.curves}
    panels = [(name, COSTS[name]) for name in comparable(groups) if name in logged]
    if score is None or not panels:
        return None
    return curves_along(groups, [(score, f"{SCORES[score]} (%)", 100.0, name, label) for name, label in panels], title)
