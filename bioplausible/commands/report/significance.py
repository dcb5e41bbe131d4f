"""Means over seeds: how far they are known, and whether two of them differ."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy import stats

FEWEST = 3
"""Seeds that a test takes at least."""

ALPHA = 0.05
"""Chance of a false alarm that is allowed: p below it counts, and intervals are of 95 %."""

ROUNDING = 4e-7
"""Relative error of what TensorBoard keeps in single precision."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: the mean.
        std: standard deviation with n − 1; None for one seed, or where it is not known.
        n: number of seeds; None where it is not known.
    """

    mean: float
    std: float | None
    n: int | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate":
        """Returns the estimate from the values of each seed."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else None, len(values))

    @property
    def interval(self) -> float | None:
        """Half the width of the mean's 95 % interval, by Student's t; None for one seed."""
        if self.std is None or self.n is None or self.n < 2:
            return None
        return float(stats.t.ppf(1 - ALPHA / 2, self.n - 1)) * self.std / math.sqrt(self.n)

    def __str__(self) -> str:
        return f"{self.mean:.2f}" if self.std is None else f"{self.mean:.2f} ± {self.std:.2f}"


def of_seeds(estimate: Estimate | None, n: int | None) -> str:
    """Returns an estimate in words, with its number of seeds where that is not n; nothing for None."""
    if estimate is None:
        return ""
    return str(estimate) if estimate.n == n else f"{estimate} (n = {estimate.n})"


@dataclass(frozen=True)
class Comparison:
    """A two-sided test of whether two means are equal.

    Attributes:
        difference: of the means.
        t: Student's t.
        p: the chance of so large a difference, or a larger one, if they are equal.
    """

    difference: float
    t: float
    p: float

    def __str__(self) -> str:
        return f"{signed(self.difference)}, {p_text(self.p)}"


def welch(one: Estimate, other: Estimate) -> Comparison | None:
    """Returns Welch's test of two means over different seeds, whose spread may differ too.

    None where a standard deviation is not known, there are fewer than three seeds on a side, or nothing varies.
    """
    if one.std is None or other.std is None or one.std == other.std == 0:
        return None
    if one.n is None or other.n is None or min(one.n, other.n) < FEWEST:
        return None
    means = (one.mean, one.std, one.n, other.mean, other.std, other.n)
    t, p = stats.ttest_ind_from_stats(*means, equal_var=False)
    return Comparison(one.mean - other.mean, float(t), float(p))


def no_welch(one: Estimate, other: Estimate) -> str:
    """Returns in words why there is no Welch's test; empty where there is one."""
    if other.std is None:
        return "no test: the published standard deviation is not known"
    if other.n is None:
        return "no test: the published number of seeds is not known"
    if one.n is None or one.n < FEWEST or other.n < FEWEST:
        return f"no test: n = {one.n}" if one.n is None or one.n < FEWEST else f"no test: published n = {other.n}"
    return "no test: nothing varies" if one.std == other.std == 0 else ""


def paired(one: Mapping[int, float], other: Mapping[int, float]) -> Comparison | None:
    """Returns the paired t-test of two rules over the seeds that both have.

    None where these are fewer than three, or all differences are equal.

    Args:
        one: values by seed.
        other: of the other rule.
    """
    seeds = sorted(one.keys() & other.keys())
    a, b = [one[seed] for seed in seeds], [other[seed] for seed in seeds]
    differences = [x - y for x, y in zip(a, b, strict=True)]
    if len(seeds) < FEWEST or max(differences) - min(differences) <= ROUNDING * max(map(abs, a + b)):
        return None
    t, p = stats.ttest_rel(a, b)
    return Comparison(fmean(differences), float(t), float(p))


def holm(p: Sequence[float]) -> list[float]:
    """Returns p-values corrected after Holm (1979), so that of all tests together one in twenty raises a false alarm.

    The smallest of m is multiplied by m, the next one by m − 1, …; none may be below the one before, or above 1.
    """
    if not p:
        return []
    from statsmodels.stats.multitest import multipletests  # takes half a second

    return [float(corrected) for corrected in multipletests(p, method="holm")[1]]


def number(value: float | None) -> str:
    """Returns a number as the CSV files have it; nothing for None."""
    return "" if value is None else f"{value:.6g}"


def signed(difference: float) -> str:
    """Returns a difference in points with its sign."""
    return f"{difference:+.2f}".replace("-", "−")


def p_text(p: float) -> str:
    """Returns ``p = 0.012``, or ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
