"""Whether an illness is getting worse: the late course of a series of readings. It knows numbers, not rules."""

from __future__ import annotations

from typing import Literal

import numpy as np

from unvanish.diagnose.run_view import Row
from unvanish.record.finding import Trend

FEWEST = 6


def trend(series: Row, *, worse: Literal[1, -1], step: float) -> Trend:
    """How a series goes from its middle third to its last: by more than `step` in the bad direction is worsening.

    `worse` is 1 where more is worse. Unknown under FEWEST finite values.
    """
    values = series[np.isfinite(series)]
    if len(values) < FEWEST:
        return Trend.UNKNOWN
    third = len(values) // 3
    change = worse * float(np.median(values[-third:]) - np.median(values[third:-third]))
    if abs(change) <= step:
        return Trend.STEADY
    return Trend.WORSENING if change > 0 else Trend.EASING
