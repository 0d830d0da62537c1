"""Trials to verdicts: what each candidate did against the control on the same seeds, what it costs, and which one wins.

What one seed shows by chance is not called an improvement, and no candidate wins that was not proved. The more candidates there
are, the stricter the test that each has to pass, so that together they err no more often than one would (Bonferroni; Dunn, 1961,
doi 10.2307/2282330): the best of many is partly the best by chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType

from unvanish.race.deciding_metric import Comparison, better_is_higher, metric_value, metrics_in_common
from unvanish.race.paired_statistics import improvement, overlap, paired_effect
from unvanish.race.verdict_wording import checkpoint_failure, checkpoint_remark, reason, sentence
from unvanish.record.races.candidate import CONTROL, Candidate
from unvanish.record.races.verdict import EQUAL_TIME_RATIO, Cost, Effect, Outcome, RaceResult, TrialResult, Verdict
from unvanish.trials.checkpoint import CheckpointProof

# A cure that reaches less than this share of the best effect is not as good, even where few seeds cannot tell them apart.
AS_GOOD_SHARE = 0.9
EXTRA_TESTS = 1  # that more seeds may be run where the first are not enough counts as one more test
_RANKS = tuple(Outcome)

Results = Sequence[TrialResult]
Groups = Mapping[Candidate, Results]
_BY_DEFAULT = Comparison()
_NO_CHECKPOINTS: Mapping[Candidate, CheckpointProof] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Test:
    """What all verdicts of a race have in common: the control's trials, how trials are compared, how many candidates are tested.

    `checkpoints` are those that were tested, by candidate.
    """

    control: Results
    comparison: Comparison
    count: int
    checkpoints: Mapping[Candidate, CheckpointProof]


def judge(
    script: str,
    results: Results,
    *,
    comparison: Comparison = _BY_DEFAULT,
    checkpoints: Mapping[Candidate, CheckpointProof] = _NO_CHECKPOINTS,
    stopped: bool = False,
) -> RaceResult:
    """What the race proved; `stopped` says that it was ended early. A candidate whose checkpoint failed counts as failed.

    Candidates are compared with the control on the seeds that both have.
    """
    control = [result for result in results if result.candidate.is_control]
    candidates = dict.fromkeys(result.candidate for result in results if not result.candidate.is_control)
    groups = {candidate: [result for result in results if result.candidate == candidate] for candidate in candidates}
    test = _Test(control, comparison, len(groups) + EXTRA_TESTS, checkpoints)
    verdicts = sorted((_verdict(test, group) for group in groups.values()), key=_rank)
    winner = _winner(verdicts, groups, comparison)
    return RaceResult(
        script=script,
        verdicts=tuple(verdicts),
        winner=winner.candidate if winner else None,
        control=_effects(test, control, control) if control and not _failure(control) else (),
        trials=tuple(results),
        sentence=sentence(control, verdicts, winner, stopped=stopped),
        stopped=stopped,
    )


def is_undecided(race: RaceResult, candidate: Candidate) -> bool:
    """Whether a candidate did better with every seed, and yet proved nothing: more seeds may tell."""
    verdict = next((v for v in race.verdicts if v.candidate == candidate), None)
    if verdict is None or not verdict.effects or verdict.outcome is not Outcome.SAME or verdict.seeds < 2:
        return False
    metric = verdict.effects[0].metric
    control = {t.seed: metric_value(t, metric) for t in race.trials if t.candidate.is_control}
    sign = 1.0 if better_is_higher(metric) else -1.0
    pairs = [(control[t.seed], metric_value(t, metric)) for t in race.trials if t.candidate == candidate and t.seed in control]
    return all(improvement(sign * before, sign * treated) > 0 for before, treated in pairs)


def _pairs(control: Results, treated: Results) -> list[tuple[TrialResult, TrialResult]]:
    """Results of equal seeds: the control's, and the treated one's."""
    by_seed = {result.seed: result for result in control}
    return [(by_seed[result.seed], result) for result in treated if result.seed in by_seed]


def _effects(test: _Test, control: Results, treated: Results, *, alone: bool = False) -> tuple[Effect, ...]:
    """The effects by every metric that the trials have; `alone` tests them as if there were no other candidate."""
    pairs = _pairs(control, treated)
    completed = [result for pair in pairs for result in pair if result.failure is None]
    return tuple(
        paired_effect(
            metric,
            [metric_value(a, metric) for a, _ in pairs],
            treated=[metric_value(b, metric) for _, b in pairs],
            higher_is_better=better_is_higher(metric),
            tests=1 if alone else test.count,
        )
        for metric in metrics_in_common(completed, test.comparison)
    )


def _verdict(test: _Test, treated: Results) -> Verdict:
    is_waiting = treated[0].paused
    control = [_at_step(result, treated[0].steps) for result in test.control] if is_waiting else test.control
    pairs = _pairs(control, treated)
    checkpoint = test.checkpoints.get(treated[0].candidate)
    failure = _failure(treated) or ("" if pairs else "the control did not run on its seeds") or checkpoint_failure(checkpoint)
    effects = _effects(test, control, treated) if not failure else ()
    if not failure and not effects:
        failure = _incomparable(test.comparison)
    roots = {code for result in control for code in result.findings}
    remaining = sorted(roots & {code for result in treated for code in result.findings})
    outcome = _outcome(effects, had_findings=bool(roots), remaining=remaining)
    rungs = test.comparison.rungs
    rung = rungs.reached(treated[0].steps, ended=not is_waiting and not failure)
    stopped_at = rung if is_waiting else None
    return Verdict(
        candidate=treated[0].candidate,
        outcome=outcome,
        effects=effects,
        seeds=len(pairs),
        steps=max(result.steps for result in treated),
        cost=_cost(pairs),
        reason=reason(outcome, effects, failure=failure, remaining=remaining, rung=stopped_at, alone=len(pairs) < 2)
        + checkpoint_remark(checkpoint),
        rung=rung,
        rungs=rungs.count,
        failure=failure,
    )


def _incomparable(comparison: Comparison) -> str:
    if comparison.metric is not None:
        return f"the script reports no {comparison.metric} to compare by"
    return "its loss means something else than the script's, which reports no other figure; print a validation figure to compare by"


def _at_step(control: TrialResult, steps: int) -> TrialResult:
    """The control as it stood after so many steps, as far as its thinned curve tells."""
    if control.failure is not None or not control.losses or steps >= control.steps:
        return control
    here = max(1, round(len(control.losses) * steps / control.steps))
    tail = control.losses[max(0, here - max(1, round(0.1 * here))) : here]
    return TrialResult(
        candidate=CONTROL,
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


def _failure(results: Results) -> str:
    """Why one of the trials failed, or ""."""
    return next((result.failure for result in results if result.failure is not None), "")


def _outcome(effects: Sequence[Effect], *, had_findings: bool, remaining: Sequence[str]) -> Outcome:
    if not effects:
        return Outcome.FAILED
    low, high = effects[0].interval
    if low > 0:
        return Outcome.CURED if had_findings and not remaining else Outcome.BETTER
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
    rivals = [v for v in verdicts if v.outcome is best.outcome and _is_as_good(v, best, groups, comparison)]
    fastest = min((v.cost.step_time for v in rivals if not math.isnan(v.cost.step_time)), default=math.nan)
    fast = [v for v in rivals if not v.cost.step_time > fastest * EQUAL_TIME_RATIO]
    return min(fast, key=lambda v: (v.cost.parameters, _rank(v)))


def _is_as_good(verdict: Verdict, best: Verdict, groups: Groups, comparison: Comparison) -> bool:
    if verdict is best:
        return True
    mine, other = verdict.effects[0], best.effects[0]
    if mine.metric != other.metric or mine.effect < AS_GOOD_SHARE * other.effect or not overlap(mine.interval, other.interval):
        return False
    test = _Test(groups[best.candidate], comparison, 1, _NO_CHECKPOINTS)
    difference = _effects(test, groups[best.candidate], groups[verdict.candidate], alone=True)[0]
    return difference.interval[1] >= 0
