"""Which candidates a race begins with: rates that the findings ask for, an optimizer at two rates, equal edits once."""

from __future__ import annotations

from pathlib import Path

import pytest

from unvanish.errors import TrialError
from unvanish.race import Candidate
from unvanish.record.change import Edit, PatchContext, Plan, PlanStep
from unvanish.record.finding import Finding, Severity
from unvanish.workflows import candidates

RATE = ("learning-rate",)


def finding(code: str, *remedies: str) -> Finding:
    return Finding(code, Severity.CRITICAL, 0.9, "summary", "explanation", advice="advice", remedies=remedies)


def plan(*remedies: str) -> Plan:
    return Plan(
        remedies, tuple(PlanStep(name, (Edit("set", "optimizer", "SGD(lr=1.0)", f"SGD(lr={name!r})"),)) for name in remedies)
    )


def told(each: Plan, blueprint: PatchContext, factor: float | None) -> Candidate:
    """A candidate whose text says what it was written from."""
    text = f"{each.remedies} {factor}"
    return Candidate(each.remedies, ((Path("train.py"), text),), "" if factor is None else f"x{factor:g}")


def names(wanted: list[tuple[str, ...]], *codes: str, author: candidates.CandidateWriter = told) -> list[str]:
    blueprint = PatchContext(None, (), tuple(plan(*each) for each in wanted))
    return [each.name for each in candidates.chosen(blueprint, wanted, [finding(code) for code in codes], author).treatments]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("learning-rate-too-high", ["x0.1", "x0.03", "x0.01", "x0.3"]),
        ("learning-rate-too-low", ["x10", "x30", "x3", "x100"]),
        ("loss-not-decreasing", ["x0.1", "x0.3", "x3", "x10"]),
    ],
)
def test_a_rate_is_tried_as_the_first_finding_that_tells_asks(code: str, expected: list[str]) -> None:
    found = names([RATE, ("warmup",)], "saturated-activation", code)
    assert found[:5] == [*(f"learning-rate {factor}" for factor in expected), "warmup"]
    assert len(found) == (5 if code == "loss-not-decreasing" else 6)  # the farthest rate comes last


def test_an_optimizer_with_a_rate_of_its_own_is_tried_at_a_larger_one_where_steps_were_too_small() -> None:
    assert names([("adamw",), ("clip-norm",)], "learning-rate-too-low") == ["adamw", "adamw x10", "clip-norm"]
    assert names([("adamw",), ("clip-norm",)], "weight-decay-dominates") == ["adamw", "clip-norm"]


def test_equal_edits_are_raced_once_and_what_cannot_be_written_is_told() -> None:
    def author(each: Plan, blueprint: PatchContext, factor: float | None) -> Candidate:
        if each.remedies == ("gru",):
            raise TrialError("there is no recurrence")
        return Candidate(each.remedies, ((Path("train.py"), "the same"),))

    choice = candidates.chosen(PatchContext(None), [("relu",), ("elu",), ("gru",)], [], author)
    assert [each.name for each in choice.treatments] == ["relu"]
    assert choice.refused == (("gru", "there is no recurrence"),)
