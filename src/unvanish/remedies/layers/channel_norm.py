"""Root-mean-square normalisation over channels that are the second axis, which torch's own takes to be the last."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@final
class ChannelRMSNorm(nn.Module):
    """x over the root mean square of its channels, times a learned weight a channel, from one: (N, C, ...) to the same shape.

    Zhang and Sennrich 2019, arXiv 1910.07467, at each position of a feature map.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.weight = nn.Parameter(torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """The normalised feature map."""
        return F.rms_norm(x.movedim(1, -1), (self.num_features,), self.weight).movedim(-1, 1)

    def extra_repr(self) -> str:
        """The number of channels."""
        return str(self.num_features)
