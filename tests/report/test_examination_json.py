"""The JSON of an exact look: totals and shares in decades, what theory said, recurrences, Jacobians; null for what is no number."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from flows import chain, ended, forecast, residual, spectrum, unrolled

from unvanish.record.examination import Examination
from unvanish.record.prediction import Prediction
from unvanish.record.run import Run
from unvanish.report import json_document

ADDED = {"flow", "prediction", "recurrences", "jacobians"}


def said(run: Run, seen: Examination | None) -> dict[str, Any]:
    """The document, as a reader that knows no NaN gets it."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    text = json_document.dumps(json_document.diagnosis(replace(run, examination=seen), []))
    return json.loads(text, parse_constant=refuse)


def test_a_look_adds_its_keys_and_changes_no_other(sick: Run) -> None:
    without, document = said(sick, None), said(sick, Examination(chain(5), forecast(5)))
    assert not ADDED & set(without)
    assert set(document) >= ADDED
    assert {key: document[key] for key in without} == without


def test_shares_add_up_to_the_total(sick: Run) -> None:
    for flow in (chain(5), residual(4)):
        document = said(sick, Examination(flow))["flow"]
        assert document["total"] == json_document.rounded(flow.total)
        for by in ("kinds", "blocks"):
            assert sum(document[by].values()) == pytest.approx(flow.total, abs=1e-4)
        assert (document["source"], document["target"]) == ("output", "input")


def test_the_forecast_is_told_in_the_theorys_figures(sick: Run) -> None:
    told = forecast(5)
    assert said(sick, Examination(chain(5), told))["prediction"] == {
        "decades": json_document.rounded(told.decades),
        "scatter": None,
        "phase": "ordered",
        "trainable_depth": 9.0,
        "weight_scale": 0.58,
        "critical_weight_scale": 1.31,
        "reason": None,
    }


def test_where_there_is_no_forecast_its_reason_stands_alone(sick: Run) -> None:
    document = said(sick, Examination(chain(5), Prediction(None, reason="theory speaks of plain chains")))["prediction"]
    assert document.pop("reason") == "theory speaks of plain chains"
    assert set(document.values()) == {None}
    assert said(sick, Examination(chain(5)))["prediction"] is None


def test_a_depth_without_limit_and_a_gradient_of_zero_are_null(sick: Run) -> None:
    endless = replace(forecast(5), trainable_depth=math.inf)
    document = said(sick, Examination(ended(), endless, (spectrum(zeros=1),)))
    assert document["flow"]["total"] is None
    assert document["prediction"]["trainable_depth"] is None
    assert document["jacobians"][0]["log10_smallest"] is None


def test_recurrences_and_jacobians_are_listed_with_their_names(sick: Run) -> None:
    flow = replace(chain(5), times=(unrolled(30), unrolled(20, slope=0.1, name="back.weight")))
    document = said(sick, Examination(flow, None, (spectrum("net.0"), spectrum())))
    first, second = document["recurrences"]
    assert (first["name"], first["steps"], first["decades_per_step"]) == ("rnn.weight_hh_l0", 30, -0.21)
    assert first["horizon"] == pytest.approx(3 / 0.21, rel=1e-5)
    assert second["horizon"] is None
    assert [each["layer"] for each in document["jacobians"]] == ["net.0", ""]
    assert document["jacobians"][0]["log10_largest"] == 0.5
    assert document["jacobians"][0]["exact"] is True
