"""Loss curves, layer stacks and gradient profiles of records with noise, gaps and broken values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unvanish.diagnose import layer_stacks
from unvanish.diagnose.gradient_profile import activation_share, gradient_profile
from unvanish.diagnose.run_view import RunView, nanmedian, summarise_losses
from unvanish.record.structure import LAYER_KINDS
from unvanish.report.views import row_selection
from unvanish.testing.records import (
    adversarial_structure,
    falling_loss,
    flat_loss,
    healthy,
    model_structure,
    site_indices,
    with_gradient_slope,
    with_reading,
)


def test_the_summary_of_a_falling_loss() -> None:
    curve = summarise_losses(falling_loss(400, start=2.0, end=0.5))
    assert curve.start == pytest.approx(2.0, rel=0.1)
    assert curve.end == pytest.approx(0.5, rel=0.05)
    assert curve.fall == pytest.approx(0.75, abs=0.03)
    assert 0 < curve.noise < 0.01
    assert curve.finite


def test_the_noise_of_a_loss_curve_is_the_standard_error_of_its_fall() -> None:
    generator = np.random.default_rng(3)
    courses = [summarise_losses(2 + 0.2 * generator.standard_normal(300)) for _ in range(300)]
    measured = np.std([curve.fall for curve in courses])
    assert np.median([curve.noise for curve in courses]) == pytest.approx(measured, rel=0.25)


def test_a_steady_fall_is_not_taken_for_noise() -> None:
    assert summarise_losses(np.linspace(10, 1, 1000)).noise < 0.01


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_loss_that_is_not_finite_is_flagged_and_left_out_of_the_figures(bad: float) -> None:
    losses = falling_loss()
    losses[[3, 50, 199]] = bad
    curve = summarise_losses(losses)
    assert not curve.finite
    assert np.isfinite([curve.start, curve.end, curve.lowest, curve.fall, curve.noise]).all()
    assert not np.isfinite(summarise_losses(np.full(9, bad)).fall)


def test_a_loss_curve_needs_five_losses_of_its_own_objective() -> None:
    assert RunView(healthy(losses=falling_loss(4))).loss_curve() is None
    assert RunView(healthy(losses=falling_loss(5))).loss_curve() is not None
    column = np.where(np.arange(40) % 10 == 0, 1.0, np.nan)
    view = RunView(healthy(adversarial_structure(), losses=np.stack([flat_loss(40), column], axis=1)))
    assert view.loss_curve(0) is not None
    assert view.loss_curve(1) is None
    assert view.loss_curve(7) is None


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=5, max_size=60))
def test_any_losses_have_a_loss_curve(losses: list[float]) -> None:
    assert summarise_losses(np.array(losses)).steps == len(losses)


def test_medians_leave_out_what_is_missing_and_keep_infinities() -> None:
    rows = np.array([[1.0, np.nan, -np.inf], [3.0, np.nan, -np.inf], [np.nan, np.nan, 5.0]])
    assert np.array_equal(nanmedian(rows), [2.0, np.nan, -np.inf], equal_nan=True)
    assert np.isnan(nanmedian(rows[:0])).all()


def test_stacks_are_the_layers_that_one_optimizer_trains_in_order() -> None:
    (only,) = RunView(healthy(model_structure(3))).stacks
    assert (only.objective, only.layers, only.activations) == (0, (0, 2, 4), (1, 3))
    first, second = RunView(healthy(adversarial_structure())).stacks
    assert (first.objective, second.objective) == (0, 1)
    assert (first.layers, second.layers) == ((0, 2, 4), (5, 7, 9))


def test_a_profile_is_relative_to_the_larger_of_the_last_two_layers() -> None:
    run = with_gradient_slope(healthy(), -6.0)
    scaled_head = with_reading(run, "log10_gradient_rms", -9.0, of=[10])
    for case in (run, scaled_head):
        view = RunView(case)
        profile = gradient_profile(view, view.stacks[0])
        assert profile is not None
        assert profile.early_median[0] == pytest.approx(-6.0, abs=1.3)
        assert profile.early_median.max() == pytest.approx(0.0)


def test_a_profile_needs_three_layers() -> None:
    view = RunView(healthy(model_structure(2)))
    assert gradient_profile(view, view.stacks[0]) is None


def test_the_share_of_the_activations_is_what_their_slopes_sum_up_to() -> None:
    run = with_reading(
        with_gradient_slope(healthy(model_structure(op="sigmoid")), -6.0), "log10_slope_rms", -0.9, of=[1, 3, 5, 7, 9]
    )
    view = RunView(run)
    assert activation_share(view, view.stacks[0], -6.0, slice(0, 10)) == pytest.approx(4.5 / 6)
    assert activation_share(view, view.stacks[0], -1.0, slice(0, 10)) == 1.0
    assert activation_share(view, view.stacks[0], 0.5, slice(0, 10)) == 0.0
    relu = RunView(with_gradient_slope(healthy(), -6.0))
    assert activation_share(relu, relu.stacks[0], -6.0, slice(0, 10)) == 0.0


def test_early_and_late_values_are_medians_of_their_samples() -> None:
    run = with_reading(healthy(), "activation_std", 9.0, of=site_indices(healthy(), "activation"), since=40)
    view = RunView(run)
    assert view.early_median("activation_std").tolist() == [1.0] * 11
    assert view.late_median("activation_std")[1] == 9.0
    assert view.first_sampled_step(view.values("activation_std")[:, 1] > 5) == 40
    assert view.first_sampled_step(view.values("activation_std")[:, 1] > 50) is None


def test_diagnosis_and_report_have_the_layer_kinds_of_the_record() -> None:
    assert layer_stacks.LAYER_KINDS is LAYER_KINDS
    assert row_selection.LAYER_KINDS is LAYER_KINDS
