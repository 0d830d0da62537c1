"""Applies remedies to a live network, all of them or none, and returns the change, which can be undone."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from unvanish.errors import NotApplicable, UsageError
from unvanish.network.unwrapping import wrapped_module
from unvanish.record.network_changes import Change, Edit
from unvanish.remedies.base import Context
from unvanish.remedies.registry import Catalogue, get_remedy, remedy_names
from unvanish.remedies.saved_state_mark import FUNCTION_FAMILIES, mark_saved_state
from unvanish.remedies.undo import Reversal, Snapshot


def apply(
    model: nn.Module,
    *names: str,
    optimizer: Optimizer | Sequence[Optimizer] | None = None,
    inputs: Any = None,
    loss: Any = None,
    seed: int = 0,
    catalogue: Catalogue | None = None,
) -> Change:
    """The change that the named remedies made to the model, in place and in the order given; `change.undo()` takes it back.

    The same as `unvanish.apply`, but with the remedies of `catalogue` in place of all that are installed.

    Arguments:
        model: the network; DataParallel and torch.compile wrappers are looked through.
        names: names of remedies. Each plans on what those before it did.
        optimizer: the optimizer that trains the model, or several. New parameters join it, and its state of parameters that are
            drawn anew starts afresh.
        inputs: one example batch (a tensor, a tuple of positional or a dict of keyword arguments), for remedies that need shapes
            or values.
        loss: takes the model's outputs to one number, for remedies that try something out.
        seed: seeds a random generator of its own for each remedy; the program's random state is neither read nor changed.
        catalogue: remedies by name; by default those that come with the package.

    Raises:
        UnknownRemedy: no remedy has that name.
        NotApplicable: a remedy cannot act on this model.
        UsageError: no name, or an argument of the wrong kind.

    Where a remedy changes what the network computes from its weights, the network's `state_dict` gets a key that names it: a
    network without the remedy refuses to load it.

    After an error the model and the optimizers are as they were. Cost: a copy of all parameters, buffers and optimizer state, kept
    for as long as the change is referenced.

    Example:
        >>> from torch import nn
        >>> from unvanish.remedies import apply
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1))
        >>> change = apply(network, "relu")
        >>> network[1]
        ReLU()
        >>> change.undo()
        >>> network[1]
        Sigmoid()
    """
    optimizers = _check_optimizers(optimizer)
    network = _unwrap_network(model)
    if not names:
        raise UsageError(f"apply(model) was given no remedy; name at least one of {', '.join(remedy_names(catalogue))}")
    remedies = [get_remedy(name, catalogue) for name in names]
    snapshot = Snapshot.take(network, optimizers)
    edits: list[Edit] = []
    try:
        for remedy in remedies:
            context = Context(_seeded_generator(remedy.name, seed), optimizers, inputs, loss)
            for operation in remedy.plan(network, context):
                edits.append(operation.edit)
                operation.perform(network, optimizers)
        if marked := [remedy.name for remedy in remedies if remedy.family in FUNCTION_FAMILIES]:
            mark_saved_state(network, marked)
    except BaseException:
        snapshot.restore()
        raise
    return Change(tuple(names), tuple(edits), Reversal(snapshot))


def _seeded_generator(name: str, seed: int) -> torch.Generator:
    """A generator for one remedy; seeded with the bare number it would draw what a script that sets the same seed draws."""
    return torch.Generator().manual_seed(zlib.crc32(f"{name}:{seed}".encode()))


def _unwrap_network(model: object) -> nn.Module:
    """The network inside wrappers. Raises NotApplicable where its parameters are fixed by a wrapper, or have no shape yet."""
    if not isinstance(model, nn.Module):
        raise UsageError(f"apply needs a torch.nn.Module to change, and was given {type(model).__name__}; pass the network itself")
    if isinstance(model, DistributedDataParallel):
        raise NotApplicable("DistributedDataParallel has already counted the parameters; apply remedies before wrapping the model")
    if isinstance(model, torch.jit.ScriptModule):
        raise NotApplicable(
            f"{type(model).__name__} is compiled by TorchScript and cannot be changed; apply remedies before scripting"
        )
    inner = wrapped_module(model)
    if inner is not None:
        return _unwrap_network(inner)
    for path, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise NotApplicable(
                f"{path!r} has no shape yet (a lazy module); run one batch through the network, then apply the remedy"
            )
    return model


def _check_optimizers(argument: object) -> tuple[Optimizer, ...]:
    values = () if argument is None else argument if isinstance(argument, (tuple, list)) else (argument,)
    optimizers: list[Optimizer] = []
    for value in values:
        if not isinstance(value, Optimizer):
            raise UsageError(f"optimizer= takes one torch.optim.Optimizer or a list of them, and was given {type(value).__name__}")
        optimizers.append(value)
    return tuple(optimizers)
