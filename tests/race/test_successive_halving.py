"""How a race goes: who is stopped at which rung, who gets further seeds, when a second wave starts, what is trained."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tests.race.simulated_race import STEPS, Curve, CurveEngine, edited_candidates, settings

from unvanish.errors import UsageError
from unvanish.race import race
from unvanish.race.successive_halving import rungs_for, survivors
from unvanish.record.races.candidate import Candidate
from unvanish.record.races.verdict import Outcome

NAMES = ("relu", "elu", "gelu", "silu", "selu", "batchnorm")


def falls_to(end: float) -> Curve:
    return lambda step, seed: 2.3 + (end - 2.3) * step / STEPS + 0.001 * seed * (step % 2)


def stands(step: int, seed: int) -> float:
    return 2.3 + 0.01 * seed


CURVES = {"as it is": stands, **{name: falls_to(0.1 + 0.2 * place) for place, name in enumerate(reversed(NAMES))}}


def test_the_weaker_half_waits_at_each_rung_and_the_leaders_get_every_seed(tmp_path: Path) -> None:
    engine = CurveEngine(CURVES)
    result = race(edited_candidates(*NAMES), None, settings(engine, tmp_path))
    assert [sorted({goal for *_, goal in each}, key=str) for each in engine.rounds] == [[None], [10], [30], [None], [None]]
    assert [len(each) for each in engine.rounds[1:4]] == [6, 4, 2]  # three, and what was prescribed first
    assert engine.stopped == list(NAMES)  # at the end, those that ran to it among them
    assert {name for name, seed in engine.reached if seed == 2} == {"as it is", "batchnorm"}
    assert (result.winner, result.verdicts[0].outcome) == (Candidate(("batchnorm",)), Outcome.CURED)
    rungs = {verdict.name: (verdict.rung, verdict.rungs) for verdict in result.verdicts}
    assert (rungs["relu"], rungs["elu"], rungs["batchnorm"]) == ((2, 3), (1, 3), (3, 3))


def test_nothing_is_trained_for_more_than_a_third_of_what_a_full_race_takes(tmp_path: Path) -> None:
    engine = CurveEngine(CURVES)
    race(edited_candidates(*NAMES), None, settings(engine, tmp_path))
    with_first_seed = sum(steps for (name, seed), steps in engine.reached.items() if name != "as it is" and seed == 0)
    assert with_first_seed < 0.5 * STEPS * len(NAMES)


def test_a_second_wave_starts_only_where_no_cure_is_in_sight(tmp_path: Path) -> None:
    late = {"lstm": falls_to(0.05)}
    lost = {"as it is": stands, **{name: falls_to(1.5) for name in NAMES}, **late}
    result = race(edited_candidates(*NAMES, "lstm"), None, settings(CurveEngine(lost), tmp_path))
    assert result.winner == Candidate(("lstm",))
    engine = CurveEngine({**CURVES, **late})
    assert race(edited_candidates(*NAMES, "lstm"), None, settings(engine, tmp_path)).winner == Candidate(("batchnorm",))
    assert ("lstm", 0) not in engine.reached


def test_while_none_has_begun_to_learn_all_go_on(tmp_path: Path) -> None:
    def late(step: int, seed: int) -> float:
        return 2.35 if step <= 40 else 0.1

    engine = CurveEngine({"as it is": stands, **{name: lambda step, seed: 2.29 for name in NAMES}, "relu": late})
    result = race(edited_candidates(*NAMES), None, settings(engine, tmp_path))
    assert [len(each) for each in engine.rounds[1:4]] == [6, 6, 6]
    assert result.winner == Candidate(("relu",))


def test_those_that_wait_go_on_where_the_leaders_cure_nothing(tmp_path: Path) -> None:
    def late(step: int, seed: int) -> float:
        return 2.2 if step < STEPS else 0.1 + 0.01 * seed

    engine = CurveEngine(
        {"as it is": stands, **{name: falls_to(1.0 + 0.1 * place) for place, name in enumerate(NAMES)}, "gelu": late}
    )
    result = race(edited_candidates(*NAMES), None, settings(engine, tmp_path))
    assert result.winner == Candidate(("gelu",))
    assert engine.reached["gelu", 0] == STEPS


def test_what_finding_a_cure_may_cost_is_bounded(tmp_path: Path) -> None:
    names = [f"remedy-{number}" for number in range(24)]
    engine = CurveEngine({"as it is": stands, **dict.fromkeys(names, stands)})
    result = race(edited_candidates(*names), None, settings(engine, tmp_path))
    assert result.winner is None
    assert sum(engine.reached.values()) < 20 * STEPS


def test_of_several_rates_the_best_goes_on(tmp_path: Path) -> None:
    rates = ("learning-rate x0.3", "learning-rate x0.1", "learning-rate x0.03")
    curves = {"as it is": stands, **{name: falls_to(end) for name, end in zip(rates, (1.0, 0.1, 0.8), strict=True)}}
    engine = CurveEngine({**curves, "relu": falls_to(0.9), "elu": falls_to(1.9)})
    result = race(edited_candidates(*rates, "relu", "elu"), None, settings(engine, tmp_path))
    assert result.winner == Candidate(("learning-rate",), 0.1)
    assert {("learning-rate x0.3", 0): 10, ("learning-rate x0.03", 0): 10}.items() <= engine.reached.items()


@pytest.mark.parametrize(("end", "step_ms", "runs"), [(1.6, 0.5, False), (0.2, 0.5, True), (0.2, 1.0, False)])
def test_a_rival_gets_further_seeds_where_it_is_cheaper_and_may_be_as_good(
    end: float, step_ms: float, runs: bool, tmp_path: Path
) -> None:
    engine = CurveEngine({"as it is": stands, "relu": falls_to(0.1), "elu": falls_to(end)}, step_ms={"elu": step_ms})
    race(edited_candidates("relu", "elu"), None, settings(engine, tmp_path))
    assert (("elu", 1) in engine.reached) is runs
    assert ("relu", 2) in engine.reached


def test_where_the_leader_is_not_proved_the_next_is_tried(tmp_path: Path) -> None:
    def fluke(step: int, seed: int) -> float:
        return 0.05 if seed == 0 else 2.4

    engine = CurveEngine({"as it is": stands, "relu": fluke, "elu": falls_to(0.3)})
    assert race(edited_candidates("relu", "elu"), None, settings(engine, tmp_path)).winner == Candidate(("elu",))


def test_three_more_seeds_run_where_the_seeds_agree_and_prove_nothing(tmp_path: Path) -> None:
    def uneven(step: int, seed: int) -> float:
        return (0.1, 1.9, 0.4, 0.2, 0.3, 0.2)[seed] if step == STEPS else 2.3

    engine = CurveEngine({"as it is": stands, "relu": uneven}, cured_below=2.0)
    result = race(edited_candidates("relu"), None, settings(engine, tmp_path))
    assert result.verdicts[0].seeds == 6
    assert result.winner == Candidate(("relu",))


def test_a_control_that_diverges_now_and_then_does_not_hide_a_cure(tmp_path: Path) -> None:
    def wild(step: int, seed: int) -> float:
        return (math.nan, 3e8, 420.0, math.inf, 12.0, 8e3)[seed]

    engine = CurveEngine({"as it is": wild, "clip-norm": falls_to(0.4)}, cured_below=2.0)
    result = race(edited_candidates("clip-norm"), None, settings(engine, tmp_path))
    assert result.winner == Candidate(("clip-norm",))
    assert result.verdicts[0].effects[0].interval == (pytest.approx(11.6, abs=0.1), math.inf)


def test_a_control_that_was_run_before_is_not_run_again(tmp_path: Path) -> None:
    engine = CurveEngine(CURVES)
    control = race(edited_candidates("relu"), None, settings(engine, tmp_path, seeds=1)).trials[0]
    again = CurveEngine(CURVES)
    race(edited_candidates("relu"), control, settings(again, tmp_path, seeds=1))
    assert ("as it is", 0) not in again.reached


@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_ctrl_c_keeps_what_the_race_has_shown(rounds: int, tmp_path: Path) -> None:
    result = race(edited_candidates(*NAMES), None, settings(CurveEngine(CURVES, interrupted_after=rounds), tmp_path))
    assert result.stopped
    assert result.sentence.startswith("The race was stopped before its end" if rounds == 1 else "Not enough budget to tell")
    assert len(result.verdicts) == (0 if rounds == 1 else len(NAMES))


def test_a_race_needs_a_candidate_and_a_seed(tmp_path: Path) -> None:
    for names, seeds in (((), 3), (("relu",), 0)):
        with pytest.raises(UsageError, match="at least one"):
            race(edited_candidates(*names), None, settings(CurveEngine(CURVES), tmp_path, seeds=seeds))


@pytest.mark.parametrize(
    ("steps", "candidates", "rungs"), [(900, 6, (100, 300)), (91, 6, (11, 31)), (60, 6, (20,)), (20, 6, ()), (900, 2, ())]
)
def test_rungs_grow_threefold_and_none_is_too_short_to_tell(steps: int, candidates: int, rungs: tuple[int, ...]) -> None:
    assert rungs_for(steps, candidates, keep=2).steps == rungs


def test_at_least_those_that_are_kept_survive() -> None:
    assert [survivors(count, keep=2) for count in (1, 2, 3, 5, 8)] == [2, 2, 2, 3, 4]
