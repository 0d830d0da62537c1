"""Access to an optimizer's gradients before a step, for step hooks: with closures, sparse gradients and gradient scalers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def call_with_gradients(
    optimizer: Optimizer, args: Any, kwargs: Any, action: Callable[[Optimizer], None]
) -> tuple[Any, Any] | None:
    """Calls `action` when the gradients are computed: now, or, where the step has a closure, each time after the closure ran.

    Returns what a step pre-hook has to return: new arguments, or None.

    Arguments:
        optimizer: the optimizer, passed to `action`.
        args: positional arguments of the step, the optimizer first.
        kwargs: keyword arguments of the step.
        action: changes the gradients of the optimizer.
    """
    closure = args[1] if len(args) > 1 else kwargs.get("closure")
    if closure is None:
        action(optimizer)
        return None

    def closure_with_action() -> Any:
        loss = closure()
        with torch.no_grad():
            action(optimizer)
        return loss

    if len(args) > 1:
        return (args[0], closure_with_action, *args[2:]), kwargs
    return args, {**kwargs, "closure": closure_with_action}


def parameters_with_gradients(optimizer: Optimizer) -> Iterator[tuple[Tensor, Tensor]]:
    """Each parameter that has a gradient, with the gradient; of a sparse gradient, its stored values."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            gradient = parameter.grad
            if gradient is None:
                continue
            if gradient.is_sparse:
                gradient = parameter.grad = gradient.coalesce()
                gradient = gradient._values()  # the only view of them that can be written in place
            yield parameter, gradient


def gradient_scale(optimizer: Optimizer) -> Tensor | float:
    """The factor by which gradients are still multiplied: a gradient scaler leaves the division to fused optimizers."""
    scale = vars(optimizer).get("grad_scale")
    return 1.0 if scale is None else scale


def accumulation_dtype(gradient: Tensor) -> torch.dtype:
    """The dtype in which a gradient's norm is computed, float32 or wider: squares overflow float16 at 256."""
    return torch.promote_types(gradient.dtype, torch.float32)
