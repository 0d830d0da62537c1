"""Compares the objects that a network and its optimizers consist of by identity, and finds the modules around a path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass(frozen=True, slots=True)
class _TensorSpec:
    """Shape, dtype and device of a tensor."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: Tensor) -> _TensorSpec:
        return cls(tensor.shape, tensor.dtype, tensor.device)


@dataclass(frozen=True, slots=True)
class NetworkIdentity:
    """The objects of a network and its optimizers, by name. Training alters none of them."""

    modules: tuple[tuple[str, nn.Module], ...]
    parameters: tuple[tuple[str, nn.Parameter], ...]
    tensor_specs: tuple[tuple[str, _TensorSpec], ...]
    groups: tuple[tuple[nn.Parameter, ...], ...]

    @classmethod
    def of(cls, network: nn.Module, optimizers: Sequence[Optimizer]) -> NetworkIdentity:
        """The objects as they are now."""
        parameters = tuple(network.named_parameters(remove_duplicate=False))
        buffers = tuple(network.named_buffers(remove_duplicate=False))
        return cls(
            tuple(network.named_modules(remove_duplicate=False)),
            parameters,
            tuple((name, _TensorSpec.of(tensor)) for name, tensor in (*parameters, *buffers)),
            tuple(tuple(group["params"]) for optimizer in optimizers for group in optimizer.param_groups),
        )

    def difference(self, other: NetworkIdentity) -> str:
        """The first difference of another network from this one, in words; empty where there is none."""
        for noun, own, others in (("module", self.modules, other.modules), ("parameter", self.parameters, other.parameters)):
            if [name for name, _ in own] != [name for name, _ in others]:
                return f"a {noun} was added or removed"
            for (name, own_object), (_, other_object) in zip(own, others, strict=True):
                if own_object is not other_object:
                    return f"{noun} {name!r} is another object"
        if [name for name, _ in self.tensor_specs] != [name for name, _ in other.tensor_specs]:
            return "a buffer was added or removed"
        for (name, spec), (_, other_spec) in zip(self.tensor_specs, other.tensor_specs, strict=True):
            if spec != other_spec:
                return f"{name!r} has another shape, type or device"
        if [list(map(id, group)) for group in self.groups] != [list(map(id, group)) for group in other.groups]:
            return "a group of the optimizer holds other parameters"
        return ""


def ancestors(network: nn.Module, path: str) -> tuple[nn.Module, ...]:
    """The modules that contain the one at a path, the network first, its parent last."""
    parts = path.split(".")
    return tuple(network.get_submodule(".".join(parts[:end])) for end in range(len(parts)))
