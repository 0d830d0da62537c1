"""The JSON of a diagnosis and of a race: schema 1, its keys, and that it is always valid JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from example_runs import NOTED, RACE, VANISHING

from unvanish.record.finding import Finding, Severity
from unvanish.record.run import Run
from unvanish.report import json_document

FINDING_KEYS = {"code", "severity", "confidence", "summary", "sites", "cause", "evidence", "symptoms", "remedies"}
FINDING_KEYS |= {"began", "trend"}


def test_diagnosis_has_exactly_the_keys_of_schema_1(sick: Run) -> None:
    document = json_document.build_diagnosis(sick, [VANISHING, NOTED])
    assert set(document) == {"schema", "healthy", "steps", "overhead", "findings"}
    assert (document["schema"], document["healthy"], document["steps"], document["overhead"]) == (1, False, 300, 0.0075)
    assert all(set(finding) == FINDING_KEYS for finding in document["findings"])
    assert [finding["code"] for finding in document["findings"]] == ["vanishing-gradient", "dead-units"]
    first = document["findings"][0]
    assert first["cause"] == {"code": "saturating-activation", "share": 0.78}
    assert set(first["evidence"][0]) == {"quantity", "value", "unit", "threshold", "source", "site"}
    assert document["findings"][1]["cause"] is None


def test_what_is_not_a_number_becomes_null(sick: Run) -> None:
    assert json_document.build_diagnosis(sick, [VANISHING])["findings"][0]["evidence"][1]["value"] is None
    text = json_document.dumps(json_document.build_diagnosis(replace(sick, race=RACE), [VANISHING]))
    assert json.loads(text)["verdicts"][3]["cost"]["step_time"] is None
    assert "NaN" not in text
    assert "Infinity" not in text


@pytest.mark.parametrize(("findings", "healthy"), [([], True), ([NOTED], True), ([VANISHING], False)])
def test_a_note_leaves_a_run_healthy(sick: Run, findings: list[Finding], healthy: bool) -> None:
    assert json_document.build_diagnosis(sick, findings)["healthy"] is healthy


def test_a_warning_does_not_leave_a_run_healthy(sick: Run) -> None:
    assert not json_document.build_diagnosis(sick, [replace(NOTED, severity=Severity.WARNING)])["healthy"]


def test_race_adds_verdicts_winner_and_patch(raced: Run) -> None:
    document = json_document.build_diagnosis(raced, [VANISHING])
    assert document["winner"] == ["relu", "he-init"]
    assert document["patch"] is None
    verdict = document["verdicts"][1]
    assert verdict == {
        "remedies": ["relu", "he-init"],
        "outcome": "cured",
        "metric": "accuracy",
        "control": 0.101,
        "treated": 0.964,
        "effect": 0.863,
        "interval": [0.843, 0.883],
        "seeds": 3,
        "steps": 300,
        "cost": {"step_time": 0.97, "parameters": 1.0, "flops": None, "memory": 1.0},
    }
    assert document["verdicts"][3]["interval"] is None
    assert json_document.build_diagnosis(raced, [], patch="--- a\n+++ b\n")["patch"] == "--- a\n+++ b\n"


def test_numbers_have_six_significant_digits() -> None:
    assert json_document.round_or_none(0.123456789) == 0.123457
    assert json_document.round_or_none(-6.1000001) == -6.1
    assert json_document.round_or_none(float("inf")) is None


def test_text_is_the_same_for_the_same_document(raced: Run) -> None:
    first, second = (json_document.dumps(json_document.build_diagnosis(raced, [VANISHING])) for _ in range(2))
    assert first == second
    assert json.loads(first) == json_document.build_diagnosis(raced, [VANISHING])
