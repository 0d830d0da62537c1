"""Trials to verdicts: what each candidate did against the control on the same seeds, what it costs, and who wins.

It runs nothing. What one seed shows by chance is not called an improvement, and no candidate wins that was not proved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from unvanish.race.paired import overlap, paired_effect
from unvanish.race.wording import reason, sentence
from unvanish.record.verdict import Cost, Effect, Outcome, RaceResult, TrialResult, Verdict
from unvanish.trials.printed import higher_is_better, is_merit, preference

LOSS = "loss"
# A cure that reaches less than this share of the best effect is not as good, even where few seeds cannot tell them apart.
AS_GOOD_SHARE = 0.9
# Times per step that differ by less are equal: about what the same trial varies by on a busy machine of two cores.
EQUAL_TIME_RATIO = 1.05
_RANKS = tuple(Outcome)

Trials = Sequence[TrialResult]
Groups = Mapping[tuple[str, ...], Trials]


def judge(script: str, trials: Trials, *, planned: int) -> RaceResult:
    """What the race proved. `planned` is the number of trials that were to be run; fewer mean that it was stopped early.

    Candidates are compared with the control (the trials without remedies) on the seeds that both have.
    """
    control = [t for t in trials if not t.remedies]
    names = dict.fromkeys(t.remedies for t in trials if t.remedies)
    groups = {remedies: [t for t in trials if t.remedies == remedies] for remedies in names}
    metrics = _metrics([t for t in trials if t.failure is None])
    verdicts = sorted((_verdict(control, group, metrics) for group in groups.values()), key=_rank)
    won = _winner(verdicts, groups, metrics)
    return RaceResult(
        script=script,
        verdicts=tuple(verdicts),
        winner=won.remedies if won else None,
        control=_effects(control, control, metrics) if control and not _failure(control) else (),
        trials=tuple(trials),
        sentence=sentence(control, verdicts, won, unfinished=(len(trials), planned) if len(trials) < planned else None),
    )


def standing(trials: Trials) -> list[tuple[str, ...]]:
    """The candidates that did not fail, best first by the deciding metric; none where the control failed."""
    if any(t.failure is not None for t in trials if not t.remedies):
        return []
    ended = [t for t in trials if t.failure is None]
    metric = _metrics(ended)[0]
    sign = -1.0 if metric != LOSS and higher_is_better(metric) else 1.0
    return [t.remedies for t in sorted((t for t in ended if t.remedies), key=lambda t: _worst_last(sign * _value(t, metric)))]


def _worst_last(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _metrics(trials: Trials) -> list[str]:
    """The metrics that all trials have, the deciding one first; the loss is always among them."""
    common = set.intersection(*({name for name, _ in t.metrics if is_merit(name)} for t in trials)) if trials else set[str]()
    return [*sorted(common, key=preference), LOSS]


def _value(trial: TrialResult, metric: str) -> float:
    return trial.final_loss if metric == LOSS else dict(trial.metrics)[metric]


def _pairs(control: Trials, treated: Trials) -> list[tuple[TrialResult, TrialResult]]:
    """The trials of equal seeds."""
    by_seed = {t.seed: t for t in control}
    return [(by_seed[t.seed], t) for t in treated if t.seed in by_seed]


def _effects(control: Trials, treated: Trials, metrics: Sequence[str]) -> tuple[Effect, ...]:
    pairs = _pairs(control, treated)
    return tuple(
        paired_effect(
            metric,
            [_value(a, metric) for a, _ in pairs],
            treated=[_value(b, metric) for _, b in pairs],
            higher_is_better=metric != LOSS and higher_is_better(metric),
        )
        for metric in metrics
    )


def _verdict(control: Trials, treated: Trials, metrics: Sequence[str]) -> Verdict:
    pairs = _pairs(control, treated)
    failure = _failure(treated) or _failure(control) or ("" if pairs else "the control did not run on its seeds")
    effects = _effects(control, treated, metrics) if not failure else ()
    roots = {code for t in control for code in t.findings}
    left = sorted(roots & {code for t in treated for code in t.findings})
    outcome = _outcome(effects, had_findings=bool(roots), left=left)
    return Verdict(
        remedies=treated[0].remedies,
        outcome=outcome,
        effects=effects,
        seeds=len(pairs),
        steps=max(t.steps for t in treated),
        cost=_cost(pairs),
        reason=reason(outcome, effects, failure=failure, left=left, stopped=len(pairs) < len(control)),
    )


def _failure(trials: Trials) -> str:
    """Why one of the trials failed, or ""."""
    return next((t.failure for t in trials if t.failure is not None), "")


def _outcome(effects: Sequence[Effect], *, had_findings: bool, left: Sequence[str]) -> Outcome:
    if not effects:
        return Outcome.FAILED
    low, high = effects[0].interval
    if low > 0:
        return Outcome.CURED if had_findings and not left else Outcome.BETTER
    return Outcome.WORSE if high < 0 else Outcome.SAME


def _cost(pairs: Sequence[tuple[TrialResult, TrialResult]]) -> Cost:
    """Medians over the seeds of the ratios to the control."""
    return Cost(
        step_time=_median_ratio([(b.step_ms, a.step_ms) for a, b in pairs]),
        parameters=_median_ratio([(b.parameters, a.parameters) for a, b in pairs]),
        memory=_median_ratio([(b.memory_bytes, a.memory_bytes) for a, b in pairs]),
    )


def _median_ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """NaN where nothing was measured."""
    ratios = [a / b for a, b in pairs if b > 0 and not math.isnan(a)]
    return median(ratios) if ratios else math.nan


def _rank(verdict: Verdict) -> tuple[int, float]:
    effect = verdict.effects[0].effect if verdict.effects else math.nan
    return _RANKS.index(verdict.outcome), math.inf if math.isnan(effect) else -effect


def _winner(verdicts: Sequence[Verdict], groups: Groups, metrics: Sequence[str]) -> Verdict | None:
    """The cheapest of those as good as the best cure, or as the best improvement where nothing cures. `verdicts` are best first."""
    best = next((v for v in verdicts if v.outcome in (Outcome.CURED, Outcome.BETTER)), None)
    if best is None:
        return None
    rivals = [v for v in verdicts if v.outcome is best.outcome and _as_good(v, best, groups, metrics)]
    fastest = min(v.cost.step_time for v in rivals)
    quick = [v for v in rivals if not v.cost.step_time > fastest * EQUAL_TIME_RATIO]
    return min(quick, key=lambda v: (v.cost.parameters, _rank(v)))


def _as_good(verdict: Verdict, best: Verdict, groups: Groups, metrics: Sequence[str]) -> bool:
    mine, other = verdict.effects[0], best.effects[0]
    if verdict is best:
        return True
    if mine.effect < AS_GOOD_SHARE * other.effect or not overlap(mine.interval, other.interval):
        return False
    (difference,) = _effects(groups[best.remedies], groups[verdict.remedies], metrics[:1])
    return difference.interval[1] >= 0
