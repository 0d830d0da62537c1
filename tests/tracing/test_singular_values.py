"""The Jacobian's singular values against dense Jacobians, known spectra, and mean-field theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from spectrum_oracles import (
    deep_network,
    layer_with_singular_values,
    linear_layer,
    log10_values,
    seeded,
    singular_values_by_autograd,
    singular_values_by_differences,
)
from torch import Tensor, nn

from unvanish.theory.criticality import Scale, criticality
from unvanish.theory.nonlinearity import nonlinearity
from unvanish.tracing.jacobian import singular_values
from unvanish.tracing.jacobian.singular_values import jacobian_spectrum


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.inside = nn.LayerNorm(12), nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.inside(self.norm(x)))


class Last(nn.Module):
    """A recurrent network's last output."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(5, 7, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x)[0][:, -1]


def attention() -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True).eval()


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(108, 10)
    ).eval()


NETWORKS = [
    (lambda: deep_network(nn.Tanh, depth=10, width=20), (20,)),
    (lambda: deep_network(nn.Sigmoid, depth=4, width=16), (16,)),
    (lambda: nn.Sequential(*[Residual() for _ in range(6)]), (12,)),
    (lambda: nn.Sequential(nn.Linear(6, 30), nn.GELU(), nn.Linear(30, 30), nn.GELU()), (6,)),
    (convolutions, (2, 6, 6)),
    (attention, (4, 8)),
    (Last, (9, 5)),
]
NAMES = ["tanh", "sigmoid", "residual", "widening", "convolutions", "transformer", "recurrent"]


@pytest.mark.parametrize(("make", "shape"), NETWORKS, ids=NAMES)
def test_small_spectra_equal_those_of_the_dense_jacobian(make, shape) -> None:
    seeded()
    model, x = make(), torch.randn(1, *shape)
    spectrum = jacobian_spectrum(model, x)
    values = singular_values_by_autograd(model, x)
    assert spectrum.exact
    assert (spectrum.columns, spectrum.dtype) == (x.numel(), "float64")
    assert [10.0**value for value in log10_values(spectrum)] == pytest.approx(
        values.tolist(), rel=1e-7, abs=1e-12 * values[-1].item()
    )
    assert [10.0**value for value in log10_values(spectrum)] == pytest.approx(
        singular_values_by_differences(model, x).tolist(), abs=1e-7 * values[-1].item()
    )
    expected = values.log10()
    assert spectrum.log10_largest == pytest.approx(expected[-1].item(), abs=1e-9)
    assert spectrum.log10_rms == pytest.approx(0.5 * values.square().mean().log10().item(), abs=1e-9)
    if spectrum.zero_share == 0.0:
        assert spectrum.mean_log10 == pytest.approx(expected.mean().item(), abs=1e-6)
        assert spectrum.log10_condition == pytest.approx((expected[-1] - expected[0]).item(), abs=1e-5)


@pytest.mark.parametrize(("make", "shape"), NETWORKS, ids=NAMES)
def test_the_estimate_agrees_with_the_exact_spectrum(make, shape, monkeypatch) -> None:
    """With as many steps as singular values, Lanczos has nothing left to approximate but the probes' mean."""
    seeded()
    model, x = make(), torch.randn(1, *shape)
    exact = jacobian_spectrum(model, x)
    monkeypatch.setattr(singular_values, "MAX_EXACT_SIDE", 0)
    spectrum = jacobian_spectrum(model, x, steps=200, probes=6)
    assert not spectrum.exact
    assert spectrum.log10_largest == pytest.approx(exact.log10_largest, abs=1e-7)
    assert sum(weight for _, weight in spectrum.density) == pytest.approx(1.0)
    assert spectrum.mean_log10 == pytest.approx(exact.mean_log10, abs=4 * spectrum.mean_standard_error + 1e-6)


def test_a_deep_linear_network_is_the_product_of_its_matrices() -> None:
    seeded()
    matrices = [torch.randn(n, m, dtype=torch.float64) / 4 for m, n in ((20, 30), (30, 25), (25, 18))]
    spectrum = jacobian_spectrum(nn.Sequential(*map(linear_layer, matrices)), torch.randn(1, 20))
    values = torch.linalg.svdvals(matrices[2] @ matrices[1] @ matrices[0])
    assert (spectrum.rows, spectrum.columns) == (18, 20)
    assert log10_values(spectrum) == pytest.approx(values.flip(0).log10().tolist(), abs=1e-10)


@pytest.mark.parametrize("exact", [True, False])
def test_an_orthogonal_network_neither_stretches_nor_shrinks(exact, monkeypatch) -> None:
    if not exact:
        monkeypatch.setattr(singular_values, "MAX_EXACT_SIDE", 0)
    model = nn.Sequential(
        *[layer_with_singular_values(torch.ones(40, dtype=torch.float64), rows=40, columns=40) for _ in range(30)]
    )
    spectrum = jacobian_spectrum(model, torch.randn(1, 40))
    assert (spectrum.log10_largest, spectrum.log10_smallest) == pytest.approx((0.0, 0.0), abs=1e-12)
    assert (spectrum.mean_log10, spectrum.mean_standard_error) == pytest.approx((0.0, 0.0), abs=1e-12)
    assert (spectrum.exact, spectrum.largest_converged, spectrum.mean_converged) == (exact, True, True)


