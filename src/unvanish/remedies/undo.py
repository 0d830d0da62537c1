"""Snapshots of a network and its optimizers, restored bit for bit, and the check that only values changed in between."""

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
from unvanish.remedies.object_identity import NetworkIdentity


@dataclass(frozen=True, slots=True)
class _ModuleState:
    """One module with its class, its attributes, and the contents of its own dictionaries (registries, hooks).

    The contents are put back into the same dictionary objects, in order, names that hold None included.
    """

    module: nn.Module
    module_class: type[nn.Module]
    attributes: dict[str, Any]
    dictionaries: tuple[tuple[dict[Any, Any], dict[Any, Any]], ...]

    @classmethod
    def of(cls, module: nn.Module) -> _ModuleState:
        attributes = dict(vars(module))
        return cls(module, type(module), attributes, _copy_dictionaries(attributes))

    def restore(self) -> None:
        if type(self.module) is not self.module_class:
            self.module.__class__ = self.module_class
        _restore_attributes(self.module, self.attributes, self.dictionaries)


@dataclass(frozen=True, slots=True)
class _TensorState:
    """One tensor with its values. An expanded tensor (stride 0) cannot be written in place, and keeps what it holds."""

    tensor: Tensor
    value: Tensor
    requires_grad: bool

    def restore(self) -> None:
        if not any(stride == 0 and size > 1 for stride, size in zip(self.tensor.stride(), self.tensor.shape, strict=True)):
            self.tensor.copy_(self.value)
        if self.tensor.is_leaf:
            self.tensor.requires_grad_(self.requires_grad)


@dataclass(frozen=True, slots=True)
class _OptimizerState:
    """One optimizer with its class, attributes, hooks, group objects, their settings and parameters, and its state.

    It is referenced weakly: one that the program has replaced since cannot be restored, and has to be noticed.
    """

    optimizer: weakref.ref[Optimizer]
    optimizer_class: type[Optimizer]
    attributes: dict[str, Any]
    dictionaries: tuple[tuple[dict[Any, Any], dict[Any, Any]], ...]
    groups: tuple[tuple[dict[str, Any], dict[str, Any], tuple[nn.Parameter, ...]], ...]
    state: tuple[tuple[Any, Any], ...]

    @classmethod
    def of(cls, optimizer: Optimizer) -> _OptimizerState:
        attributes = dict(vars(optimizer))
        return cls(
            weakref.ref(optimizer),
            type(optimizer),
            attributes,
            _copy_dictionaries(attributes, leave_out="state"),  # whose tensors are copied below
            tuple((group, _copy_group(group), tuple(group["params"])) for group in optimizer.param_groups),
            tuple((key, copy.deepcopy(value)) for key, value in optimizer.state.items()),
        )

    def restore(self) -> None:
        optimizer = self.optimizer()
        if optimizer is None:
            return
        if type(optimizer) is not self.optimizer_class:
            optimizer.__class__ = self.optimizer_class
        _restore_attributes(optimizer, self.attributes, self.dictionaries)
        for group, settings, parameters in self.groups:
            settings["params"][:] = parameters  # the same list object: LBFGS holds it elsewhere too
            group.clear()
            group.update(settings)
        optimizer.param_groups[:] = [group for group, _, _ in self.groups]
        optimizer.state.clear()
        optimizer.state.update(self.state)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A network and its optimizers at one moment, with a copy of every parameter, buffer and optimizer state.

    Not in it: gradients, random states, and what modules of the user's own hold outside of their attributes.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from unvanish.remedies.undo import Snapshot
        >>> network = nn.Linear(2, 1)
        >>> weight = network.weight.detach().clone()
        >>> snapshot = Snapshot.take(network, ())
        >>> _ = nn.init.zeros_(network.weight)
        >>> network.extra = nn.ReLU()
        >>> snapshot.restore()
        >>> bool(torch.equal(network.weight, weight)), list(network.children())
        (True, [])
    """

    network: nn.Module
    module_states: tuple[_ModuleState, ...]
    tensor_states: tuple[_TensorState, ...]
    optimizer_states: tuple[_OptimizerState, ...]

    @classmethod
    def take(cls, network: nn.Module, optimizers: Sequence[Optimizer]) -> Snapshot:
        """The network and the optimizers as they are now. Cost: as much memory as the network and its optimizer state."""
        return cls(
            network,
            tuple(_ModuleState.of(module) for module in network.modules()),
            tuple(_copy_tensor(tensor) for tensor in (*network.parameters(), *network.buffers())),
            tuple(_OptimizerState.of(optimizer) for optimizer in optimizers),
        )

    def live_optimizers(self) -> tuple[Optimizer, ...] | None:
        """The optimizers; None where the program no longer holds one of them."""
        optimizers = [optimizer for state in self.optimizer_states if (optimizer := state.optimizer()) is not None]
        return tuple(optimizers) if len(optimizers) == len(self.optimizer_states) else None

    def restore(self) -> None:
        """Puts back objects, values and flags, whatever happened to them since. A snapshot is restored at most once."""
        for module_state in self.module_states:
            module_state.restore()
        with torch.no_grad():
            for tensor_state in self.tensor_states:
                tensor_state.restore()
        for optimizer_state in self.optimizer_states:
            optimizer_state.restore()


class Reversal:
    """The undo of a change, built once the change is made: a call restores the snapshot from before it.

    Arguments:
        before: the snapshot taken before the change.
    """

    def __init__(self, before: Snapshot) -> None:
        self._before: Snapshot | None = before
        self._after = NetworkIdentity.of(before.network, before.live_optimizers() or ())

    def __call__(self) -> None:
        """Restores the snapshot; a second call does nothing.

        Raises UndoError, and alters nothing, where a module, parameter, buffer or optimizer is another object than after the
        change, or has another shape, dtype or device: training alters values only.
        """
        before = self._before
        if before is None:
            return
        optimizers = before.live_optimizers()
        if optimizers is None:
            raise UndoError(
                f"cannot undo: the optimizer of {type(before.network).__name__} was replaced after the remedy, and the new one may "
                "hold parameters that the remedy brought; build the network and its optimizer anew"
            )
        if difference := self._after.difference(NetworkIdentity.of(before.network, optimizers)):
            raise UndoError(
                f"cannot undo: {type(before.network).__name__} was altered after the remedy ({difference}); "
                "take that alteration back first (undo later changes before earlier ones), or build the network anew"
            )
        before.restore()
        self._before = None


def _copy_tensor(tensor: Tensor) -> _TensorState:
    return _TensorState(tensor, tensor.detach().clone(), tensor.requires_grad)


def _copy_dictionaries(attributes: dict[str, Any], *, leave_out: str = "") -> tuple[tuple[dict[Any, Any], dict[Any, Any]], ...]:
    """The dictionaries among some attributes, each with a copy of its contents."""
    dictionaries = [value for name, value in attributes.items() if isinstance(value, dict) and name != leave_out]
    return tuple((dictionary, dict(dictionary)) for dictionary in dictionaries)


def _restore_attributes(
    owner: object, attributes: dict[str, Any], dictionaries: tuple[tuple[dict[Any, Any], dict[Any, Any]], ...]
) -> None:
    vars(owner).clear()
    vars(owner).update(attributes)
    for dictionary, contents in dictionaries:
        dictionary.clear()
        dictionary.update(contents)


def _copy_group(group: dict[str, Any]) -> dict[str, Any]:
    """A group's entries; all but the parameters are copied, since a learning rate may be a tensor that is written in place."""
    return {key: value if key == "params" else copy.deepcopy(value) for key, value in group.items()}
