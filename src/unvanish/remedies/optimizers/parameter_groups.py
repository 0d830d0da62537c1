"""Keeps optimizers in step with a changed network: new parameters join a group, stale state goes. It takes no step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import nn
from torch.optim import LBFGS, Optimizer

from unvanish.errors import NotApplicable


def enrol(fresh: Mapping[str, nn.Parameter], optimizers: Sequence[Optimizer], *, beside: Sequence[nn.Parameter]) -> None:
    """Adds named parameters to the first group, over all optimizers, that owns one of `beside`; to none where nobody does.

    A parameter that some group holds already stays where it is, and is added to no other.
    Raises NotApplicable where that optimizer is torch's LBFGS, which fixes the length of its one flat vector when it is built.
    """
    neighbours = {id(parameter) for parameter in beside}
    held = {id(parameter) for optimizer in optimizers for group in optimizer.param_groups for parameter in group["params"]}
    new = {name: parameter for name, parameter in fresh.items() if id(parameter) not in held}
    if not new:
        return
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if neighbours.isdisjoint(map(id, group["params"])):
                continue
            if isinstance(optimizer, LBFGS):
                raise NotApplicable(
                    "LBFGS cannot take in new parameters once it is built; apply the remedy first, then build the optimizer"
                )
            group["params"].extend(new.values())
            if "param_names" in group:
                group["param_names"].extend(new)
            return


def forget(parameters: Iterable[nn.Parameter], optimizers: Sequence[Optimizer]) -> None:
    """Drops the state of some parameters; an optimizer builds it anew at its next step."""
    stale = tuple(parameters)
    for optimizer in optimizers:
        for parameter in stale:
            optimizer.state.pop(parameter, None)


def withdraw(parameters: Iterable[nn.Parameter], optimizers: Sequence[Optimizer]) -> None:
    """Takes parameters that the network no longer has out of their groups, and drops their state.

    A group that would be left empty keeps them: torch refuses an optimizer without parameters, and one without gradients rests.
    """
    gone = {id(parameter): parameter for parameter in parameters}
    if not gone:
        return
    forget(gone.values(), optimizers)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            stay = [at for at, parameter in enumerate(group["params"]) if id(parameter) not in gone]
            if isinstance(optimizer, LBFGS) or not stay:
                continue
            group["params"][:] = [group["params"][at] for at in stay]
            if "param_names" in group:
                group["param_names"][:] = [group["param_names"][at] for at in stay]
