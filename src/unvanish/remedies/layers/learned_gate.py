"""Learned scales of residual branches that start at zero, so that a deep network starts as the identity: SkipInit and ReZero."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn


@final
class Gate(nn.Module):
    """Its input times one learned number `scale` that starts at zero, for the end of a residual branch.

    SkipInit (De and Smith 2020, arXiv 2002.10444). Shapes: any, to the same shape.

    Example:
        >>> Gate()(torch.ones(2)).detach()
        tensor([0., 0.])
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """The scaled input, of the same shape."""
        return self.scale * x


@final
class Residual(nn.Module):
    """x + scale branch(x), with one learned number `scale` that starts at zero.

    ReZero (Bachlechner et al. 2020, arXiv 2003.04887).

    Arguments:
        branch: the modules of the branch in sequence; together they must keep the shape of their input.

    Shapes: any that the branch accepts, to the same shape.

    Example:
        >>> x = torch.ones(1, 3)
        >>> torch.equal(Residual(nn.Linear(3, 3), nn.Tanh())(x), x)
        True
    """

    def __init__(self, *branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch[0] if len(branch) == 1 else nn.Sequential(*branch)
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """The sum of the input and the scaled branch, of the same shape."""
        return x + self.scale * self.branch(x)
