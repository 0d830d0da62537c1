"""learning-rate-too-high: the steps overshoot, so that the loss rises or the network is thrown away at the start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import EARLY_ROWS, LATE_ROWS, LossCurve, RunView, log_ratio, nanmedian, typical
from unvanish.diagnose.thresholds import (
    ABOVE_START,
    ALIVE,
    DIVERGED,
    GREW,
    HALF_LEARNED,
    HARDLY_FELL,
    KILLED,
    LEAPT,
    LITTLE_LEARNED,
    LONG,
    LOST_GRADIENT,
    NOISY_LOSS,
    NOTHING_LEARNED,
    OFTEN,
    RELAPSED,
    SOUND_START,
    VIOLENT,
)
from unvanish.record.finding import Cause, Evidence, Finding, Severity

FIRST_ROWS = 3


@final
class LearningRateTooHigh(Rule):
    """The loss diverges from a sound start, or long steps throw the weights so far that the network never recovers.

    Sees: the loss of every step, the size of each update relative to its weight, and units that were alive at the start and are
    not at the end.

    Why it matters: a step longer than the curvature allows climbs instead of descending.

    Known problems: weights near zero make relative updates look large, so the size of a step alone is no finding; losses that
    no target judges (a policy's) rise and fall by themselves.

    Example: Adam at 0.05 on a small convolutional network; SGD at 0.5 on inputs of up to 100.

    References: LeCun 1998, "Efficient BackProp"; Cohen 2021 (arXiv 2103.00065).
    """

    code: ClassVar[str] = "learning-rate-too-high"
    rank: ClassVar[int] = 25
    explains: ClassVar[frozenset[str]] = frozenset(
        {
            "representation-collapse",
            "attention-collapse",
            "exploding-gradient",
            "loss-not-decreasing",
            "dead-units",
            "non-finite",
            "saturated-activation",
            "vanishing-gradient",
            "learning-rate-too-low",
        }
    )

    def examine(self, chart: RunView) -> Iterator[Finding]:
        if len(chart.chains) != 1:
            return  # losses of opponents rise and fall with each other
        steps, losses = chart.run.objective(0)
        course = chart.course()
        relative = _largest_relative_update(chart)
        if course is None or len(losses) < 10:
            return
        reason = _reason(losses, course, relative) if _is_taught(chart) or relative >= VIOLENT.value or _grew(losses) else None
        died = (_died(chart, relative) or _thrown(chart)) if reason is None else None
        if reason is None and died is None:
            return
        yield Finding(
            self.code,
            Severity.CRITICAL,
            0.85,
            "The learning rate is too high: the steps overshoot.",
            f"{reason or died} In the first steps the fastest weights change by "
            f"{wording.percent(wording.ten_to(min(relative, 6.0)))} "
            "of their size.",
            advice="Lower the learning rate by a factor of ten, or warm it up.",
            sites=chart.labels(chart.chains[0].layers),
            cause=Cause("learning-rate-too-high"),
            evidence=(
                Evidence("loss at the end", course.end, "1", DIVERGED.value * float(losses[0]), "twice the loss of the first step"),
                VIOLENT.shown("relative update", relative),
            ),
            remedies=("learning-rate", "warmup", "clip-norm"),
            began=int(chart.run.sampled[0])
            if reason is None
            else int(steps[np.argmax(np.where(np.isfinite(losses), losses, np.inf) > 0.5 * (1 + LEAPT.value) * abs(losses[0]))]),
        )


def _reason(losses: np.ndarray[tuple[int], np.dtype[np.float64]], course: LossCurve, relative: float) -> str | None:
    first = float(losses[0])
    size = max(abs(first), 1e-12)
    head = losses[: max(10, len(losses) // 20)]
    said_first, said_end = wording.quantity(first), wording.quantity(course.end)
    diverged = _grew(losses) if not course.finite else course.end > DIVERGED.value * size
    if diverged and (relative < 0 or np.isfinite(first)):
        return f"The loss rose from {said_first} to {said_end}."
    learned_nothing = bool((first - course.end) / size < HARDLY_FELL.value) and course.noise < NOISY_LOSS.value
    peak = float(np.max(head[np.isfinite(head)], initial=-np.inf))
    if learned_nothing and first > 0 and peak > LEAPT.value * size:
        return f"The loss leapt from {said_first} to {wording.quantity(peak)} and came back to where it began."
    leaps = _leaps(losses, first)
    thrown_back = (first - course.end) / size < LITTLE_LEARNED.value and course.noise < NOISY_LOSS.value
    if thrown_back and first > 0 and peak > LEAPT.value * size and leaps >= OFTEN.value:
        again = f"leapt beyond its start {leaps} times, at first to {wording.quantity(peak)}, and lost each time what was gained"
        return f"The loss {again}: from {said_first} it came to {said_end}."
    if learned_nothing and 0 < RELAPSED.value * course.lowest < course.end:
        return f"The loss had fallen to {wording.quantity(course.lowest)} and was lost again: it ends at {said_end}."
    return None


def _leaps(losses: np.ndarray[tuple[int], np.dtype[np.float64]], first: float) -> int:
    """How many times a loss has risen from below its start to well above."""
    level = np.where(losses > ABOVE_START.value * first, 1, np.where(losses < first, -1, 0))
    passed = level[level != 0]
    return int(np.count_nonzero((passed[1:] == 1) & (passed[:-1] == -1)))


def _is_taught(chart: RunView) -> bool:
    """Whether targets judge the network: a loss without any, such as a policy's, rises and falls with what it is a sum of."""
    heads = [chart.anatomy.heads[i] for i in chart.heads(chart.chains[0])]
    return all(head.criterion != "policy" for head in heads)


def _died(chart: RunView, relative: float) -> str | None:
    """What long steps have killed: layers that were alive at the start, in a network that has learned nothing since."""
    silent = chart.values("silent_fraction")
    chain = chart.chains[0]
    alive = [i for i in chain.activations if silent[:, i].size and silent[0, i] < ALIVE.value]
    killed = [i for i in alive if chart.late("silent_fraction")[i] >= KILLED.value]
    if not killed or relative < LONG.value or not _lost_gradient(chart) or chart.learned(chain, NOTHING_LEARNED.value):
        return None
    return f"The steps have switched off the units at {wording.span(chart.labels(killed))}, which were alive at the start."


def _thrown(chart: RunView) -> str | None:
    """What long steps have made of weights that were born sound: several times their size, in a network that has learned little."""
    chain = chart.chains[0]
    sizes = chart.values("log10_weight_rms")[:, chart.matrices(chain)]
    sizes = sizes[:, np.isfinite(sizes).all(axis=0)]
    skill, scale = chart.skill(chain), chart.start_scale(chain)
    if not sizes.size or skill is None or skill >= HALF_LEARNED.value or scale is None or scale < SOUND_START.value:
        return None
    grown, pace = float(np.median(sizes[-1] - sizes[0])), typical(chart.paces(chain)[:EARLY_ROWS])
    if grown < GREW.value or not pace >= VIOLENT.value:
        return None
    return f"The steps have thrown the weights to {10**grown:.1f} times their size at the start."


def _lost_gradient(chart: RunView) -> bool:
    """Whether some weights, which had a gradient at the start, have next to none at the end."""
    sizes = chart.values("log10_weight_gradient_rms")[:, chart.matrices(chart.chains[0])]
    early, late = nanmedian(sizes[:FIRST_ROWS]), nanmedian(sizes[-LATE_ROWS:])
    return bool((np.isfinite(early) & (late <= early - LOST_GRADIENT.value)).any())


def _grew(losses: np.ndarray[tuple[int], np.dtype[np.float64]]) -> bool:
    """Whether the finite losses before the first bad one kept growing to a hundred times the first."""
    finite = losses[: np.argmax(~np.isfinite(losses))]
    return len(finite) > 1 and float(np.abs(finite[-1])) > 100 * max(float(np.abs(finite[0])), 1e-12)


def _largest_relative_update(chart: RunView) -> float:
    """The largest, over weight matrices, of the median log10 of update over weight in the first samples."""
    rows = log_ratio(chart.values("log10_update_rms"), chart.values("log10_weight_rms"))[:EARLY_ROWS]
    matrices = [i for i, p in enumerate(chart.anatomy.parameters) if len(p.shape) > 1]
    values = rows[:, matrices]
    values = np.where(np.isfinite(values), values, np.nan)
    columns = values[:, ~np.isnan(values).all(axis=0)]
    return float(np.nanmedian(columns, axis=0).max()) if columns.size else -np.inf
