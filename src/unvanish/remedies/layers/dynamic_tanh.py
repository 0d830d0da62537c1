"""Dynamic Tanh: a learned elementwise squashing that replaces a normalisation layer, without statistics."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from unvanish.errors import UsageError

ALPHA = 0.5  # the scale at the start (Zhu 2025)


@final
class DynamicTanh(nn.Module):
    """weight tanh(alpha x) + bias, with one learned scale alpha, and weight and bias for each feature (Zhu 2025, arXiv 2503.10622).

    Training and evaluation are the same.

    Arguments:
        num_features: number of features.
        axis: axis of the features: -1 for (batch, features) and (batch, time, features), 1 for (batch, channels, height, width).
        alpha: the scale at the start.
        device: device of the parameters.
        dtype: dtype of the parameters.

    Shapes: any with `num_features` at `axis`, to the same shape. The forward raises UsageError for an input of another shape.

    Example:
        >>> DynamicTanh(3)(torch.tensor([[0.0, 2.0, -2.0]])).detach()
        tensor([[ 0.0000,  0.7616, -0.7616]])
    """

    def __init__(
        self,
        num_features: int,
        *,
        axis: int = -1,
        alpha: float = ALPHA,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.axis = axis
        self.alpha = nn.Parameter(torch.full((1,), alpha, device=device, dtype=dtype))
        self.weight = nn.Parameter(torch.ones(num_features, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(num_features, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """The squashed, scaled and shifted input, of its shape."""
        if not -x.dim() <= self.axis < x.dim() or x.shape[self.axis] != self.num_features:
            raise UsageError(
                f"DynamicTanh takes {self.num_features} features along axis {self.axis}, and was given shape {tuple(x.shape)}; "
                "set axis= to where the features are"
            )
        feature = [1] * x.dim()
        feature[self.axis] = self.num_features
        return torch.tanh(self.alpha * x) * self.weight.reshape(feature) + self.bias.reshape(feature)

    def extra_repr(self) -> str:
        """The settings, for the module's repr."""
        return f"{self.num_features}, axis={self.axis}"
