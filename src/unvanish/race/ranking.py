"""Which candidates lead at a rung and after the first seed, before anything is proved."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from unvanish.race.deciding_metric import LOSS, Comparison, better_is_higher, deciding_metric, metric_value
from unvanish.record.races.candidate import Candidate
from unvanish.record.races.verdict import EQUAL_TIME_RATIO, TrialResult
from unvanish.trials.trial_result import TAIL

# A runner-up whose gain is below this share of the leader's cannot be as good, and runs with no further seeds.
RIVAL_SHARE = 0.7
# A metric is clearly better where it differs by this share of the control's.
CLEAR_SHARE = 0.1
# A candidate has begun to learn where its loss is below the control's by this share of it, and by so many standard errors.
MIN_FALL_SHARE, MIN_STANDARD_ERRORS = 0.05, 3.0

Results = Sequence[TrialResult]


def rank(results: Results, candidates: Sequence[Candidate], comparison: Comparison) -> list[Candidate]:
    """The candidates that did not fail, best first.

    `results` are those with the first seed. `candidates` are in the order of their prescription: to be one place further up counts
    as much as one standard error of the control's loss, so that what noise cannot tell apart stays in that order. A candidate whose
    metric cannot be compared yet leads, since nothing speaks against it.
    """
    by_candidate = {result.candidate: result for result in results}
    control = _control(results)
    alive = [candidate for candidate in candidates if candidate in by_candidate and by_candidate[candidate].failure is None]
    metric = deciding_metric([by_candidate[each] for each in alive] + ([control] if control else []), comparison)
    penalty_per_rank = standard_error(control) if control is not None and metric == LOSS else 0.0

    def key(candidate: Candidate) -> float:
        if metric is None or (metric == LOSS and candidate in comparison.altered):
            return -math.inf
        value = _lower_is_better(by_candidate[candidate], metric)
        return (math.inf if math.isnan(value) else value) + penalty_per_rank * candidates.index(candidate)

    return sorted(alive, key=key)


def leaders(results: Results, comparison: Comparison, *, keep: int) -> list[Candidate]:
    """The candidates that ran to their end and are worth further seeds: the best, and cheaper ones that may be as good.

    Those that may be a cure come before those that only improve.
    """
    ended = [result for result in results if not result.paused]
    control = _control(ended)
    if control is None:
        return []
    order = rank(ended, [result.candidate for result in ended if not result.candidate.is_control], comparison)
    order = [candidate for candidate in order if is_promising(ended, candidate, comparison)] or order
    metric = deciding_metric(ended, comparison)
    if metric is None or not order:
        return order[:keep]
    by_candidate = {result.candidate: result for result in ended}
    before = _lower_is_better(control, metric)
    gains = {candidate: before - _lower_is_better(by_candidate[candidate], metric) for candidate in order}
    best, *others = order
    rivals = [
        candidate
        for candidate in others
        if _may_be_as_good(gains[candidate], gains[best]) and _is_cheaper(by_candidate[candidate], by_candidate[best])
    ]
    return [best, *rivals][:keep]


def _may_be_as_good(gain: float, best: float) -> bool:
    return gain >= RIVAL_SHARE * best if math.isfinite(best) else gain == best


def _is_cheaper(one: TrialResult, other: TrialResult) -> bool:
    """Whether one could win as the cheaper of equals: in time per step or in size, by more than counts as equal."""
    return one.step_ms * EQUAL_TIME_RATIO < other.step_ms or one.parameters * EQUAL_TIME_RATIO < other.parameters


def is_promising(results: Results, candidate: Candidate, comparison: Comparison) -> bool:
    """Whether a candidate ran to its end without the control's findings, and with a metric that is clearly better."""
    result = next((each for each in results if each.candidate == candidate), None)
    control = _control(results)
    if result is None or control is None or result.paused or result.failure is not None:
        return False
    if set(result.findings) & set(control.findings):
        return False
    metric = deciding_metric([result, control], comparison)
    before, after = _lower_is_better(control, metric), _lower_is_better(result, metric)
    return after < before - CLEAR_SHARE * abs(before) if math.isfinite(before) else math.isfinite(after)


def has_begun_to_learn(results: Results, candidate: Candidate, step: int) -> bool:
    """Whether a candidate's loss is below the control's, both at that step and at the control's end, by more than both
    fluctuate."""
    result = next((each for each in results if each.candidate == candidate), None)
    control = _control(results)
    if result is None or control is None or result.failure is not None:
        return False
    losses = np.asarray(control.losses[: max(1, round(len(control.losses) * step / max(1, control.steps)))])
    finite = losses[np.isfinite(losses)]
    if not len(finite):
        return math.isfinite(result.final_loss)
    level = min(float(np.median(finite[-max(1, len(finite) // 3) :])), control.final_loss)
    margin = max(MIN_FALL_SHARE * abs(level), MIN_STANDARD_ERRORS * (standard_error(result) + standard_error(control)))
    return result.final_loss < level - margin


def standard_error(result: TrialResult) -> float:
    """That of a trial's final loss, by how much its loss changes from one point of its curve to the next; 0 where unknown."""
    losses = np.asarray(result.losses)
    losses = losses[-max(3, round(TAIL * len(losses))) :]
    if len(losses) < 3 or not np.isfinite(losses).all():
        return 0.0
    return float(np.abs(np.diff(losses)).mean() / math.sqrt(len(losses)))


def _control(results: Results) -> TrialResult | None:
    return next((result for result in results if result.candidate.is_control), None)


def _lower_is_better(result: TrialResult | None, metric: str | None) -> float:
    """A metric with the sign that makes less better; NaN where there is none."""
    if result is None or metric is None:
        return math.nan
    value = metric_value(result, metric)
    return -value if better_is_higher(metric) else value
