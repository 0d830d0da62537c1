"""Which metric decides between trials, and its value for one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from unvanish.race.successive_halving import Rungs
from unvanish.record.races.candidate import Candidate
from unvanish.record.races.verdict import TRAINING_SCORE, TrialResult
from unvanish.trials.metrics.metric_names import higher_is_better, is_held_out_metric, parse_metric, preference_key

LOSS = "loss"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How trials are compared.

    Arguments:
        metric: the metric that was asked for, if one was.
        altered: candidates whose loss means something else than the control's.
        rungs: the steps at which candidates waited.
    """

    metric: str | None = None
    altered: frozenset[Candidate] = frozenset()
    rungs: Rungs = Rungs(())  # noqa: RUF009  (a frozen value)


def metrics_in_common(results: Sequence[TrialResult], comparison: Comparison) -> list[str]:
    """The metrics that all of the trials have, the deciding one first; none where there is nothing to compare by.

    A figure of merit on data that were not trained on comes before the loss. Where a loss was altered, the score on the
    training data stands in for it.
    """
    names = [{name for name, _ in result.metrics} for result in results]
    common = set.intersection(*names) if names else set[str]()
    requested: list[str] = []
    if comparison.metric is not None:
        requested = [comparison.metric] if comparison.metric in {LOSS, *common} else []
        common -= set(requested)
    merits = sorted((name for name in common if is_held_out_metric(name)), key=preference_key)
    if not any(result.candidate in comparison.altered for result in results):
        return list(dict.fromkeys([*requested, *merits, LOSS]))
    merits = [name for name in merits if not _is_loss(name)]  # a script computes it as it does its training loss
    return list(dict.fromkeys([*requested, *merits, *({TRAINING_SCORE} & common)]))


def _is_loss(name: str) -> bool:
    known = parse_metric(name)
    return known is not None and known.kind.name == "loss"


def deciding_metric(results: Sequence[TrialResult], comparison: Comparison) -> str | None:
    """The metric that decides between the trials."""
    return next(iter(metrics_in_common(results, comparison)), None)


def metric_value(result: TrialResult, name: str) -> float:
    """A trial's value of a metric; the worst there is where the trial failed."""
    if result.failure is not None:
        return math.inf if not better_is_higher(name) else -math.inf
    return result.final_loss if name == LOSS else dict(result.metrics)[name]


def better_is_higher(name: str) -> bool:
    """Whether more of a metric is better."""
    return name != LOSS and (name == TRAINING_SCORE or higher_is_better(name))
