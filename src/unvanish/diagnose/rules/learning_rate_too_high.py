"""The rule learning-rate-too-high: steps overshoot, so that the loss rises, or units and weights are lost at the start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import OVERSHOOTING
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import EARLY_ROWS, LATE_ROWS, LossCurve, Row, RunView, finite_median, log10_ratio, nanmedian
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

EARLIEST_ROWS = 3


@final
class LearningRateTooHigh(Rule):
    """The loss diverges from a sound start, or long steps throw the weights so far that the network never recovers.

    Sees: the loss of every step, the size of each update relative to its weight, and units that were alive at the start and are
    not at the end.

    Why it matters: a step longer than the curvature allows climbs instead of descending.

    Known problems: weights near zero make relative updates look large, so the size of a step alone is no finding; losses that
    no target judges (a policy's), and those whose targets move (of temporal differences), rise and fall by themselves.

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

    def examine(self, view: RunView) -> Iterator[Finding]:
        if len(view.stacks) != 1:
            return  # losses of adversarial networks rise and fall with each other
        steps, losses = view.run.objective(0)
        curve = view.loss_curve()
        update_ratio = _largest_update_ratio(view)
        if curve is None or len(losses) < 10:
            return
        divergence = (
            _divergence(losses, curve, update_ratio)
            if view.has_fixed_targets(view.stacks[0]) or update_ratio >= VIOLENT.value or _grew_without_end(losses)
            else None
        )
        damage = (_killed_units(view, update_ratio) or _grown_weights(view)) if divergence is None else None
        if divergence is None and damage is None:
            return
        yield Finding(
            self.code,
            Severity.CRITICAL,
            OVERSHOOTING.value,
            "The learning rate is too high: the steps overshoot.",
            f"{divergence or damage} In the first steps the fastest weights change by "
            f"{wording.format_percent(wording.power_of_ten(min(update_ratio, 6.0)))} of their size.",
            advice="Lower the learning rate by a factor of ten, or warm it up.",
            sites=view.site_labels(view.stacks[0].layers),
            cause=Cause("learning-rate-too-high"),
            evidence=(
                Evidence("loss at the end", curve.end, "1", DIVERGED.value * float(losses[0]), "twice the loss of the first step"),
                VIOLENT.as_evidence("relative update", update_ratio),
            ),
            remedies=("learning-rate", "warmup", "clip-norm"),
            began=int(view.run.sampled[0])
            if divergence is None
            else int(steps[np.argmax(np.where(np.isfinite(losses), losses, np.inf) > 0.5 * (1 + LEAPT.value) * abs(losses[0]))]),
        )


def _divergence(losses: Row, curve: LossCurve, update_ratio: float) -> str | None:
    """How the loss diverged, as a sentence; None where it did not."""
    first = float(losses[0])
    size = max(abs(first), 1e-12)
    early = losses[: max(10, len(losses) // 20)]
    first_text, end_text = wording.format_number(first), wording.format_number(curve.end)
    diverged = _grew_without_end(losses) if not curve.finite else curve.end > DIVERGED.value * size
    if diverged and (update_ratio < 0 or np.isfinite(first)):
        return f"The loss rose from {first_text} to {end_text}."
    learned_nothing = bool((first - curve.end) / size < HARDLY_FELL.value) and curve.noise < NOISY_LOSS.value
    peak = float(np.max(early[np.isfinite(early)], initial=-np.inf))
    if learned_nothing and first > 0 and peak > LEAPT.value * size:
        return f"The loss leapt from {first_text} to {wording.format_number(peak)} and came back to where it began."
    leaps = _count_leaps(losses, first)
    thrown_back = (first - curve.end) / size < LITTLE_LEARNED.value and curve.noise < NOISY_LOSS.value
    if thrown_back and first > 0 and peak > LEAPT.value * size and leaps >= OFTEN.value:
        leaping = (
            f"leapt beyond its start {leaps} times, at first to {wording.format_number(peak)}, and lost each time what was gained"
        )
        return f"The loss {leaping}: from {first_text} it came to {end_text}."
    if learned_nothing and 0 < RELAPSED.value * curve.lowest < curve.end:
        return f"The loss had fallen to {wording.format_number(curve.lowest)} and was lost again: it ends at {end_text}."
    return None


def _count_leaps(losses: Row, first: float) -> int:
    """The number of times that a loss has risen from below its start to well above."""
    signs = np.where(losses > ABOVE_START.value * first, 1, np.where(losses < first, -1, 0))
    sides = signs[signs != 0]  # 1 well above the start, -1 below it
    return int(np.count_nonzero((sides[1:] == 1) & (sides[:-1] == -1)))


def _killed_units(view: RunView, update_ratio: float) -> str | None:
    """A sentence on layers that long steps have switched off, in a network that has learned nothing since; else None."""
    silent = view.values("silent_fraction")
    stack = view.stacks[0]
    alive = [i for i in stack.activations if silent[:, i].size and silent[0, i] < ALIVE.value]
    killed = [i for i in alive if view.late_median("silent_fraction")[i] >= KILLED.value]
    if not killed or update_ratio < LONG.value or not _has_lost_gradient(view) or view.has_learned(stack, NOTHING_LEARNED.value):
        return None
    return (
        f"The steps have switched off the units at {wording.format_names(view.site_labels(killed))}, which were alive at the start."
    )


def _grown_weights(view: RunView) -> str | None:
    """A sentence on weights of sound size that long steps have enlarged, in a network that has learned little; else None."""
    stack = view.stacks[0]
    sizes = view.values("log10_weight_rms")[:, view.weight_matrices(stack)]
    sizes = sizes[:, np.isfinite(sizes).all(axis=0)]
    explained, scale = view.explained_loss(stack), view.log10_initial_scale(stack)
    if not sizes.size or explained is None or explained >= HALF_LEARNED.value or scale is None or scale < SOUND_START.value:
        return None
    growth, update_ratio = float(np.median(sizes[-1] - sizes[0])), finite_median(view.update_ratios(stack)[:EARLY_ROWS])
    if growth < GREW.value or not update_ratio >= VIOLENT.value:
        return None
    return f"The steps have thrown the weights to {10**growth:.1f} times their size at the start."


def _has_lost_gradient(view: RunView) -> bool:
    """Whether some weights that had a gradient at the start have next to none at the end."""
    sizes = view.values("log10_weight_gradient_rms")[:, view.weight_matrices(view.stacks[0])]
    early, late = nanmedian(sizes[:EARLIEST_ROWS]), nanmedian(sizes[-LATE_ROWS:])
    return bool((np.isfinite(early) & (late <= early - LOST_GRADIENT.value)).any())


def _grew_without_end(losses: Row) -> bool:
    """Whether the finite losses before the first bad one kept growing to a hundred times the first."""
    finite = losses[: np.argmax(~np.isfinite(losses))]
    return len(finite) > 1 and float(np.abs(finite[-1])) > 100 * max(float(np.abs(finite[0])), 1e-12)


def _largest_update_ratio(view: RunView) -> float:
    """The largest, over weight matrices, of the median log10 of update over weight in the first samples."""
    rows = log10_ratio(view.values("log10_update_rms"), view.values("log10_weight_rms"))[:EARLY_ROWS]
    matrices = [i for i, p in enumerate(view.structure.parameters) if len(p.shape) > 1]
    values = rows[:, matrices]
    values = np.where(np.isfinite(values), values, np.nan)
    columns = values[:, ~np.isnan(values).all(axis=0)]
    return float(np.nanmedian(columns, axis=0).max()) if columns.size else -np.inf
