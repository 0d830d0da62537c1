"""Sigmoid and softmax whose probabilities are never exactly 0 or 1: scores are clamped, and their gradient passes unchanged.

With the gradient unchanged, the cross entropy of a probability p has the gradient p - y in the scores, as the losses on logits
have: a wrongly classified example keeps its gradient however large its score is, where a clamp would make it zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

SMALLEST_UNITS = 8
"""The smallest probability, and the smallest distance from 1, in units of the dtype's eps (1e-6 in float32)."""


def score_limit(dtype: torch.dtype) -> float:
    """The score whose sigmoid is SMALLEST_UNITS eps away from 1: 13.9 in float32, 4.8 in float16."""
    return -math.log(SMALLEST_UNITS * torch.finfo(dtype).eps)


def bound_scores(x: Tensor) -> Tensor:
    """Scores clamped to +-`score_limit`, of the shape and dtype of x. Their gradient passes unchanged.

    Example:
        >>> x = torch.tensor([100.0], requires_grad=True)
        >>> y = bound_scores(x)
        >>> y.sum().backward()
        >>> round(y.item(), 1), x.grad
        (13.9, tensor([1.]))
    """
    largest = score_limit(x.dtype)
    return _with_gradient_of(x, x.detach().clamp(-largest, largest))


def bound_scores_below(x: Tensor, dim: int) -> Tensor:
    """Scores, at most `score_limit` below the largest along `dim`. Their gradient passes unchanged."""
    scores = x.detach()
    return _with_gradient_of(x, torch.maximum(scores, scores.amax(dim, keepdim=True) - score_limit(x.dtype)))


def _with_gradient_of(x: Tensor, value: Tensor) -> Tensor:
    """`value`, with the gradient of x."""
    return value + (x - x.detach())


def bounded_sigmoid(x: Tensor) -> Tensor:
    """A sigmoid that is never exactly 0 or 1, of the shape and dtype of x. torch.fx and torch's function modes see one operation.

    Example:
        >>> torch.isfinite(torch.log(1 - bounded_sigmoid(torch.tensor([100.0]))))
        tensor([True])
    """
    if has_torch_function_unary(x):
        return handle_torch_function(bounded_sigmoid, (x,), x)
    return torch.sigmoid(bound_scores(x))


def bounded_softmax(
    input: Tensor, dim: int | None = None, *extra_arguments: Any, dtype: torch.dtype | None = None, **keyword_arguments: Any
) -> Tensor:
    """A softmax without values of exactly 0. torch.fx and torch's function modes see one operation.

    Arguments:
        input: scores, any shape.
        dim: axis of the classes; for None, the axis that torch chooses.
        extra_arguments: accepted and ignored, as torch's own functions have them.
        dtype: converts the scores first; None keeps their dtype.
        keyword_arguments: accepted and ignored.

    Example:
        >>> bool((bounded_softmax(torch.tensor([0.0, 500.0]), dim=0) > 0).all())
        True
    """
    if has_torch_function_unary(input):
        return handle_torch_function(bounded_softmax, (input,), input, dim, *extra_arguments, dtype=dtype, **keyword_arguments)
    del extra_arguments, keyword_arguments
    x = input if dtype is None else input.to(dtype)
    axis = dim if dim is not None else 0 if x.dim() in (0, 1, 3) else 1  # as torch chooses it
    return torch.softmax(bound_scores_below(x, axis), axis)


@final
class BoundScores(nn.Module):
    """Holds scores where no probability is exactly 0 or 1: before a sigmoid, or with `dim` before a softmax along that axis.

    Shapes: any, to the same shape and dtype. The gradient passes unchanged.

    Example:
        >>> BoundScores(dim=1)(torch.tensor([[0.0, 100.0]]))
        tensor([[ 86.1371, 100.0000]])
    """

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """The scores in bounds."""
        return bound_scores(x) if self.dim is None else bound_scores_below(x, self.dim)


# Hooks


def bound_sigmoid_input(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The forward pre-hook for an nn.Sigmoid: clamps its input."""
    del module
    return (bound_scores(args[0]), *args[1:])


def bound_softmax_input(module: nn.Softmax, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The forward pre-hook for an nn.Softmax with a `dim`: clamps its input."""
    return (bound_scores_below(args[0], int(module.dim or 0)), *args[1:])


def bound_output(module: nn.Module, args: Any, output: Any) -> Any:
    """The forward hook for a network whose output is scores: clamps it. Outputs that are no floating-point tensor stay."""
    del module, args
    return bound_scores(output) if isinstance(output, Tensor) and output.is_floating_point() else output


def append_sigmoid(module: nn.Module, args: Any, output: Any) -> Any:
    """The forward hook that applies `bounded_sigmoid` to a network's output. Raises TypeError where that is not a tensor."""
    del args
    return bounded_sigmoid(_require_tensor(module, output))


@final
@dataclass(frozen=True)
class AppendSoftmax:
    """A forward hook that applies `bounded_softmax` to a network's output. Raises TypeError where that is not a tensor.

    Arguments:
        axis: axis of the classes; an output with one axis uses that.
    """

    axis: int

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        del args
        return bounded_softmax(*_scores_and_axis(self.axis, module, output))


@final
@dataclass(frozen=True)
class AppendLogSoftmax:
    """A forward hook that applies a log-softmax to a network's output. Raises TypeError where that is not a tensor.

    Arguments:
        axis: axis of the classes; an output with one axis uses that.
    """

    axis: int

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        del args
        return torch.log_softmax(*_scores_and_axis(self.axis, module, output))


def _scores_and_axis(axis: int, module: nn.Module, output: Any) -> tuple[Tensor, int]:
    """The output of a network, and the axis of its classes: `axis`, or the only one."""
    scores = _require_tensor(module, output)
    return scores, axis if scores.dim() > 1 else 0


def _require_tensor(module: nn.Module, output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    raise TypeError(
        f"{type(module).__name__} puts out {type(output).__name__}, and a tensor of scores is needed; put it in by hand"
    )
