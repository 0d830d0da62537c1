"""Which figure decides between trials, and its value for one of them. It weighs nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from unvanish.record.verdict import TRAINING_SCORE, TrialResult
from unvanish.trials.metrics.metric_names import higher_is_better, is_merit, meaning, preference

LOSS = "loss"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How trials are compared: by the metric that was asked for, if one was; `altered` names the candidates whose loss means
    something else than the control's; `rungs` are the steps at which candidates waited."""

    metric: str | None = None
    altered: frozenset[str] = frozenset()
    rungs: tuple[int, ...] = ()


def figures(trials: Sequence[TrialResult], comparison: Comparison) -> list[str]:
    """The figures that all of the trials have, the deciding one first; none where there is nothing to compare by.

    A figure of merit on data that were not trained on comes before the loss. Where a loss was altered, the score on the
    training data stands in for it.
    """
    names = [{name for name, _ in trial.metrics} for trial in trials]
    common = set.intersection(*names) if names else set[str]()
    if comparison.metric is not None:
        asked = [LOSS] if comparison.metric == LOSS else [comparison.metric] if comparison.metric in common else []
        common -= set(asked)
    else:
        asked = []
    merits = sorted((name for name in common if is_merit(name)), key=preference)
    if not any(trial.name in comparison.altered for trial in trials):
        return list(dict.fromkeys([*asked, *merits, LOSS]))
    merits = [name for name in merits if not _is_loss(name)]  # a script computes it as it does its training loss
    return list(dict.fromkeys([*asked, *merits, *({TRAINING_SCORE} & common)]))


def _is_loss(name: str) -> bool:
    known = meaning(name)
    return known is not None and known.merit.name == "loss"


def deciding(trials: Sequence[TrialResult], comparison: Comparison) -> str | None:
    """The figure that decides between the trials."""
    return next(iter(figures(trials, comparison)), None)


def value_of(trial: TrialResult, name: str) -> float:
    """A trial's figure; the worst there is where it failed."""
    if trial.failure is not None:
        return math.inf if not better_is_higher(name) else -math.inf
    return trial.final_loss if name == LOSS else dict(trial.metrics)[name]


def better_is_higher(name: str) -> bool:
    """Whether more of a figure is better."""
    return name != LOSS and (name == TRAINING_SCORE or higher_is_better(name))
