"""Races that are kept with the package come back as they were written, and say what their interval proves."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from unvanish.docgen.stored_races import describe_race, format_outcome
from unvanish.errors import RecordError
from unvanish.record.races.stored_race import StoredRace, dumps, loads, outcome_of
from unvanish.record.races.verdict import Effect, Outcome

BETTER = StoredRace(
    remedies=("relu", "he-init"),
    network="30 layers of sigmoid, Adam 0.001",
    data="digits, 460 steps of 64",
    outcome=Outcome.BETTER,
    effect=Effect("accuracy", True, 0.1, 0.95, 0.85, (0.8, 0.9), 0.01, 0.02),
    seeds=5,
    steps=460,
    step_time=1.25,
    parameters=1.05,
)
DIVERGED = replace(
    BETTER,
    outcome=Outcome.WORSE,
    effect=Effect("squared error", False, 0.16, math.inf, -math.inf, (-math.inf, -math.inf), 0.0, math.nan),
)
EQUAL = replace(
    BETTER, outcome=Outcome.SAME, effect=replace(BETTER.effect, treated=0.11, effect=0.01, interval=(-0.02, 0.04)), parameters=1.0
)


def test_races_come_back_as_they_were_written() -> None:
    assert loads(dumps((BETTER, EQUAL))) == (BETTER, EQUAL)


def test_what_is_not_finite_is_kept_in_standard_json() -> None:
    text = dumps((DIVERGED,))
    json.loads(text, parse_constant=pytest.fail)
    (back,) = loads(text)
    assert back.effect.interval == (-math.inf, -math.inf)
    assert math.isnan(back.effect.treated_spread)


def test_numbers_are_kept_with_five_digits() -> None:
    assert loads(dumps((replace(BETTER, step_time=1.23456789),)))[0].step_time == 1.2346


@pytest.mark.parametrize(
    ("interval", "outcome"),
    [((0.1, 0.2), Outcome.BETTER), ((-0.2, -0.1), Outcome.WORSE), ((-0.1, 0.1), Outcome.SAME), ((0.0, 0.0), Outcome.SAME)],
)
def test_the_outcome_is_what_the_interval_leaves(interval: tuple[float, float], outcome: Outcome) -> None:
    assert outcome_of(replace(BETTER.effect, interval=interval)) is outcome


def test_a_file_with_other_fields_is_refused() -> None:
    with pytest.raises(RecordError, match="another version"):
        loads('[{"remedies": ["relu"], "verdict": "good"}]')


@pytest.mark.parametrize(
    ("race", "word", "sentence"),
    [
        (
            BETTER,
            "Helps",
            "30 layers of sigmoid, Adam 0.001; digits, 460 steps of 64: accuracy 0.10 → 0.95, better by 0.85 [0.80, 0.90], 5 "
            "seeds; time per step ×1.25, parameters +5 %.",
        ),
        (
            EQUAL,
            "Makes no difference",
            "30 layers of sigmoid, Adam 0.001; digits, 460 steps of 64: accuracy 0.10 → 0.11, no more than the seeds differ by: "
            "+0.01 [-0.02, +0.04], 5 seeds; time per step ×1.25.",
        ),
        (
            DIVERGED,
            "Harms",
            "30 layers of sigmoid, Adam 0.001; digits, 460 steps of 64: squared error 0.16 → infinite, worse by infinite "
            "[infinite, infinite], 5 seeds; time per step ×1.25, parameters +5 %.",
        ),
    ],
    ids=["better", "same", "diverged"],
)
def test_a_race_is_described_in_a_sentence(race: StoredRace, word: str, sentence: str) -> None:
    assert (format_outcome(race), describe_race(race)) == (word, sentence)
