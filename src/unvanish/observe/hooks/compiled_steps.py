"""Tells whether an optimizer has stepped within a compiled region, where no hook may be: its parameters were written to."""

from __future__ import annotations

import weakref

from torch import Tensor
from torch.optim import Optimizer

from unvanish.observe.hooks.region_calls import is_within_region


class CompiledSteps:
    """Compares how often the parameters were written to, before and after a region, of the optimizers that step within one."""

    def __init__(self) -> None:
        self._optimizers: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        self._versions: dict[int, list[int]] = {}

    def observe(self, optimizer: Optimizer) -> None:
        """Records whether an optimizer, which is about to step on a sampled step, does so within a region that runs eagerly."""
        if is_within_region():
            self._optimizers.add(optimizer)

    def begin(self) -> None:
        """A compiled region is about to begin."""
        self._versions = {id(optimizer): _versions(optimizer) for optimizer in self._optimizers}

    def finish(self) -> list[Optimizer]:
        """The optimizers that have stepped since the region began."""
        versions, self._versions = self._versions, {}
        return [o for o in self._optimizers if id(o) in versions and versions[id(o)] != _versions(o)]


def _versions(optimizer: Optimizer) -> list[int]:
    """The version counter of each parameter, which torch raises whenever a tensor is written to."""
    parameters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
    return [p._version for p in parameters]  # pyright: ignore[reportPrivateUsage]
