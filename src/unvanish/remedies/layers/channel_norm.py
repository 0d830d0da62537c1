"""Root-mean-square normalisation over channels as the second axis (torch's RMSNorm normalises over the last axes)."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@final
class ChannelRMSNorm(nn.Module):
    """x / rms(x) * weight, with the root mean square over channels at each position (Zhang and Sennrich 2019, arXiv 1910.07467).

    Arguments:
        num_features: number of channels C. `weight`, of shape (C,), starts at one.

    Shapes: (batch, C, ...) to the same shape.

    Example:
        >>> ChannelRMSNorm(2)(torch.tensor([[[3.0], [4.0]]])).square().mean().item()  # doctest: +ELLIPSIS
        1.0...
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
