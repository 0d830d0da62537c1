"""Dataclasses survive the way to JSON and back, and what does not fit is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unvanish.errors import RecordError
from unvanish.record.finding import Finding
from unvanish.record.gradient_flow import FlowOp, Junction, TimeProfile
from unvanish.record.network_changes import Change, Edit, Prescription
from unvanish.record.races.candidate import Candidate
from unvanish.record.races.verdict import Effect, Outcome, RaceResult, TrialResult, Verdict
from unvanish.record.run import Facts
from unvanish.record.storage.serialisation import from_plain, to_plain
from unvanish.record.structure import ModelStructure, Site
from unvanish.record.theory_prediction import Prediction

KINDS = (ModelStructure, Facts, Finding, FlowOp, Junction, Prediction, Prescription, TimeProfile, TrialResult, Verdict, RaceResult)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.one_of([st.from_type(kind) for kind in KINDS]))
def test_every_document_survives_the_way_to_json_and_back(value: Any) -> None:
    back = from_plain(type(value), json.loads(json.dumps(to_plain(value))))
    assert repr(back) == repr(value)  # which, unlike ==, knows NaN


def test_none_and_nan_and_nested_tuples_survive() -> None:
    effect = Effect("accuracy", True, 0.1, float("nan"), float("inf"), (-0.5, float("-inf")))
    race = RaceResult("train.py", (), None, (effect,), (), "Nothing helped.")
    assert repr(from_plain(RaceResult, json.loads(json.dumps(to_plain(race))))) == repr(race)


def test_an_enum_comes_back_as_itself() -> None:
    assert from_plain(Verdict, to_plain(Verdict(Candidate(), Outcome.CURED, (), 3, 10, None, ""))).outcome is Outcome.CURED  # type: ignore[arg-type]


def test_a_callable_is_left_out() -> None:
    assert to_plain(Change(("relu",), (Edit("replace", "1", "a", "b"),), lambda: None)) == {
        "remedies": ["relu"],
        "edits": [{"action": "replace", "path": "1", "before": "a", "after": "b", "calls": [], "target": "network", "values": []}],
    }


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        pytest.param(Facts, {"script": "a.py", "from_the_future": 1}, id="a field that nobody knows"),
        pytest.param(Site, {"network": 0}, id="a field that is missing"),
        pytest.param(Facts, {"versions": [["torch"]]}, id="a pair of one"),
        pytest.param(Facts, {"threads": "many"}, id="a word for a number"),
        pytest.param(Facts, ["a.py"], id="a list for a dataclass"),
        pytest.param(Facts, "a.py", id="a word for a dataclass"),
        pytest.param(Verdict, {"outcome": "miraculous"}, id="an outcome that does not exist"),
    ],
)
def test_what_does_not_fit_is_a_record_error(kind: type, plain: Any) -> None:
    with pytest.raises(RecordError, match=f"a {kind.__name__} that cannot be read"):
        from_plain(kind, plain)
