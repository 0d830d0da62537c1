"""Random weights that turn a signal without stretching it: orthogonal matrices, dense or in the centre of a kernel.

Pure functions of a tensor and a generator. They know no network.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from unvanish.remedies.graph.kinds import WeightedLayer

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def semi_orthogonal(rows: int, columns: int, *, generator: torch.Generator) -> Tensor:
    """A float64 matrix with orthonormal rows or columns, whichever are fewer, uniformly distributed among all such.

    QR of a Gaussian matrix with the signs of R's diagonal made positive (Mezzadri 2007, arXiv math-ph/0609050). Cost: 0.1 s for
    1024 x 1024 on one core, growing with the cube.
    """
    tall = torch.empty(max(rows, columns), min(rows, columns), dtype=torch.float64).normal_(generator=generator)
    turned, scale = torch.linalg.qr(tall)
    signed = turned * torch.where(scale.diagonal() < 0.0, -1.0, 1.0)
    return signed if rows >= columns else signed.T


def orthogonal_(weight: Tensor, *, fan_in: float, gain: float, generator: torch.Generator, groups: int = 1) -> Tensor:
    """The same tensor, a semi-orthogonal matrix for each group (Saxe 2014, arXiv 1312.6120), of mean square gain^2 / fan_in.

    A kernel is flattened to its first axis times all others. At this scale a unit's input keeps its mean square, and the gradient
    its Euclidean norm, whether a layer widens or narrows: where fan_in is the number of columns, the matrix is gain times
    max(1, sqrt(rows / columns)) times a semi-orthogonal one (Martens 2021, arXiv 2110.01765).
    """
    for block in weight.view(groups, weight.shape[0] // groups, -1):
        rows, columns = block.shape
        factor = gain * math.sqrt(max(rows, columns) / fan_in)
        block.copy_(factor * semi_orthogonal(rows, columns, generator=generator))
    return weight


def delta_orthogonal_(weight: Tensor, *, gain: float, generator: torch.Generator, groups: int = 1) -> Tensor:
    """The same kernel, zero everywhere but in its centre, which holds an orthogonal matrix (Xiao 2018, arXiv 1806.05393).

    With as many inputs as outputs it is an isometry times the gain; with more outputs the columns are orthonormal, times
    sqrt(outputs / inputs), so that the mean square is kept.
    """
    centre = (slice(None), slice(None), *(extent // 2 for extent in weight.shape[2:]))
    matrix = torch.empty(weight.shape[:2], dtype=weight.dtype)
    orthogonal_(matrix, fan_in=float(weight.shape[1]), gain=gain, generator=generator, groups=groups)
    weight.zero_()[centre] = matrix
    return weight


def takes_delta(layer: WeightedLayer) -> bool:
    """Whether a layer's kernel has a centre to hold an orthogonal matrix that loses nothing: a plain convolution with odd extents
    and, in each group, at least as many outputs as inputs."""
    if isinstance(layer, (nn.Linear, *TRANSPOSED)):
        return False
    return all(extent % 2 for extent in layer.kernel_size) and layer.out_channels >= layer.in_channels


def group_count(layer: WeightedLayer) -> int:
    """How many groups of channels a layer keeps apart."""
    return 1 if isinstance(layer, nn.Linear) else layer.groups
