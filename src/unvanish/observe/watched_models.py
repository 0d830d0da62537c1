"""Says which modules and optimizers an observer watches, and in which process."""

from __future__ import annotations

import os
from collections.abc import Sequence

from torch import nn
from torch.optim import Optimizer


class WatchScope:
    """The given networks and every optimizer that holds a parameter of theirs; with no network given, everything.

    Only the process that made the scope is watched, not a child forked from it.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.modules = [module for network in networks for module in network.modules()]
        self._module_ids = {id(module) for module in self.modules}
        self._parameter_ids = {id(parameter) for network in networks for parameter in network.parameters()}
        self._process = os.getpid()

    @property
    def is_own_process(self) -> bool:
        """Whether the current process is the one that is watched."""
        return os.getpid() == self._process

    def includes_module(self, module: nn.Module) -> bool:
        """Whether a module is watched."""
        return (not self._module_ids or id(module) in self._module_ids) and self.is_own_process

    def includes_optimizer(self, optimizer: Optimizer) -> bool:
        """Whether an optimizer is watched."""
        ids = self._parameter_ids
        return not ids or any(id(p) in ids for group in optimizer.param_groups for p in group["params"])
