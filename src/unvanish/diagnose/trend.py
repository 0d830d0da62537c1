"""Classifies the late part of a series of readings as worsening, steady or easing."""

from __future__ import annotations

from typing import Literal

import numpy as np

from unvanish.diagnose.run_view import Row
from unvanish.record.finding import Trend

MIN_SAMPLES = 6


def classify_trend(series: Row, *, worse: Literal[1, -1], step: float) -> Trend:
    """Whether the median of a series gets worse by more than `step` from its middle third to its last.

    Arguments:
        series: Readings in order of time; float64 of shape (samples,). Values that are not finite are left out.
        worse: 1 where a larger value is worse, -1 where a smaller one is.
        step: The change that counts, in the unit of the series.

    Returns:
        `Trend.UNKNOWN` for fewer than 6 finite values.

    Example:
        >>> classify_trend(np.array([0.1, 0.1, 0.1, 0.2, 0.6, 0.7]), worse=1, step=0.05)
        <Trend.WORSENING: 'worsening'>
    """
    values = series[np.isfinite(series)]
    if len(values) < MIN_SAMPLES:
        return Trend.UNKNOWN
    third = len(values) // 3
    change = worse * float(np.median(values[-third:]) - np.median(values[third:-third]))
    if abs(change) <= step:
        return Trend.STEADY
    return Trend.WORSENING if change > 0 else Trend.EASING
