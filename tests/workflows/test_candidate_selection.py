"""Which candidates a race begins with: rates that the findings ask for, an optimizer at two rates, equal edits once."""

from __future__ import annotations

from pathlib import Path

import pytest

from unvanish.errors import TrialError
from unvanish.race import EditedCandidate
from unvanish.record.finding import Finding, Severity
from unvanish.record.network_changes import Edit, PatchContext, Plan, PlanStep
from unvanish.record.races.candidate import Candidate
from unvanish.workflows import candidate_selection

RATE = ("learning-rate",)


def finding(code: str, *remedies: str) -> Finding:
    return Finding(code, Severity.CRITICAL, 0.9, "summary", "explanation", advice="advice", remedies=remedies)


def plan(*remedies: str) -> Plan:
    return Plan(
        remedies, tuple(PlanStep(name, (Edit("set", "optimizer", "SGD(lr=1.0)", f"SGD(lr={name!r})"),)) for name in remedies)
    )


def write(planned: Plan, context: PatchContext, factor: float | None) -> EditedCandidate:
    """A candidate whose text says what it was written from."""
    return EditedCandidate(Candidate(planned.remedies, factor), ((Path("train.py"), f"{planned.remedies} {factor}"),))


def names(combinations: list[tuple[str, ...]], *codes: str) -> list[str]:
    context = PatchContext(None, (), tuple(plan(*each) for each in combinations))
    findings = [finding(code) for code in codes]
    return [each.name for each in candidate_selection.select_candidates(context, combinations, findings, write).candidates]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("learning-rate-too-high", ["x0.1", "x0.03", "x0.01", "x0.3"]),
        ("learning-rate-too-low", ["x10", "x30", "x3", "x100"]),
        ("loss-not-decreasing", ["x0.1", "x0.3", "x3", "x10"]),
    ],
)
def test_a_rate_is_tried_as_the_first_finding_that_tells_asks(code: str, expected: list[str]) -> None:
    tried = names([RATE, ("warmup",)], "saturated-activation", code)
    assert tried[:5] == [*(f"learning-rate {factor}" for factor in expected), "warmup"]
    assert len(tried) == (5 if code == "loss-not-decreasing" else 6)  # the farthest rate comes last


def test_an_optimizer_with_a_rate_of_its_own_is_tried_at_a_larger_one_where_steps_were_too_small() -> None:
    assert names([("adamw",), ("clip-norm",)], "learning-rate-too-low") == ["adamw", "adamw x10", "clip-norm"]
    assert names([("adamw",), ("clip-norm",)], "weight-decay-dominates") == ["adamw", "clip-norm"]


def test_equal_edits_are_raced_once_and_what_cannot_be_written_is_told() -> None:
    def write_the_same(planned: Plan, context: PatchContext, factor: float | None) -> EditedCandidate:
        if planned.remedies == ("gru",):
            raise TrialError("there is no recurrence")
        return EditedCandidate(Candidate(planned.remedies), ((Path("train.py"), "the same"),))

    combinations = [("relu",), ("elu",), ("gru",)]
    selection = candidate_selection.select_candidates(PatchContext(None), combinations, [], write_the_same)
    assert [each.name for each in selection.candidates] == ["relu"]
    assert selection.refused == (("gru", "there is no recurrence"),)


def test_a_candidate_is_credited_to_the_finding_that_names_it_and_not_to_one_whose_remedy_contains_its_name() -> None:
    findings = [finding("dead-units", "relu + he-init", "leaky-relu"), finding("saturated-activation", "elu")]
    assert candidate_selection.finding_behind(("elu",), findings) == "saturated-activation"
    assert candidate_selection.finding_behind(("relu", "he-init"), findings) == "dead-units"
    assert candidate_selection.finding_behind(("he-init",), findings) == "dead-units"
    assert candidate_selection.finding_behind(("muon",), findings) == "dead-units"  # the root, where none names it
    assert candidate_selection.finding_behind(("muon",), []) == ""
