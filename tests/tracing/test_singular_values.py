"""The Jacobian's singular values: against dense Jacobians made another way, known spectra, and mean-field theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from spectra import chain, dense, differences, linear, logs, seeded, with_spectrum
from torch import Tensor, nn

from unvanish.theory.criticality import Scale, criticality
from unvanish.theory.nonlinearity import nonlinearity
from unvanish.tracing.jacobian import singular_values as spectrum_room
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
    (lambda: chain(nn.Tanh, depth=10, width=20), (20,)),
    (lambda: chain(nn.Sigmoid, depth=4, width=16), (16,)),
    (lambda: nn.Sequential(*[Residual() for _ in range(6)]), (12,)),
    (lambda: nn.Sequential(nn.Linear(6, 30), nn.GELU(), nn.Linear(30, 30), nn.GELU()), (6,)),
    (convolutions, (2, 6, 6)),
    (attention, (4, 8)),
    (Last, (9, 5)),
]
NAMES = ["tanh", "sigmoid", "residual", "widening", "convolutions", "transformer", "recurrent"]


@pytest.mark.parametrize(("make", "shape"), NETWORKS, ids=NAMES)
def test_small_spectra_are_those_of_the_dense_jacobian(make, shape) -> None:
    seeded()
    model, x = make(), torch.randn(1, *shape)
    found = jacobian_spectrum(model, x)
    values = dense(model, x)
    assert found.exact
    assert (found.columns, found.dtype) == (x.numel(), "float64")
    assert [10.0**value for value in logs(found)] == pytest.approx(values.tolist(), rel=1e-7, abs=1e-12 * values[-1].item())
    assert [10.0**value for value in logs(found)] == pytest.approx(differences(model, x).tolist(), abs=1e-7 * values[-1].item())
    expected = values.log10()
    assert found.log10_largest == pytest.approx(expected[-1].item(), abs=1e-9)
    assert found.log10_rms == pytest.approx(0.5 * values.square().mean().log10().item(), abs=1e-9)
    if found.zero_share == 0.0:
        assert found.mean_log10 == pytest.approx(expected.mean().item(), abs=1e-6)
        assert found.log10_condition == pytest.approx((expected[-1] - expected[0]).item(), abs=1e-5)


@pytest.mark.parametrize(("make", "shape"), NETWORKS, ids=NAMES)
def test_the_estimate_on_the_same_networks_finds_what_the_exact_one_finds(make, shape, monkeypatch) -> None:
    """With as many steps as singular values, Lanczos has nothing left to approximate but the probes' mean."""
    seeded()
    model, x = make(), torch.randn(1, *shape)
    exact = jacobian_spectrum(model, x)
    monkeypatch.setattr(spectrum_room, "SMALL_SIDE", 0)
    found = jacobian_spectrum(model, x, steps=200, probes=6)
    assert not found.exact
    assert found.log10_largest == pytest.approx(exact.log10_largest, abs=1e-7)
    assert sum(weight for _, weight in found.density) == pytest.approx(1.0)
    assert found.mean_log10 == pytest.approx(exact.mean_log10, abs=4 * found.mean_standard_error + 1e-6)


def test_a_deep_linear_network_is_the_product_of_its_matrices() -> None:
    seeded()
    matrices = [torch.randn(n, m, dtype=torch.float64) / 4 for m, n in ((20, 30), (30, 25), (25, 18))]
    found = jacobian_spectrum(nn.Sequential(*map(linear, matrices)), torch.randn(1, 20))
    values = torch.linalg.svdvals(matrices[2] @ matrices[1] @ matrices[0])
    assert (found.rows, found.columns) == (18, 20)
    assert logs(found) == pytest.approx(values.flip(0).log10().tolist(), abs=1e-10)


@pytest.mark.parametrize("exact", [True, False])
def test_an_orthogonal_network_neither_stretches_nor_shrinks(exact, monkeypatch) -> None:
    if not exact:
        monkeypatch.setattr(spectrum_room, "SMALL_SIDE", 0)
    model = nn.Sequential(*[with_spectrum(torch.ones(40, dtype=torch.float64), rows=40, columns=40) for _ in range(30)])
    found = jacobian_spectrum(model, torch.randn(1, 40))
    assert (found.log10_largest, found.log10_smallest) == pytest.approx((0.0, 0.0), abs=1e-12)
    assert (found.mean_log10, found.mean_standard_error) == pytest.approx((0.0, 0.0), abs=1e-12)
    assert (found.exact, found.largest_converged, found.mean_converged) == (exact, True, True)


