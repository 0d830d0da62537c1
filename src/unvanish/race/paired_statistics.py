"""Paired comparisons of one metric over equal seeds: mean differences and their confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from unvanish.record.races.verdict import Effect

COVERAGE = 0.95  # of the interval, two-sided


def paired_effect(
    metric: str, control: Sequence[float], *, treated: Sequence[float], higher_is_better: bool, tests: int = 1
) -> Effect:
    """The effect of a treatment on one metric, from values that belong together pairwise (the same seed each).

    With several `tests` made at once the interval is widened, so that all of them hold together in 95 of 100 cases. A value
    that is not finite is the worst that there is, whatever its sign: the training diverged.
    """
    sign = 1.0 if higher_is_better else -1.0
    before, after = ([sign * value for value in values] for values in (control, treated))
    effect, interval = mean_interval([improvement(a, b) for a, b in zip(before, after, strict=True)], tests=tests)
    if interval[0] <= 0 <= interval[1]:
        interval = separated_interval(before, after, tests=tests) or interval
    return Effect(
        metric=metric,
        higher_is_better=higher_is_better,
        control=_mean(control),
        treated=_mean(treated),
        effect=effect,
        interval=interval,
        control_spread=_spread(control),
        treated_spread=_spread(treated),
    )


def mean_interval(differences: Sequence[float], *, tests: int = 1) -> tuple[float, tuple[float, float]]:
    """The mean of paired differences and its 95 % interval by Student's t, widened for so many tests at once (Bonferroni).

    One difference has an infinite interval. Equal differences have one of no width. Infinite ones of one sign (every
    training of one side diverged, none of the other) have themselves as interval; any other mixture with them tells nothing.
    Source: Student, "The probable error of a mean", Biometrika 6 (1908).
    """
    values = np.asarray(differences, np.float64)
    count = len(values)
    if not np.isfinite(values).all():
        first = float(values[0])
        if count > 1 and (values == first).all():
            return first, (first, first)
        return _mean(differences), (-math.inf, math.inf)
    mean = float(values.mean())
    if count < 2:
        return mean, (-math.inf, math.inf)
    error = float(values.std(ddof=1)) / math.sqrt(count)
    half = float(stdtrit(count - 1, 1.0 - (1.0 - COVERAGE) / (2.0 * tests))) * error
    return mean, (mean - half, mean + half)


def separated_interval(before: Sequence[float], after: Sequence[float], *, tests: int = 1) -> tuple[float, float] | None:
    """The 95 % interval of a shift where all values of one side are above all of the other: the extremes of all differences.

    None where the sides are not separated, or too few to be separated by more than chance with so many tests at once: six pairs are
    enough for twenty tests. It assumes no normal distribution, so that an outlier, or a value that is not finite, does not hide
    what every seed shows. Source: Mann and Whitney, "On a test of whether one of two random variables is stochastically larger
    than the other", Annals of Mathematical Statistics 18 (1947); the interval that inverts it is that of Hodges and Lehmann (1963).
    """
    by_chance = 1.0 / math.comb(len(before) + len(after), len(before))  # that one side is above the other, if they are alike
    if by_chance * tests > (1.0 - COVERAGE) / 2.0:
        return None
    differences = [improvement(a, b) for a in before for b in after]
    low, high = min(differences), max(differences)
    return (low, high) if low > 0 or high < 0 else None


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two intervals share a point."""
    return one[0] <= other[1] and other[0] <= one[1]


def improvement(before: float, after: float) -> float:
    """The improvement from one value to the other where higher is better."""
    if math.isfinite(before) and math.isfinite(after):
        return after - before
    if math.isfinite(after):
        return math.inf
    return -math.inf if math.isfinite(before) else 0.0


def _mean(values: Sequence[float]) -> float:
    """The mean, where inf and -inf together have none: NaN, quietly."""
    finite = [v for v in values if math.isfinite(v)]
    if len(finite) == len(values):
        return sum(values) / len(values)
    others = {v for v in values if not math.isfinite(v)}
    return others.pop() if len(others) == 1 else math.nan


def _spread(values: Sequence[float]) -> float:
    """The sample standard deviation; 0 for a single value, NaN where one is not finite."""
    if not all(math.isfinite(v) for v in values):
        return math.nan
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
