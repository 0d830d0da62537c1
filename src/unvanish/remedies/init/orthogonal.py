"""Draws orthogonal weights: semi-orthogonal matrices, and kernels with an orthogonal matrix in their centre (delta-orthogonal)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unvanish.network.module_kinds import WeightedLayer

TRANSPOSED_CONVOLUTIONS = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def semi_orthogonal(rows: int, columns: int, *, generator: torch.Generator) -> Tensor:
    """A random matrix with orthonormal rows or columns, whichever are fewer, uniformly distributed among all such matrices.

    QR of a Gaussian matrix with the signs of R's diagonal made positive (Mezzadri 2007, arXiv math-ph/0609050). Cost: 0.1 s for
    1024 x 1024 on one core, growing with the cube.

    Arguments:
        rows: number of rows.
        columns: number of columns.
        generator: where the random numbers come from.

    Returns:
        Shape (rows, columns), float64, on the CPU.

    Example:
        >>> import torch
        >>> q = semi_orthogonal(3, 5, generator=torch.Generator().manual_seed(0))
        >>> torch.allclose(q @ q.T, torch.eye(3, dtype=torch.float64))
        True
    """
    tall = torch.empty(max(rows, columns), min(rows, columns), dtype=torch.float64).normal_(generator=generator)
    q, r_matrix = torch.linalg.qr(tall)
    signed_q = q * torch.where(r_matrix.diagonal() < 0.0, -1.0, 1.0)
    return signed_q if rows >= columns else signed_q.T


def orthogonal_factor(rows: int, columns: int, *, fan_in: float, gain: float) -> float:
    """The factor on a semi-orthogonal matrix with which its mean square becomes gain^2 / fan_in.

    Example:
        >>> orthogonal_factor(8, 2, fan_in=2.0, gain=1.0)
        2.0
    """
    return gain * math.sqrt(max(rows, columns) / fan_in)


def orthogonal_(weight: Tensor, *, fan_in: float, gain: float, generator: torch.Generator, groups: int = 1) -> Tensor:
    """Fills a weight in place with a semi-orthogonal matrix for each group (Saxe 2014, arXiv 1312.6120), and returns it.

    Its mean square is gain^2 / fan_in. At this scale a unit's input keeps its mean square, and the gradient its Euclidean norm,
    whether a layer widens or narrows: where fan_in is the number of columns, the matrix is gain times max(1, sqrt(rows / columns))
    times a semi-orthogonal one (Martens 2021, arXiv 2110.01765).

    Arguments:
        weight: shape (outputs, ...); all axes after the first are flattened to columns.
        fan_in: number of inputs that reach an output.
        gain: factor for the activation that follows.
        generator: where the random numbers come from.
        groups: number of blocks of rows, each of which gets a matrix of its own.

    Example:
        >>> import torch
        >>> weight = orthogonal_(torch.empty(2, 4), fan_in=4.0, gain=1.0, generator=torch.Generator().manual_seed(0))
        >>> torch.allclose(weight @ weight.T, torch.eye(2), atol=1e-6)
        True
    """
    for block in weight.view(groups, weight.shape[0] // groups, -1):
        rows, columns = block.shape
        factor = orthogonal_factor(rows, columns, fan_in=fan_in, gain=gain)
        block.copy_(factor * semi_orthogonal(rows, columns, generator=generator))
    return weight


def delta_orthogonal_factor(shape: Sequence[int], *, gain: float, groups: int = 1) -> float:
    """The factor on the semi-orthogonal matrix in the centre of a delta-orthogonal kernel of that shape."""
    return orthogonal_factor(shape[0] // groups, shape[1], fan_in=float(shape[1]), gain=gain)


def delta_orthogonal_(weight: Tensor, *, gain: float, generator: torch.Generator, groups: int = 1) -> Tensor:
    """Fills a kernel in place with zeros and, in its centre, an orthogonal matrix (Xiao 2018, arXiv 1806.05393), and returns it.

    With as many inputs as outputs it is an isometry times the gain; with more outputs the columns are orthonormal, times
    sqrt(outputs / inputs), so that the mean square is kept.

    Arguments:
        weight: shape (outputs, inputs / groups, *extents), with odd extents.
        gain: factor for the activation that follows.
        generator: where the random numbers come from.
        groups: number of groups of channels, each of which gets a matrix of its own.

    Example:
        >>> import torch
        >>> kernel = delta_orthogonal_(torch.empty(1, 1, 3), gain=2.0, generator=torch.Generator().manual_seed(0))
        >>> kernel.abs()
        tensor([[[0., 2., 0.]]])
    """
    centre = (slice(None), slice(None), *(extent // 2 for extent in weight.shape[2:]))
    matrix = torch.empty(weight.shape[:2], dtype=weight.dtype)
    orthogonal_(matrix, fan_in=float(weight.shape[1]), gain=gain, generator=generator, groups=groups)
    weight.zero_()[centre] = matrix
    return weight


def supports_delta_orthogonal(layer: WeightedLayer) -> bool:
    """Whether a layer can be delta-orthogonal without loss: a plain convolution with odd extents and, in each group, at least as
    many outputs as inputs."""
    if isinstance(layer, (nn.Linear, *TRANSPOSED_CONVOLUTIONS)):
        return False
    return all(extent % 2 for extent in layer.kernel_size) and layer.out_channels >= layer.in_channels


def group_count(layer: WeightedLayer) -> int:
    """The number of groups of channels of a layer; 1 for a Linear layer."""
    return 1 if isinstance(layer, nn.Linear) else layer.groups
