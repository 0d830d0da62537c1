"""learning-rate-too-high: the steps overshoot, so that the loss rises or the network is thrown away at the start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import words
from unvanish.diagnose.chart import EARLY_ROWS, Chart, Course, log_ratio
from unvanish.diagnose.rule import Rule
from unvanish.record.finding import Cause, Evidence, Finding, Severity

# A step of a tenth of the weight's size is a hundred times the usual 1e-3 (Karpathy's rule of thumb) and forgets the start.
VIOLENT = -1.0
USUAL = "1e-3 of a weight a step is usual (Karpathy, CS231n); this is a hundred times that"
ROSE = 2.0  # a loss that ends at twice its start has diverged
SPIKE = 3.0  # a loss that leaps to three times its start within the first steps was thrown
STUCK = 0.1
NOISY = 0.1  # of the start: above it, leaps are noise
RELAPSE = 3.0  # a loss that ends at three times its lowest has been lost again


@final
class LearningRateTooHigh(Rule):
    """The loss diverges from a sound start, or the first steps throw the weights so far that the network never recovers.

    Sees: the loss of every step, and the size of each update relative to its weight. Why it matters: a step longer than the
    curvature allows climbs instead of descending. Known problems: weights near zero make relative updates look large, so the
    size of a step alone is no finding. References: LeCun 1998, "Efficient BackProp"; Cohen 2021 (arXiv 2103.00065).
    """

    code: ClassVar[str] = "learning-rate-too-high"
    rank: ClassVar[int] = 25
    explains: ClassVar[frozenset[str]] = frozenset(
        {"loss-not-decreasing", "dead-units", "non-finite", "saturated-activation", "vanishing-gradient", "learning-rate-too-low"}
    )

    def examine(self, chart: Chart) -> Iterator[Finding]:
        if len(chart.chains) != 1:
            return  # losses of opponents rise and fall with each other
        steps, losses = chart.run.objective(0)
        course = chart.course()
        relative = _largest_relative_update(chart)
        if course is None or len(losses) < 10:
            return
        reason = _reason(losses, course, relative)
        if reason is None:
            return
        yield Finding(
            self.code,
            Severity.CRITICAL,
            0.85,
            "The learning rate is too high: the steps overshoot.",
            f"{reason} In the first steps the fastest weights change by {words.percent(10 ** min(relative, 6.0))} of their size.",
            advice="Lower the learning rate by a factor of ten, or warm it up.",
            sites=chart.labels(chart.chains[0].layers),
            cause=Cause("learning-rate-too-high"),
            evidence=(
                Evidence("loss at the end", course.end, "1", ROSE * float(losses[0]), "twice the loss of the first step"),
                Evidence("relative update", relative, "log10", VIOLENT, USUAL),
            ),
            began=int(steps[np.argmax(np.where(np.isfinite(losses), losses, np.inf) > 0.5 * (1 + SPIKE) * abs(losses[0]))]),
        )


def _reason(losses: np.ndarray[tuple[int], np.dtype[np.float64]], course: Course, relative: float) -> str | None:
    first = float(losses[0])
    size = max(abs(first), 1e-12)
    head = losses[: max(10, len(losses) // 20)]
    said_first, said_end = words.quantity(first), words.quantity(course.end)
    diverged = _grew(losses) if not course.finite else course.end > ROSE * size
    if diverged and (relative < 0 or np.isfinite(first)):
        return f"The loss rose from {said_first} to {said_end}."
    learned_nothing = bool((first - course.end) / size < STUCK) and course.noise < NOISY
    peak = float(np.max(head[np.isfinite(head)], initial=-np.inf))
    if learned_nothing and first > 0 and peak > SPIKE * size:
        return f"The loss leapt from {said_first} to {words.quantity(peak)} and came back to where it began."
    if learned_nothing and 0 < RELAPSE * course.lowest < course.end:
        return f"The loss had fallen to {words.quantity(course.lowest)} and was lost again: it ends at {said_end}."
    return None


def _grew(losses: np.ndarray[tuple[int], np.dtype[np.float64]]) -> bool:
    """Whether the finite losses before the first bad one kept growing to a hundred times the first."""
    finite = losses[: np.argmax(~np.isfinite(losses))]
    return len(finite) > 1 and float(np.abs(finite[-1])) > 100 * max(float(np.abs(finite[0])), 1e-12)


def _largest_relative_update(chart: Chart) -> float:
    """The largest, over weight matrices, of the median log10 of update over weight in the first samples."""
    rows = log_ratio(chart.values("log10_update_rms"), chart.values("log10_weight_rms"))[:EARLY_ROWS]
    matrices = [i for i, p in enumerate(chart.anatomy.parameters) if len(p.shape) > 1]
    values = rows[:, matrices]
    values = np.where(np.isfinite(values), values, np.nan)
    columns = values[:, ~np.isnan(values).all(axis=0)]
    return float(np.nanmedian(columns, axis=0).max()) if columns.size else -np.inf
