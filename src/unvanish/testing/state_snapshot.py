"""A network, its optimizer and the program's luck as plain values: all that an undo has to restore. It alters nothing."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

REGISTRIES = ("_parameters", "_buffers", "_modules")


def state_snapshot(network: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Objects by identity, tensors by their bytes, and the flags, attributes and hooks of modules and optimizer."""
    modules = [("", network), *network.named_modules(remove_duplicate=False)]
    return {
        "modules": [(path, id(module), type(module), module.training) for path, module in modules],
        "attributes": [(path, _attributes(module, {}), _held(module)) for path, module in modules],
        "tensors": [
            (path, id(tensor), tensor.requires_grad, sorted(vars(tensor)), plain(tensor)) for path, tensor in _named(network)
        ],
        "keys": list(network.state_dict()),
        "optimizer": (type(optimizer), _attributes(optimizer, {"state": None, "param_groups": None}), _held(optimizer)),
        "groups": [(id(group), id(group["params"]), _settings(group)) for group in optimizer.param_groups],
        "owned": [[id(parameter) for parameter in group["params"]] for group in optimizer.param_groups],
        "state": [(id(parameter), plain(state)) for parameter, state in optimizer.state.items()],
    }


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The aspects in which two portraits differ; "" where they do not."""
    return ", ".join(aspect for aspect in before if before[aspect] != after[aspect])


def luck() -> Any:
    """The states of the random generators that a program may use."""
    kind, keys, position, *rest = cast("tuple[Any, ...]", np.random.get_state())
    return torch.get_rng_state().tolist(), random.getstate(), (kind, keys.tolist(), position, *rest)


def plain(value: Any) -> Any:
    """A value with its tensors as type, device, shape and bytes."""
    if isinstance(value, Tensor):
        return value.dtype, value.device, tuple(value.shape), value.detach().cpu().contiguous().view(-1).view(torch.uint8).tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in cast("list[Any]", value)]
    return value


def _named(network: nn.Module) -> list[tuple[str, Tensor]]:
    return [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]


def _attributes(thing: object, beside: Mapping[str, Any]) -> dict[str, int]:
    """The attributes of an object by identity: a dictionary that was exchanged for an equal one is another."""
    return {name: id(value) for name, value in vars(thing).items() if name not in beside}


def _held(thing: object) -> dict[str, list[tuple[Any, int]]]:
    """What the registries and hook dictionaries of an object hold, in order."""
    found = {name: value for name, value in vars(thing).items() if isinstance(value, dict) and name != "state"}
    return {name: [(key, id(item)) for key, item in cast("dict[Any, Any]", value).items()] for name, value in found.items()}


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plain(value) for name, value in group.items() if name != "params"}
