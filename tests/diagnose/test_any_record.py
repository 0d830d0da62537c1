"""Whatever a record lacks, diagnosing it raises nothing, says the same twice, and says it in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from examinations import flow, recurrence, told
from handmade_runs import SAMPLED, anatomy, falling, flat, healthy, opponents, owned, reading, slope
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unvanish.diagnose import diagnose
from unvanish.record.examination import Examination
from unvanish.record.run import Run
from unvanish.record.structure import ModelStructure, Network

BAD = (np.nan, np.inf, -np.inf, 0.0, 1.0, -7.0, 1e30)
BAD_COUNTS = (np.nan, 0.0, 1.0, 1e9)
COUNTS = ("nonfinite_count", "gradient_nonfinite")
STRUCTURES = (
    ModelStructure(),
    ModelStructure((Network("net", "Net"),)),
    anatomy(1),
    anatomy(4, "sigmoid"),
    anatomy(6, "tanh", normalised=True, merges=3),
    opponents(),
    replace(anatomy(4), sites=tuple(s for s in anatomy(4).sites if s.kind == "activation")),
    replace(anatomy(4), parameters=(), sites=tuple(replace(s, parameters=()) for s in anatomy(4).sites)),
    replace(anatomy(4), groups=(), parameters=tuple(replace(p, group=None) for p in anatomy(4).parameters)),
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
    st.none() | st.builds(told, st.none() | DECADES, scale=st.sampled_from([0.0, 1.0, math.nan, math.inf])),
)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """Runs of any structure, with values missing or broken anywhere, in any number of samples."""
    structure = draw(st.sampled_from(STRUCTURES))
    samples = draw(st.sampled_from([0, 1, 2, 5, len(SAMPLED)]))
    steps = draw(st.sampled_from([0, 1, 4, 5, 60, 200]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    objectives = draw(st.integers(1, 3))
    losses = np.stack([draw(st.sampled_from([falling, flat]))(max(steps, 1))[:steps]] * objectives, axis=1)
    share = draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    run = healthy(structure, losses=spoilt(losses, share, generator), sampled=SAMPLED[:samples])
    bad = {name: BAD_COUNTS if name in COUNTS else BAD for name in run.readings}
    readings = {name: spoilt(matrix, share, generator, bad[name]) for name, matrix in run.readings.items()}
    return replace(run, readings=readings, examination=draw(st.none() | EXAMINATIONS))


def spoilt(matrix: np.ndarray, share: float, generator: np.random.Generator, bad: Sequence[float] = BAD) -> np.ndarray:
    """A copy in which about that share of the values is bad; whole columns too, now and then."""
    mask = generator.random(matrix.shape) < share
    if matrix.ndim == 2 and share:
        mask |= generator.random(matrix.shape[1]) < share / 2
    return np.where(mask, generator.choice(bad, matrix.shape), matrix)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(runs())
def test_any_record_is_diagnosed_the_same_twice(run: Run) -> None:
    found = diagnose(run)
    assert repr(diagnose(run)) == repr(found)
    for finding in found:
        assert finding.summary
        assert 0 <= finding.confidence <= 1
        assert len(set(finding.sites)) == len(finding.sites)


def test_a_record_without_samples_has_no_findings() -> None:
    assert diagnose(healthy(sampled=())) == []


@given(k=st.floats(-20, 20), decades=st.floats(-12, 2.9))
def test_scaling_all_gradients_changes_nothing_about_a_vanishing_one(k: float, decades: float) -> None:
    run = slope(healthy(losses=flat()), decades)
    scaled = reading(run, "log10_gradient_rms", run.readings["log10_gradient_rms"][0] + k)
    before, after = diagnose(run), diagnose(scaled)
    assert [(f.code, f.severity, f.sites, f.cause, f.symptoms) for f in before] == [
        (f.code, f.severity, f.sites, f.cause, f.symptoms) for f in after
    ]


@given(st.permutations(range(6)))
def test_the_order_of_parameters_changes_nothing(order: list[int]) -> None:
    run = slope(healthy(losses=flat()), -7.0)
    parameters = tuple(run.anatomy.parameters[i] for i in order)
    sites = tuple(replace(s, parameters=tuple(order.index(p) for p in s.parameters)) for s in run.anatomy.sites)
    moved = replace(run, anatomy=replace(run.anatomy, parameters=parameters, sites=sites))
    assert [f.code for f in diagnose(moved)] == [f.code for f in diagnose(run)]


@pytest.mark.parametrize("registered", [True, False])
def test_a_run_in_which_no_optimizer_ever_stepped_is_not_called_disconnected(registered: bool) -> None:
    assert diagnose(owned(healthy(), None, of=range(6), registered=registered)) == []
