"""The way back: a network and its optimizers as they were, restored bit for bit. It knows nothing of what was done to them."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unvanish.errors import UndoError
from unvanish.remedies.network_identity import Structure


@dataclass(frozen=True, slots=True)
class _KeptModule:
    """One module: its class, its attributes, and what its own dictionaries (registries, hooks) held.

    The dictionaries are restored whole, which keeps their identity and order, and names that hold None.
    """

    module: nn.Module
    kind: type[nn.Module]
    attributes: dict[str, Any]
    dictionaries: tuple[tuple[dict[Any, Any], dict[Any, Any]], ...]

    @classmethod
    def of(cls, module: nn.Module) -> _KeptModule:
        attributes = dict(vars(module))
        return cls(module, type(module), attributes, _held(attributes))

    def restore(self) -> None:
        if type(self.module) is not self.kind:
            self.module.__class__ = self.kind
        _put_back(self.module, self.attributes, self.dictionaries)


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
    """One optimizer: its attributes and hooks, its group objects, their settings and parameters, and its state.

    It is not kept alive: one that the program has replaced since cannot be restored, and must be noticed.
    """

    optimizer: weakref.ref[Optimizer]
    kind: type[Optimizer]
    attributes: dict[str, Any]
    dictionaries: tuple[tuple[dict[Any, Any], dict[Any, Any]], ...]
    groups: tuple[tuple[dict[str, Any], dict[str, Any], tuple[nn.Parameter, ...]], ...]
    state: tuple[tuple[Any, Any], ...]

    @classmethod
    def of(cls, optimizer: Optimizer) -> _KeptOptimizer:
        attributes = dict(vars(optimizer))
        return cls(
            weakref.ref(optimizer),
            type(optimizer),
            attributes,
            _held(attributes, beside="state"),  # whose tensors are copied below
            tuple((group, _settings(group), tuple(group["params"])) for group in optimizer.param_groups),
            tuple((key, copy.deepcopy(value)) for key, value in optimizer.state.items()),
        )

    def restore(self) -> None:
        optimizer = self.optimizer()
        if optimizer is None:
            return
        if type(optimizer) is not self.kind:
            optimizer.__class__ = self.kind
        _put_back(optimizer, self.attributes, self.dictionaries)
        for group, settings, parameters in self.groups:
            settings["params"][:] = parameters  # the same list object: LBFGS holds it elsewhere too
            group.clear()
            group.update(settings)
        optimizer.param_groups[:] = [group for group, _, _ in self.groups]
        optimizer.state.clear()
        optimizer.state.update(self.state)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A network and its optimizers at one moment. It holds a copy of every parameter, buffer and optimizer state."""

    network: nn.Module
    modules: tuple[_KeptModule, ...]
    tensors: tuple[_KeptTensor, ...]
    kept_optimizers: tuple[_KeptOptimizer, ...]

    @classmethod
    def take(cls, network: nn.Module, optimizers: Sequence[Optimizer]) -> Snapshot:
        """The present moment. Cost: as much memory as the network and its optimizer state."""
        return cls(
            network,
            tuple(_KeptModule.of(module) for module in network.modules()),
            tuple(_keep_tensor(tensor) for tensor in (*network.parameters(), *network.buffers())),
            tuple(_KeptOptimizer.of(optimizer) for optimizer in optimizers),
        )

    def optimizers(self) -> tuple[Optimizer, ...] | None:
        """The optimizers; None where the program has let go of one."""
        alive = [each for kept in self.kept_optimizers if (each := kept.optimizer()) is not None]
        return tuple(alive) if len(alive) == len(self.kept_optimizers) else None

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
        self._after = Structure.of(before.network, before.optimizers() or ())

    def __call__(self) -> None:
        """Restores the snapshot. A second call does nothing. Raises UndoError, and alters nothing, where objects were exchanged."""
        before = self._before
        if before is None:
            return
        optimizers = before.optimizers()
        if optimizers is None:
            raise UndoError(
                f"cannot undo: the optimizer of {type(before.network).__name__} was replaced after the remedy, and the new one may "
                "hold parameters that the remedy brought; build the network and its optimizer anew"
            )
        if fault := self._after.difference(Structure.of(before.network, optimizers)):
            raise UndoError(
                f"cannot undo: {type(before.network).__name__} was altered after the remedy ({fault}); "
                "take that alteration back first (undo later changes before earlier ones), or build the network anew"
            )
        before.restore()
        self._before = None


def _keep_tensor(tensor: Tensor) -> _KeptTensor:
    return _KeptTensor(tensor, tensor.detach().clone(), tensor.requires_grad)


def _held(attributes: dict[str, Any], *, beside: str = "") -> tuple[tuple[dict[Any, Any], dict[Any, Any]], ...]:
    """The dictionaries among some attributes, each with what it holds now."""
    found = [value for name, value in attributes.items() if isinstance(value, dict) and name != beside]
    return tuple((each, dict(each)) for each in found)


def _put_back(thing: object, attributes: dict[str, Any], dictionaries: tuple[tuple[dict[Any, Any], dict[Any, Any]], ...]) -> None:
    """Gives an object its attributes again, and their dictionaries what these held."""
    vars(thing).clear()
    vars(thing).update(attributes)
    for dictionary, held in dictionaries:
        dictionary.clear()
        dictionary.update(held)


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    """A group's entries; all but the parameters are copied, since a learning rate may be a tensor that is written in place."""
    return {key: value if key == "params" else copy.deepcopy(value) for key, value in group.items()}
