"""The JSON of an examination: totals and shares in decades, prediction, recurrences and Jacobians; null for what is no number."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from example_flows import make_blocked_chain, make_chain, make_prediction, make_residual, make_spectrum, make_time_profile

from unvanish.record.examination import Examination
from unvanish.record.run import Run
from unvanish.record.theory_prediction import Prediction
from unvanish.report import json_document

ADDED = {"flow", "prediction", "recurrences", "jacobians"}


def read_document(run: Run, examination: Examination | None) -> dict[str, Any]:
    """The document as a parser reads it that accepts no NaN."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    text = json_document.dumps(json_document.build_diagnosis(replace(run, examination=examination), []))
    return json.loads(text, parse_constant=refuse)


def test_an_examination_adds_its_keys_and_changes_no_other(sick: Run) -> None:
    without, document = read_document(sick, None), read_document(sick, Examination(make_chain(5), make_prediction(5)))
    assert not ADDED & set(without)
    assert set(document) >= ADDED
    assert {key: document[key] for key in without} == without


def test_shares_add_up_to_the_total(sick: Run) -> None:
    for flow in (make_chain(5), make_residual(4)):
        document = read_document(sick, Examination(flow))["flow"]
        assert document["total"] == json_document.round_or_none(flow.total)
        for by in ("kinds", "blocks"):
            assert sum(document[by].values()) == pytest.approx(flow.total, abs=1e-4)
        assert (document["source"], document["target"]) == ("output", "input")


def test_the_prediction_has_the_values_of_the_theory(sick: Run) -> None:
    prediction = make_prediction(5)
    assert read_document(sick, Examination(make_chain(5), prediction))["prediction"] == {
        "decades": json_document.round_or_none(prediction.decades),
        "scatter": None,
        "phase": "ordered",
        "trainable_depth": 9.0,
        "weight_scale": 0.58,
        "critical_weight_scale": 1.31,
        "reason": None,
    }


def test_without_a_prediction_only_the_reason_is_given(sick: Run) -> None:
    document = read_document(sick, Examination(make_chain(5), Prediction(None, reason="theory speaks of plain chains")))[
        "prediction"
    ]
    assert document.pop("reason") == "theory speaks of plain chains"
    assert set(document.values()) == {None}
    assert read_document(sick, Examination(make_chain(5)))["prediction"] is None


def test_a_depth_without_limit_and_a_gradient_of_zero_are_null(sick: Run) -> None:
    endless = replace(make_prediction(5), trainable_depth=math.inf)
    document = read_document(sick, Examination(make_blocked_chain(), endless, (make_spectrum(zeros=1),)))
    assert document["flow"]["total"] is None
    assert document["prediction"]["trainable_depth"] is None
    assert document["jacobians"][0]["log10_smallest"] is None


def test_recurrences_and_jacobians_are_listed_with_their_names(sick: Run) -> None:
    flow = replace(make_chain(5), times=(make_time_profile(30), make_time_profile(20, slope=0.1, name="back.weight")))
    document = read_document(sick, Examination(flow, None, (make_spectrum("net.0"), make_spectrum())))
    first, second = document["recurrences"]
    assert (first["name"], first["steps"], first["decades_per_step"]) == ("rnn.weight_hh_l0", 30, -0.21)
    assert first["horizon"] == pytest.approx(3 / 0.21, rel=1e-5)
    assert second["horizon"] is None
    assert [jacobian["layer"] for jacobian in document["jacobians"]] == ["net.0", ""]
    assert document["jacobians"][0]["log10_largest"] == 0.5
    assert document["jacobians"][0]["exact"] is True
