"""Adds parameters to optimizers, removes them, and drops their state, when the network changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import nn
from torch.optim import LBFGS, Optimizer

from unvanish.errors import NotApplicable


def add_parameters(
    parameters: Mapping[str, nn.Parameter], optimizers: Sequence[Optimizer], *, trained_with: Sequence[nn.Parameter]
) -> None:
    """Adds parameters to the first group, over all optimizers, that trains one of `trained_with`; to none where no group does.

    Arguments:
        parameters: new parameters by name. One that some group has already stays there, and is added to no other.
        optimizers: those that train the network.
        trained_with: parameters, the first of which to be found in a group decides the group.

    Raises:
        NotApplicable: that optimizer is torch's LBFGS, which fixes the length of its flat vector when it is built.
    """
    trained_ids = {id(parameter) for parameter in trained_with}
    present = {id(parameter) for optimizer in optimizers for group in optimizer.param_groups for parameter in group["params"]}
    new = {name: parameter for name, parameter in parameters.items() if id(parameter) not in present}
    if not new:
        return
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if trained_ids.isdisjoint(map(id, group["params"])):
                continue
            if isinstance(optimizer, LBFGS):
                raise NotApplicable(
                    "LBFGS cannot take in new parameters once it is built; apply the remedy first, then build the optimizer"
                )
            group["params"].extend(new.values())
            if "param_names" in group:
                group["param_names"].extend(new)
            return


def drop_state(parameters: Iterable[nn.Parameter], optimizers: Sequence[Optimizer]) -> None:
    """Drops the optimizers' state of some parameters; an optimizer builds it anew at its next step."""
    dropped = tuple(parameters)
    for optimizer in optimizers:
        for parameter in dropped:
            optimizer.state.pop(parameter, None)


def remove_parameters(parameters: Iterable[nn.Parameter], optimizers: Sequence[Optimizer]) -> None:
    """Takes parameters out of their groups, and drops their state.

    A group that would be left empty keeps them: torch refuses an optimizer without parameters, and skips those without gradient.
    LBFGS keeps them too.
    """
    gone = {id(parameter): parameter for parameter in parameters}
    if not gone:
        return
    drop_state(gone.values(), optimizers)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            kept = [position for position, parameter in enumerate(group["params"]) if id(parameter) not in gone]
            if isinstance(optimizer, LBFGS) or not kept:
                continue
            group["params"][:] = [group["params"][position] for position in kept]
            if "param_names" in group:
                group["param_names"][:] = [group["param_names"][position] for position in kept]
