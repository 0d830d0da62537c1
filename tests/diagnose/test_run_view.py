"""The course of a loss and the chains of layers, read off records with noise, gaps and broken values."""

from __future__ import annotations

import numpy as np
import pytest
from handmade_runs import anatomy, falling, flat, healthy, kinds, opponents, reading, slope
from hypothesis import given
from hypothesis import strategies as st

from unvanish.diagnose.gradient_profile import activation_share, profile
from unvanish.diagnose.run_view import RunView, course_of, nanmedian


def test_the_course_of_a_falling_loss() -> None:
    course = course_of(falling(400, start=2.0, end=0.5))
    assert course.start == pytest.approx(2.0, rel=0.1)
    assert course.end == pytest.approx(0.5, rel=0.05)
    assert course.fall == pytest.approx(0.75, abs=0.03)
    assert 0 < course.noise < 0.01
    assert course.finite


def test_the_noise_of_a_course_is_the_standard_error_of_its_fall() -> None:
    generator = np.random.default_rng(3)
    courses = [course_of(2 + 0.2 * generator.standard_normal(300)) for _ in range(300)]
    measured = np.std([course.fall for course in courses])
    assert np.median([course.noise for course in courses]) == pytest.approx(measured, rel=0.25)


def test_a_steady_fall_is_not_taken_for_noise() -> None:
    assert course_of(np.linspace(10, 1, 1000)).noise < 0.01


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_broken_loss_is_seen_and_left_out_of_the_figures(bad: float) -> None:
    losses = falling()
    losses[[3, 50, 199]] = bad
    course = course_of(losses)
    assert not course.finite
    assert np.isfinite([course.start, course.end, course.lowest, course.fall, course.noise]).all()
    assert not np.isfinite(course_of(np.full(9, bad)).fall)


def test_a_course_needs_five_losses_of_its_own_objective() -> None:
    assert RunView(healthy(losses=falling(4))).course() is None
    assert RunView(healthy(losses=falling(5))).course() is not None
    column = np.where(np.arange(40) % 10 == 0, 1.0, np.nan)
    chart = RunView(healthy(opponents(), losses=np.stack([flat(40), column], axis=1)))
    assert chart.course(0) is not None
    assert chart.course(1) is None
    assert chart.course(7) is None


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=5, max_size=60))
def test_a_course_comes_of_any_losses(losses: list[float]) -> None:
    assert course_of(np.array(losses)).steps == len(losses)


def test_medians_leave_out_what_is_missing_and_keep_infinities() -> None:
    rows = np.array([[1.0, np.nan, -np.inf], [3.0, np.nan, -np.inf], [np.nan, np.nan, 5.0]])
    assert np.array_equal(nanmedian(rows), [2.0, np.nan, -np.inf], equal_nan=True)
    assert np.isnan(nanmedian(rows[:0])).all()


def test_chains_are_the_layers_that_one_optimizer_trains_in_order() -> None:
    (only,) = RunView(healthy(anatomy(3))).chains
    assert (only.objective, only.layers, only.activations) == (0, (0, 2, 4), (1, 3))
    first, second = RunView(healthy(opponents())).chains
    assert (first.objective, second.objective) == (0, 1)
    assert (first.layers, second.layers) == ((0, 2, 4), (5, 7, 9))


def test_a_profile_is_relative_to_the_larger_of_the_last_two_layers() -> None:
    run = slope(healthy(), -6.0)
    scaled_head = reading(run, "log10_gradient_rms", -9.0, of=[10])
    for case in (run, scaled_head):
        chart = RunView(case)
        seen = profile(chart, chart.chains[0])
        assert seen is not None
        assert seen.early[0] == pytest.approx(-6.0, abs=1.3)
        assert seen.early.max() == pytest.approx(0.0)


def test_a_profile_needs_three_layers() -> None:
    chart = RunView(healthy(anatomy(2)))
    assert profile(chart, chart.chains[0]) is None


def test_the_share_of_the_activations_is_what_their_slopes_sum_up_to() -> None:
    run = reading(slope(healthy(anatomy(op="sigmoid")), -6.0), "log10_slope_rms", -0.9, of=[1, 3, 5, 7, 9])
    chart = RunView(run)
    assert activation_share(chart, chart.chains[0], -6.0, slice(0, 10)) == pytest.approx(4.5 / 6)
    assert activation_share(chart, chart.chains[0], -1.0, slice(0, 10)) == 1.0
    assert activation_share(chart, chart.chains[0], 0.5, slice(0, 10)) == 0.0
    relu = RunView(slope(healthy(), -6.0))
    assert activation_share(relu, relu.chains[0], -6.0, slice(0, 10)) == 0.0


def test_early_and_late_values_are_medians_of_their_samples() -> None:
    run = reading(healthy(), "activation_std", 9.0, of=kinds(healthy(), "activation"), since=40)
    chart = RunView(run)
    assert chart.early("activation_std").tolist() == [1.0] * 11
    assert chart.late("activation_std")[1] == 9.0
    assert chart.sampled_step(chart.values("activation_std")[:, 1] > 5) == 40
    assert chart.sampled_step(chart.values("activation_std")[:, 1] > 50) is None