@pytest.mark.parametrize(("rows", "columns"), [(700, 600), (600, 700)])
def test_a_large_map_with_a_known_spectrum_is_estimated_within_its_own_error(rows: int, columns: int) -> None:
    values = torch.logspace(0.5, -2.5, 600, dtype=torch.float64)
    found = jacobian_spectrum(with_spectrum(values, rows=rows, columns=columns), torch.randn(1, columns), probes=4)
    assert not found.exact
    assert 10**found.log10_largest == pytest.approx(values[0].item(), rel=1e-6)
    assert abs(found.mean_log10 + 1.0) <= 4 * found.mean_standard_error
    assert 0.0 < found.mean_standard_error < 0.1
    assert found.largest_converged
    assert found.log10_rms == pytest.approx(0.5 * math.log10(values.square().mean()), abs=0.05)


def test_smallest_singular_values_that_were_not_found_are_said_not_to_be() -> None:
    values = torch.logspace(0.0, -4.0, 600, dtype=torch.float64)
    found = jacobian_spectrum(with_spectrum(values, rows=600, columns=600), torch.randn(1, 600), probes=2, steps=30)
    assert not found.smallest_converged
    assert found.log10_smallest >= -4.0  # an upper bound


def test_a_mean_over_many_decades_is_not_called_settled(monkeypatch) -> None:
    """Far below the largest, Lanczos sees singular values late: the mean that it then reports is an upper bound."""
    model, x = chain(nn.Tanh, depth=5, width=200), torch.randn(1, 200)
    exact = jacobian_spectrum(model, x)
    monkeypatch.setattr(spectrum_room, "SMALL_SIDE", 0)
    found = jacobian_spectrum(model, x, steps=20)
    assert found.largest_converged
    assert not found.mean_converged
    assert found.mean_log10 > exact.mean_log10
    squares = 10 ** (2 * np.array(logs(exact)))
    error = math.sqrt(2 * np.sum(squares**2) / spectrum_room.PROBES) / np.sum(squares)  # of a trace by signs (Hutchinson 1990)
    assert found.log10_rms == pytest.approx(exact.log10_rms, abs=4 * error / 2 / math.log(10))


def test_an_isolated_smallest_singular_value_is_found() -> None:
    values = torch.cat([torch.full((599,), 2.0, dtype=torch.float64), torch.tensor([0.01], dtype=torch.float64)])
    found = jacobian_spectrum(with_spectrum(values, rows=600, columns=600), torch.randn(1, 600), probes=2, steps=10)
    assert found.smallest_converged
    assert found.log10_smallest == pytest.approx(-2.0, abs=1e-6)


def test_directions_that_are_lost_have_no_logarithm() -> None:
    values = torch.cat([torch.ones(6, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)])
    found = jacobian_spectrum(with_spectrum(values, rows=8, columns=8), torch.randn(1, 8))
    assert (found.log10_smallest, found.mean_log10, found.log10_condition) == (-math.inf, -math.inf, math.inf)
    assert (found.zero_share, found.mean_log10_nonzero) == pytest.approx((0.25, 0.0), abs=1e-12)


def test_a_jacobian_of_zeros_is_all_lost() -> None:
    found = jacobian_spectrum(linear(torch.zeros(5, 4)), torch.randn(1, 4))
    assert (found.log10_largest, found.mean_log10, found.mean_log10_nonzero, found.log10_rms) == (-math.inf,) * 4
    assert found.zero_share == pytest.approx(1.0)
    assert math.isnan(found.log10_condition)


def test_zeros_are_zeros_in_an_estimate_too(monkeypatch) -> None:
    monkeypatch.setattr(spectrum_room, "SMALL_SIDE", 0)
    found = jacobian_spectrum(linear(torch.zeros(5, 4)), torch.randn(1, 4))
    assert (found.log10_largest, found.log10_smallest, found.mean_log10) == (-math.inf,) * 3


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
    found = jacobian_spectrum(nn.Sequential(*layers), torch.randn(1, width) * math.sqrt(fixed.q))
    assert 2 * found.log10_rms == pytest.approx(depth * math.log10(fixed.chi), abs=0.05 * math.sqrt(depth))
