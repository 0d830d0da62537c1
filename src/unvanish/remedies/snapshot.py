"""The way back: a network and its optimizers as they were, restored bit for bit. It knows nothing of what was done to them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unvanish.errors import UndoError
from unvanish.remedies.structure import Structure

# Where a torch module keeps what it is made of. Restoring these whole keeps identity, order and names that hold None.
_REGISTRIES = ("_modules", "_parameters", "_buffers")


@dataclass(frozen=True, slots=True)
class _KeptModule:
    """One module: its training flag, and what its registries held."""

    module: nn.Module
    training: bool
    registries: tuple[dict[str, Any], ...]

    def restore(self) -> None:
        for name, held in zip(_REGISTRIES, self.registries, strict=True):
            registry = vars(self.module)[name]
            registry.clear()
            registry.update(held)
        self.module.training = self.training


@dataclass(frozen=True, slots=True)
class _KeptTensor:
    """One tensor and what it held. A tensor that stands for one memory cell many times over cannot be written in place."""

    tensor: Tensor
    value: Tensor
    requires_grad: bool

    def restore(self) -> None:
        if not any(stride == 0 and size > 1 for stride, size in zip(self.tensor.stride(), self.tensor.shape, strict=True)):
            self.tensor.copy_(self.value)
        if self.tensor.is_leaf:
            self.tensor.requires_grad_(self.requires_grad)


@dataclass(frozen=True, slots=True)
class _KeptOptimizer:
    """One optimizer: its group objects, their settings and parameters, and its state."""

    optimizer: Optimizer
    groups: tuple[tuple[dict[str, Any], dict[str, Any], tuple[nn.Parameter, ...]], ...]
    state: tuple[tuple[Any, Any], ...]

    def restore(self) -> None:
        for group, settings, parameters in self.groups:
            settings["params"][:] = parameters  # the same list object: LBFGS holds it elsewhere too
            group.clear()
            group.update(settings)
        self.optimizer.param_groups[:] = [group for group, _, _ in self.groups]
        self.optimizer.state.clear()
        self.optimizer.state.update(self.state)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A network and its optimizers at one moment. It holds a copy of every parameter, buffer and optimizer state."""

    network: nn.Module
    optimizers: tuple[Optimizer, ...]
    modules: tuple[_KeptModule, ...]
    tensors: tuple[_KeptTensor, ...]
    kept_optimizers: tuple[_KeptOptimizer, ...]

    @classmethod
    def take(cls, network: nn.Module, optimizers: Sequence[Optimizer]) -> Snapshot:
        """The present moment. Cost: as much memory as the network and its optimizer state."""
        return cls(
            network,
            tuple(optimizers),
            tuple(_keep_module(module) for module in network.modules()),
            tuple(_keep_tensor(tensor) for tensor in (*network.parameters(), *network.buffers())),
            tuple(_keep_optimizer(optimizer) for optimizer in optimizers),
        )

    def restore(self) -> None:
        """Puts back objects, values and flags, whatever happened to them since. A snapshot is restored at most once."""
        for module in self.modules:
            module.restore()
        with torch.no_grad():
            for tensor in self.tensors:
                tensor.restore()
        for optimizer in self.kept_optimizers:
            optimizer.restore()


class Reversal:
    """A change's way back, once: calling it restores the snapshot if nothing but values changed since the change was made."""

    def __init__(self, before: Snapshot) -> None:
        self._before: Snapshot | None = before
        self._after = Structure.of(before.network, before.optimizers)

    def __call__(self) -> None:
        """Restores the snapshot. A second call does nothing. Raises UndoError, and alters nothing, where objects were exchanged."""
        before = self._before
        if before is None:
            return
        if fault := self._after.difference(Structure.of(before.network, before.optimizers)):
            raise UndoError(
                f"cannot undo: {type(before.network).__name__} was altered after the remedy ({fault}); "
                "take that alteration back first (undo later changes before earlier ones), or build the network anew"
            )
        before.restore()
        self._before = None


def _keep_module(module: nn.Module) -> _KeptModule:
    return _KeptModule(module, module.training, tuple(dict(vars(module)[name]) for name in _REGISTRIES))


def _keep_tensor(tensor: Tensor) -> _KeptTensor:
    return _KeptTensor(tensor, tensor.detach().clone(), tensor.requires_grad)


def _keep_optimizer(optimizer: Optimizer) -> _KeptOptimizer:
    groups = tuple((group, _settings(group), tuple(group["params"])) for group in optimizer.param_groups)
    return _KeptOptimizer(optimizer, groups, tuple((key, copy.deepcopy(value)) for key, value in optimizer.state.items()))


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    """A group's entries; all but the parameters are copied, since a learning rate may be a tensor that is written in place."""
    return {key: value if key == "params" else copy.deepcopy(value) for key, value in group.items()}
