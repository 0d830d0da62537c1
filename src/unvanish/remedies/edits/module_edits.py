"""The basic operations of remedies: replace a module, rewrite calls in a module's methods, initialise parameters.

They keep device, dtype, training mode, shared modules and tied weights, and the optimizers in step with the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unvanish.record.initial_values import InitialValues
from unvanish.record.network_changes import CallExchange, Edit
from unvanish.remedies.base import Operation
from unvanish.remedies.layers.learned_gate import Residual
from unvanish.remedies.optimizers.parameter_groups import add_parameters, drop_state, remove_parameters

Place: TypeAlias = tuple[nn.Module, str]
"""Where a module is registered: its parent, and its name there."""


def module_places(network: nn.Module) -> dict[nn.Module, tuple[Place, ...]]:
    """All places of every module below the network: several where a module is shared.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        >>> module_places(network)[network[1]] == ((network, "1"),)
        True
    """
    places: dict[nn.Module, tuple[Place, ...]] = {}
    modules = dict(network.named_modules(remove_duplicate=False))
    for path, module in modules.items():
        parent, _, name = path.rpartition(".")
        if path:
            places[module] = (*places.get(module, ()), (modules[parent], name))
    return places


@dataclass(frozen=True, slots=True)
class Replace(Operation):
    """Puts `new` in all the `places` of `old`, in the training mode of `old`.

    Arguments:
        path: the module path of `old`, for the edit.
        old: the module that is replaced.
        new: the module in its place; it may contain `old`, as nn.Sequential(norm, old) does.
        places: all places of `old`, from `module_places`.
        neighbour: the optimizer that trains a parameter of this module also trains the new parameters of `new`. None where `new`
            has none, or no optimizer is to train them. Parameters that leave the network leave the optimizer in any case.
        action: the action of the edit: "replace", "insert" or "remove".

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid())
        >>> operation = Replace("1", network[1], nn.ReLU(), module_places(network)[network[1]])
        >>> operation.edit.before, operation.edit.after
        ('Sigmoid()', 'ReLU()')
        >>> operation.perform(network, optimizers=())
        >>> network[1]
        ReLU()
    """

    path: str
    old: nn.Module
    new: nn.Module
    places: tuple[Place, ...]
    neighbour: nn.Module | None = None
    action: str = "replace"

    @property
    def edit(self) -> Edit:
        """The module before, and the module after, or its parts where that is nn.Sequential."""
        parts = self.new if isinstance(self.new, nn.Sequential) else (self.new,)
        return Edit(self.action, self.path, _module_text(self.old), ", ".join(map(_module_text, parts)))

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Replaces the module in every place; new parameters join an optimizer, and those that are gone leave theirs."""
        old_parameters = set(self.old.parameters())
        self.new.train(self.old.training)
        for parent, name in self.places:
            parent.register_module(name, self.new)
        if self.neighbour is not None:
            fresh = {f"{self.path}.{name}": p for name, p in self.new.named_parameters() if p not in old_parameters}
            add_parameters(fresh, optimizers, trained_with=tuple(self.neighbour.parameters()))
        if gone := old_parameters.difference(self.new.parameters()):
            remove_parameters(gone.difference(network.parameters()), optimizers)


@dataclass(frozen=True, slots=True)
class Rewrite(Operation):
    """Makes a module an instance of a subclass of its class in whose methods some calls are exchanged.

    Arguments:
        path: the module path, for the edit.
        module: the module, which stays the same object.
        edited_class: its new class, from `method_rewriting.class_with_edits`.
        calls: the calls that are exchanged, for the edit.
    """

    path: str
    module: nn.Module
    edited_class: type[nn.Module]
    calls: tuple[CallExchange, ...]

    @property
    def edit(self) -> Edit:
        """The calls before and after, each text once."""
        before, after = (", ".join(dict.fromkeys(texts)) for texts in zip(*((c.before, c.after) for c in self.calls), strict=True))
        return Edit("replace", self.path, before, after, self.calls)

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Sets the class of the module."""
        del network, optimizers
        self.module.__class__ = self.edited_class


Fill: TypeAlias = Callable[[Tensor], object]
"""Initialises the tensor that it gets, in place, such as nn.init.zeros_."""


@dataclass(frozen=True, slots=True)
class Initialise(Operation):
    """Draws or sets parameters anew, each by its own function, and drops the optimizer's state of them.

    Moments that an optimizer gathered for the old values would push the new ones in a direction that is not theirs.

    Arguments:
        path: the module path of the layer, for the edit.
        before: the layer in words, for the edit.
        after: the distribution of the new values in words, for the edit.
        fills: each parameter with the function that initialises it. The function gets a contiguous copy of the parameter, on the
            CPU and in float32 or wider, so that the values do not depend on the device, and writes into it in place.
        values: the same as data, for a patch; only where it tells all of `fills`.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> Initialise("", repr(layer), "zero", ((layer.bias, nn.init.zeros_),)).perform(layer, optimizers=())
        >>> layer.bias.item()
        0.0
    """

    path: str
    before: str
    after: str
    fills: tuple[tuple[nn.Parameter, Fill], ...]
    values: tuple[InitialValues, ...] = ()

    @property
    def edit(self) -> Edit:
        """The layer, and the distribution of its new values."""
        return Edit("initialise", self.path, self.before, self.after, values=self.values)

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Fills copies, and copies their values into the parameters, whose objects stay."""
        del network
        for parameter, fill in self.fills:
            wide = torch.promote_types(parameter.dtype, torch.float32)
            fresh = parameter.detach().to("cpu", wide, copy=True).contiguous()
            fill(fresh)
            with torch.no_grad():
                parameter.copy_(fresh)
        drop_state([parameter for parameter, _ in self.fills], optimizers)


def _module_text(module: nn.Module) -> str:
    """The repr of a module; a batch normalisation without the defaults that its repr lists, a residual block on one line."""
    if isinstance(module, Residual):
        parts = module.branch if isinstance(module.branch, nn.Sequential) else (module.branch,)
        return f"Residual({', '.join(map(_module_text, parts))})"
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
        return f"{type(module).__name__}({module.num_features})"
    return repr(module)
