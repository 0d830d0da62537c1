"""Verdicts from made-up trials, whose right verdict is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from unvanish.race import Comparison, judge
from unvanish.race.successive_halving import Rungs
from unvanish.race.verdicts import is_undecided
from unvanish.record.races.candidate import Candidate
from unvanish.record.races.verdict import TRAINING_SCORE, Cost, Outcome, RaceResult, TrialResult

SICK = ("vanishing-gradient",)


def trials(
    name: str,
    losses: Sequence[float],
    *,
    accuracy: Sequence[float] = (),
    findings: tuple[str, ...] = (),
    step_ms: float = 2.0,
    parameters: int = 100,
    failure: str | None = None,
) -> list[TrialResult]:
    """One trial a seed. `name` is "" for the control, else remedies joined by " + "."""
    return [
        TrialResult(
            candidate=Candidate(tuple(name.split(" + ")) if name else ()),
            seed=seed,
            steps=300,
            final_loss=loss,
            metrics=(("val_accuracy", accuracy[seed]),) if accuracy else (),
            findings=findings,
            step_ms=step_ms,
            parameters=parameters,
            memory_bytes=1000,
            failure=failure,
        )
        for seed, loss in enumerate(losses)
    ]


CONTROL = trials("", (2.30, 2.31, 2.30), findings=SICK)


def judged(*groups: Sequence[TrialResult], control: Sequence[TrialResult] = CONTROL) -> RaceResult:
    every = [*control, *(trial for group in groups for trial in group)]
    return judge("train.py", every)


@pytest.mark.parametrize(
    ("candidate", "outcome"),
    [
        (trials("relu", (0.10, 0.11, 0.12)), Outcome.CURED),
        (trials("relu", (0.10, 0.11, 0.12), findings=("learning-rate-too-high",)), Outcome.CURED),
        (trials("relu", (0.10, 0.11, 0.12), findings=SICK), Outcome.BETTER),
        (trials("relu", (2.30, 2.32, 2.29)), Outcome.SAME),
        (trials("relu", (2.30, 0.10, 2.29)), Outcome.SAME),
        (trials("relu", (4.10, 4.11, 4.12)), Outcome.WORSE),
        (trials("relu", (math.inf, math.inf, math.inf)), Outcome.WORSE),
        (trials("relu", (0.10, 0.11, 0.12), failure="crashed: ValueError"), Outcome.FAILED),
    ],
)
def test_the_outcome_follows_from_effect_and_findings(candidate: list[TrialResult], outcome: Outcome) -> None:
    (verdict,) = judged(candidate).verdicts
    assert verdict.outcome is outcome
    assert verdict.reason.endswith(".")
    assert verdict.seeds == 3


def test_a_healthy_control_can_be_bettered_and_not_cured() -> None:
    healthy = trials("", (0.50, 0.51, 0.50))
    result = judged(trials("relu", (0.10, 0.11, 0.12)), control=healthy)
    assert result.verdicts[0].outcome is Outcome.BETTER
    assert result.sentence == "One improvement was found: relu. The script was not sick."


def test_a_quality_metric_that_all_trials_have_decides_and_the_loss_is_told_too() -> None:
    control = trials("", (2.30, 2.31, 2.30), accuracy=(0.10, 0.11, 0.10), findings=SICK)
    (verdict,) = judged(trials("relu", (3.1, 3.2, 3.1), accuracy=(0.97, 0.96, 0.97)), control=control).verdicts
    assert [effect.metric for effect in verdict.effects] == ["val_accuracy", "loss"]
    assert verdict.outcome is Outcome.CURED
    assert verdict.effects[0].effect > 0 > verdict.effects[1].effect


def test_a_metric_that_one_trial_lacks_does_not_decide() -> None:
    control = trials("", (2.30, 2.31, 2.30), accuracy=(0.10, 0.11, 0.10), findings=SICK)
    (verdict,) = judged(trials("relu", (0.1, 0.2, 0.1)), control=control).verdicts
    assert [effect.metric for effect in verdict.effects] == ["loss"]


def test_costs_are_medians_of_ratios_to_the_control() -> None:
    (verdict,) = judged(trials("batchnorm", (0.10, 0.11, 0.12), step_ms=3.0, parameters=102)).verdicts
    assert (verdict.cost.step_time, verdict.cost.parameters, verdict.cost.memory) == pytest.approx((1.5, 1.02, 1.0))


def test_the_cheapest_of_equals_wins() -> None:
    result = judged(
        trials("batchnorm", (0.08, 0.10, 0.12), step_ms=3.0),
        trials("relu + he-init", (0.09, 0.11, 0.12), step_ms=2.0),
        trials("elu", (0.09, 0.12, 0.12), step_ms=2.02, parameters=90),
        trials("glorot-init", (1.5, 1.6, 1.4), step_ms=1.0),
    )
    assert result.winner == Candidate(("elu",))
    assert result.sentence == "The cheapest cure that is as good as the best: elu."
    assert [v.name for v in result.verdicts][-1] == "glorot-init"


def test_a_dearer_candidate_that_is_proved_better_wins() -> None:
    result = judged(trials("batchnorm", (0.10, 0.11, 0.12), step_ms=3.0), trials("relu", (0.30, 0.31, 0.32)))
    assert result.winner == Candidate(("batchnorm",))
    assert result.sentence == "The best cure, and nothing cheaper is as good: batchnorm."


def test_noise_does_not_make_a_weak_candidate_as_good_as_the_best() -> None:
    result = judged(trials("batchnorm", (0.10, 0.11, 0.12), step_ms=3.0), trials("relu", (0.2, 1.2, 0.4)))
    assert result.winner == Candidate(("batchnorm",))


def test_a_cure_is_preferred_to_an_improvement() -> None:
    result = judged(trials("relu", (0.10, 0.11, 0.12), findings=SICK), trials("elu", (0.5, 0.51, 0.5), step_ms=4.0))
    assert result.winner == Candidate(("elu",))


SENTENCES = {
    "nothing helps": (CONTROL, trials("relu", (2.30, 2.32, 2.29)), "Nothing helped: the one candidate does not do better"),
    "the control is healthy": (trials("", (0.1, 0.2, 0.1)), trials("relu", (0.1, 0.2, 0.2)), "The control is fine: nothing was"),
    "one seed": (CONTROL[:1], trials("relu", (0.1,)), "Not enough budget to tell: one seed proves nothing"),
    "the script fails": (trials("", (2.3,), failure="crashed: X"), trials("relu", (0.1,)), "The script itself failed, and no"),
    "all candidates fail": (
        CONTROL,
        trials("relu", (0.1, 0.1, 0.1), failure="crashed: X"),
        "No candidate could be tried to its end",
    ),
    "findings stay": (
        CONTROL,
        trials("relu", (0.1, 0.1, 0.2), findings=SICK),
        "One improvement was found: relu. The finding stays",
    ),
}


@pytest.mark.parametrize(("control", "candidate", "opening"), SENTENCES.values(), ids=SENTENCES.keys())
def test_the_sentence_says_what_was_proved(control: list[TrialResult], candidate: list[TrialResult], opening: str) -> None:
    result = judged(candidate, control=control)
    assert result.sentence.startswith(opening)
    assert (result.winner is None) == ("found" not in opening)


def test_a_race_stopped_early_is_judged_on_the_seeds_that_both_have() -> None:
    result = judge("train.py", [*CONTROL, *trials("relu", (0.1, 0.11))], stopped=True)
    assert result.verdicts[0].seeds == 2
    assert result.sentence == "The race was stopped before its end. One cure was found: relu."


def test_a_race_without_any_candidate_left_is_told_so() -> None:
    result = judge("train.py", CONTROL[:1], stopped=True)
    assert result.sentence == "The race was stopped before its end. Nothing was compared."
    assert result.verdicts == ()


def test_a_script_that_fails_with_every_seed_is_cured_by_what_does_not() -> None:
    result = judged(trials("learning-rate", (0.1, 0.2, 0.1)), control=trials("", (9, 9, 9), failure="diverged", findings=SICK))
    assert result.winner == Candidate(("learning-rate",))
    assert result.verdicts[0].effects[0].interval == (math.inf, math.inf)


def test_the_more_candidates_are_tested_the_wider_are_their_intervals() -> None:
    one, other = trials("relu", (2.0, 1.9, 1.8)), trials("elu", (2.1, 2.2, 2.0))
    alone, together = judged(one).verdicts[0], judged(one, other).verdicts[0]
    assert alone.effects[0].effect == together.effects[0].effect
    assert alone.outcome is Outcome.CURED
    assert together.outcome is Outcome.SAME
    stopped_early = judged(one, other[:1]).verdicts[0]
    assert stopped_early.effects[0].interval == together.effects[0].interval


def test_a_candidate_that_was_stopped_is_compared_with_the_control_at_that_step() -> None:
    falling = [replace(t, losses=tuple(np.linspace(3.0, 1.0, 200))) for t in CONTROL]
    (waits,) = trials("relu", (2.9,))
    result = judge(
        "train.py",
        [*falling, replace(waits, paused=True, steps=30)],
        comparison=Comparison(rungs=Rungs((30, 100))),
    )
    (verdict,) = result.verdicts
    assert verdict.effects[0].control == pytest.approx(2.8, abs=0.02)
    assert (verdict.rung, verdict.rungs, verdict.outcome) == (1, 3, Outcome.SAME)
    assert verdict.reason == "It was stopped at rung 1, where others did better: loss 2.9 by then."


def test_a_loss_that_means_something_else_is_not_compared() -> None:
    altered = Comparison(altered=frozenset({Candidate(("logits",))}))
    candidate = trials("logits", (0.1, 0.1, 0.1))
    (verdict,) = judge("train.py", [*CONTROL, *candidate], comparison=altered).verdicts
    assert verdict.outcome is Outcome.FAILED
    assert "means something else" in verdict.reason
    scored = [replace(t, metrics=((TRAINING_SCORE, 0.2 if t.candidate.is_control else 0.9),)) for t in (*CONTROL, *candidate)]
    (verdict,) = judge("train.py", scored, comparison=altered).verdicts
    assert (verdict.outcome, verdict.effects[0].metric) == (Outcome.CURED, TRAINING_SCORE)


def test_the_metric_that_was_asked_for_decides() -> None:
    control = trials("", (2.30, 2.31, 2.30), accuracy=(0.10, 0.11, 0.10), findings=SICK)
    every = [*control, *trials("relu", (3.1, 3.2, 3.1), accuracy=(0.97, 0.96, 0.97))]
    (verdict,) = judge("train.py", every, comparison=Comparison(metric="loss")).verdicts
    assert (verdict.effects[0].metric, verdict.outcome) == ("loss", Outcome.WORSE)


def test_of_equal_remedies_each_rate_is_judged() -> None:
    rates = [
        replace(t, candidate=Candidate(("learning-rate",), f)) for f in (0.1, 0.3) for t in trials("learning-rate", (f, f, f + 0.1))
    ]
    result = judged(rates)
    assert result.winner == Candidate(("learning-rate",), 0.1)
    assert [v.name for v in result.verdicts] == ["learning-rate x0.1", "learning-rate x0.3"]


def test_more_seeds_may_tell_where_those_so_far_agree() -> None:
    result = judged(trials("relu", (2.2, 0.1, 2.25)), trials("elu", (2.2, 2.4, 2.2)))
    assert [is_undecided(result, Candidate((name,))) for name in ("relu", "elu", "gelu")] == [True, False, False]


def test_the_control_is_told_with_its_spread() -> None:
    (loss,) = judged(trials("relu", (0.1, 0.1, 0.1))).control
    assert (loss.metric, loss.effect) == ("loss", 0.0)
    assert loss.control == pytest.approx(2.3033, abs=1e-4)
    assert loss.control_spread == pytest.approx(0.00577, abs=1e-4)


def test_a_cost_that_was_not_measured_is_nan_in_a_verdict_and_by_default() -> None:
    (verdict,) = judged(trials("relu", (0.10, 0.11, 0.12))).verdicts  # no trial has counted its operations
    assert math.isnan(verdict.cost.flops)
    assert math.isnan(Cost(1.0, 1.0, 1.0).flops)


def test_the_failure_of_a_verdict_is_that_of_the_trial_word_for_word() -> None:
    failure = "crashed: ValueError: A trial failed: no rows."
    (verdict,) = judged(trials("relu", (0.10, 0.11, 0.12), failure=failure)).verdicts
    assert verdict.failure == failure
    (verdict,) = judged(trials("relu", (0.10, 0.11, 0.12))).verdicts
    assert verdict.failure == ""
