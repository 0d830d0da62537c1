"""How a demo says its figures: a cell for each, with the number behind the words. What was not measured is said to be so."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from unvanish.record.demo_result import Cell, Course, Ending, Line
from unvanish.report.wording import numbers

NOT_RUN = Cell("not run")


def score_cell(courses: Sequence[Course], *, digits: int = 3) -> Cell:
    """The scores of some seeds of one training: their mean and spread, or how it went wrong."""
    if not courses:
        return NOT_RUN
    failed = [course for course in courses if course.ending is Ending.FAILED]
    if failed:
        return Cell("error")
    diverged = sum(course.ending is Ending.DIVERGED for course in courses)
    if diverged:
        return Cell("NaN" if diverged == len(courses) else f"NaN in {diverged} of {len(courses)}")
    stopped = [course for course in courses if course.ending is Ending.STOPPED]
    if stopped:
        known = [course.score for course in stopped if course.score is not None]
        return Cell(f"cut short, {statistics.fmean(known):.{digits}f}" if known else "cut short")
    scores = [course.score for course in courses if course.score is not None]
    return mean_cell(scores, digits=digits)


def mean_cell(values: Sequence[float], *, digits: int = 3) -> Cell:
    """The mean of values that are there, and how far they spread."""
    if not values:
        return NOT_RUN
    mean, spread = statistics.fmean(values), deviation(values)
    said = f"{mean:.{digits}f}"
    return Cell(said if spread is None else f"{said} ± {numbers.spread(mean, spread)}", mean, spread)


def decades_cell(courses: Sequence[Course], measure: str) -> Cell:
    """The mean over the seeds of a figure in decades."""
    values = [value for course in courses if (value := course.measure(measure)) is not None]
    if not values:
        return NOT_RUN
    return Cell(numbers.decades(statistics.fmean(values)), statistics.fmean(values), deviation(values))


def deviation(values: Sequence[float]) -> float | None:
    """The standard deviation over the seeds, or None where there is one only or not every value is finite."""
    return statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None


def typical(courses: Sequence[Course]) -> float | None:
    """The mean score over the seeds, or None where none was run, or one not to its end."""
    scores = [course.score if course.ending is Ending.FINISHED else None for course in courses]
    known = [score for score in scores if score is not None]
    return statistics.fmean(known) if known and len(known) == len(scores) else None


def seconds_cell(courses: Sequence[Course]) -> Cell:
    """The mean time that a training took."""
    values = [course.seconds for course in courses]
    return Cell(numbers.duration(statistics.fmean(values)), statistics.fmean(values)) if values else NOT_RUN


def right(share: float) -> str:
    """A test accuracy for a layman: "94 % right"."""
    return f"{numbers.percent(share)} right"


def mean_line(name: str, courses: Sequence[Course]) -> Line | None:
    """The mean score over the seeds, at every step that all of them were scored at; None where there is none."""
    if not courses:
        return None
    scores = [{point.step: point.score for point in course.points} for course in courses]
    steps = sorted(set(scores[0]).intersection(*scores[1:]))
    if not steps:
        return None
    return Line(name, tuple(map(float, steps)), tuple(statistics.fmean(each[step] for each in scores) for step in steps))
