"""Who leads at a rung and after the first seed, before anything is proved. It runs nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from unvanish.race.deciding_metric import LOSS, Comparison, better_is_higher, deciding, value_of
from unvanish.record.verdict import TrialResult
from unvanish.trials.trial_result import TAIL

# A runner-up whose gain is below this share of the leader's cannot be as good, and runs with no further seeds.
RIVAL_SHARE = 0.7
# One that is no cheaper than the leader by more than this cannot win as the cheaper of equals, and need not run either.
CHEAPER_RATIO = 1.05
# A figure is clearly better where it differs by this share of the control's.
CLEARLY = 0.1
# A candidate has begun to learn where its loss is below the control's by this share of it, and by so many standard errors.
LEAST_FALL, ERRORS = 0.05, 3.0

Trials = Sequence[TrialResult]


def ranking(first: Trials, names: Sequence[str], comparison: Comparison) -> list[str]:
    """The candidates of `names` that did not fail, best first. `names` are in the order of their prescription: to be one place
    further up counts as much as one standard error of the control's loss, so that what noise cannot tell apart stays in that
    order.

    A candidate whose figure cannot be compared yet leads, since nothing speaks against it.
    """
    results = {result.name: result for result in first}
    control = next((result for result in first if not result.remedies), None)
    alive = [name for name in names if name in results and results[name].failure is None]
    metric = deciding([results[name] for name in alive] + ([control] if control else []), comparison)
    place = standard_error(control) if control is not None and metric == LOSS else 0.0

    def key(name: str) -> float:
        if metric is None or (metric == LOSS and name in comparison.altered):
            return -math.inf
        value = _signed(results[name], metric)
        return (math.inf if math.isnan(value) else value) + place * names.index(name)

    return sorted(alive, key=key)


def leaders(first: Trials, comparison: Comparison, *, keep: int) -> list[str]:
    """The candidates that ran to their end and are worth further seeds: the best, and cheaper ones that may be as good.

    Those that may be a cure come before those that only improve.
    """
    ended = [result for result in first if not result.paused]
    control = next((result for result in ended if not result.remedies), None)
    if control is None:
        return []
    order = ranking(ended, [result.name for result in ended if result.remedies], comparison)
    order = [name for name in order if promising(ended, name, comparison)] or order
    metric = deciding(ended, comparison)
    if metric is None or not order:
        return order[:keep]
    results = {result.name: result for result in ended}
    gains = {name: _signed(control, metric) - _signed(results[name], metric) for name in order}
    best = order[0]
    rivals = [name for name in order[1:] if _as_good(gains[name], gains[best]) and _cheaper(results[name], results[best])]
    return [best, *rivals][:keep]


def _as_good(gain: float, best: float) -> bool:
    return gain >= RIVAL_SHARE * best if math.isfinite(best) else gain == best


def _cheaper(one: TrialResult, other: TrialResult) -> bool:
    return one.step_ms * CHEAPER_RATIO < other.step_ms or one.parameters * CHEAPER_RATIO < other.parameters


def promising(first: Trials, name: str, comparison: Comparison) -> bool:
    """Whether a candidate ran to its end without the control's findings, and with a figure that is clearly better."""
    result = next((each for each in first if each.name == name), None)
    control = next((each for each in first if not each.remedies), None)
    if result is None or control is None or result.paused or result.failure is not None:
        return False
    if set(result.findings) & set(control.findings):
        return False
    metric = deciding([result, control], comparison)
    before, after = _signed(control, metric), _signed(result, metric)
    return after < before - CLEARLY * abs(before) if math.isfinite(before) else math.isfinite(after)


def learns(first: Trials, name: str, step: int) -> bool:
    """Whether a candidate's loss is below all that the control came to, at that step and at its end, by more than both jump
    about."""
    result = next((each for each in first if each.name == name), None)
    control = next((each for each in first if not each.remedies), None)
    if result is None or control is None or result.failure is not None:
        return False
    losses = np.asarray(control.losses[: max(1, round(len(control.losses) * step / max(1, control.steps)))])
    finite = losses[np.isfinite(losses)]
    if not len(finite):
        return math.isfinite(result.final_loss)
    level = min(float(np.median(finite[-max(1, len(finite) // 3) :])), control.final_loss)
    margin = max(LEAST_FALL * abs(level), ERRORS * (standard_error(result) + standard_error(control)))
    return result.final_loss < level - margin


def standard_error(trial: TrialResult) -> float:
    """That of a trial's final loss, by how much its loss jumps from one point of its curve to the next; 0 where unknown."""
    losses = np.asarray(trial.losses)
    losses = losses[-max(3, round(TAIL * len(losses))) :]
    if len(losses) < 3 or not np.isfinite(losses).all():
        return 0.0
    return float(np.abs(np.diff(losses)).mean() / math.sqrt(len(losses)))


def _signed(result: TrialResult | None, metric: str | None) -> float:
    """A figure with the sign that makes less better."""
    if result is None or metric is None:
        return math.nan
    value = value_of(result, metric)
    return -value if better_is_higher(metric) else value