@pytest.mark.parametrize(("rows", "columns"), [(700, 600), (600, 700)])
def test_a_large_map_with_a_known_spectrum_is_estimated_within_its_own_error(rows: int, columns: int) -> None:
    values = torch.logspace(0.5, -2.5, 600, dtype=torch.float64)
    spectrum = jacobian_spectrum(layer_with_singular_values(values, rows=rows, columns=columns), torch.randn(1, columns), probes=4)
    assert not spectrum.exact
    assert 10**spectrum.log10_largest == pytest.approx(values[0].item(), rel=1e-6)
    assert abs(spectrum.mean_log10 + 1.0) <= 4 * spectrum.mean_standard_error
    assert 0.0 < spectrum.mean_standard_error < 0.1
    assert spectrum.largest_converged
    assert spectrum.log10_rms == pytest.approx(0.5 * math.log10(values.square().mean()), abs=0.05)


def test_an_unconverged_smallest_singular_value_is_marked_as_such() -> None:
    values = torch.logspace(0.0, -4.0, 600, dtype=torch.float64)
    spectrum = jacobian_spectrum(layer_with_singular_values(values, rows=600, columns=600), torch.randn(1, 600), probes=2, steps=30)
    assert not spectrum.smallest_converged
    assert spectrum.log10_smallest >= -4.0  # an upper bound


def test_a_mean_over_many_decades_is_not_marked_as_converged(monkeypatch) -> None:
    """Far below the largest, Lanczos sees singular values late: the mean that it then reports is an upper bound."""
    model, x = deep_network(nn.Tanh, depth=5, width=200), torch.randn(1, 200)
    exact = jacobian_spectrum(model, x)
    monkeypatch.setattr(singular_values, "MAX_EXACT_SIDE", 0)
    spectrum = jacobian_spectrum(model, x, steps=20)
    assert spectrum.largest_converged
    assert not spectrum.mean_converged
    assert spectrum.mean_log10 > exact.mean_log10
    squares = 10 ** (2 * np.array(log10_values(exact)))
    error = math.sqrt(2 * np.sum(squares**2) / singular_values.PROBES) / np.sum(squares)  # of a trace by signs (Hutchinson 1990)
    assert spectrum.log10_rms == pytest.approx(exact.log10_rms, abs=4 * error / 2 / math.log(10))


def test_an_isolated_smallest_singular_value_is_found() -> None:
    values = torch.cat([torch.full((599,), 2.0, dtype=torch.float64), torch.tensor([0.01], dtype=torch.float64)])
    spectrum = jacobian_spectrum(layer_with_singular_values(values, rows=600, columns=600), torch.randn(1, 600), probes=2, steps=10)
    assert spectrum.smallest_converged
    assert spectrum.log10_smallest == pytest.approx(-2.0, abs=1e-6)


def test_lost_directions_have_minus_infinity_as_logarithm() -> None:
    values = torch.cat([torch.ones(6, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)])
    spectrum = jacobian_spectrum(layer_with_singular_values(values, rows=8, columns=8), torch.randn(1, 8))
    assert (spectrum.log10_smallest, spectrum.mean_log10, spectrum.log10_condition) == (-math.inf, -math.inf, math.inf)
    assert (spectrum.zero_share, spectrum.mean_log10_nonzero) == pytest.approx((0.25, 0.0), abs=1e-12)


def test_all_directions_of_a_zero_jacobian_are_lost() -> None:
    spectrum = jacobian_spectrum(linear_layer(torch.zeros(5, 4)), torch.randn(1, 4))
    assert (spectrum.log10_largest, spectrum.mean_log10, spectrum.mean_log10_nonzero, spectrum.log10_rms) == (-math.inf,) * 4
    assert spectrum.zero_share == pytest.approx(1.0)
    assert math.isnan(spectrum.log10_condition)


def test_an_estimate_of_a_zero_jacobian_is_zero(monkeypatch) -> None:
    monkeypatch.setattr(singular_values, "MAX_EXACT_SIDE", 0)
    spectrum = jacobian_spectrum(linear_layer(torch.zeros(5, 4)), torch.randn(1, 4))
    assert (spectrum.log10_largest, spectrum.log10_smallest, spectrum.mean_log10) == (-math.inf,) * 3


@pytest.mark.parametrize("depth", [1, 10])
def test_wide_tanh_networks_have_the_mean_square_of_mean_field_theory(depth: int) -> None:
    """The mean squared singular value of one Jacobian is chi to the depth, up to the width's fluctuation of some 1/sqrt(n)."""
    width, scale = 400, Scale(1.5, 0.05)
    fixed = criticality(nonlinearity("tanh"), scale).fixed_point
    assert fixed is not None
    seeded(5)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layer = nn.Linear(width, width)
        nn.init.normal_(layer.weight, std=math.sqrt(scale.sw2 / width))
        nn.init.normal_(layer.bias, std=math.sqrt(scale.sb2))
        layers += [nn.Tanh(), layer]
    spectrum = jacobian_spectrum(nn.Sequential(*layers), torch.randn(1, width) * math.sqrt(fixed.q))
    assert 2 * spectrum.log10_rms == pytest.approx(depth * math.log10(fixed.chi), abs=0.05 * math.sqrt(depth))
