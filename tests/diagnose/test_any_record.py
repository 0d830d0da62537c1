"""Properties of `diagnose` on any record, however incomplete: no exception, the same findings twice, no empty text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from examinations import flow, predicted, recurrence
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unvanish.diagnose import diagnose
from unvanish.record.examination import Examination
from unvanish.record.run import Run
from unvanish.record.structure import ModelStructure, Network
from unvanish.testing.records import (
    SAMPLED_STEPS,
    adversarial_structure,
    falling_loss,
    flat_loss,
    healthy,
    model_structure,
    with_gradient_slope,
    with_owner,
    with_reading,
)

BAD = (np.nan, np.inf, -np.inf, 0.0, 1.0, -7.0, 1e30)
BAD_COUNTS = (np.nan, 0.0, 1.0, 1e9)
COUNTS = ("nonfinite_count", "gradient_nonfinite")
STRUCTURES = (
    ModelStructure(),
    ModelStructure((Network("net", "Net"),)),
    model_structure(1),
    model_structure(4, "sigmoid"),
    model_structure(6, "tanh", normalised=True, merges=3),
    adversarial_structure(),
    replace(model_structure(4), sites=tuple(s for s in model_structure(4).sites if s.kind == "activation")),
    replace(model_structure(4), parameters=(), sites=tuple(replace(s, parameters=()) for s in model_structure(4).sites)),
    replace(model_structure(4), groups=(), parameters=tuple(replace(p, group=None) for p in model_structure(4).parameters)),
)

DECADES = st.sampled_from([0.0, -7.0, 7.0, math.nan, math.inf, -math.inf])
EXAMINATIONS = st.builds(
    Examination,
    st.builds(
        flow,
        DECADES,
        DECADES,
        activation=st.sampled_from(["relu", "tanh"]),
        times=st.lists(st.builds(recurrence, DECADES, own=st.none() | DECADES, gated=st.booleans()), max_size=2).map(tuple),
    ),
    st.none() | st.builds(predicted, st.none() | DECADES, scale=st.sampled_from([0.0, 1.0, math.nan, math.inf])),
)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """Runs of any structure, with values missing or broken anywhere, in any number of samples."""
    structure = draw(st.sampled_from(STRUCTURES))
    samples = draw(st.sampled_from([0, 1, 2, 5, len(SAMPLED_STEPS)]))
    steps = draw(st.sampled_from([0, 1, 4, 5, 60, 200]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    objectives = draw(st.integers(1, 3))
    losses = np.stack([draw(st.sampled_from([falling_loss, flat_loss]))(max(steps, 1))[:steps]] * objectives, axis=1)
    share = draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    run = healthy(structure, losses=corrupt(losses, share, generator), sampled=SAMPLED_STEPS[:samples])
    bad = {name: BAD_COUNTS if name in COUNTS else BAD for name in run.readings}
    readings = {name: corrupt(matrix, share, generator, bad[name]) for name, matrix in run.readings.items()}
    return replace(run, readings=readings, examination=draw(st.none() | EXAMINATIONS))


def corrupt(matrix: np.ndarray, share: float, generator: np.random.Generator, bad: Sequence[float] = BAD) -> np.ndarray:
    """A copy in which about that share of the values is bad; whole columns too, now and then."""
    mask = generator.random(matrix.shape) < share
    if matrix.ndim == 2 and share:
        mask |= generator.random(matrix.shape[1]) < share / 2
    return np.where(mask, generator.choice(bad, matrix.shape), matrix)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(runs())
def test_any_record_is_diagnosed_the_same_twice(run: Run) -> None:
    findings = diagnose(run)
    assert repr(diagnose(run)) == repr(findings)
    for finding in findings:
        assert finding.summary
        assert 0 <= finding.confidence <= 1
        assert len(set(finding.sites)) == len(finding.sites)


def test_a_record_without_samples_has_no_findings() -> None:
    assert diagnose(healthy(sampled=())) == []


@given(k=st.floats(-20, 20), decades=st.floats(-12, 2.9))
def test_scaling_all_gradients_changes_nothing_about_a_vanishing_one(k: float, decades: float) -> None:
    run = with_gradient_slope(healthy(losses=flat_loss()), decades)
    scaled = with_reading(run, "log10_gradient_rms", run.readings["log10_gradient_rms"][0] + k)
    before, after = diagnose(run), diagnose(scaled)
    assert [(f.code, f.severity, f.sites, f.cause, f.symptoms) for f in before] == [
        (f.code, f.severity, f.sites, f.cause, f.symptoms) for f in after
    ]


@given(st.permutations(range(6)))
def test_the_order_of_parameters_changes_nothing(order: list[int]) -> None:
    run = with_gradient_slope(healthy(losses=flat_loss()), -7.0)
    parameters = tuple(run.structure.parameters[i] for i in order)
    sites = tuple(replace(s, parameters=tuple(order.index(p) for p in s.parameters)) for s in run.structure.sites)
    moved = replace(run, structure=replace(run.structure, parameters=parameters, sites=sites))
    assert [f.code for f in diagnose(moved)] == [f.code for f in diagnose(run)]


@pytest.mark.parametrize("registered", [True, False])
def test_a_run_in_which_no_optimizer_ever_stepped_is_not_called_disconnected(registered: bool) -> None:
    assert diagnose(with_owner(healthy(), None, of=range(6), registered=registered)) == []
