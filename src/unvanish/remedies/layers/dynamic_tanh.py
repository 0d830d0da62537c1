"""Dynamic Tanh: a learned elementwise squashing that replaces a normalisation layer, without statistics."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn


@final
class DynamicTanh(nn.Module):
    """weight tanh(alpha x) + bias, with one learned scale alpha, and a weight and bias a feature (Zhu 2025, arXiv 2503.10622).

    Training and evaluation are the same.

    Arguments:
        num_features: number of features.
        axis: axis of the features: -1 for (batch, features) and (batch, time, features), 1 for (batch, channels, height, width).
        alpha: the scale at the start.

    Shapes: any with `num_features` at `axis`, to the same shape.

    Example:
        >>> DynamicTanh(3)(torch.tensor([[0.0, 2.0, -2.0]])).detach()
        tensor([[ 0.0000,  0.7616, -0.7616]])
    """

    def __init__(self, num_features: int, *, axis: int = -1, alpha: float = 0.5) -> None:
        super().__init__()
        self.num_features = num_features
        self.axis = axis
        self.alpha = nn.Parameter(torch.full((1,), alpha))
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """The squashed, scaled and shifted input, of its shape."""
        shape = [1] * x.dim()
        shape[self.axis] = self.num_features
        return torch.tanh(self.alpha * x) * self.weight.view(shape) + self.bias.view(shape)

    def extra_repr(self) -> str:
        """The arguments that are not the default, for the module's repr."""
        return str(self.num_features) if self.axis == -1 else f"{self.num_features}, axis={self.axis}"
