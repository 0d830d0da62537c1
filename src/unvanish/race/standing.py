"""Who leads at a rung and after the first seed, before anything is proved. It runs nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unvanish.race.compared import LOSS, Comparison, better_is_higher, deciding, value_of
from unvanish.record.verdict import TrialResult

# Of two candidates that one step up or down in the order cannot tell apart, the one that was prescribed first leads: being
# prescribed one place earlier is worth this share of what the control's figure amounts to.
PLACE_SHARE = 0.01
# A runner-up whose gain is below this share of the leader's cannot be as good, and runs with no further seeds.
RIVAL_SHARE = 0.7

Trials = Sequence[TrialResult]


def standing(first: Trials, names: Sequence[str], comparison: Comparison) -> list[str]:
    """The candidates of `names` that did not fail, best first. `names` are in the order of their prescription.

    A candidate whose figure cannot be compared yet leads, since nothing speaks against it.
    """
    results = {result.name: result for result in first}
    control = next((result for result in first if not result.remedies), None)
    alive = [name for name in names if name in results and results[name].failure is None]
    metric = deciding([results[name] for name in alive] + ([control] if control else []), comparison)
    scale = abs(_signed(control, metric)) if control is not None and metric else math.nan
    place = PLACE_SHARE * scale if math.isfinite(scale) else 0.0

    def key(name: str) -> float:
        if metric is None or (metric == LOSS and name in comparison.altered):
            return -math.inf
        value = _signed(results[name], metric)
        return (math.inf if math.isnan(value) else value) + place * names.index(name)

    return sorted(alive, key=key)


def leaders(first: Trials, comparison: Comparison, *, keep: int) -> list[str]:
    """The candidates that ran to their end and are worth further seeds: the best, and others that may be as good."""
    ended = [result for result in first if not result.paused]
    control = next((result for result in ended if not result.remedies), None)
    if control is None:
        return []
    order = standing(ended, [result.name for result in ended if result.remedies], comparison)[:keep]
    metric = deciding(ended, comparison)
    if metric is None or not order:
        return order
    results = {result.name: result for result in ended}
    gains = {name: _signed(control, metric) - _signed(results[name], metric) for name in order}
    best = gains[order[0]]
    if not math.isfinite(best) or best <= 0:
        return order
    return [name for name in order if gains[name] >= RIVAL_SHARE * best]


def promising(first: Trials, name: str, comparison: Comparison) -> bool:
    """Whether a candidate ran to its end without the control's findings, and with a better figure."""
    result = next((each for each in first if each.name == name), None)
    control = next((each for each in first if not each.remedies), None)
    if result is None or control is None or result.paused or result.failure is not None:
        return False
    if set(result.findings) & set(control.findings):
        return False
    metric = deciding([result, control], comparison)
    return metric is not None and _signed(result, metric) < _signed(control, metric)


def _signed(result: TrialResult | None, metric: str | None) -> float:
    """A figure with the sign that makes less better."""
    if result is None or metric is None:
        return math.nan
    value = value_of(result, metric)
    return -value if better_is_higher(metric) else value
