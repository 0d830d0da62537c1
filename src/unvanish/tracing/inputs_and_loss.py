"""Prepares the two ends of a trace: inputs that a gradient can reach, and a loss that is one number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from unvanish.errors import UsageError

Loss = Callable[[Any], Tensor]


@dataclass(frozen=True, slots=True)
class CallArguments:
    """Positional and keyword arguments of one call, where neither a tuple nor a dict can hold both."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PreparedInputs:
    """What the network is called with.

    `differentiable` are the copies of the floating-point tensors in it, whose gradients are traced; `integer_storages` are the
    addresses of the storages of the others.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    differentiable: list[Tensor]
    integer_storages: frozenset[int]


def prepare_inputs(inputs: Any) -> PreparedInputs:
    """Copies of the inputs that a gradient can reach: a tuple or list gives positional arguments, a dict keyword arguments.

    A network may change its inputs in place, so it gets copies of leaves. Raises UsageError where there is no tensor.

    Example:
        >>> prepared = prepare_inputs({"x": torch.zeros(2, 3), "length": 3})
        >>> prepared.args, list(prepared.kwargs), prepared.kwargs["x"].requires_grad
        ((), ['x', 'length'], True)
    """
    differentiable: list[Tensor] = []
    integer_storages: set[int] = set()

    def copy_value(value: Any) -> Any:
        if isinstance(value, PackedSequence):
            return PackedSequence(copy_value(value.data), value.batch_sizes, value.sorted_indices, value.unsorted_indices)
        if not isinstance(value, Tensor):
            return value
        value = value.clone() if value.is_inference() else value
        if not (value.is_floating_point() or value.is_complex()):
            integer_storages.add(value.untyped_storage().data_ptr())
            return value
        copy = value.detach().requires_grad_().clone()
        differentiable.append(copy)
        return copy

    arguments = _split_arguments(inputs)
    args = tuple(_map_tensors(copy_value, value) for value in arguments.args)
    kwargs = {name: _map_tensors(copy_value, value) for name, value in arguments.kwargs.items()}
    if not differentiable and not integer_storages:
        raise UsageError(
            f"the inputs ({type(inputs).__name__}) hold no tensor; give a tensor, a tuple of arguments or a dict of named ones"
        )
    if differentiable and not any(tensor.numel() for tensor in differentiable):
        raise UsageError(f"the inputs hold no value (shape {tuple(differentiable[0].shape)}); give at least one example")
    return PreparedInputs(args, kwargs, differentiable, frozenset(integer_storages))


def resolve_loss(loss_or_targets: Any) -> Loss:
    """The loss function itself, or the usual one for a tensor of targets.

    That is cross-entropy for integers (classes in dimension 1 of the outputs, or last for sequences of targets), mean squared
    error otherwise. Raises UsageError for anything else.

    Example:
        >>> resolve_loss(torch.tensor([[1.0], [2.0]]))(torch.zeros(2, 1))
        tensor(2.5000)
    """
    if isinstance(loss_or_targets, Tensor):
        targets = loss_or_targets
        return lambda outputs: _usual_loss(outputs, targets)
    if callable(loss_or_targets):
        return cast(Loss, loss_or_targets)
    raise UsageError(
        f"the loss is {type(loss_or_targets).__name__}; give a function of the outputs that returns one number, or targets"
    )


def require_scalar(value: Any) -> Tensor:
    """The value of a loss. Raises UsageError where it is no tensor or more than one number."""
    if not isinstance(value, Tensor):
        raise UsageError(f"loss(outputs) returned {type(value).__name__}; it must return a tensor that holds one number")
    if value.numel() != 1:
        raise UsageError(
            f"loss(outputs) returned a tensor of shape {tuple(value.shape)}; reduce it to one number, such as with .mean()"
        )
    return value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested containers that torch knows."""
    for leaf in pytree.tree_leaves(value):
        if isinstance(leaf, PackedSequence):
            yield leaf.data
        elif isinstance(leaf, Tensor):
            yield leaf


def _split_arguments(inputs: Any) -> CallArguments:
    """The inputs as positional and keyword arguments."""
    if isinstance(inputs, CallArguments):
        return inputs
    if isinstance(inputs, dict):
        return CallArguments((), {str(name): value for name, value in cast(dict[Any, Any], inputs).items()})
    if isinstance(inputs, tuple | list) and not isinstance(inputs, PackedSequence):
        return CallArguments(tuple(cast(tuple[Any, ...], inputs)), {})
    return CallArguments((inputs,), {})


def _map_tensors(change: Callable[[Any], Any], value: Any) -> Any:
    return pytree.tree_map(change, value, is_leaf=lambda v: isinstance(v, PackedSequence))


def _usual_loss(outputs: Any, targets: Tensor) -> Tensor:
    predicted = next((tensor for tensor in tensors_in(outputs) if tensor.is_floating_point()), None)
    if predicted is None:
        raise UsageError("the network returned no floating-point tensor to compare with the targets; give a loss function instead")
    if targets.is_floating_point():
        if predicted.numel() != targets.numel():
            raise UsageError(
                f"outputs of shape {tuple(predicted.shape)} do not match targets of shape {tuple(targets.shape)}; "
                "give a loss function instead"
            )
        return F.mse_loss(predicted.reshape(targets.shape), targets)
    if predicted.dim() == targets.dim() + 1 and targets.dim() > 1 and predicted.shape[:-1] == targets.shape:
        return F.cross_entropy(predicted.flatten(0, -2), targets.flatten())  # (batch, time, classes), (batch, time)
    if predicted.dim() != targets.dim() + 1 or predicted.shape[0] != targets.shape[0]:
        raise UsageError(
            f"outputs of shape {tuple(predicted.shape)} do not match class targets of shape {tuple(targets.shape)}; "
            "give a loss function instead"
        )
    return F.cross_entropy(predicted, targets.to(torch.int64))  # (batch, classes, ...), (batch, ...)
