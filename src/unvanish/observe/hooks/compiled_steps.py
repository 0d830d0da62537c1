"""Tells whether an optimizer has stepped within a compiled region, where no hook may be: its parameters were written to."""

from __future__ import annotations

import weakref

from torch import Tensor
from torch.optim import Optimizer

from unvanish.observe.hooks.region_calls import is_within_region


class CompiledSteps:
    """Compares how often the parameters were written to, before and after a region, of the optimizers that step within one."""

    def __init__(self) -> None:
        self._built: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        self._optimizers: weakref.WeakSet[Optimizer] = weakref.WeakSet()  # that are known to step within regions
        self._versions: dict[int, list[int]] = {}

    def register(self, optimizer: Optimizer) -> None:
        """Adds an optimizer that was constructed and may step within a region."""
        self._built.add(optimizer)

    def observe(self, optimizer: Optimizer) -> None:
        """Records whether an optimizer, which is about to step on a sampled step, does so within a region that runs eagerly."""
        if is_within_region():
            self._optimizers.add(optimizer)

    def seen(self, optimizer: Optimizer) -> None:
        """An optimizer steps where it is seen, though a region may be running, which has called an excluded function."""
        self._versions.pop(id(optimizer), None)

    def begin(self) -> None:
        """A compiled region is about to begin, or to go on after an excluded function."""
        self._versions = {id(optimizer): _versions(optimizer) for optimizer in self._optimizers} | self._versions

    def backward_called(self) -> None:
        """A backward pass begins within a region, in which any optimizer may step next."""
        self._versions = {id(optimizer): _versions(optimizer) for optimizer in self._built} | self._versions

    def finish(self) -> list[Optimizer]:
        """The optimizers that have stepped since the region began."""
        versions, self._versions = self._versions, {}
        stepped = [o for o in (self._built | self._optimizers) if id(o) in versions and versions[id(o)] != _versions(o)]
        self._optimizers.update(stepped)
        return stepped


def _versions(optimizer: Optimizer) -> list[int]:
    """The version counter of each parameter, which torch raises whenever a tensor is written to."""
    parameters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
    return [p._version for p in parameters]  # pyright: ignore[reportPrivateUsage]
