"""Learned gates that start at zero, so that a deep network starts as the identity."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn


@final
class Gate(nn.Module):
    """Its input times one learned number, from zero: what is put behind the last layer of a residual branch.

    SkipInit (De and Smith 2020, arXiv 2002.10444).
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """The scaled input, of the same shape."""
        return self.scale * x


@final
class Residual(nn.Module):
    """x + a branch(x), with one learned number a, from zero. The branch must keep the shape of its input.

    ReZero (Bachlechner et al. 2020, arXiv 2003.04887).
    """

    def __init__(self, *branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch[0] if len(branch) == 1 else nn.Sequential(*branch)
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """The input and what the branch adds to it, of the same shape."""
        return x + self.scale * self.branch(x)
