"""Orders findings, the root first: what another one explains becomes its symptom, and no code is ever lost."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unvanish.diagnose import diagnose
from unvanish.diagnose.group_by_root import group_by_root
from unvanish.diagnose.rules import built_in
from unvanish.record.finding import Finding, Severity
from unvanish.testing.records import flat_loss, healthy, site_indices, with_gradient_slope, with_reading

RULES = {rule.code: rule for rule in built_in()}
CRITICAL, WARNING, INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO


def finding(code: str, severity: Severity = CRITICAL, *, began: int | None = None, confidence: float = 0.9) -> Finding:
    return Finding(code, severity, confidence, "summary.", "why", began=began)


def grouped_codes(*findings: Finding) -> list[tuple[str, tuple[str, ...]]]:
    return [(f.code, f.symptoms) for f in group_by_root(findings, RULES)]


def test_a_symptom_is_listed_under_its_root_alone() -> None:
    assert grouped_codes(finding("loss-not-decreasing", WARNING), finding("vanishing-gradient")) == [
        ("vanishing-gradient", ("loss-not-decreasing",))
    ]


def test_what_began_later_is_no_cause() -> None:
    late, early = finding("dead-units", began=40), finding("vanishing-gradient", began=1)
    assert grouped_codes(late, early) == [("vanishing-gradient", ("dead-units",))]
    assert grouped_codes(finding("dead-units", began=1), finding("vanishing-gradient", began=40)) == [
        ("dead-units", ("vanishing-gradient",))
    ]


def test_of_two_that_explain_each_other_the_one_nearer_to_the_root_stays() -> None:
    assert grouped_codes(finding("vanishing-gradient"), finding("dead-units")) == [("dead-units", ("vanishing-gradient",))]


def test_an_info_finding_explains_no_warning() -> None:
    assert grouped_codes(finding("vanishing-gradient", INFO), finding("loss-not-decreasing", WARNING)) == [
        ("loss-not-decreasing", ()),
        ("vanishing-gradient", ()),
    ]


def test_what_a_symptom_explained_becomes_a_symptom_of_the_root() -> None:
    codes = grouped_codes(
        finding("dead-units", began=40), finding("vanishing-gradient", began=1), finding("learning-rate-too-low", began=50)
    )
    assert [code for code, _ in codes] == ["vanishing-gradient"]
    assert set(codes[0][1]) == {"dead-units", "learning-rate-too-low"}


def test_two_findings_with_one_code_keep_their_own_symptoms() -> None:
    first, second = finding("vanishing-gradient", began=1), finding("vanishing-gradient", began=90)
    codes = grouped_codes(first, second, finding("dead-units", WARNING, began=40))
    assert sorted(codes) == [("vanishing-gradient", ()), ("vanishing-gradient", ("dead-units",))]


def test_findings_are_ordered_by_severity_then_rank_then_confidence() -> None:
    grouped = group_by_root(
        [
            finding("loss-not-decreasing", INFO),
            finding("disconnected-parameter", WARNING, confidence=0.5),
            finding("exploding-gradient", began=9, confidence=0.8),
            finding("exploding-gradient", began=9, confidence=0.9),
        ],
        RULES,
    )
    assert [(f.code, f.confidence) for f in grouped] == [
        ("exploding-gradient", 0.9),
        ("exploding-gradient", 0.8),
        ("disconnected-parameter", 0.5),
    ]


FINDINGS = st.builds(
    finding,
    st.sampled_from(sorted(RULES)),
    st.sampled_from(list(Severity)),
    began=st.none() | st.integers(1, 5),
    confidence=st.sampled_from([0.5, 0.7, 0.9]),
)


@given(st.lists(FINDINGS, max_size=8))
def test_no_code_is_lost_and_none_is_its_own_symptom(findings: list[Finding]) -> None:
    grouped = group_by_root(findings, RULES)
    named = {f.code for f in grouped} | {code for f in grouped for code in f.symptoms}
    withdrawn = {f.code for f in findings} - named
    assert named <= {f.code for f in findings}
    assert all(RULES[code].last_resort for code in withdrawn)
    assert bool(grouped) == bool(findings)
    loudest = [f.severity for f in grouped]
    assert loudest == sorted(loudest, key=list(reversed(Severity)).index)


def test_a_last_resort_is_dropped_where_there_is_another_finding() -> None:
    assert grouped_codes(finding("underfitting"), finding("vanishing-gradient")) == [("vanishing-gradient", ())]
    assert grouped_codes(finding("underfitting"), finding("vanishing-gradient", INFO)) == [
        ("underfitting", ()),
        ("vanishing-gradient", ()),
    ]


def test_a_last_resort_that_is_explained_stays_as_a_symptom() -> None:
    assert grouped_codes(finding("gradient-noise", began=1), finding("shattered-gradient", began=9)) == [
        ("shattered-gradient", ("gradient-noise",))
    ]


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_the_order_of_the_findings_changes_nothing(order: tuple[int, ...]) -> None:
    findings = [finding("vanishing-gradient"), finding("symmetric-init"), finding("loss-not-decreasing", WARNING)]
    expected = [("symmetric-init", ("vanishing-gradient", "loss-not-decreasing"))]
    assert grouped_codes(*(findings[i] for i in order)) == expected


def test_a_run_with_one_root_and_its_consequences_has_one_finding() -> None:
    stuck = with_gradient_slope(healthy(losses=flat_loss()), -7.0)
    stuck = with_reading(stuck, "log10_update_rms", -7.0)
    stuck = with_reading(stuck, "silent_fraction", 1.0, of=site_indices(stuck, "activation")[:1], since=40)
    (root,) = diagnose(stuck)
    assert root.code == "vanishing-gradient"
    assert set(root.symptoms) == {"dead-units", "learning-rate-too-low", "loss-not-decreasing"}
