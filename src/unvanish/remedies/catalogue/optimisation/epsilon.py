"""The remedy epsilon: sets the eps of adaptive optimizers small against the gradients."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.optim import Adadelta, Optimizer

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.optimizers.group_settings import Entries, find_optimizers, set_entries

EPS_PER_GRADIENT = 1e-3
"""The largest eps over the smallest gradient: it then shortens no step by more than a thousandth."""

MIN_GRADIENT = 1e-19
"""The smallest gradient whose square float32 holds to full precision; below it a smaller eps would help no more."""


def eps_for(default: float, gradients: Iterable[Tensor | None]) -> float:
    """The default eps, or the power of ten at or below a thousandth of the smallest gradient's RMS, where that is smaller.

    Gradients that are zero or not finite do not count.

    Example:
        >>> eps_for(1e-8, [torch.full((3,), 1e-7)])
        1e-10
    """
    sizes = [
        float(gradient.detach().to(torch.promote_types(gradient.dtype, torch.float32)).square().mean().sqrt())
        for gradient in gradients
        if gradient is not None
    ]
    finite = [max(size, MIN_GRADIENT) for size in sizes if 0.0 < size < math.inf]
    if not finite or EPS_PER_GRADIENT * min(finite) >= default:
        return default
    return 10.0 ** math.floor(math.log10(EPS_PER_GRADIENT * min(finite)) + 1e-9)


@final
class Epsilon(Remedy):
    """Makes the constant eps of an adaptive optimizer small against the gradients again.

    Does: sets eps of every parameter group to the default that torch gives this optimizer (1e-8 for Adam, 1e-10 for Adagrad). Where
        the last backward pass has left gradients that are small even against that, to a thousandth of the smallest of them. It
        sets nothing that is small enough already, and no other option.
    Helps: an optimizer whose eps outweighs the gradients, so that it divides by eps and the weights hardly move.
    Harms: eps also damps the steps of weights that seldom get a gradient: where it was raised to calm a training, the first
        steps become larger.
    Cost: none.
    References: Kingma and Ba 2015, arXiv 1412.6980, algorithm 1.
    """

    name: ClassVar[str] = "epsilon"
    family: ClassVar[str] = "optimisation"
    summary: ClassVar[str] = "an eps that is small against the gradients"
    treats: ClassVar[tuple[str, ...]] = ("optimizer-epsilon",)

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """New settings for each optimizer with an eps that is too large. Raises NotApplicable where there is none."""
        operations: list[Operation] = []
        reasons: list[str] = []
        for path, optimizer in find_optimizers(network, context.optimizers, remedy=self.name).items():
            default = default_eps(optimizer)
            if default is None:
                reasons.append(f"{type(optimizer).__name__} has no eps below a fraction")
                continue
            entries = [_smaller_eps(group, default) for group in optimizer.param_groups]
            if any(entries):
                operations.append(set_entries(path, optimizer, entries))
            else:
                largest = max(float(group["eps"]) for group in optimizer.param_groups)
                reasons.append(f"eps of {type(optimizer).__name__} is {largest:.0e} already, where {default:.0e} is usual")
        if not operations:
            raise NotApplicable(
                f"{self.name}: {'; '.join(reasons)}; where the gradients are smaller still, apply this after a backward pass, or "
                "treat what makes them small"
            )
        return tuple(operations)


def default_eps(optimizer: Optimizer) -> float | None:
    """Torch's default of eps for this class of optimizer; None where it has none, or its eps means something else."""
    if isinstance(optimizer, Adadelta) or not all("eps" in group for group in optimizer.param_groups):
        return None  # Adadelta's eps also sets how large its first steps are
    parameter = inspect.signature(type(optimizer)).parameters.get("eps")
    if type(optimizer).__name__ == "Muon" or parameter is None or not isinstance(parameter.default, float):
        return None  # Muon's guards a norm; Adafactor has a pair
    return parameter.default


def _smaller_eps(group: dict[str, Any], default: float) -> Entries:
    eps = eps_for(default, [parameter.grad for parameter in group["params"]])
    return {"eps": eps} if float(group["eps"]) > eps else {}
