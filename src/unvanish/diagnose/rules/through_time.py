"""What the two rules about time share: the recurrences of a traced network, and whether its loss falls all the same."""

from __future__ import annotations

import math
from collections.abc import Callable

from unvanish.diagnose.chart import Chart
from unvanish.record.flow import TimeProfile

# Three decades, as for depth: less than a thousandth of the gradient spans the sequence.
THRESHOLD = 3.0
SOURCE = "a thousandth from the last step to the first, as for depth (AUTOTRAINER, Zhang 2021)"
SURE = 5.0  # decades: two beyond the threshold
LEARNED = 0.25  # a loss that fell by this share of its start is being learned, whatever the recurrence carries


def worst(chart: Chart, *, by: Callable[[TimeProfile], float]) -> TimeProfile | None:
    """The recurrence of a traced network for which `by` is largest; None where there is none or the network was not traced."""
    if chart.run.examination is None:
        return None
    known = [time for time in chart.run.examination.flow.times if not math.isnan(by(time))]
    return max(known, key=by, default=None)


def learned(chart: Chart) -> bool | None:
    """Whether the loss has fallen; None where too few steps were seen."""
    course = chart.course()
    return None if course is None else course.finite and course.fall >= LEARNED


def place(time: TimeProfile) -> str:
    """What the recurrence is called: its module, or its parameter where that is the network's own."""
    return time.path or time.name
