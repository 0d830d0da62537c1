"""Paired statistics against scipy's own, and at the edges where a formula would mislead."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from unvanish.race.paired import mean_interval, overlap, paired_effect

VALUES = st.lists(st.floats(-1e3, 1e3).map(lambda v: round(v, 3)), min_size=2, max_size=8)


@given(VALUES)
def test_the_interval_is_that_of_the_paired_t_test(differences: list[float]) -> None:
    mean, interval = mean_interval(differences)
    if len(set(differences)) == 1:
        assert interval == pytest.approx((mean, mean))
    else:
        expected = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
        assert interval == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-9)
    assert mean == pytest.approx(np.mean(differences))


@given(VALUES, st.floats(0.01, 100))
def test_the_interval_scales_with_the_differences(differences: list[float], factor: float) -> None:
    _, (low, high) = mean_interval(differences)
    _, scaled = mean_interval([factor * d for d in differences])
    assert scaled == pytest.approx((factor * low, factor * high), rel=1e-6, abs=1e-6)


def test_one_seed_proves_nothing() -> None:
    assert mean_interval([5.0]) == (5.0, (-math.inf, math.inf))
    assert mean_interval([math.inf]) == (math.inf, (-math.inf, math.inf))


def test_equal_differences_have_an_interval_without_width() -> None:
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, (0.5, 0.5))
    assert mean_interval([0.0, 0.0]) == (0.0, (0.0, 0.0))


@pytest.mark.parametrize(
    ("control", "treated", "interval"),
    [
        ((math.inf, math.inf), (1.0, 2.0), (math.inf, math.inf)),
        ((math.nan, math.inf), (1.0, 2.0), (math.inf, math.inf)),
        ((1.0, 2.0), (math.inf, math.nan), (-math.inf, -math.inf)),
        ((math.inf, math.nan), (math.nan, math.inf), (0.0, 0.0)),
        ((math.inf, 2.0), (1.0, 1.0), (-math.inf, math.inf)),
        ((math.inf, 2.0), (1.0, math.inf), (-math.inf, math.inf)),
    ],
)
def test_a_training_that_diverged_is_the_worst_there_is(
    control: tuple[float, ...], treated: tuple[float, ...], interval: tuple[float, float]
) -> None:
    assert paired_effect("loss", control, treated=treated, higher_is_better=False).interval == interval


def test_a_positive_effect_is_always_an_improvement() -> None:
    loss = paired_effect("loss", (2.0, 2.2, 2.4), treated=(1.0, 1.1, 1.2), higher_is_better=False)
    accuracy = paired_effect("accuracy", (0.1, 0.2, 0.3), treated=(0.9, 0.9, 0.9), higher_is_better=True)
    assert loss.effect == pytest.approx(1.1)
    assert loss.interval[0] > 0
    assert accuracy.effect == pytest.approx(0.7)
    assert (accuracy.control, accuracy.treated) == pytest.approx((0.2, 0.9))
    assert (accuracy.control_spread, accuracy.treated_spread) == pytest.approx((0.1, 0.0))


def test_intervals_overlap_where_they_share_a_point() -> None:
    assert overlap((0.0, 1.0), (1.0, 2.0))
    assert overlap((-math.inf, math.inf), (1.0, 2.0))
    assert not overlap((0.0, 1.0), (1.1, 2.0))
