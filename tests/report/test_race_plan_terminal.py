"""What a race would try, and what it would cost, in words."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from unvanish.record.races.candidate import Candidate
from unvanish.record.races.race_plan import (
    IN_PLACE,
    ONE_LINE,
    SEEDS_ID,
    PlannedCandidate,
    PlannedPart,
    RacePlan,
    end_id,
    rung_id,
)
from unvanish.report.terminal.race_plan import render_plan

PLAN = RacePlan(
    script="examples/digits_sigmoid.py",
    steps=360,
    seconds=12.0,
    seeds=3,
    candidates=(
        PlannedCandidate(Candidate(("relu", "he-init")), "vanishing-gradient", IN_PLACE, 3),
        PlannedCandidate(Candidate(("tailored-activation", "delta-orthogonal-init")), "vanishing-gradient", ONE_LINE, 1),
        PlannedCandidate(Candidate(("learning-rate",), 10.0), "", IN_PLACE, 1),
    ),
    parts=(
        PlannedPart(rung_id(0, 1), "rung 1 of 2, to step 120", 3, 0, 120),
        PlannedPart(end_id(0), "rung 2 of 2, to the end", 2, 120, 360),
        PlannedPart(SEEDS_ID, "2 of the candidates with 2 more seeds", 6, 0, 360),
        PlannedPart(rung_id(1, 1), "rung 1 of 2, to step 120", 1, 0, 120, if_needed=True),
    ),
    refused=(("pre-norm", "there is no attention block"),),
)


def printed(plan: RacePlan, width: int = 80) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(render_plan(plan))
    assert max(map(cell_len, file.getvalue().splitlines())) <= width
    return " ".join(file.getvalue().split())


@pytest.mark.parametrize("width", [80, 120])
def test_candidates_are_listed_in_order_with_reason_and_edit(width: int) -> None:
    text = printed(PLAN, width)
    places = [text.index(part) for part in ("1 relu + he-init", "2 tailored-activation", "3 learning-rate x10", "cannot: pre-norm")]
    assert places == sorted(places)
    assert "1 relu + he-init vanishing-gradient in place, 3 lines" in text
    assert "3 learning-rate x10 you asked for it in place, 1 line" in text
    assert "one unvanish.apply line" in text


def test_the_cost_is_given_in_steps_runs_and_time() -> None:
    text = printed(PLAN, 200)
    assert "rung 2 of 2, to the end 2 240 480" in text
    assert "In all 3,000 steps, 8.3 times one run of the script (360 steps, 12 s): about 1 min 40 s one after another." in text
    assert "At most, if no cure is in sight, 3,120 steps, 8.7 times one run: about 1 min 44 s one after another." in text


def test_a_time_that_was_not_measured_is_left_out() -> None:
    text = printed(replace(PLAN, seconds=math.nan, parts=PLAN.parts[:2]), 200)
    assert text.endswith("In all 840 steps, 2.3 times one run of the script (360 steps).")


def test_a_plan_without_candidates_says_why() -> None:
    assert printed(replace(PLAN, candidates=())) == "Nothing would be raced. cannot: pre-norm: there is no attention block"
