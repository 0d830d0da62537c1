"""Paired statistics against scipy's own, and at the edges where a formula would mislead."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from unvanish.race.paired_statistics import mean_interval, overlap, paired_effect, separated_interval

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


@given(st.lists(st.floats(0, 1), min_size=6, max_size=8), st.lists(st.floats(2, 1e6), min_size=8, max_size=8), st.integers(1, 20))
def test_sides_that_are_parted_have_the_extremes_of_all_differences(low: list[float], high: list[float], tests: int) -> None:
    high = high[: len(low)]
    expected = (min(high) - max(low), max(high) - min(low))
    assert separated_interval(low, high, tests=tests) == pytest.approx(expected)
    assert separated_interval(high, low, tests=tests) == pytest.approx((-expected[1], -expected[0]))
    assert separated_interval(high, [*low[1:], 1e7], tests=tests) is None


def test_the_chance_that_alike_sides_are_parted_is_that_of_the_rank_test() -> None:
    for count in (3, 4, 5, 6):
        exact = stats.mannwhitneyu(range(count, 2 * count), range(count), alternative="greater", method="exact").pvalue
        most = int(0.025 / exact)  # tests at once
        sides = [float(v) for v in range(count)], [float(v) for v in range(count, 2 * count)]
        assert most == 0 or separated_interval(*sides, tests=most) is not None
        assert separated_interval(*sides, tests=most + 1) is None


def test_one_wild_seed_does_not_hide_what_every_seed_shows() -> None:
    control, treated = (0.64, 0.02, 0.61, 0.63, 0.64, 0.62), (0.91, 0.92, 0.91, 0.93, 0.91, 0.92)
    assert mean_interval(np.subtract(treated, control).tolist(), tests=12)[1][0] < 0
    effect = paired_effect("accuracy", control, treated=treated, higher_is_better=True, tests=12)
    assert effect.interval == pytest.approx((0.27, 0.91))
    diverged = paired_effect(
        "loss", (math.inf, 3e8, 420.0, math.nan, 5.0, 9.0), treated=(0.4,) * 6, higher_is_better=False, tests=12
    )
    assert diverged.interval == (pytest.approx(4.6), math.inf)


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
