"""The gradients of a step that is about to be taken, for the hooks that alter them. It alters none itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def when_there(optimizer: Optimizer, args: Any, kwargs: Any, act: Callable[[Optimizer], None]) -> tuple[Any, Any] | None:
    """Calls `act` once the gradients are there: now, or, where the step makes them in a closure, each time after that ran.

    What comes back is what a hook before a step has to return.
    """
    closure = args[1] if len(args) > 1 else kwargs.get("closure")
    if closure is None:
        act(optimizer)
        return None

    def measured() -> Any:
        loss = closure()
        with torch.no_grad():
            act(optimizer)
        return loss

    if len(args) > 1:
        return (args[0], measured, *args[2:]), kwargs
    return args, {**kwargs, "closure": measured}


def gradients(optimizer: Optimizer) -> Iterator[tuple[Tensor, Tensor]]:
    """The parameters that have a gradient, with it; of a sparse gradient, the values that it holds."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            gradient = parameter.grad
            if gradient is None:
                continue
            if gradient.is_sparse:
                gradient = parameter.grad = gradient.coalesce()
                gradient = gradient._values()  # the only view of them that can be written in place
            yield parameter, gradient


def scale_of(optimizer: Optimizer) -> Tensor | float:
    """The factor that gradients still have on them: a gradient scaler leaves it to fused optimizers to divide by it."""
    scale = vars(optimizer).get("grad_scale")
    return 1.0 if scale is None else scale


def wide(gradient: Tensor) -> torch.dtype:
    """The type in which a gradient's size is computed: squares overflow float16 at 256."""
    return torch.promote_types(gradient.dtype, torch.float32)
