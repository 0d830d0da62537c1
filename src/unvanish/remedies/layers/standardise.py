"""Standardises features by mean and deviation, which the first training batches determine; no parameters."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

MAX_EXAMPLES = 1024
"""Number of examples after which the statistics stay: means are then known to 3 % of a deviation, and deviations to 2 %."""

ROUNDING_UNITS = 4.0
"""A deviation of up to so many units in the last place of the mean counts as rounding: the feature is constant."""

SUBMODULE_NAME = "standardise"
"""The name of the module as a submodule of the layer whose input it standardises."""


@final
class Standardise(nn.Module):
    """(x - mean) / deviation of each feature, which the first batches show (LeCun et al. 1998, "Efficient BackProp", sec. 4.3).

    In training mode the first batches update the statistics, by the pairwise formula of Chan 1983, until MAX_EXAMPLES examples are
    counted; then the statistics stay, in training and evaluation. A batch is standardised with statistics that include it; one with
    a number that is not finite is not counted. Before the first batch, inputs are returned as they are.

    Arguments:
        features: number of features.
        axis: axis of the features, counted from the end: -1 for (batch, ..., features), -3 for (batch, channels, height, width).
        constant: the value of a constant feature: 1 where it serves as the bias that a layer lacks, else 0. A feature of zeros
            stays zero.

    Shapes: any with `features` at `axis`, to the same shape and dtype.

    Example:
        >>> layer = Standardise(1)
        >>> layer(torch.tensor([[1.0], [3.0]]))
        tensor([[-1.],
                [ 1.]])
        >>> layer.eval()(torch.tensor([[5.0]]))  # mean 2, deviation 1
        tensor([[3.]])
    """

    mean: Tensor
    deviation: Tensor
    values: Tensor
    examples: Tensor

    def __init__(self, features: int, *, axis: int = -1, constant: float = 0.0) -> None:
        super().__init__()
        self.features, self.axis, self.constant = features, axis, constant
        self._is_gathering = True
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.zeros(features))
        self.register_buffer("values", torch.tensor(0))
        self.register_buffer("examples", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """The standardised input. No branch depends on the shape or dtype of x, so that torch.fx can trace it."""
        if self.training and self._is_gathering:
            self.update_statistics(x.detach())
        scale = torch.where(self.deviation > 0, self.deviation, 1.0)
        shape = (self.features, *[1] * (-1 - self.axis))
        if not self.constant:
            return ((x - self.mean.view(shape)) / scale.view(shape)).to(x)
        is_constant = (self.deviation == 0) & (self.mean != 0)
        offset = torch.where(is_constant, self.constant, 0.0)
        return ((x - self.mean.view(shape)) / scale.view(shape) + offset.view(shape)).to(x)

    @torch.no_grad()
    def update_statistics(self, x: Tensor) -> None:
        """Updates the statistics with a batch, unless they are complete. Waits for the device."""
        samples_before = int(self.values)
        self._is_gathering = int(self.examples) < MAX_EXAMPLES
        wide = torch.promote_types(torch.promote_types(x.dtype, self.mean.dtype), torch.float32)
        rows = x.to(wide).movedim(self.axis, -1).reshape(-1, self.features)
        if not self._is_gathering or not len(rows):
            return
        mean = rows.mean(0)
        variance = (rows - mean).square().mean(0)
        new_fraction = len(rows) / (samples_before + len(rows))
        mean_difference = mean - self.mean
        mean = self.mean + new_fraction * mean_difference
        variance = (
            (1 - new_fraction) * self.deviation.to(wide).square()
            + new_fraction * variance
            + new_fraction * (1 - new_fraction) * mean_difference.square()
        )
        if not bool(torch.isfinite(variance).all()):
            return
        rounding = ROUNDING_UNITS * max(torch.finfo(wide).eps, torch.finfo(self.mean.dtype).eps)
        deviation = variance.sqrt()
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > rounding * mean.abs(), deviation, 0.0))
        self.values += len(rows)
        self.examples += x.shape[0] if x.dim() > -self.axis else 1

    def extra_repr(self) -> str:
        """The number of features and the settings that are not the default, for the module's repr."""
        axis = "" if self.axis == -1 else f", axis={self.axis}"
        return f"{self.features}{axis}" + (f", constant={self.constant:g}" if self.constant else "")


def standardise_layer_input(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The forward pre-hook, with keyword arguments, of a layer that has a Standardise as its submodule "standardise"."""
    standardise = module.get_submodule(SUBMODULE_NAME)
    if not args:
        return args, {**kwargs, "input": _standardise(standardise, kwargs["input"])}
    return (_standardise(standardise, args[0]), *args[1:]), kwargs


def _standardise(standardise: nn.Module, x: Any) -> Any:
    return x._replace(data=standardise(x.data)) if isinstance(x, PackedSequence) else standardise(x)
