"""Singular values of Jacobians by autograd and by finite differences, and networks with known ones."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from unvanish.record.jacobian_spectrum import JacobianSpectrum


def singular_values_by_autograd(model: nn.Module, x: Tensor) -> Tensor:
    """The singular values of the whole Jacobian as torch forms it, in float64, in ascending order."""
    matrix = torch.autograd.functional.jacobian(copy.deepcopy(model).double(), x.double())
    return torch.linalg.svdvals(matrix.reshape(-1, x.numel())).flip(0)


def singular_values_by_differences(model: nn.Module, x: Tensor) -> Tensor:
    """As `singular_values_by_autograd`, by central differences: right to some 1e-9 of the largest."""
    double, h = copy.deepcopy(model).double(), 1e-5
    steps = (h * torch.eye(x.numel(), dtype=torch.float64)).view(-1, *x.shape)
    with torch.no_grad():
        columns = [(double(x + step) - double(x - step)).flatten() / (2 * h) for step in steps]
    return torch.linalg.svdvals(torch.stack(columns)).flip(0)


def log10_values(spectrum: JacobianSpectrum) -> list[float]:
    return [log10 for log10, _ in spectrum.density]


def seeded(seed: int = 0) -> None:
    torch.manual_seed(seed)


def linear_layer(matrix: Tensor) -> nn.Linear:
    layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False, dtype=matrix.dtype)
    layer.weight.data = matrix
    return layer


def layer_with_singular_values(values: Tensor, *, rows: int, columns: int) -> nn.Linear:
    """A linear layer with those singular values."""
    seeded(3)
    left, _ = torch.linalg.qr(torch.randn(rows, len(values), dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(columns, len(values), dtype=torch.float64))
    return linear_layer(left @ torch.diag(values) @ right.T)


def deep_network(activation: type[nn.Module], *, depth: int, width: int) -> nn.Sequential:
    seeded(1)
    return nn.Sequential(*[layer for _ in range(depth) for layer in (nn.Linear(width, width), activation())])
