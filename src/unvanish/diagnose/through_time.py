"""What the two rules about time share: the recurrences of a traced network, and whether its loss falls all the same."""

from __future__ import annotations

import math
from collections.abc import Callable

from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import HARDLY_LEARNED
from unvanish.record.flow import TimeProfile


def worst(chart: RunView, *, by: Callable[[TimeProfile], float]) -> TimeProfile | None:
    """The recurrence of a traced network for which `by` is largest; None where there is none or the network was not traced."""
    if chart.run.examination is None:
        return None
    known = [time for time in chart.run.examination.flow.times if not math.isnan(by(time))]
    return max(known, key=by, default=None)


def learned(chart: RunView) -> bool | None:
    """Whether the network learns; None where too few steps were seen."""
    course = chart.course()
    if course is None or not chart.chains:
        return None
    return course.finite and chart.learned(chart.chains[0], HARDLY_LEARNED.value)


def place(time: TimeProfile) -> str:
    """What the recurrence is called: its module, or its parameter where that is the network's own."""
    return time.path or time.name
