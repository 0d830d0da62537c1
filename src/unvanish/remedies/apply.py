"""Applies remedies to a live network, all of them or none, and hands back the way back. It decides nothing itself."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from unvanish.errors import NotApplicable, UsageError
from unvanish.record.change import Change, Edit
from unvanish.remedies.base import Context
from unvanish.remedies.registry import Catalogue, remedy
from unvanish.remedies.registry import names as known_names
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

    As `unvanish.apply`, which says it all, with the remedies of `catalogue` by name: by default those that come with the package.
    """
    optimizers = _optimizers(optimizer)
    network = _network(model)
    if not names:
        raise UsageError(f"apply(model) was given no remedy; name at least one of {', '.join(known_names(catalogue))}")
    chosen = [remedy(name, catalogue) for name in names]
    before = Snapshot.take(network, optimizers)
    edits: list[Edit] = []
    try:
        for each in chosen:
            context = Context(_generator(each.name, seed), optimizers, inputs, loss)
            operations = each.plan(network, context)
            for operation in operations:
                edits.append(operation.edit)
                operation.perform(network, optimizers)
    except BaseException:
        before.restore()
        raise
    return Change(tuple(names), tuple(edits), Reversal(before))


def _generator(name: str, seed: int) -> torch.Generator:
    """A generator of the remedy's own: one seeded with the bare number would draw what a script that sets the same seed draws."""
    return torch.Generator().manual_seed(zlib.crc32(f"{name}:{seed}".encode()))


def _network(model: object) -> nn.Module:
    """The network behind wrappers that only run it."""
    if not isinstance(model, nn.Module):
        raise UsageError(f"apply needs a torch.nn.Module to change, and was given {type(model).__name__}; pass the network itself")
    if isinstance(model, DistributedDataParallel):
        raise NotApplicable("DistributedDataParallel has already counted the parameters; apply remedies before wrapping the model")
    if isinstance(model, torch.jit.ScriptModule):
        raise NotApplicable(
            f"{type(model).__name__} is compiled by TorchScript and cannot be changed; apply remedies before scripting"
        )
    inner = model.module if isinstance(model, DataParallel) else dict(model.named_children()).get("_orig_mod")
    if inner is not None:
        return _network(inner)
    for path, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise NotApplicable(
                f"{path!r} has no shape yet (a lazy module); run one batch through the network, then apply the remedy"
            )
    return model


def _optimizers(given: object) -> tuple[Optimizer, ...]:
    several = () if given is None else given if isinstance(given, (tuple, list)) else (given,)
    found: list[Optimizer] = []
    for each in several:
        if not isinstance(each, Optimizer):
            raise UsageError(f"optimizer= takes one torch.optim.Optimizer or a list of them, and was given {type(each).__name__}")
        found.append(each)
    return tuple(found)
