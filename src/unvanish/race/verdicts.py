"""Trials to verdicts: what each candidate did against the control on the same seeds, what it costs, and who wins.

It runs nothing. What one seed shows by chance is not called an improvement, and no candidate wins that was not proved. The more
candidates there are, the sharper the test that each has to pass, so that together they err no more often than one would
(Bonferroni; Dunn, 1961, doi 10.2307/2282330): the leader of many leads by luck too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from unvanish.race.deciding_metric import Comparison, better_is_higher, figures, value_of
from unvanish.race.paired_statistics import gain, overlap, paired_effect
from unvanish.race.successive_halving import Rungs
from unvanish.race.verdict_wording import reason, sentence
from unvanish.record.verdict import Cost, Effect, Outcome, RaceResult, TrialResult, Verdict

# A cure that reaches less than this share of the best effect is not as good, even where few seeds cannot tell them apart.
AS_GOOD_SHARE = 0.9
# Times per step that differ by less are equal: about what the same trial varies by on a busy machine of two cores.
EQUAL_TIME_RATIO = 1.05
SECOND_LOOK = 1  # that more seeds may be run where the first are not enough counts as one more test
_RANKS = tuple(Outcome)

Trials = Sequence[TrialResult]
Groups = Mapping[str, Trials]
_PLAIN = Comparison()


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What all verdicts of a race have in common: the control's trials, how trials are compared, how many candidates are tested."""

    control: Trials
    comparison: Comparison
    tested: int


def judge(script: str, trials: Trials, *, comparison: Comparison = _PLAIN, stopped: bool = False) -> RaceResult:
    """What the race proved; `stopped` tells that it was ended early.

    Candidates are compared with the control (the trials without remedies) on the seeds that both have.
    """
    control = [t for t in trials if not t.remedies]
    names = dict.fromkeys(t.name for t in trials if t.remedies)
    groups = {name: [t for t in trials if t.name == name] for name in names}
    court = _Comparison(control, comparison, len(groups) + SECOND_LOOK)
    verdicts = sorted((_verdict(court, group) for group in groups.values()), key=_rank)
    won = _winner(verdicts, groups, comparison)
    return RaceResult(
        script=script,
        verdicts=tuple(verdicts),
        winner=won.remedies if won else None,
        control=_effects(court, control, control) if control and not _failure(control) else (),
        trials=tuple(trials),
        sentence=sentence(control, verdicts, won, stopped=stopped),
        winner_variant=won.variant if won else "",
        stopped=stopped,
    )


def undecided(result: RaceResult, name: str) -> bool:
    """Whether a candidate did better with every seed, and yet proved nothing: more seeds may tell."""
    verdict = next((v for v in result.verdicts if v.name == name), None)
    if verdict is None or not verdict.effects or verdict.outcome is not Outcome.SAME or verdict.seeds < 2:
        return False
    metric = verdict.effects[0].metric
    control = {t.seed: value_of(t, metric) for t in result.trials if not t.remedies}
    sign = 1.0 if better_is_higher(metric) else -1.0
    pairs = [(control[t.seed], value_of(t, metric)) for t in result.trials if t.name == name and t.seed in control]
    return all(gain(sign * before, sign * treated) > 0 for before, treated in pairs)


def _pairs(control: Trials, treated: Trials) -> list[tuple[TrialResult, TrialResult]]:
    """The trials of equal seeds."""
    by_seed = {t.seed: t for t in control}
    return [(by_seed[t.seed], t) for t in treated if t.seed in by_seed]


def _effects(court: _Comparison, control: Trials, treated: Trials, *, alone: bool = False) -> tuple[Effect, ...]:
    """The effects by every figure that the trials have; `alone` tests them as if there were no other candidate."""
    pairs = _pairs(control, treated)
    everyone = [t for pair in pairs for t in pair if t.failure is None]
    return tuple(
        paired_effect(
            metric,
            [value_of(a, metric) for a, _ in pairs],
            treated=[value_of(b, metric) for _, b in pairs],
            higher_is_better=better_is_higher(metric),
            tests=1 if alone else court.tested,
        )
        for metric in figures(everyone, court.comparison)
    )


