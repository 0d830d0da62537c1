"""Odd runs, each of which happens: none may break the report, whatever was or was not measured."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from example_runs import FACTS, RACE, SCRIPT, VANISHING, make_broken_run, make_run
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rich.console import Console

from unvanish.record.finding import Finding
from unvanish.record.run import Run
from unvanish.record.structure import ModelStructure
from unvanish.report import json_document
from unvanish.report.page import run_page
from unvanish.report.terminal import run_report
from unvanish.report.views.verdict_card import State, build_verdict_card

NOTHING = Run(FACTS, ModelStructure(), np.zeros(0, np.int64), {}, np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 0)))
ODD: dict[str, Callable[[], Run]] = {
    "nothing at all": lambda: NOTHING,
    "no sampled step": lambda: replace(make_run(), sampled=np.zeros(0, np.int64), readings={}),
    "one step": lambda: make_run(steps=1, sampled=[1]),
    "one layer": lambda: make_run(depth=1),
    "one activation, saturated": lambda: make_run(depth=2, saturated=0.9),
    "no readings": lambda: replace(make_run(), readings={}),
    "no loss": lambda: replace(make_run(), losses=np.zeros((300, 0))),
    "two losses": lambda: replace(make_run(), losses=np.column_stack([np.linspace(2, 1, 300), np.full(300, np.nan)])),
    "broken at once": lambda: make_broken_run(at=1),
    "losses beyond measure": lambda: make_run(losses=lambda step: np.where(step > 200, 1e300, 1e-300)),
    "structure larger than the readings": lambda: replace(make_run(depth=4), structure=make_run(depth=9).structure),
    "race that nothing won": lambda: replace(make_run(), race=replace(RACE, winner=None)),
    "race of failures": lambda: replace(make_run(), race=replace(RACE, winner=None, verdicts=RACE.verdicts[3:], control=())),
    "race of nobody": lambda: replace(make_run(), race=replace(RACE, winner=None, verdicts=())),
}


BARE = replace(VANISHING, sites=(), evidence=(), location=None, cause=None, remedies=(), advice="")


def report(run: Run, *findings: Finding) -> str:
    """The page, once the terminal's report and the JSON have been made too."""
    Console(file=io.StringIO(), width=80).print(run_report.render(run, findings, script=SCRIPT))
    json.loads(json_document.dumps(json_document.build_diagnosis(run, findings)))
    return run_page.render_page(run, findings)


@pytest.mark.parametrize("findings", [(), (VANISHING,), (BARE,)], ids=["healthy", "sick", "bare"])
@pytest.mark.parametrize("name", ODD)
def test_unusual_runs_have_a_report(name: str, findings: tuple[Finding, ...]) -> None:
    assert report(ODD[name](), *findings).endswith("</html>\n")


def test_no_steps_are_not_called_healthy() -> None:
    assert build_verdict_card(NOTHING, []).state is State.UNKNOWN


LOGARITHM = st.sampled_from([0.0, -3.5, 2.0, 30.0, np.nan, np.inf, -np.inf])
ELEMENTS = {
    "activation_std": st.sampled_from([0.0, 0.1, 1e30, np.nan, np.inf]),
    "zero_fraction": st.sampled_from([0.0, 0.5, 1.0, np.nan]),
    "saturated_fraction": st.sampled_from([0.0, 0.5, 1.0, np.nan]),
    "gradient_nonfinite": st.sampled_from([0.0, 1.0, np.nan]),
    "nonfinite_count": st.sampled_from([0.0, 7.0, np.nan]),
}


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_reading_has_a_report(data: st.DataObject) -> None:
    run = make_run(depth=3, steps=12, sampled=[1, 2, 3, 12])
    readings = {
        name: data.draw(arrays(np.float64, values.shape, elements=ELEMENTS.get(name, LOGARITHM)))
        for name, values in run.readings.items()
    }
    losses = data.draw(arrays(np.float64, (12, 1), elements=LOGARITHM))
    assert report(replace(run, readings=readings, losses=losses), VANISHING).endswith("</html>\n")
