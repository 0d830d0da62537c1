"""The catalogue of activations: derivatives against differences, kinks where the slope jumps, tolerant names."""

from __future__ import annotations

import numpy as np
import pytest
from activations import CATALOGUE, label

from unvanish.errors import UsageError
from unvanish.theory.nonlinearity import Nonlinearity, find_nonlinearity, nonlinearity, nonlinearity_names, second_derivative

PLACES = np.linspace(-6.0, 6.0, 97) + 0.0123  # off every kink
STEP = 1e-5


def central_difference(function: object, x: np.ndarray) -> np.ndarray:
    """The central difference of a function."""
    return (function(x + STEP) - function(x - STEP)) / (2.0 * STEP)  # type: ignore[operator]


@pytest.mark.parametrize("phi", CATALOGUE, ids=label)
def test_the_derivative_is_the_slope(phi: Nonlinearity) -> None:
    np.testing.assert_allclose(phi.derivative(PLACES), central_difference(phi.function, PLACES), atol=1e-9)


@pytest.mark.parametrize("phi", [phi for phi in CATALOGUE if phi.second], ids=label)
def test_the_second_derivative_is_the_slope_of_the_slope(phi: Nonlinearity) -> None:
    np.testing.assert_allclose(second_derivative(phi)(PLACES), central_difference(phi.derivative, PLACES), atol=1e-9)


@pytest.mark.parametrize("phi", CATALOGUE, ids=label)
def test_a_slope_that_jumps_has_a_kink_there_and_no_second_derivative(phi: Nonlinearity) -> None:
    jumps = [
        kink for kink in phi.kinks if abs(phi.derivative(np.array(kink + 1e-9)) - phi.derivative(np.array(kink - 1e-9))) > 1e-6
    ]
    assert (phi.second is None) == bool(jumps)


@pytest.mark.parametrize("phi", CATALOGUE, ids=label)
def test_extreme_arguments_neither_overflow_nor_lose_their_sign(phi: Nonlinearity) -> None:
    far = np.array([-1e6, -800.0, 800.0, 1e6])
    for function in filter(None, (phi.function, phi.derivative, phi.second)):
        assert np.isfinite(function(far)).all()
    assert (phi.derivative(far[2:]) >= 0.0).all()


@pytest.mark.parametrize("written", ["LeakyReLU", "leaky_relu", "leaky-relu", "LEAKY RELU"])
def test_names_in_torchs_spelling_are_found(written: str) -> None:
    assert nonlinearity(written, slope=0.2) == nonlinearity("leaky-relu", slope=0.2)
    assert nonlinearity(written) != nonlinearity("leaky-relu", slope=0.2)


def test_every_name_is_its_own() -> None:
    assert [nonlinearity(name).name for name in nonlinearity_names()] == list(nonlinearity_names())
    assert len(nonlinearity_names()) == 17


@pytest.mark.parametrize(
    ("written", "name"), [("Identity", "linear"), ("hardswish", "hard-swish"), ("ReLU6", "relu6"), ("swish", "silu")]
)
def test_other_names_of_an_activation_find_it(written: str, name: str) -> None:
    assert find_nonlinearity(written) == nonlinearity(name)


@pytest.mark.parametrize("written", ["softmax", "prelu", ""])
def test_what_is_not_in_the_catalogue_is_not_found(written: str) -> None:
    assert find_nonlinearity(written) is None


@pytest.mark.parametrize(
    ("name", "values"),  # at -4, -1, 2 and 7, by hand from PyTorch's documentation
    [
        ("relu6", (0.0, 0.0, 2.0, 6.0)),
        ("hard-sigmoid", (0.0, 1.0 / 3.0, 5.0 / 6.0, 1.0)),
        ("hard-swish", (0.0, -1.0 / 3.0, 5.0 / 3.0, 7.0)),
        ("hard-tanh", (-1.0, -1.0, 1.0, 1.0)),
    ],
)
def test_piecewise_activations_have_their_values(name: str, values: tuple[float, ...]) -> None:
    np.testing.assert_allclose(nonlinearity(name).function(np.array([-4.0, -1.0, 2.0, 7.0])), values, atol=1e-15)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'sigmoid'"):
        nonlinearity("sigmod")


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("tanh", {"slope": 0.1}, "takes none"),
        ("elu", {"slope": 0.1}, "takes alpha"),
        ("elu", {"alpha": float("nan")}, "finite"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(name: str, settings: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        nonlinearity(name, **settings)


def test_a_jumping_slope_has_no_second_derivative_to_give() -> None:
    with pytest.raises(UsageError, match="jumps"):
        second_derivative(nonlinearity("relu"))
