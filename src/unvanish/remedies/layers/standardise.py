"""Standardisation of a network's input by statistics that are gathered once and then stay. It has nothing to train."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

ENOUGH = 1024
"""Examples after which the statistics stay: means are then known to 3 % of a deviation, and deviations to 2 %."""

ROUNDING = 4.0
"""A deviation of so many units in the last place of the mean is rounding: the feature is constant."""

NAME = "standardise"
"""Under this name the module hangs in a layer whose input it standardises from inside."""


@final
class Standardise(nn.Module):
    """(x - mean) / deviation for each of `features` along `axis`, which counts from the end.

    A feature that is constant becomes `constant`: 1 where it has to serve as the bias that a layer lacks, else 0; zeros stay.

    In training mode it takes the first batches into its statistics, by the pairwise formula of Chan 1983, until it has seen 1024
    examples; they stand for the whole set from then on, in training and evaluation. A batch is standardised with the statistics
    that include it; one that holds a number that is not finite is left out. Before the first batch it passes inputs on.
    Shapes: (..., features, and -1 - axis more axes). What comes out has the type of the input.
    """

    mean: Tensor
    deviation: Tensor
    values: Tensor
    examples: Tensor

    def __init__(
        self,
        features: int,
        *,
        axis: int = -1,
        constant: float = 0.0,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.features, self.axis, self.constant = features, axis, constant
        self._gathers = True
        self.register_buffer("mean", torch.zeros(features, device=device, dtype=dtype))
        self.register_buffer("deviation", torch.zeros(features, device=device, dtype=dtype))
        self.register_buffer("values", torch.tensor(0, device=device))
        self.register_buffer("examples", torch.tensor(0, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """The standardised input. Nothing here depends on the shape or type of x, so that torch.fx can follow."""
        if self.training and self._gathers:
            self.gather(x.detach())
        scale = torch.where(self.deviation > 0, self.deviation, 1.0)
        shape = (self.features, *[1] * (-1 - self.axis))
        if not self.constant:
            return ((x - self.mean.view(shape)) / scale.view(shape)).to(x)
        still = (self.deviation == 0) & (self.mean != 0)
        offset = torch.where(still, self.constant, 0.0)
        return ((x - self.mean.view(shape)) / scale.view(shape) + offset.view(shape)).to(x)

    @torch.no_grad()
    def gather(self, x: Tensor) -> None:
        """Takes a batch into the statistics, if they are not complete. Waits for the device."""
        before = int(self.values)
        self._gathers = int(self.examples) < ENOUGH
        wide = torch.promote_types(torch.promote_types(x.dtype, self.mean.dtype), torch.float32)
        rows = x.to(wide).movedim(self.axis, -1).reshape(-1, self.features)
        if not self._gathers or not len(rows):
            return
        mean = rows.mean(0)
        variance = (rows - mean).square().mean(0)
        share = len(rows) / (before + len(rows))
        apart = mean - self.mean
        mean = self.mean + share * apart
        variance = (1 - share) * self.deviation.to(wide).square() + share * variance + share * (1 - share) * apart.square()
        if not bool(torch.isfinite(variance).all()):
            return
        rounding = ROUNDING * max(torch.finfo(wide).eps, torch.finfo(self.mean.dtype).eps)
        deviation = variance.sqrt()
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > rounding * mean.abs(), deviation, 0.0))
        self.values += len(rows)
        self.examples += x.shape[0] if x.dim() > -self.axis else 1

    def extra_repr(self) -> str:
        """The number of features, and what is not as usual."""
        axis = "" if self.axis == -1 else f", axis={self.axis}"
        return f"{self.features}{axis}" + (f", constant={self.constant:g}" if self.constant else "")


def precede(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A hook before a layer's forward pass, for one that holds a Standardise by the name "standardise"; with keyword arguments."""
    standardise = module.get_submodule(NAME)
    if not args:
        return args, {**kwargs, "input": _standardised(standardise, kwargs["input"])}
    return (_standardised(standardise, args[0]), *args[1:]), kwargs


def _standardised(standardise: nn.Module, x: Any) -> Any:
    return x._replace(data=standardise(x.data)) if isinstance(x, PackedSequence) else standardise(x)
