"""The two ends of a trace: inputs that a gradient can reach, and a loss that is one number. It runs no network."""

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
class Arguments:
    """Positional and keyword arguments together, where a tuple or a dict cannot say it."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PreparedInputs:
    """What the network is called with, and the copies of the floating-point tensors in it, whose gradients are traced."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    reachable: list[Tensor]
    storages: frozenset[int]


def prepare_inputs(inputs: Any) -> PreparedInputs:
    """Copies of the inputs that a gradient can reach: a tuple or list gives positional arguments, a dict keyword arguments.

    A network may change what it gets in place, so it gets copies of leaves. Raises UsageError where there is no tensor.
    """
    reachable: list[Tensor] = []
    storages: set[int] = set()

    def fresh(value: Any) -> Any:
        if isinstance(value, PackedSequence):
            return PackedSequence(fresh(value.data), value.batch_sizes, value.sorted_indices, value.unsorted_indices)
        if not isinstance(value, Tensor):
            return value
        value = value.clone() if value.is_inference() else value
        if not (value.is_floating_point() or value.is_complex()):
            storages.add(value.untyped_storage().data_ptr())
            return value
        copy = value.detach().requires_grad_().clone()
        reachable.append(copy)
        return copy

    if isinstance(inputs, Arguments):
        made = PreparedInputs(
            tuple(_mapped(fresh, value) for value in inputs.args),
            {name: _mapped(fresh, value) for name, value in inputs.kwargs.items()},
            reachable,
            frozenset(storages),
        )
    elif isinstance(inputs, dict):
        kwargs = {str(name): _mapped(fresh, value) for name, value in cast(dict[str, Any], inputs).items()}
        made = PreparedInputs((), kwargs, reachable, frozenset(storages))
    elif isinstance(inputs, tuple | list) and not isinstance(inputs, PackedSequence):
        made = PreparedInputs(
            tuple(_mapped(fresh, value) for value in cast(tuple[Any, ...], inputs)), {}, reachable, frozenset(storages)
        )
    else:
        made = PreparedInputs((_mapped(fresh, inputs),), {}, reachable, frozenset(storages))
    if not reachable and not storages:
        raise UsageError(
            f"the inputs ({type(inputs).__name__}) hold no tensor; give a tensor, a tuple of arguments or a dict of named ones"
        )
    if reachable and not any(tensor.numel() for tensor in reachable):
        raise UsageError(f"the inputs hold no value (shape {tuple(reachable[0].shape)}); give at least one example")
    return made


def loss_of(loss_or_targets: Any) -> Loss:
    """The loss itself, or the usual one for targets: cross-entropy for integers (classes in dimension 1, or last for sequences of
    targets), mean squared error otherwise.

    Raises UsageError for anything else.
    """
    if isinstance(loss_or_targets, Tensor):
        targets = loss_or_targets
        return lambda outputs: _usual(outputs, targets)
    if callable(loss_or_targets):
        return cast(Loss, loss_or_targets)
    raise UsageError(
        f"the loss is {type(loss_or_targets).__name__}; give a function of the outputs that returns one number, or targets"
    )


def one_number(value: Any) -> Tensor:
    """The loss, checked. Raises UsageError where it is no tensor or more than one number."""
    if not isinstance(value, Tensor):
        raise UsageError(f"loss(outputs) returned {type(value).__name__}; it must return a tensor that holds one number")
    if value.numel() != 1:
        raise UsageError(
            f"loss(outputs) returned a tensor of shape {tuple(value.shape)}; reduce it to one number, such as with .mean()"
        )
    return value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in a nest of containers that torch knows."""
    for leaf in pytree.tree_leaves(value):
        if isinstance(leaf, PackedSequence):
            yield leaf.data
        elif isinstance(leaf, Tensor):
            yield leaf


def _mapped(fresh: Callable[[Any], Any], value: Any) -> Any:
    return pytree.tree_map(fresh, value, is_leaf=lambda v: isinstance(v, PackedSequence))


def _usual(outputs: Any, targets: Tensor) -> Tensor:
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
        return F.cross_entropy(predicted.flatten(0, -2), targets.flatten())
    if predicted.dim() != targets.dim() + 1 or predicted.shape[0] != targets.shape[0]:
        raise UsageError(
            f"outputs of shape {tuple(predicted.shape)} do not match class targets of shape {tuple(targets.shape)}; "
            "give a loss function instead"
        )
    return F.cross_entropy(predicted, targets.to(torch.int64))
