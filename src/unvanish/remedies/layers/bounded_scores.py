"""Scores that are kept so small that no probability made of them is exactly 0 or 1, while their gradient passes unchanged.

With the gradient unchanged, the cross entropy of a probability p has the gradient p - y in the scores, as the losses on logits
have: an example on the wrong side is pulled back however far out it lies, where a clamp would let it go.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

SMALLEST_UNITS = 8
"""The smallest probability, and the smallest distance from 1, in units of rounding at 1 (1e-6 in float32): both have logarithms."""


def largest_score(dtype: torch.dtype) -> float:
    """The score of which a sigmoid makes a probability that far from 1: 13.9 in float32, 4.8 in float16."""
    return -math.log(SMALLEST_UNITS * torch.finfo(dtype).eps)


def bounded(x: Tensor) -> Tensor:
    """Scores, none larger than what a sigmoid takes without becoming exactly 0 or 1. Their gradient passes unchanged."""
    largest = largest_score(x.dtype)
    return _valued(x, x.detach().clamp(-largest, largest))


def bounded_below(x: Tensor, dim: int) -> Tensor:
    """Scores, none so far below the largest along `dim` that a softmax would make it exactly 0. Their gradient passes unchanged."""
    scores = x.detach()
    return _valued(x, torch.maximum(scores, scores.amax(dim, keepdim=True) - largest_score(x.dtype)))


def _valued(x: Tensor, value: Tensor) -> Tensor:
    """The value, with the gradient of x."""
    return value + (x - x.detach())


def bounded_sigmoid(x: Tensor) -> Tensor:
    """A sigmoid that is never exactly 0 or 1. To torch.fx and torch's function modes this is one operation."""
    if has_torch_function_unary(x):
        return handle_torch_function(bounded_sigmoid, (x,), x)
    return torch.sigmoid(bounded(x))


def bounded_softmax(input: Tensor, dim: int | None = None, *more: Any, dtype: torch.dtype | None = None, **named: Any) -> Tensor:
    """A softmax of which no value is exactly 0, called as torch's own are. To torch.fx and function modes this is one operation."""
    if has_torch_function_unary(input):
        return handle_torch_function(bounded_softmax, (input,), input, dim, *more, dtype=dtype, **named)
    del more, named
    x = input if dtype is None else input.to(dtype)
    axis = dim if dim is not None else 0 if x.dim() in (0, 1, 3) else 1  # as torch chooses it
    return torch.softmax(bounded_below(x, axis), axis)


# Hooks


def before_sigmoid(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The hook before an nn.Sigmoid."""
    del module
    return (bounded(args[0]), *args[1:])


def before_softmax(module: nn.Softmax, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The hook before an nn.Softmax that says its dimension."""
    return (bounded_below(args[0], int(module.dim or 0)), *args[1:])


def scores_behind(module: nn.Module, args: Any, output: Any) -> Any:
    """The hook behind a network that puts out scores, alone or among other things, of which its program makes probabilities."""
    del module, args
    return bounded(output) if isinstance(output, Tensor) and output.is_floating_point() else output


def sigmoid_behind(module: nn.Module, args: Any, output: Any) -> Any:
    """The hook that ends a network in a sigmoid. Raises TypeError where its output is no tensor."""
    del args
    return bounded_sigmoid(_scores(module, output))


@final
@dataclass(frozen=True)
class SoftmaxBehind:
    """The hook that ends a network in a softmax along an axis, or along the only one. Raises TypeError where its output is no
    tensor."""

    axis: int

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        del args
        return bounded_softmax(*_along(self.axis, module, output))


@final
@dataclass(frozen=True)
class LogSoftmaxBehind:
    """The hook that ends a network in a log-softmax along an axis, or along the only one. Raises TypeError where its output is no
    tensor."""

    axis: int

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        del args
        return torch.log_softmax(*_along(self.axis, module, output))


def _along(axis: int, module: nn.Module, output: Any) -> tuple[Tensor, int]:
    """The scores and the axis of their classes: the one that is given, or the only one."""
    scores = _scores(module, output)
    return scores, axis if scores.dim() > 1 else 0


def _scores(module: nn.Module, output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    raise TypeError(
        f"{type(module).__name__} puts out {type(output).__name__}, and a tensor of scores is needed; put it in by hand"
    )
