"""Averages the results of one training over its seeds, as table cells, chart lines and numbers; "not run" where there is none."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from unvanish.record.demo_result import LineSeries, TableCell, TrainingEnding, TrainingResult
from unvanish.report.wording import numbers

NOT_RUN = TableCell("not run")


def score_cell(results: Sequence[TrainingResult], *, digits: int = 3) -> TableCell:
    """The mean and standard deviation of the scores over the seeds, or how the trainings failed."""
    if not results:
        return NOT_RUN
    endings = [result.ending for result in results]
    if TrainingEnding.FAILED in endings:
        return TableCell("error")
    diverged = endings.count(TrainingEnding.DIVERGED)
    if diverged:
        return TableCell("NaN" if diverged == len(results) else f"NaN in {diverged} of {len(results)}")
    if TrainingEnding.STOPPED in endings:
        stopped = [result.score for result in results if result.ending is TrainingEnding.STOPPED and result.score is not None]
        return TableCell(f"cut short, {statistics.fmean(stopped):.{digits}f}" if stopped else "cut short")
    scores = [result.score for result in results if result.score is not None]
    return mean_cell(scores, digits=digits)


def mean_cell(values: Sequence[float], *, digits: int = 3) -> TableCell:
    """The mean of the values and their standard deviation."""
    if not values:
        return NOT_RUN
    mean, deviation = statistics.fmean(values), standard_deviation(values)
    text = f"{mean:.{digits}f}"
    return TableCell(text if deviation is None else f"{text} ± {numbers.format_deviation(mean, deviation)}", mean, deviation)


def decades_cell(results: Sequence[TrainingResult], measure: str) -> TableCell:
    """The mean over the seeds of a measure in decades."""
    values = list_measure(results, measure)
    if not values:
        return NOT_RUN
    return TableCell(numbers.format_decades(statistics.fmean(values)), statistics.fmean(values), standard_deviation(values))


def seconds_cell(results: Sequence[TrainingResult]) -> TableCell:
    """The mean wall time of a training."""
    values = [result.seconds for result in results]
    return TableCell(numbers.format_duration(statistics.fmean(values)), statistics.fmean(values)) if values else NOT_RUN


def list_measure(results: Sequence[TrainingResult], name: str) -> list[float]:
    """The measure of that name of every training that has it."""
    return [value for result in results if (value := result.measure(name)) is not None]


def mean_measure(results: Sequence[TrainingResult], name: str) -> float | None:
    """The mean over the seeds of a measure, or None where no training has it."""
    values = list_measure(results, name)
    return statistics.fmean(values) if values else None


def standard_deviation(values: Sequence[float]) -> float | None:
    """The standard deviation over the seeds, or None where there is one only or not every value is finite."""
    return statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None


def mean_score(results: Sequence[TrainingResult]) -> float | None:
    """The mean score over the seeds, or None where there are no results or a training did not finish."""
    scores = [result.score if result.ending is TrainingEnding.FINISHED else None for result in results]
    known = [score for score in scores if score is not None]
    return statistics.fmean(known) if known and len(known) == len(scores) else None


def mean_score_line(name: str, results: Sequence[TrainingResult]) -> LineSeries | None:
    """The mean score over the seeds, at every step at which all of them were scored; None where there is none."""
    if not results:
        return None
    histories = [{point.step: point.score for point in result.history} for result in results]
    steps = sorted(set(histories[0]).intersection(*histories[1:]))
    if not steps:
        return None
    means = tuple(statistics.fmean(history[step] for history in histories) for step in steps)
    return LineSeries(name, tuple(map(float, steps)), means)


def format_accuracy(share: float) -> str:
    """A test accuracy in plain words: "94 % right"."""
    return f"{numbers.format_percent(share)} right"
