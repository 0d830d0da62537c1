"""Numbers that a result consists of."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unvanish.trials.trial_result import MAX_CURVE_POINTS, downsample, final_loss


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([1.0] * 90 + [0.5] * 10, 0.5),
        ([3.0, 1.0], 1.0),
        ([1.0, np.inf, np.inf], math.inf),
        ([1.0] * 10 + [0.4, np.inf] * 5, 0.4),
        ([], math.nan),
    ],
)
def test_the_final_loss_is_the_mean_of_the_finite_ones_in_the_last_tenth(losses: list[float], expected: float) -> None:
    assert final_loss(np.array(losses)) == pytest.approx(expected, nan_ok=True)


def test_a_long_curve_is_thinned_to_block_means() -> None:
    curve = downsample(np.arange(1000.0))
    assert len(curve) == MAX_CURVE_POINTS
    assert curve[0] == 2.0
    assert np.mean(curve) == pytest.approx(499.5)
    assert downsample(np.array([1.0, 2.0])) == (1.0, 2.0)
    assert downsample(np.zeros(0)) == ()
