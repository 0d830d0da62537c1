"""The two operations that remedies are made of: put a module in another's place, and fill tensors with fresh numbers.

They keep device, dtype, training mode, shared modules, tied weights and the optimizers. They do not undo: a snapshot does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unvanish.record.change import CallExchange, Edit
from unvanish.remedies.base import Operation
from unvanish.remedies.optimizers.parameters import enrol, forget, withdraw

Place: TypeAlias = tuple[nn.Module, str]
"""Where a module hangs: its parent, and its name there."""


def places(network: nn.Module) -> dict[nn.Module, tuple[Place, ...]]:
    """Every place of every module below the network: several where a module is shared."""
    found: dict[nn.Module, tuple[Place, ...]] = {}
    modules = dict(network.named_modules(remove_duplicate=False))
    for path, module in modules.items():
        parent, _, name = path.rpartition(".")
        if path:
            found[module] = (*found.get(module, ()), (modules[parent], name))
    return found


@dataclass(frozen=True, slots=True)
class Replace(Operation):
    """Puts `new` in all the `places` of `old`; `new` may hold `old`, as nn.Sequential(norm, old) does.

    `new` follows the training mode of `old`. The optimizer that trains a parameter of `neighbour` also trains the parameters
    that `new` brings along, and lets go of those that leave the network. `path` and `action` are for the edit.
    """

    path: str
    old: nn.Module
    new: nn.Module
    places: tuple[Place, ...]
    neighbour: nn.Module | None = None
    action: str = "replace"

    @property
    def edit(self) -> Edit:
        """What stood at the path, and what stands there now."""
        parts = self.new if isinstance(self.new, nn.Sequential) else (self.new,)
        return Edit(self.action, self.path, _spelled(self.old), ", ".join(map(_spelled, parts)))

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Exchanges the module in every place at once, enrols the parameters that came, and withdraws those that left."""
        known = set(self.old.parameters())
        self.new.train(self.old.training)
        for parent, name in self.places:
            parent.register_module(name, self.new)
        if self.neighbour is not None:
            fresh = {f"{self.path}.{name}": p for name, p in self.new.named_parameters() if p not in known}
            enrol(fresh, optimizers, beside=tuple(self.neighbour.parameters()))
        if gone := known.difference(self.new.parameters()):
            withdraw(gone.difference(network.parameters()), optimizers)


@dataclass(frozen=True, slots=True)
class Rewrite(Operation):
    """Makes a module an instance of `kind`, a class like its own but for some calls in its methods (`rewriting`).

    `path` and `calls` are for the edit.
    """

    path: str
    module: nn.Module
    kind: type[nn.Module]
    calls: tuple[CallExchange, ...]

    @property
    def edit(self) -> Edit:
        """The module whose methods call something else, and the calls."""
        before, after = (", ".join(dict.fromkeys(texts)) for texts in zip(*((c.before, c.after) for c in self.calls), strict=True))
        return Edit("replace", self.path, before, after, self.calls)

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Changes the class of the module, which stays the same object."""
        del network, optimizers
        self.module.__class__ = self.kind


Fill: TypeAlias = Callable[[Tensor], object]
"""Writes fresh numbers into the tensor that it gets."""


@dataclass(frozen=True, slots=True)
class Initialise(Operation):
    """Gives parameters fresh numbers, each by its own `fill`. Their optimizer state starts afresh.

    A fill gets a contiguous copy of what the parameter holds, on the CPU and in float32 or wider, so that the numbers do not
    depend on the device, and writes into it in place. Moments that an optimizer gathered for the old numbers would push the
    new ones in a direction that is no longer theirs. `path`, `before` and `after` are for the edit.
    """

    path: str
    before: str
    after: str
    fills: tuple[tuple[nn.Parameter, Fill], ...]

    @property
    def edit(self) -> Edit:
        """The layer, and the distribution of its new numbers."""
        return Edit("initialise", self.path, self.before, self.after)

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Draws the numbers and copies them into the parameters, whose objects stay."""
        del network
        for parameter, fill in self.fills:
            wide = torch.promote_types(parameter.dtype, torch.float32)
            fresh = parameter.detach().to("cpu", wide, copy=True).contiguous()
            fill(fresh)
            with torch.no_grad():
                parameter.copy_(fresh)
        forget([parameter for parameter, _ in self.fills], optimizers)


def _spelled(module: nn.Module) -> str:
    """A module as a person would write it: a normalisation without the defaults that its repr lists."""
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
        return f"{type(module).__name__}({module.num_features})"
    return repr(module)
