"""What a network and its optimizers are made of, compared by identity. It holds no values and alters nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass(frozen=True, slots=True)
class _Form:
    """What a tensor can hold, and where it lives."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: Tensor) -> _Form:
        return cls(tensor.shape, tensor.dtype, tensor.device)


@dataclass(frozen=True, slots=True)
class Structure:
    """The objects of a network and its optimizers, under their names. Training alters none of them."""

    modules: tuple[tuple[str, nn.Module], ...]
    parameters: tuple[tuple[str, nn.Parameter], ...]
    forms: tuple[tuple[str, _Form], ...]
    groups: tuple[tuple[nn.Parameter, ...], ...]

    @classmethod
    def of(cls, network: nn.Module, optimizers: Sequence[Optimizer]) -> Structure:
        """The present structure."""
        parameters = tuple(network.named_parameters(remove_duplicate=False))
        buffers = tuple(network.named_buffers(remove_duplicate=False))
        return cls(
            tuple(network.named_modules(remove_duplicate=False)),
            parameters,
            tuple((name, _Form.of(tensor)) for name, tensor in (*parameters, *buffers)),
            tuple(tuple(group["params"]) for optimizer in optimizers for group in optimizer.param_groups),
        )

    def difference(self, other: Structure) -> str:
        """The first place where another structure differs, in words; empty where it does not."""
        for kind, mine, theirs in (("module", self.modules, other.modules), ("parameter", self.parameters, other.parameters)):
            if [name for name, _ in mine] != [name for name, _ in theirs]:
                return f"a {kind} was added or removed"
            for (name, one), (_, two) in zip(mine, theirs, strict=True):
                if one is not two:
                    return f"{kind} {name!r} is another object"
        if [name for name, _ in self.forms] != [name for name, _ in other.forms]:
            return "a buffer was added or removed"
        for (name, form), (_, now) in zip(self.forms, other.forms, strict=True):
            if form != now:
                return f"{name!r} has another shape, type or device"
        if [list(map(id, group)) for group in self.groups] != [list(map(id, group)) for group in other.groups]:
            return "a group of the optimizer holds other parameters"
        return ""


def holders(network: nn.Module, path: str) -> tuple[nn.Module, ...]:
    """The modules that hold the one at a path, the network first."""
    parts = path.split(".")
    return tuple(network.get_submodule(".".join(parts[:end])) for end in range(len(parts)))