def _verdict(court: _Comparison, treated: Trials) -> Verdict:
    waiting = treated[0].paused
    control = [_at(t, treated[0].steps) for t in court.control] if waiting else court.control
    pairs = _pairs(control, treated)
    failure = _failure(treated) or ("" if pairs else "the control did not run on its seeds")
    effects = _effects(court, control, treated) if not failure else ()
    if not failure and not effects:
        failure = _incomparable(court.comparison)
    roots = {code for t in control for code in t.findings}
    left = sorted(roots & {code for t in treated for code in t.findings})
    outcome = _outcome(effects, had_findings=bool(roots), left=left)
    ladder = Rungs(court.comparison.rungs)
    rung = ladder.reached(treated[0].steps, ended=not waiting and not failure)
    return Verdict(
        remedies=treated[0].remedies,
        outcome=outcome,
        effects=effects,
        seeds=len(pairs),
        steps=max(t.steps for t in treated),
        cost=_cost(pairs),
        reason=reason(outcome, effects, failure=failure, left=left, rung=rung if waiting else None, alone=len(pairs) < 2),
        variant=treated[0].variant,
        rung=rung,
        rungs=ladder.height,
    )


def _incomparable(comparison: Comparison) -> str:
    if comparison.metric is not None:
        return f"the script reports no {comparison.metric} to compare by"
    return "its loss means something else than the script's, which reports no other figure; print a validation figure to compare by"


def _at(control: TrialResult, steps: int) -> TrialResult:
    """The control as it stood after so many steps, as far as its thinned curve tells."""
    if control.failure is not None or not control.losses or steps >= control.steps:
        return control
    here = max(1, round(len(control.losses) * steps / control.steps))
    tail = control.losses[max(0, here - max(1, round(0.1 * here))) : here]
    return TrialResult(
        remedies=(),
        seed=control.seed,
        steps=steps,
        final_loss=sum(tail) / len(tail),
        metrics=(),
        findings=control.findings,
        step_ms=control.step_ms,
        parameters=control.parameters,
        memory_bytes=control.memory_bytes,
        flops=control.flops,
        paused=True,
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
        flops=_median_ratio([(b.flops, a.flops) for a, b in pairs]),
    )


def _median_ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """NaN where nothing was measured."""
    ratios = [a / b for a, b in pairs if b > 0 and not math.isnan(a)]
    return median(ratios) if ratios else math.nan


def _rank(verdict: Verdict) -> tuple[int, float]:
    effect = verdict.effects[0].effect if verdict.effects else math.nan
    return _RANKS.index(verdict.outcome), math.inf if math.isnan(effect) else -effect


def _winner(verdicts: Sequence[Verdict], groups: Groups, comparison: Comparison) -> Verdict | None:
    """The cheapest of those as good as the best cure, or as the best improvement where nothing cures. `verdicts` are best first."""
    best = next((v for v in verdicts if v.outcome in (Outcome.CURED, Outcome.BETTER)), None)
    if best is None:
        return None
    rivals = [v for v in verdicts if v.outcome is best.outcome and _as_good(v, best, groups, comparison)]
    fastest = min((v.cost.step_time for v in rivals if not math.isnan(v.cost.step_time)), default=math.nan)
    quick = [v for v in rivals if not v.cost.step_time > fastest * EQUAL_TIME_RATIO]
    return min(quick, key=lambda v: (v.cost.parameters, _rank(v)))


def _as_good(verdict: Verdict, best: Verdict, groups: Groups, comparison: Comparison) -> bool:
    if verdict is best:
        return True
    mine, other = verdict.effects[0], best.effects[0]
    if mine.metric != other.metric or mine.effect < AS_GOOD_SHARE * other.effect or not overlap(mine.interval, other.interval):
        return False
    court = _Comparison(groups[best.name], comparison, 1)
    difference = _effects(court, groups[best.name], groups[verdict.name], alone=True)[0]
    return difference.interval[1] >= 0
